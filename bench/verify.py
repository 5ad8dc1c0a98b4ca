"""`verify`: records checked for what they say of themselves, and a random sample of them played anew.

A record that was edited by hand may be consistent with itself; it is not with what its cell gives when it is played.
"""

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from bench import suite as suites
from bench import tables
from bench.device import CPU
from bench.errors import BadInputError
from bench.perf.accuracy import differing, numbers
from bench.perf.history import machine_class
from bench.records import Record, Store, read
from bench.submission import folder as folders
from bench.submission import sandbox
from bench.submission.consistency import OTHER_PROTOCOL, foreign, problems, recovered_psnr, suite_of
from bench.submission.examination import Tell, Terms, examined, inspected
from bench.submission.folder import Submission
from bench.submission.package import packaged
from bench.submission.rows import alphabets, find_rows
from bench.submission.sandbox import Bounds

KEY = re.compile(r"[0-9a-f]{12}-s-?\d+\.json")
"""The name of a record's file."""

MOST_SHOWN = 3
"""Differing fields of a record that are told one by one."""

SECONDS_EACH, MEBIBYTES = 900.0, 6144
"""What playing one record anew may take."""


@dataclass
class Row:
    """The records of one folder of a suite, which share their code, and what is wrong with them."""

    folder: Path
    records: dict[Path, Record] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    replayed: int = 0
    bit_for_bit: int = 0

    @property
    def verdict(self) -> str:
        if self.problems:
            return "NOT VERIFIED"
        return "verified" if self.replayed else "consistent"


@dataclass(frozen=True)
class Alike:
    """What records have in common that one process plays anew.

    code: the folders of what was submitted, none where all is shipped; recovered_psnr: the score of their suite.
    """

    code: tuple[Path, ...]
    recovered_psnr: float


