"""What the command line and a notebook share: run a suite with progress, make its boards, write them."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from bench import suite as suites
from bench.base import arithmetic, tables
from bench.base import device as devices
from bench.base.errors import BadInputError
from bench.base.files import write_whole
from bench.base.names import counted, unknown
from bench.base.numbers import MOST
from bench.plays.findings import Task
from bench.records import PUBLIC, Record, Store, World, setting_hash, verified
from bench.records.submissions import submitted
from bench.runs import places, runner
from bench.runs.workers import NO_LIMITS, Backend, Limits
from bench.suite import Suite, load_family
from bench.suite import load as load_suite
from bench.suite.factors import designs
from leaderboards.boards import Board, Leaderboard, build
from leaderboards.formats import FORMATS, printable
from leaderboards.frame import select
from leaderboards.pictures import find_pictures

if TYPE_CHECKING:
    from bench.records.agreement import Agreement

FILES = {"md": "leaderboard.md", "csv": "leaderboard.csv"}
"""The boards that every run writes beside its records; their pictures go into a folder `plots` there."""


TEXTS = ("md", "latex")
"""Formats of which one may follow another."""

MOST_TOLD = 5
"""Cells that failed or diverged which are told one by one."""


@dataclass
class Report:
    """What a run did."""

    suite: Suite
    folder: Path
    records: list[Record]  # of all cells asked for, those of this run last
    ran: int
    leaderboard: Leaderboard
    written: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)

    @property
    def present(self) -> int:
        """Records that were there already."""
        return len(self.records) - self.ran

    @property
    def unfinished(self) -> list[Record]:
        """Failed or diverged, in this run or an earlier one."""
        return [record for record in self.records if record.status != "ok"]

    def of_another_arithmetic(self) -> str | None:
        """One line about the records that were there and were computed otherwise than this run; None without any."""
        here = arithmetic.current()
        others = Counter(one.environment.arithmetic for one in self.records[: self.present])
        told = [f"{count} in {name} arithmetic" for name, count in others.items() if name not in ("", here)]
        if not told:
            return None
        return f"of the records that were there {' and '.join(told)}, and this run is {here}: --fresh plays them anew"

    def summary(self) -> dict[str, Any]:
        """The report for programs."""
        held = self.held()
        return {
            "suite": self.suite.name,
            "ran": self.ran,
            "already_there": self.present,
            "failed_or_diverged": [record.key for record in self.unfinished],
            "written": [str(path) for path in self.written],
            "agreement": None if held is None else {"published": str(held[0]), **asdict(held[1])},
        }

    def held(self) -> "tuple[Path, Agreement] | None":
        """The folder of the suite's published records, and how these agree; None without any, or if these are they."""
        from bench.records.agreement import agreement  # it loads scipy

        if (results := places.published(self.suite.name)) is None:
            return None
        store = Store(results, self.suite.name)
        if store.folder.resolve() == self.folder.resolve():
            return None
        return store.folder, agreement(store.records([]), self.records)

    def print(self, everything: bool = False) -> None:
        """The overall board, or all and the flags; then where the rest is, and how the records agree with others."""
        console = print_boards(self.leaderboard, everything)
        for record in self.unfinished[: 0 if everything else MOST_TOLD]:
            where = f"{record.cell.label} x {record.cell.column}, seed {record.seed}"
            console.print(f"[yellow]{record.status}[/] {escape(where)}: {escape(record.error or '')}")
        if not everything and (more := self._more()):
            console.print(f"{more}: --all, or {self.written[0]}", soft_wrap=True)
        done = f"{counted(self.ran, 'cell')} run, {self.present} {'was' if self.present == 1 else 'were'} there"
        if not self.ran:
            done = f"nothing is left to run: {self.present} of {self.present} records were there"
        plots = f", pictures in {self.pictures[0].parent}" if self.pictures else ""
        boards = f"boards in {' and '.join(map(str, self.written))}{plots}"
        console.print(f"{done}; {boards}", soft_wrap=True)
        if (others := self.of_another_arithmetic()) is not None:
            console.print(others, soft_wrap=True, markup=False)
        if (held := self.held()) is not None:
            console.print(held[1].line(len(self.records), str(held[0])), soft_wrap=True, markup=False)
        elif self.suite.name in suites.shipped() and places.published(self.suite.name) is None:
            console.print("no published records of this suite are here to hold these against", soft_wrap=True)

    def _more(self) -> str:
        """What the short form leaves out, in words."""
        boards = sum(len(board.text) > 0 for board in self.leaderboard.boards) - 1
        results = (self.leaderboard.column_flags, self.leaderboard.flags)
        flags = sum(len(notes) for some in results for notes in some.values())
        return " and ".join(counted(count, what) for count, what in ((boards, "more board"), (flags, "flag")) if count)


