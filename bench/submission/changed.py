"""`verify --changed`: what a branch changes below `results/`, path by path; what nobody here can judge is red.

Each path that differs between two commits is of one kind: of a row, which is verified whole; a board, which must be
what the records give; or else a problem. What lies outside of `results/` is code, for people to read.
"""

import json
import math
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import suite as suites
from bench.base.errors import BadInputError
from bench.base.names import counted
from bench.records import Record, Store
from bench.records.submissions import EXAMINATION, FILE
from bench.submission import folder as folders
from bench.submission.examination import Tell
from bench.submission.referee.party import plain, printable
from bench.submission.verify import Verification, verify

FILE_MODES = ("100644", "100755")
ABSENT = "000000"
"""Modes of git: a plain file, and none. All others are links, or repositories of their own."""

BOARDS = ("leaderboard.md", "leaderboard.csv")
PLOTS = "plots"
PAPER_RECORDS = ("results", "papers", "records")

HOW_FILES_ARE_READ = (".gitattributes", ".gitmodules")
"""By which git gives other content than was committed: what is judged here, or a rival's record somewhere else."""

UNSURE = ("cannot tell",)
"""Verdicts that are no failure of a row that somebody looks at, and are one of what comes unseen."""

MOST_TIMES = 5.0
"""By which a published time of a round may change, on another machine or on a busy one."""

ALL = 10**9
"""As many records as there are."""


@dataclass(frozen=True)
class Change:
    """A path that differs: git's letter for how (A, M, D, T), and its modes before and after."""

    path: str
    how: str
    before: str
    after: str

    @property
    def told(self) -> str:
        return printable(self.path)


@dataclass
class Changed:
    """What was found: the rows that were verified, problems, and notes."""

    base: str
    verifications: list[Verification] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return bool(self.problems) or any(one.failed for one in self.verifications)

    def as_dict(self) -> dict[str, Any]:
        rows = [row for one in self.verifications for row in one.as_dict()["rows"]]
        return {"base": self.base, "problems": self.problems, "notes": self.notes, "rows": rows}

    def print(self) -> None:
        from rich.console import Console

        for verification in self.verifications:
            verification.print()
        console = Console(soft_wrap=True)
        for what, lines in (("", self.problems), ("note: ", self.notes)):
            for line in lines:
                console.print(f"{what}{line}", markup=False, highlight=False)
        console.print("REFUSED" if self.failed else "nothing is wrong", highlight=False)


def verify_changed(
    checkout: Path,
    base: str,
    sample: int | None = None,
    seed: int | None = None,
    data_root: str | None = None,
    worlds: int = 0,
    tell: Tell = lambda line: None,
) -> Changed:
    """Judge all that the checkout's last commit changes since it left `base`; all records of each row by default.

    Raises `BadInputError` where git fails, or what lies in `results` is not what was committed.
    """
    start = _git(checkout, "merge-base", "--end-of-options", base, "HEAD").strip()
    if loose := _git(checkout, "status", "--porcelain", "-z", "--ignored", "--untracked-files=all", "--", "results"):
        first = printable(loose.split("\0")[0][3:])
        raise BadInputError(f"{checkout / 'results'} is not what was committed: {first}: commit it, or take it away")
    result = Changed(start)
    changes = list(changes_since(checkout, start))
    rows, boards = _sorted(changes, result)
    for row, mine in rows.items():
        _judge_row(checkout, row, mine, result, (sample, seed, data_root, worlds), tell)
    for suite, mine in boards.items():
        result.problems += _unlike_records(checkout, suite, mine)
    if outside := [change for change in changes if not change.path.startswith("results/")]:
        result.notes.append(f"{counted(len(outside), 'file')} outside of results: code, for people to read")
    return result


