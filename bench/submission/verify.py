"""`verify`: records checked for what they say of themselves, and a random sample of them played anew.

A record that was edited by hand may be consistent with itself; it is not with what its cell gives when it is played.
Under one arithmetic that is a matter of bits. Where the arithmetic is another one, cells are judged in distribution.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from bench import suite as suites
from bench.base import tables
from bench.base.device import CPU
from bench.base.errors import BadInputError
from bench.records import Environment, Record, Store, read, verified
from bench.records.comparison import differing, numbers, same_bits
from bench.records.distribution import FALSE_ALARMS, Judgement, judge, within_rounding
from bench.submission import folder as folders
from bench.submission import sandbox
from bench.submission.consistency import (
    OTHER_PROTOCOL,
    foreign,
    problems,
    recovered_psnr,
    row_problems,
    suite_of,
)
from bench.submission.examination import Tell, Terms, examined, facts_of, inspected
from bench.submission.folder import Submission
from bench.submission.package import standing_in
from bench.submission.rows import alphabets, find_rows
from bench.submission.sandbox import Bounds

KEY = re.compile(r"[0-9a-f]{12}-s-?\d+\.json")
"""The name of a record's file."""

MOST_SHOWN = 3
"""Differing fields of a record that are told one by one."""

SECONDS_EACH, MEBIBYTES = 900.0, 6144
"""What playing one record anew may take."""


NEIGHBOURS = (4, 16)
"""Of a cell in which rounding has grown: how many are played beside each record, first and where that cannot tell."""


@dataclass
class Row:
    """The records of one folder of a suite, which share their code, and what is wrong with them.

    Of the records that were played anew, `same` are equal bit for bit to theirs, `alike` were verified in distribution,
    `untold` could not be told, and `refuted` are not what their cell gives. `playable` are all that could be played,
    and `played` has what came of those that had to be judged in distribution.
    """

    folder: Path
    records: dict[Path, Record] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    same: set[Path] = field(default_factory=set)
    alike: set[Path] = field(default_factory=set)
    untold: set[Path] = field(default_factory=set)
    refuted: set[Path] = field(default_factory=set)
    playable: set[Path] = field(default_factory=set)
    played: dict[Path, Record] = field(default_factory=dict)

    @property
    def replayed(self) -> int:
        return sum(map(len, (self.same, self.alike, self.untold, self.refuted)))

    @property
    def verdict(self) -> str:
        if self.refuted:
            return "REFUTED"
        if self.problems:
            return "NOT VERIFIED"
        if self.untold:
            return "cannot tell"
        return "verified" if self.replayed else "consistent"

    @property
    def counts(self) -> dict[str, int]:
        """Of its records, in the order of the table."""
        found = {"records": len(self.records), "replayed": self.replayed, "bit_for_bit": len(self.same)}
        answers = {"in_distribution": self.alike, "cannot_tell": self.untold, "refuted": self.refuted}
        return found | {name: len(places) for name, places in answers.items()}

    @property
    def answers(self) -> str:
        """How many were played anew, and what came of them: `5: 4 bit for bit, 1 cannot tell`."""
        _, (_, replayed), *found = self.counts.items()
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found if count)
        return f"{replayed}: {told}" if told else str(replayed)


@dataclass(frozen=True)
class Alike:
    """What records have in common that one process plays anew.

    code: the folders of what was submitted, none where all is shipped; recovered_psnr: the score of their suite.
    """

    code: tuple[Path, ...]
    recovered_psnr: float


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
        keys = ("problems", "notes", "verdict")
        rows = [{"row": str(row.folder), **row.counts, **{key: getattr(row, key) for key in keys}} for row in self.rows]
        return {"seed": self.seed, "false_alarms": FALSE_ALARMS, "rows": rows}

    def print(self) -> None:
        table = Table(Column("row", overflow="fold"), "records", "played anew", Column("verdict", no_wrap=True))
        for row in self.rows:
            table.add_row(escape(str(row.folder)), str(len(row.records)), row.answers, row.verdict)
        console = Console(soft_wrap=True)
        tables.show(console, table)
        for row in self.rows:
            for problem in row.problems:
                console.print(f"{escape(row.folder.name)}: {escape(problem)}", highlight=False)
            for note in row.notes:
                console.print(f"note on {escape(row.folder.name)}: {escape(note)}", highlight=False)
        if any(row.played for row in self.rows):
            told = f"under another arithmetic cells are judged in distribution, with {FALSE_ALARMS:g} as the chance"
            console.print(f"{told} that an honest one of all these is refuted", highlight=False)
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
    found = {row.folder.absolute().name: {**row.counts, "answer": row.verdict} for row in rows if row.replayed}
    return {name: verified.Found.model_validate(content) for name, content in found.items()}


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
    elsewhere: dict[Alike, list[tuple[Row, Path]]] = {}
    here: Environment | None = None
    for key, chosen in alike.items():
        for (row, place), new in _replay(key, chosen, data_root, (0,)):
            here = new[0].environment
            if _same_bits(row, place, new[0], tell):
                elsewhere.setdefault(key, []).append((row, place))
    cells = {key: _by_cell(chosen) for key, chosen in elsewhere.items()}
    rate = FALSE_ALARMS / max(1, sum(map(len, cells.values())))
    for key, some in cells.items():
        for row, places in some:
            _judge(key, row, places, data_root, rate, tell)
    return Verification(list(rows.values()), seed, here)


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
    for shipped in filter(None, known.values()):
        row.problems += row_problems(row.folder, row.records, shipped, submission, evaluations)
    for place, record in row.records.items():
        suite = known[record.suite]
        found = list(problems(place, record, suite, data_root))
        if found == [OTHER_PROTOCOL]:
            drawn = drawn - {place}  # what it was then cannot be played now
        else:
            row.playable.add(place)
            found += [] if suite is None else foreign(record, suite, submission, evaluations[place.parent])
        row.problems += [f"{place.name}: {problem}" for problem in found]
    for folder, submitted in sorted({row.folder: submission, **evaluations}.items()):
        if submitted is not None and contract:
            _check_contract(row, folder, submitted, data_root, tell)
    on_gpu = {place for place, record in row.records.items() if record.environment.device != CPU}
    row.playable -= on_gpu
    for place in sorted(place for place in row.records if place in drawn):
        if place in on_gpu:
            made_on = row.records[place].environment.device
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