def print_boards(leaderboard: Leaderboard, everything: bool = True) -> Console:
    """The boards with their flags, or the overall one alone; what was left out; the console for what comes below."""
    console = tables.console()
    if leaderboard.notice:
        console.print(f"[yellow]{escape(leaderboard.notice)}[/]")
    for board in leaderboard.boards if everything else leaderboard.boards[:1]:
        if len(board.text):
            tables.show(console, _rich(board))
    for what, notes in [*leaderboard.column_flags.items(), *leaderboard.flags.items()] if everything else ():
        for note in notes:
            console.print(f"[yellow]flag[/] {escape(what)}: {escape(note)}")
    for line in leaderboard.left_out:
        console.print(f"left out: {escape(line)}")
    return console


def print_rows(leaderboard: Leaderboard, rows: Collection[str]) -> Console:
    """The overall board, and the lines and flags of some rows on the others, without what the marks mean."""
    console = tables.console()
    for number, board in enumerate(board for board in leaderboard.boards if len(board.text)):
        text = board.text if number == 0 else board.text[board.text["defense"].isin(rows)]
        if len(text):
            tables.show(console, _rich(replace(board, text=text, caption="")))
    for row in rows:
        for note in leaderboard.flags.get(row, ()):
            console.print(f"[yellow]flag[/] {escape(row)}: {escape(note)}")
    for line in leaderboard.left_out:
        console.print(f"left out: {escape(line)}")
    return console


def run_suite(
    suite: str,
    defenses: Iterable[str] = (),
    attacks: Iterable[str] = (),
    seeds: tuple[int, ...] | None = None,
    changes: Iterable[str] = (),
    workers: int | None = None,
    results: Path = places.OWN,
    fresh: bool = False,
    data_root: str | None = None,
    device: str = "auto",
    quiet: bool = False,
    limits: Limits = NO_LIMITS,
    ray: str | None = None,
    boards: bool = True,
    world: World = PUBLIC,
    clean_too: bool = True,
) -> Report:
    """Run what is missing of a suite, write its boards unless `boards` is False, and report.

    Without `clean_too` the clean runs of the named rows are left as they are.

    With an address in `ray` the cells go to that Ray cluster, and `workers` is the most of them at once.
    """
    if ray is not None and world != PUBLIC:
        raise BadInputError("submitted code plays on this machine alone, behind its walls: a Ray cluster has none")
    chosen = devices.choose(device, here=ray is None)
    changes = list(changes)
    own = load_suite(suite, changes)
    loaded = own if seeds is None else own.with_seeds(seeds)
    if chosen == devices.CUDA and ray is not None and not loaded.resources.gpus:
        raise BadInputError("--device cuda with --ray needs resources.gpus in the suite: a whole number, or a share")
    store = Store(results, loaded.name)
    cells = [cell for cell in loaded.cells(defenses, attacks) if clean_too or cell.attack is not None]
    plan = runner.plan(loaded, cells, store, data_root, fresh, chosen, world)
    place = _cluster(ray, loaded, limits, workers) if ray is not None and plan.tasks else None
    running = partial(runner.run, workers=workers or runner.default_workers(), limits=limits, fresh=fresh, place=place)
    records, ran = run_with_progress(plan, store, running, quiet)
    notice = " ".join(filter(None, [_namesake(suite, loaded), _notice(own, loaded, changes)]))
    leaderboard = make_leaderboard(loaded, store, notice=notice)
    written, pictures = write_boards(leaderboard, store) if boards else ([], [])
    return Report(loaded, store.folder, [*plan.present, *records], ran, leaderboard, written, pictures)


