"""What the command line and a notebook share: run a suite with progress, make its boards, write them."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

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

from bench import device as devices
from bench import runner, tables
from bench.errors import BadInputError
from bench.findings import Task
from bench.names import unknown
from bench.records import Record, Store, setting_hash, write_whole
from bench.suite import Suite
from bench.suite import load as load_suite
from bench.workers import NO_LIMITS, Backend, Limits
from leaderboards.boards import Board, Leaderboard, build
from leaderboards.formats import FORMATS
from leaderboards.frame import select
from leaderboards.pictures import find_pictures
from leaderboards.submissions import add_submissions

FILES = {"md": "leaderboard.md", "csv": "leaderboard.csv"}
"""The boards that every run writes beside its records; their pictures go into a folder `plots` there."""


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

    def summary(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "suite": self.suite.name,
            "ran": self.ran,
            "already_there": self.present,
            "failed_or_diverged": [record.key for record in self.unfinished],
            "written": [str(path) for path in self.written],
        }

    def print(self) -> None:
        """The boards, the flags and where things lie, on the terminal."""
        console = tables.console()
        for board in self.leaderboard.boards:
            if len(board.text):
                tables.show(console, _rich(board))
        for row, notes in self.leaderboard.flags.items():
            for note in notes:
                console.print(f"[yellow]flag[/] {escape(row)}: {escape(note)}")
        for line in self.leaderboard.left_out:
            console.print(f"left out: {escape(line)}")
        plots = f", pictures in {self.pictures[0].parent}" if self.pictures else ""
        console.print(
            f"{self.ran} cells run, {self.present} were there; boards in {' and '.join(map(str, self.written))}{plots}"
        )


def run_suite(
    suite: str,
    defenses: Iterable[str] = (),
    attacks: Iterable[str] = (),
    seeds: tuple[int, ...] | None = None,
    changes: Iterable[str] = (),
    workers: int | None = None,
    results: Path = Path("results"),
    fresh: bool = False,
    data_root: str | None = None,
    device: str = "auto",
    quiet: bool = False,
    limits: Limits = NO_LIMITS,
    ray: str | None = None,
) -> Report:
    """Run what is missing of a suite, write its boards, and report.

    With an address in `ray` the cells go to that Ray cluster, and `workers` is the most of them at once.
    """
    chosen = devices.choose(device, here=ray is None)
    loaded = load_suite(suite, changes)
    if seeds is not None:
        loaded = loaded.model_copy(update={"seeds": seeds})
    if chosen == devices.CUDA and ray is not None and not loaded.resources.gpus:
        raise BadInputError("--device cuda with --ray needs resources.gpus in the suite: a whole number, or a share")
    store = Store(results, loaded.name)
    plan = runner.plan(loaded, loaded.cells(defenses, attacks), store, data_root, fresh, chosen)
    place = _cluster(ray, loaded, limits, workers) if ray is not None and plan.tasks else None
    running = partial(runner.run, workers=workers or runner.default_workers(), limits=limits, fresh=fresh, place=place)
    records, ran = run_with_progress(plan, store, running, quiet)
    leaderboard = make_leaderboard(loaded, store)
    written, pictures = write_boards(leaderboard, store)
    return Report(loaded, store.folder, [*plan.present, *records], ran, leaderboard, written, pictures)


def _cluster(address: str, suite: Suite, limits: Limits, most: int | None) -> Backend:
    """The cluster at an address, with what the suite says a cell takes of it."""
    from bench import cluster

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
    """`0,1,2` as numbers; `BadInputError` for what is none, or there twice."""
    if text is None:
        return None
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadInputError(f"--seeds {text!r} is not a list of whole numbers such as 0,1,2") from None
    if len(set(seeds)) < len(seeds):
        raise BadInputError(f"--seeds {text!r} names a seed twice")
    return seeds


def parse_limits(seconds: float | None, mebibytes: int | None) -> Limits:
    """What one cell may take; `BadInputError` for what is no time."""
    if seconds is not None and not 0 < seconds < math.inf:
        raise BadInputError(f"--cell-timeout is {seconds:g}, but must be a number of seconds above 0")
    return Limits(seconds, mebibytes)


def make_leaderboard(suite: Suite, store: Store, asked_for: str | None = None) -> Leaderboard:
    """The boards of a suite's records: those of its present setting, or of the newest one where it has none."""
    damaged: list[str] = []
    records = list(store.records(damaged))
    if not records:
        raise BadInputError(
            f"no records in {store.folder}: run `python -m bench run --suite {asked_for or suite.name}` first"
        )
    present = {record.setting for record in records}
    settings = {setting_hash(suite, digest) for digest in {record.data_digest for record in records}} & present
    cells = suite.cells()
    rows = dict.fromkeys(cell.label for cell in cells)
    selection = select(records, min(settings, default=None), cells)
    leaderboard = build(
        suite.name,
        suite.title,
        len(suite.seeds),
        selection,
        recovered_psnr=suite.ranking.recovered_psnr,
        rows=rows,
    )
    leaderboard.left_out += damaged
    add_submissions(leaderboard, store.folder)
    leaderboard.asked_for = asked_for or suite.name
    leaderboard.runnable = frozenset(cell.hash for cell in cells) if settings else frozenset()
    leaderboard.pictures = find_pictures(selection.rows(rows), selection, store, suite.ranking.recovered_psnr)
    return leaderboard


def write_boards(leaderboard: Leaderboard, store: Store) -> tuple[list[Path], list[Path]]:
    """Write the boards and the pictures beside the records; where they lie."""
    written, pictures = [], []
    for kind, name in FILES.items():
        written.append(store.folder / name)
        write_text(written[-1], FORMATS[kind](leaderboard))
    for picture in leaderboard.pictures:
        pictures.append(store.folder / picture.path)
        write_bytes(pictures[-1], picture.draw())
    return written, pictures


def leaderboard_text(suite: str, results: Path, output_format: str) -> str:
    """A suite's boards in one of the formats."""
    if output_format not in FORMATS:
        raise BadInputError(unknown("format", output_format, FORMATS))
    loaded = load_suite(suite)
    return FORMATS[output_format](make_leaderboard(loaded, Store(results, loaded.name), suite))


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
    table = Table(title=board.title, caption=board.caption, title_justify="left", caption_justify="left")
    for column in board.text.columns:
        table.add_column(str(column), overflow="fold")
    for row in board.text.itertuples(index=False):
        table.add_row(*(escape(str(value)) for value in row))
    return table