@dataclass(frozen=True)
class Verification:
    """What was found, and the seed that the sample was drawn with."""

    rows: list[Row]
    seed: int

    @property
    def failed(self) -> bool:
        return any(row.problems for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        keys = ("problems", "notes", "replayed", "bit_for_bit", "verdict")
        rows = [
            {"row": str(row.folder), "records": len(row.records), **{key: getattr(row, key) for key in keys}}
            for row in self.rows
        ]
        return {"seed": self.seed, "rows": rows}

    def print(self) -> None:
        table = Table(Column("row", overflow="fold"), "records", "played anew", "bit for bit", "verdict")
        for row in self.rows:
            counts = (len(row.records), row.replayed, row.bit_for_bit)
            table.add_row(escape(str(row.folder)), *map(str, counts), row.verdict)
        console = Console(soft_wrap=True)
        tables.show(console, table)
        for row in self.rows:
            for problem in row.problems:
                console.print(f"{escape(row.folder.name)}: {escape(problem)}", highlight=False)
            for note in row.notes:
                console.print(f"note on {escape(row.folder.name)}: {escape(note)}", highlight=False)
        console.print(f"the sample was drawn with --seed {self.seed}", highlight=False)


def verify(
    path: Path,
    sample: int = 5,
    seed: int | None = None,
    data_root: str | None = None,
    contract: bool = False,
    tell: Tell = lambda line: None,
) -> Verification:
    """Check all records in or below `path`, play `sample` of them anew; with `contract`, examine submitted sources too.

    The sample is drawn with `seed`, by default one that nobody knows beforehand. Raises `BadInputError` where there is
    no record.
    """
    if not path.exists():
        raise BadInputError(f"there is no {path} to verify")
    if path.is_file():
        read(path)  # what is no record is told as such, not as a row
    places = [path] if path.is_file() else sorted(one for one in path.rglob("*.json") if KEY.fullmatch(one.name))
    if not places:
        raise BadInputError(f"no records in {path}: a record is a file such as 0123456789ab-s0.json")
    seed = secrets.randbelow(2**32) if seed is None else seed
    drawn = set(Random(seed).sample(places, min(sample, len(places))))
    rows: dict[Path, Row] = {}
    for place in places:
        told = place if len(place.parents) > 1 else place.absolute()
        row = rows.setdefault(_row_folder(place.absolute()), Row(_row_folder(told)))
        try:
            row.records[place] = read(place)
        except BadInputError as error:
            row.problems.append(str(error))
    alike: dict[Alike, list[tuple[Row, Path]]] = {}
    for row in rows.values():
        for place, key in _verify_row(row, drawn, data_root, contract, tell):
            alike.setdefault(key, []).append((row, place))
    for key, chosen in alike.items():
        _replay(key, chosen, data_root, tell)
    return Verification(list(rows.values()), seed)


def _row_folder(place: Path) -> Path:
    """The folder of the record's row; that of the record where it lies in no row's."""
    return place.parents[min(1, len(place.parents) - 1)]


def _verify_row(
    row: Row, drawn: set[Path], data_root: str | None, contract: bool, tell: Tell
) -> Iterator[tuple[Path, Alike]]:
    """The row's source and those of others' attacks on it, and its records one by one; those yet to be played anew."""
    try:
        submission = _submission(row.folder)
        evaluations = {folder: _submission(folder) for folder in {place.parent for place in row.records}}
    except BadInputError as error:
        row.problems.append(str(error))
        return
    known = {name: suite_of(name) for name in {record.suite for record in row.records.values()}}
    row.notes += [f"this version has no suite {name!r} to compare with" for name, suite in known.items() if not suite]
    for place, record in row.records.items():
        suite = known[record.suite]
        found = list(problems(place, record, suite, data_root))
        if found == [OTHER_PROTOCOL]:
            drawn = drawn - {place}  # what it was then cannot be played now
        elif suite is not None:
            found += foreign(record, suite, submission, evaluations[place.parent])
        row.problems += [f"{place.name}: {problem}" for problem in found]
    for folder, submitted in sorted({row.folder: submission, **evaluations}.items()):
        if submitted is not None and contract:
            _check_contract(row, folder, submitted, data_root, tell)
    for place in sorted(place for place in row.records if place in drawn):
        if (made_on := row.records[place].environment.device) != CPU:
            row.notes.append(f"{place.name}: made on {made_on}, whose noise a CPU does not draw; not played anew")
            continue
        given = ((row.folder, submission), (place.parent, evaluations[place.parent]))
        code = tuple(folder for folder, submitted in given if submitted is not None)
        yield place, Alike(code, recovered_psnr(known[row.records[place].suite]))


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
        if entry != submission.entry:
            raise BadInputError(f"{source.path} registers {entry}, not {submission.entry}")
        found = examined(source, entry, seen, terms, data_root, tell)
        published = folders.examination(folder)
    except BadInputError as error:
        row.problems.append(str(error))
        return
    told = {finding.rule for finding in published.broken} if published else set()
    who = "" if folder == row.folder else f"attack {submission.name} "
    for finding in found.broken:
        line = f"{who}breaks the contract ({finding.rule}): {finding.sentence}"
        (row.notes if finding.rule in told else row.problems).append(line)


def _replay(alike: Alike, places: list[tuple[Row, Path]], data_root: str | None, tell: Tell) -> None:
    """Play these records anew, in a process of their own, and compare; what ends a process is not the others' fault."""
    while places:
        job = {
            "do": "replay",
            "records": [str(place.resolve()) for _, place in places],
            "data_root": data_root,
            "recovered_psnr": alike.recovered_psnr,
        }
        done = _call(job, Bounds(SECONDS_EACH, MEBIBYTES), alike.code)
        sentences = {event.get("place"): event["sentence"] for event in done.all("refused")}
        played = {event["place"]: Record.model_validate(event["record"]) for event in done.all("record")}
        silent = []
        for row, place in places:
            if (new := played.get(str(place.resolve()))) is not None:
                _compare(row, place, new, tell)
            elif (sentence := sentences.get(str(place.resolve()))) is not None:
                row.problems.append(_not_played(place, sentence))
            else:
                silent.append((row, place))
        ended_at = 1 if done.broken else len(silent)
        why = done.broken or sentences.get(None, "nothing came of it")
        for row, place in silent[:ended_at]:
            row.problems.append(_not_played(place, why))
        places = silent[ended_at:]


def _not_played(place: Path, why: str) -> str:
    return f"{place.name}: it could not be played anew: {why}"


def _compare(row: Row, place: Path, new: Record, tell: Tell) -> None:
    """The record against what playing its cell anew gave."""
    old = row.records[place]
    exact = machine_class(old.environment) == machine_class(new.environment)
    row.replayed += 1
    row.bit_for_bit += exact
    found = list(differing(numbers(old), numbers(new), exact))
    how = "on the same class of machine" if exact else "beyond the tolerances of another machine"
    if found:
        row.problems.append(f"{place.name}: {_in_short(found)} ({how})")
    tell(f"{place}: {'differs' if found else 'the same'}")


def _in_short(found: list[tuple[str, Any, Any]]) -> str:
    """The differences that matter most, and how many there are besides."""
    first = sorted(found, key=lambda one: not one[0].startswith(("status", "error", "metrics.")))[:MOST_SHOWN]
    told = [f"{name} is {before!r}, but playing it anew gives {after!r}" for name, before, after in first]
    more = len(found) - len(first)
    return "; ".join(told) + (f"; and {more} more fields differ" if more else "")


def _call(job: dict[str, Any], bounds: Bounds, folders_of_code: Iterable[Path]) -> sandbox.Finished:
    """With the submitted defense and the submitted attack on the path, where the records have such."""
    with ExitStack() as stack:
        packages = []
        for folder in folders_of_code:
            if (submission := folders.load(folder)) is not None:
                source = folders.source_of(folder, submission)
                packages.append(stack.enter_context(packaged(source, submission.entry)))
        return sandbox.call(job, packages, bounds)