def _cluster(address: str, suite: Suite, limits: Limits, most: int | None) -> Backend:
    """The cluster at an address, with what the suite says a cell takes of it."""
    from bench.runs import cluster

    return cluster.connect(address, suite.resources.cpus or suite.threads, suite.resources.gpus, limits, most)


def run_with_progress(
    plan: runner.Plan, store: Store, running: Callable[..., Iterator[Record]], quiet: bool
) -> tuple[list[Record], int]:
    """All records of the plan's tasks, and how many this run made: another run on the same folder may make some."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    records: list[Record] = []
    started: list[Task] = []
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("starting", total=plan.total, completed=len(plan.present))

        def announce(task: Task) -> None:
            started.append(task)
            progress.update(bar, description=escape(f"{task.cell.label} x {task.cell.column}, seed {task.seed}"))

        def waits(count: int) -> None:
            progress.update(bar, description=f"waiting for another run, which has {count} of the cells")
            if not quiet and not console.is_terminal:
                console.print(f"waiting for another run, which has {count} of the cells")

        for record in running(plan.tasks, store, announce=announce, waits=waits):
            records.append(record)
            progress.advance(bar)
            done = len(records)
            if not quiet and not console.is_terminal and (done % max(1, len(plan.tasks) // 10) == 0):
                console.print(f"{done} of {len(plan.tasks)} cells, now {record.cell.label} x {record.cell.column}")
    return records, len(started)


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """`0,1,2` as numbers; `BadInputError` for what is none, out of range, or there twice."""
    if text is None:
        return None
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadInputError(f"--seeds {text!r} is not a list of whole numbers such as 0,1,2") from None
    if len(set(seeds)) < len(seeds):
        raise BadInputError(f"--seeds {text!r} names a seed twice")
    if not all(0 <= seed <= MOST for seed in seeds):
        raise BadInputError(f"--seeds {text!r} has a seed that is not between 0 and {MOST}")
    return seeds


def parse_limits(seconds: float | None, mebibytes: int | None) -> Limits:
    """What one cell may take; `BadInputError` for what is no time."""
    if seconds is not None and not 0 < seconds < math.inf:
        raise BadInputError(f"--cell-timeout is {seconds:g}, but must be a number of seconds above 0")
    return Limits(seconds, mebibytes)


def _notice(own: Suite, played: Suite, changes: list[str]) -> str:
    """What a run was asked to have otherwise than its suite; "" where it is the suite itself."""
    asked = [f"--set {change}" for change in changes]
    if set(played.seeds) != set(own.seeds) or played.seeds_of != own.seeds_of:
        mine, theirs = (", ".join(map(str, seeds)) for seeds in (played.seeds, own.seeds))
        asked.append(f"seeds {mine}, where the suite has {theirs}")
    return f"Not the suite as it stands, but as asked for: {'; '.join(asked)}." if asked else ""


def _namesake(asked: str, suite: Suite) -> str:
    """That a file is not the shipped suite whose name it has; "" where it is, or has a name of its own."""
    theirs = suites.shipped().get(suite.name)
    if theirs is None or asked == suite.name or theirs.read_bytes() == Path(asked).read_bytes():
        return ""
    return (
        f"{asked} is not the shipped suite {suite.name!r} whose name it has, and the records of both lie in one "
        "folder: give it another name."
    )


def make_leaderboard(
    suite: Suite, store: Store, asked_for: str | None = None, notice: str = "", beside: Sequence[Store] = ()
) -> Leaderboard:
    """The boards of a suite's records: those of its present setting, or of the newest one where it has none.

    Only the suite's seeds count; `notice` says above the boards what the suite has otherwise than its file. What the
    store has no record of comes from the stores in `beside`, the first that has one.
    """
    damaged: list[str] = []
    records = list(store.records(damaged))
    for other in beside:
        there = {(record.key, record.setting) for record in records}
        records += [record for record in other.records(damaged) if (record.key, record.setting) not in there]
    if not records:
        raise BadInputError(
            f"no records in {store.folder}: run `python -m bench run --suite {asked_for or suite.name}` first"
        )
    present = {record.setting for record in records}
    settings = {setting_hash(suite, digest) for digest in {record.data_digest for record in records}} & present
    cells = suite.cells()
    rows = dict.fromkeys(cell.label for cell in cells)
    selection = select(records, min(settings, default=None), cells, suite.seeds_by_kind)
    factors = designs(suite)
    return build(
        suite.name,
        suite.title,
        len(suite.seeds),
        selection,
        seeds_of={kind: len(seeds) for kind, seeds in suite.seeds_of.items()},
        recovered_psnr=suite.ranking.recovered_psnr,
        rows=rows,
        federation=suite.federation,
        notice=notice,
        submissions=[one for place in (store, *beside) for one in submitted(place.folder)],
        verifications=[verified.state(place.folder) for place in (store, *beside)],
        damaged=damaged,
        pictures=find_pictures(selection.rows(rows), selection, store, suite.ranking.recovered_psnr, factors),
        results=store.folder.parent.name,
        asked_for=asked_for or suite.name,
        runnable=frozenset(cell.hash for cell in cells) if settings else frozenset(),
        designs=factors,
    )


def write_boards(leaderboard: Leaderboard, store: Store) -> tuple[list[Path], list[Path]]:
    """Write the boards and the pictures beside the records; where they lie."""
    written, pictures = [], []
    for name, text in _texts(leaderboard).items():
        written.append(store.folder / name)
        write_text(written[-1], text)
    for picture in leaderboard.pictures:
        pictures.append(store.folder / picture.path)
        write_bytes(pictures[-1], picture.draw())
    return written, pictures


def boards_of(suite: Suite, store: Store) -> dict[str, bytes]:
    """What `write_boards` would write of a suite's records, by its place below the suite's folder."""
    leaderboard = make_leaderboard(suite, store)
    texts = {name: text.encode() for name, text in _texts(leaderboard).items()}
    return texts | {str(picture.path): picture.draw() for picture in leaderboard.pictures}


def _texts(leaderboard: Leaderboard) -> dict[str, str]:
    return {name: FORMATS[kind](leaderboard) for kind, name in FILES.items()}


def leaderboard_text(
    suite: str, results: Path | None, output_format: str, tell: places.Tell = lambda line: None
) -> str:
    """A suite's boards in one of the formats; without a folder, of the user's own records, else the published ones.

    Those of a family stand one after another, in a format that is a text.
    """
    if output_format not in FORMATS:
        raise BadInputError(unknown("format", output_format, FORMATS))
    try:
        family = load_family(suite) if output_format in TEXTS else {suite: load_suite(suite)}
    except BadInputError:
        if Path(suite).suffix == ".toml" or not places.has_records(results or places.OWN, suite):
            raise
        lie = f"records of a suite {suite!r} lie in {(results or places.OWN) / suite}"
        cure = "give the file that was run, --suite FILE.toml"
        raise BadInputError(f"no suite named {suite!r} is shipped; {lie}: {cure}") from None
    texts = []
    for name, loaded in family.items():
        folder = places.of_suite(loaded.name, tell) if results is None else places.to_read(results)
        store = Store(folder, loaded.name)
        texts.append(FORMATS[output_format](make_leaderboard(loaded, store, name, _namesake(name, loaded))))
    return "\n".join(texts)


def write_text(path: Path, text: str) -> None:
    """Write a file whole; `BadInputError` where that cannot be."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same for bytes."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise BadInputError(f"cannot write {path}: {error.strerror}") from None


def _rich(board: Board) -> Table:
    title, caption = escape(printable(board.title)), escape(printable(board.caption))
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for column in board.text.columns:
        table.add_column(escape(printable(str(column))), overflow="fold")
    for row in board.text.itertuples(index=False):
        table.add_row(*(escape(printable(str(value))) for value in row))
    return table