def _replay(
    alike: Alike, places: list[tuple[Row, Path]], data_root: str | None, neighbours: Sequence[int]
) -> Iterator[tuple[tuple[Row, Path], list[Record]]]:
    """Play these records anew, in a process of their own: each cell's own record, or those of its neighbours.

    What ends a process is not the others' fault; what could not be played is the row's problem.
    """
    while places:
        job = {
            "do": "replay",
            "records": [str(place.resolve()) for _, place in places],
            "neighbours": list(neighbours),
            "data_root": data_root,
            "recovered_psnr": alike.recovered_psnr,
        }
        done = _call(job, Bounds(SECONDS_EACH, MEBIBYTES), alike.code)
        sentences = {event.get("place"): event["sentence"] for event in done.all("refused")}
        played: dict[str, list[Record]] = {}
        for event in done.all("record"):
            played.setdefault(event["place"], []).append(Record.model_validate(event["record"]))
        silent = []
        for row, place in places:
            if len(new := played.get(str(place.resolve()), [])) == len(neighbours):
                yield (row, place), new
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


def _same_bits(row: Row, place: Path, new: Record, tell: Tell) -> bool:
    """Compare the record with what playing its cell anew gave; whether it is yet to be judged in distribution.

    Equal bits verify it under any arithmetic; others refute it only where the two have the same one.
    """
    old = row.records[place]
    found = list(differing(numbers(old), numbers(new), exact=True))
    if found and not same_bits(old.environment, new.environment):
        row.played[place] = new
        return True
    if found:
        row.problems.append(f"{place.name}: {_in_short(found)} (under the same arithmetic)")
    (row.refuted if found else row.same).add(place)
    tell(f"{place}: {'differs' if found else 'the same'}")
    return False


def _by_cell(chosen: Iterable[tuple[Row, Path]]) -> list[tuple[Row, list[Path]]]:
    """The places of each row's cells."""
    found: dict[tuple[Path, str], tuple[Row, list[Path]]] = {}
    for row, place in chosen:
        found.setdefault((place.parent, row.records[place].cell.hash), (row, []))[1].append(place)
    return list(found.values())


def _judge(alike: Alike, row: Row, drawn: list[Path], data_root: str | None, rate: float, tell: Tell) -> None:
    """One cell in distribution, at this error rate: the drawn records alone where rounding has not grown in them.

    Where it has, all seeds that are at hand are played anew with neighbours, and with more where few cannot tell.
    """
    one = row.records[drawn[0]]
    if all(within_rounding(numbers(row.records[place]), numbers(row.played[place])) for place in drawn):
        row.alike |= set(drawn)
        tell(f"{one.cell.label} x {one.cell.column}: the same but for rounding")
        return
    here = row.played[drawn[0]].environment
    seeds = sorted(
        place
        for place in row.playable
        if place.parent == drawn[0].parent
        and row.records[place].cell.hash == one.cell.hash
        and not same_bits(row.records[place].environment, here)
    )
    plays: dict[Path, list[Record]] = {}
    found, done = Judgement("cannot tell", ("it was not played anew",)), 0
    for count in NEIGHBOURS:
        for (_, place), new in _replay(alike, [(row, place) for place in seeds], data_root, range(done, count + 1)):
            plays.setdefault(place, []).extend(new)
        seeds, done = [place for place in seeds if len(plays.get(place, ())) == count + 1], count + 1
        if not seeds:
            break
        published = [numbers(row.records[place]) for place in seeds]
        played = [[numbers(new) for new in plays[place]] for place in seeds]
        found = judge(published, played, rate)
        if found.answer == "verified":  # to refute takes all neighbours, and one look
            break
    row.played |= {place: plays[place][0] for place in seeds}
    {"verified": row.alike, "refuted": row.refuted, "cannot tell": row.untold}[found.answer].update(seeds or drawn)
    _explain(row, found, seeds or drawn)
    tell(f"{one.cell.label} x {one.cell.column}: {found.answer}, in distribution, {done} plays a seed")


def _explain(row: Row, found: Judgement, places: Sequence[Path]) -> None:
    """Why a cell is not verified."""
    if found.answer != "verified":
        cell, names = row.records[places[0]].cell, ", ".join(place.name for place in places)
        told = "; ".join(found.reasons[:MOST_SHOWN])
        more = f"; and {len(found.reasons) - MOST_SHOWN} more" if len(found.reasons) > MOST_SHOWN else ""
        (row.problems if found.answer == "refuted" else row.notes).append(
            f"{cell.column} ({names}): {found.answer} in distribution: {told}{more}"
        )


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
                seen, entry = inspected(source, Terms(suites.load(submission.suite), submission.parameters))
                packages.append(stack.enter_context(standing_in(source, entry, facts_of(seen))))
        return sandbox.call(job, packages, bounds)