def changes_since(checkout: Path, start: str) -> Iterator[Change]:
    """Every path in which the last commit differs from `start`, as it is stored: nothing is quoted or renamed."""
    parts = _git(checkout, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", start, "HEAD").split("\0")
    if parts.pop() or len(parts) % 2:
        raise BadInputError("git told no list of changes that can be read")
    for head, path in zip(parts[::2], parts[1::2], strict=True):
        match head.removeprefix(":").split(" "):
            case [before, after, _, _, how] if head.startswith(":") and path:
                yield Change(path, how, before, after)
            case _:
                raise BadInputError("git told no list of changes that can be read")


def _git(checkout: Path, *words: str) -> str:
    """What git says; `BadInputError` where it fails. Its bytes are kept, whatever they stand for."""
    try:
        done = subprocess.run(["git", "-C", str(checkout), *words], capture_output=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInputError(f"git cannot be asked: {printable(str(error))}") from None
    if done.returncode:
        why = printable(done.stderr.decode(errors="replace")) or f"exit code {done.returncode}"
        raise BadInputError(f"git {words[0]} failed in {checkout}: {why}")
    return done.stdout.decode("utf-8", "surrogateescape")


def _sorted(changes: Iterable[Change], found: Changed) -> tuple[dict[str, list[Change]], dict[str, list[Change]]]:
    """The changes of each row by its folder, and those of boards by their suite; all else below results is told."""
    rows: dict[str, list[Change]] = {}
    boards: dict[str, list[Change]] = {}
    for change in changes:
        parts = change.path.split("/")
        if parts[-1] in HOW_FILES_ARE_READ:
            found.problems.append(f"{change.told}: it says how git reads other files: a maintainer has to look at it")
            continue
        if change.path != "results" and not change.path.startswith("results/"):
            continue
        if (why := _refused(change)) is not None:
            found.problems.append(f"{change.told}: {why}")
        elif (row := _row_of(parts)) is not None:
            rows.setdefault(row, []).append(change)
        elif _is_board(parts):
            boards.setdefault(parts[1], []).append(change)
        else:
            found.problems.append(f"{change.told}: {_unknown(parts)}")
    return rows, boards


def _refused(change: Change) -> str | None:
    """Why a change is refused whatever file it is of."""
    if change.how == "D":
        return "deleted: what was published is taken away by a maintainer alone"
    if any(mode not in (*FILE_MODES, ABSENT) for mode in (change.before, change.after)) or change.how == "T":
        return "a link, or no plain file"
    if change.how not in ("A", "M"):
        return f"changed in a way that is not known ({plain(change.how)})"
    return None


def _row_of(parts: list[str]) -> str | None:
    """The folder of the row that a path lies in."""
    if tuple(parts[:3]) == PAPER_RECORDS and len(parts) == 6:
        return "/".join(parts[:4])
    is_suites = len(parts) in (4, 5) and parts[1] in suites.shipped() and parts[2] != PLOTS
    return "/".join(parts[:3]) if is_suites else None


def _is_board(parts: list[str]) -> bool:
    if len(parts) < 3 or parts[1] not in suites.shipped():
        return False
    return (len(parts) == 3 and parts[2] in BOARDS) or (len(parts) == 4 and parts[2] == PLOTS)


def _unknown(parts: list[str]) -> str:
    if parts[1:2] == ["papers"]:
        return "made by `reproduce`, and not made anew here: a maintainer has to look at it"
    if parts[1:2] == ["claims"]:
        return "made by `claims`, and not made anew here: a maintainer has to look at it"
    if parts[1:2] in (["perf"], ["soak"]):
        return "measured on somebody's machine: a maintainer has to look at it"
    return "no file of a row or of a board that this version knows"


def _judge_row(
    checkout: Path,
    row: str,
    mine: list[Change],
    found: Changed,
    how: tuple[int | None, int | None, str | None, int],
    tell: Tell,
) -> None:
    """Verify the row whole, and name its changed files that are none of a row, or were somebody's already."""
    sample, seed, data_root, worlds = how
    folder = checkout / row
    for change in mine:
        name = change.path.rpartition("/")[2]
        if change.how == "M" and (name in (FILE, EXAMINATION) or name.endswith(".py")):
            found.problems.append(
                f"{change.told}: of a submission that is published already: a maintainer has to know whose it is"
            )
    try:
        done = verify(
            folder, ALL if sample is None else sample, seed, data_root, contract=True, worlds=worlds, tell=tell
        )
        known = {folder / name for name in _files(folder, done)}
    except BadInputError as error:
        found.problems.append(f"{printable(row)}: {printable(str(error))}")
        return
    found.verifications.append(done)
    for one in done.rows:
        if one.verdict in UNSURE:
            found.problems.append(
                f"{printable(row)}: nobody can tell whether it is what its cells give: a maintainer has to"
            )
        loose = {place.absolute() for place in one.loose}
        found.problems += [
            f"{change.told}: its rounds took {times:.3g} times as long when it was published: a maintainer has to look"
            for change in mine
            if change.how == "M" and (record := one.records.get(checkout / change.path)) is not None
            if not 1 / MOST_TIMES <= (times := _times(_published(checkout, found.base, change), record)) <= MOST_TIMES
        ]
        found.problems += [
            f"{change.told}: published before, and held to its bits by nobody here: a maintainer has to look"
            for change in mine
            if change.how == "M" and (checkout / change.path).absolute() in loose
        ]
    found.problems += [f"{one.told}: no file of the row" for one in mine if checkout / one.path not in known]


def _published(checkout: Path, base: str, change: Change) -> object:
    """What was published of a record in its place, as JSON; None where that cannot be read."""
    try:
        return json.loads(_git(checkout, "show", f"{base}:{change.path}"))
    except (ValueError, RecursionError):
        return None


def _times(before: object, record: Record) -> float:
    """How long a round took that was published, in rounds of this record; 1 where one of them does not say.

    No play repeats it, and it stands on a board: a rival's may not be made worse by hand.
    """
    match before:
        case {"cost": {"round_seconds": int() | float() as there}} if record.cost.round_seconds is not None:
            here = record.cost.round_seconds
            return 1.0 if here == there else there / here if here > 0 else math.inf
        case _:
            return 1.0


def _files(folder: Path, done: Verification) -> Iterator[Path]:
    """All that belongs to a row: its records with their pictures, and what was submitted."""
    places = {place: record for row in done.rows for place, record in row.records.items()}
    for place, record in places.items():
        yield place
        yield from (place.parent / name for name in record.files.values())
    for around in {folder, *(place.parent for place in places)}:
        if (submission := folders.load(around)) is not None:
            yield from (around / name for name in (FILE, EXAMINATION, submission.source))


def _unlike_records(checkout: Path, suite: str, mine: list[Change]) -> Iterator[str]:
    """The boards and pictures of a suite that are not what its records give."""
    from bench.runs import jobs

    try:
        made = jobs.boards_of(suites.load(suite), Store(checkout / "results", suite))
    except BadInputError as error:
        yield f"results/{suite}: its boards cannot be made: {printable(str(error))}"
        return
    yield from _differing(checkout, suite, mine, made)


def _differing(checkout: Path, suite: str, mine: list[Change], made: Mapping[str, bytes]) -> Iterator[str]:
    for change in mine:
        name = change.path.removeprefix(f"results/{suite}/")
        if made.get(name) != (checkout / change.path).read_bytes():
            yield f"{change.told}: not what the records give: `python -m bench leaderboard` makes it anew"
