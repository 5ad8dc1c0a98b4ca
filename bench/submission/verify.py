"""`verify`: records checked for what they say of themselves, and a random sample of them played anew.

A record that was edited by hand may be consistent with itself; it is not with what its cell gives when it is played.
"""

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from bench import suite as suites
from bench.base import tables
from bench.base.device import CPU
from bench.base.errors import BadInputError
from bench.records import Contents, Environment, Store, contents, read, verified
from bench.records.distribution import FALSE_ALARMS
from bench.records.folder import is_of_papers, mixed_devices
from bench.records.submissions import Submission
from bench.submission import folder as folders
from bench.submission.consistency import (
    OTHER_PROTOCOL,
    foreign,
    problems,
    recovered_psnr,
    row_problems,
    suite_of,
)
from bench.submission.examination import Tell, Terms, examined, facts_of, inspected
from bench.submission.rankable import beyond, broken_attack, taken, unfinished
from bench.submission.referee.party import printable
from bench.submission.replay import Alike, Row, play_worlds, replay
from bench.submission.rows import alphabets, find_rows


@dataclass(frozen=True)
class Verification:
    """What was found, the seed that the sample was drawn with, and where it was played, if anything was."""

    rows: list[Row]
    seed: int
    environment: Environment | None = None

    @property
    def failed(self) -> bool:
        return any(row.problems for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        keys = ("problems", "notes", "verdict", "worlds")
        rows = [{"row": str(row.folder), **row.counts, **{key: getattr(row, key) for key in keys}} for row in self.rows]
        return {"seed": self.seed, "false_alarms": FALSE_ALARMS, "rows": rows}

    def print(self) -> None:
        table = Table(Column("row", overflow="fold"), "records", "played anew", Column("verdict", no_wrap=True))
        for row in self.rows:
            table.add_row(escape(printable(str(row.folder))), str(len(row.records)), row.answers, row.verdict)
        console = Console(soft_wrap=True)
        tables.show(console, table)
        for row in self.rows:
            for problem in row.problems:
                console.print(printable(f"{row.folder.name}: {problem}"), markup=False, highlight=False)
            for note in row.notes:
                console.print(printable(f"note on {row.folder.name}: {note}"), markup=False, highlight=False)
        if any(row.played for row in self.rows):
            text = f"under another arithmetic cells are judged in distribution, with {FALSE_ALARMS:g} as the chance"
            console.print(f"{text} that an honest one of all these is refuted", highlight=False)
        for row in self.rows:
            if row.worlds:
                text = f"{row.folder.name}: its cells were played in {row.worlds} secret worlds"
                console.print(printable(text), markup=False, highlight=False)
        if any(row.replayed for row in self.rows):
            console.print(f"the sample was drawn with --seed {self.seed}", highlight=False)

    def write(self) -> list[Path]:
        """Write what was found beside the records of each suite, for its boards; the files' places.

        Raises `BadInputError` where nothing was played anew, or a file that is there cannot be read.
        """
        if self.environment is None:
            raise BadInputError("nothing was played anew, and so there is nothing to write: --sample says how many are")
        suites: dict[Path, list[Row]] = {}
        for row in self.rows:
            suites.setdefault(row.folder.absolute().parent, []).append(row)
        return [verified.add(folder, self.environment, _found(rows), _apart(rows)) for folder, rows in suites.items()]


def _found(rows: Iterable[Row]) -> dict[str, verified.Found]:
    """By the name of the row's folder."""
    results = {row.folder.absolute().name: {**row.counts, "answer": row.verdict} for row in rows if row.replayed}
    return {name: verified.Found.model_validate(content) for name, content in results.items()}


def _apart(rows: Iterable[Row]) -> list[verified.Sensitive]:
    """The cells of which one seed under two arithmetics is more than a point of accuracy apart."""
    pairs = [(row.records[place], new) for row in rows for place, new in row.played.items() if place not in row.refuted]
    return verified.sensitive(pairs)


def verify(
    path: Path,
    sample: int = 5,
    seed: int | None = None,
    data_root: str | None = None,
    contract: bool = False,
    worlds: int = 0,
    tell: Tell = lambda line: None,
) -> Verification:
    """Check all records in or below `path`, play `sample` of them anew; with `contract`, examine submitted sources too.

    Cells of submitted code are also held against so many secret `worlds`.

    The sample is drawn with `seed`, by default one that nobody knows beforehand. Raises `BadInputError` where there is
    no record.
    """
    if not os.path.lexists(path):
        raise BadInputError(f"there is no {path} to verify")
    if path.is_file() and not path.is_symlink():
        read(path)  # what is no record is told as such, not as a row
    result = contents(path)
    if not result.records and not result.problems:
        raise BadInputError(f"no records in {path}: a record is a file such as 0123456789ab-s0.json")
    seed = secrets.randbelow(2**32) if seed is None else seed
    tell = partial(_in_print, tell)
    rows = _rows(result)
    for row in rows:
        folder = row.folder.absolute()
        _check(row, path.absolute() in (folder, *folder.parents), data_root, contract, tell)
    here = replay(rows, sample, seed, data_root, tell)
    if worlds:
        play_worlds(rows, worlds, seed, data_root, tell)
    return Verification(rows, seed, here)


def _in_print(tell: Tell, line: str) -> None:
    tell(printable(line))


def _rows(found: Contents) -> list[Row]:
    """The rows that the records are of; what is refused is a problem of the row that it lies in, or of its folder."""
    rows: dict[Path, Row] = {}
    for place, record in found.records.items():
        told = place if len(place.parents) > 2 else place.absolute()  # a row's folder has a name
        rows.setdefault(place.absolute().parents[1], Row(told.parents[1])).records[place] = record
    for problem in found.problems:
        place = problem.path.absolute()
        around = next((folder for folder in place.parents if folder in rows), place.parent)
        rows.setdefault(around, Row(problem.path.parent)).problems.append(problem.line)
    return list(rows.values())


def _check(row: Row, whole: bool, data_root: str | None, contract: bool, tell: Tell) -> None:
    """The row's source and those of others' attacks on it, and its records one by one; which could be played anew.

    `whole` says that all of the row is looked at, so that what is missing can be asked for.
    """
    try:
        submission = _submission(row.folder)
        evaluations = {folder: _submission(folder) for folder in {place.parent for place in row.records}}
    except BadInputError as error:
        row.problems.append(str(error))
        return
    known = {name: suite_of(name) for name in dict.fromkeys(record.suite for record in row.records.values())}
    for name, suite in known.items():
        if suite is None:
            row.notes.append(f"this version has no suite {name!r} to compare with")
            continue
        mine = {place: record for place, record in row.records.items() if record.suite == name}
        row.problems += row_problems(mine, suite, submission, evaluations, whole and not is_of_papers(name))
    for place, record in row.records.items():
        suite = known[record.suite]
        results = list(problems(place, record, suite, data_root))
        if results != [OTHER_PROTOCOL]:  # what was played under that cannot be played now
            results += [] if suite is None else foreign(record, suite, submission, evaluations[place.parent])
            results += unfinished(record, submission, evaluations[place.parent])
            given = ((row.folder, submission), (place.parent, evaluations[place.parent]))
            code = tuple(folder for folder, submitted in given if submitted is not None)
            row.playable[place] = Alike(code, recovered_psnr(suite))
        row.problems += [f"{place.name}: {problem}" for problem in results]
    for folder, submitted in evaluations.items():
        if submitted is not None and submitted.kind == "attack":
            row.problems += broken_attack(folder, submitted)
    row.problems += filter(None, (taken(one) for one in (submission, *evaluations.values()) if one is not None))
    _set_devices_aside(row)
    for folder, submitted in sorted({row.folder: submission, **evaluations}.items()):
        if submitted is not None and contract:
            _check_contract(row, folder, submitted, data_root, tell)


def _set_devices_aside(row: Row) -> None:
    """What was made on a GPU is not played anew, and nobody can tell whether it is what its cell gives."""
    elsewhere: dict[str, list[str]] = {}
    for place, record in row.records.items():
        if (device := record.environment.device) != CPU:
            row.playable.pop(place, None)
            row.unplayable.add(place)
            elsewhere.setdefault(device, []).append(place.name)
    for device, names in elsewhere.items():
        row.notes.append(f"{', '.join(names)}: made on {device}, whose noise a CPU does not draw; not played anew")
    if told := mixed_devices(row.records.values()):
        row.notes.append(told)


def _submission(folder: Path) -> Submission | None:
    """What was submitted in a folder; `BadInputError` where the source is not the one that was."""
    submission = folders.load(folder)
    if submission is not None:
        folders.source_of(folder, submission)
    return submission


def _check_contract(row: Row, folder: Path, submission: Submission, data_root: str | None, tell: Tell) -> None:
    """Examine a source anew; what it breaks is a problem only where the published findings do not say so."""
    try:
        source, suite = folders.source_of(folder, submission), suites.load(submission.suite)
        store = Store(row.folder.absolute().parents[1], row.folder.absolute().parent.name)
        against = alphabets(find_rows(submission.against, suite, store))
        terms = Terms(suite, submission.parameters, submission.federation, against)
        seen, entry = inspected(source, terms)
        if entry != folders.entry_of(submission):
            raise BadInputError(f"{source.path} registers {entry}, not {folders.entry_of(submission)}")
        if (more := beyond(facts_of(seen), suite)) is not None:
            raise BadInputError(f"attack {submission.name}: {more}")
        result = examined(source, entry, seen, terms, data_root, tell)
        published = folders.examination(folder)
    except BadInputError as error:
        row.problems.append(str(error))
        return
    told = {finding.rule for finding in published.broken} if published else set()
    who = "" if folder == row.folder else f"attack {submission.name} "
    for finding in result.broken:
        line = f"{who}breaks the contract ({finding.rule}): {finding.sentence}"
        (row.notes if finding.rule in told and submission.kind == "defense" else row.problems).append(line)
