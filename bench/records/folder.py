"""What lies in a results folder: the records that are where they belong, and one line about everything else.

This is the only reader of such folders. Boards, `verify`, digests and notebooks ask it, so that nothing is ranked that
is not looked at when records are verified. A record belongs to one place, which follows from its content:
`SUITE/ROW/ATTACK/KEY.json`; whatever lies elsewhere is refused, and with it every second record of one cell and seed.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.base.errors import BadInputError
from bench.records.reading import read
from bench.records.record import Record
from bench.records.submissions import EXAMINATION, FILE

LONGEST_SLUG = 60
"""Characters of a row's folder; the key tells its records from those of a row with the same beginning."""

ASIDE = ".damaged-"
"""Between the name of a file that was no record, where one had to be written, and a number."""

PAPERS = "papers/records"
"""Where `reproduce` keeps the records of all suites of the papers: their names begin with `papers/`."""

VERIFIED = "verified.json"
"""What `verify --write` keeps beside the rows of a suite."""

NO_RECORDS = (VERIFIED, "leaderboard.json")
"""Files of a suite that are no records; what examinations and measurements write is told by what lies around it."""

REPORTS = ("perf", "soak")
"""Folders of results whose files are no records."""


@dataclass(frozen=True)
class Problem:
    """A file that is refused, and why, in one line that names it."""

    path: Path
    line: str


@dataclass(frozen=True)
class Contents:
    """The records of a folder by their files, and what else lies there that should not."""

    records: dict[Path, Record] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def slug(label: str) -> str:
    """A folder's name from a row's label."""
    kept = "".join(char if char.isalnum() or char in "._-=" else "-" for char in label)
    return "-".join(part for part in kept.split("-") if part.strip("."))[:LONGEST_SLUG] or "row"


def home(record: Record) -> str:
    """The place of a record below the results folder."""
    return _home(record, record.suite)


def contents(root: Path) -> Contents:
    """All records in or below a folder, or in the one file that `root` is; an empty answer where nothing is there."""
    result = Contents()
    strays: list[tuple[Path, Record]] = []
    for path in files(root):
        if (line := _refused(path)) is not None:
            result.problems.append(Problem(path, line))
            continue
        try:
            record = read(path)
        except BadInputError as error:
            result.problems.append(Problem(path, str(error)))
            continue
        if not _is_home(path, record):
            strays.append((path, record))
        elif outside := [name for name in record.files.values() if Path(name).name != name or name in ("", "..")]:
            result.problems.append(Problem(path, f"{path} names a file that is not beside it: {outside[0]}"))
        else:
            result.records[path] = record
    there = {(record.suite, record.key): path for path, record in result.records.items()}
    for path, record in strays:
        result.problems.append(Problem(path, _stray(path, record, there.get((record.suite, record.key)))))
    return result


def files(root: Path) -> Iterator[Path]:
    """Everything in or below `root` that is a record by its ending, or that nobody may take for one; sorted.

    Files that are known to be none are left out. Links are given and not followed.
    """
    if root.is_symlink() or not root.is_dir():
        if os.path.lexists(root):
            yield root
        return
    entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    for entry in entries:
        path = root / entry.name
        if entry.is_symlink() or ASIDE in entry.name:
            yield path
        elif entry.is_dir():
            if path.suffix == ".json" and not any(below.is_dir() for below in path.iterdir()):
                yield path  # a row may be called so, and holds folders
            else:
                yield from files(path)
        elif path.suffix == ".json" and not _is_known(path):
            yield path


def mixed_devices(records: Iterable[Record]) -> str:
    """`1 of 57 records made on cuda: NVIDIA H200, 56 on cpu` where there are several kinds; empty otherwise."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record.environment.device] = counts.get(record.environment.device, 0) + 1
    told = [f"{count} on {device}" for device, count in sorted(counts.items())]
    return f"made on several devices: {', '.join(told)}" if len(told) > 1 else ""


def _home(record: Record, suite: str) -> str:
    return f"{suite}/{slug(record.cell.label)}/{record.cell.attack_name}/{record.key}.json"


def is_of_papers(suite: str) -> bool:
    """Whether a suite is of the papers: these share their records, and the report says which are missing."""
    return suite.startswith("papers/")


def _is_home(path: Path, record: Record) -> bool:
    suites = [record.suite, *([PAPERS] if is_of_papers(record.suite) else [])]
    return any(str(_lexical(path)).endswith(f"{os.sep}{_home(record, suite)}") for suite in suites)


def _stray(path: Path, record: Record, other: Path | None) -> str:
    """Why a record is refused that lies where its content does not say; `other` is the one in its place."""
    text = f"{path} is not where it belongs: by its content it is {home(record)}"
    return f"{text}, of which there is one: a second record does not count" if other else text


def _refused(path: Path) -> str | None:
    """Why a file is not even read."""
    place = _lexical(path)
    if link := next((one for one in (place, *list(place.parents)[:3]) if one.is_symlink()), None):
        return f"{path} is not read: {'it' if link == place else link} is a link"
    if ASIDE in path.name:
        return f"{path} is not a record; it was set aside when its cell was recorded anew"
    return None


def _lexical(path: Path) -> Path:
    """The whole path without `..`, in which links are still to be seen."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _is_known(path: Path) -> bool:
    """Whether the file is of those that lie among records and are none."""
    around = _lexical(path).parts[:-1]
    if path.name in NO_RECORDS or around[-1] in REPORTS or around[-3:-1] == ("papers", "measurements"):
        return True
    return path.name == EXAMINATION and (path.parent / FILE).is_file()
