"""Records played anew: what is drawn, in which processes it is played, and what it is compared with.

Under one arithmetic that is a matter of bits. Where the arithmetic is another one, cells are judged in distribution.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import Any

from bench.base.errors import BadInputError
from bench.records import Environment, Record
from bench.records.agreement import CLOSE
from bench.records.comparison import differing, everything, numbers, same_bits
from bench.records.distribution import FALSE_ALARMS, Judgement, judge, within_rounding
from bench.submission import folder as folders
from bench.submission import sandbox, worlds
from bench.submission.examination import Tell, published_stand_in
from bench.submission.sandbox import Bounds

MOST_SHOWN = 3
"""Differing fields of a record that are told one by one."""

SECONDS_EACH, MEBIBYTES = 900.0, 6144
"""What playing one record anew may take."""

FASTEST = 20.0
"""Times as fast as here a round may have been: processors differ by less, and a busy machine is not so slow."""

MOST_LEVELS, MOST_DECIBELS = 4.0, 1.0
"""By how much pictures, of 255 levels in the mean of their pixels, and the PSNR of an image may differ by rounding."""

NEIGHBOURS = (4, 16)
"""Of a cell in which rounding has grown: how many are played beside each record, first and where that cannot tell."""


@dataclass(frozen=True)
class Alike:
    """What records have in common that one process plays anew.

    code: the folders of what was submitted, none where all is shipped; recovered_psnr: the score of their suite.
    """

    code: tuple[Path, ...]
    recovered_psnr: float


@dataclass
class Row:
    """The records of one folder of a suite, which share their code, and what is wrong with them.

    Of the records that were played anew, `same` are equal bit for bit to theirs, `alike` were verified in distribution,
    `untold` could not be told, and `refuted` are not what their cell gives. `playable` are all that could be played,
    `unplayable` those of a device that is none of a CPU's, `loose` those that no play here holds to bits, and `played`
    has what came of those that had to be judged in distribution.
    """

    folder: Path
    records: dict[Path, Record] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    same: set[Path] = field(default_factory=set)
    alike: set[Path] = field(default_factory=set)
    untold: set[Path] = field(default_factory=set)
    refuted: set[Path] = field(default_factory=set)
    playable: dict[Path, Alike] = field(default_factory=dict)
    unplayable: set[Path] = field(default_factory=set)
    loose: set[Path] = field(default_factory=set)
    played: dict[Path, Record] = field(default_factory=dict)
    slower: list[float] = field(default_factory=list)  # times that a round of a clean run took longer here than there
    worlds: int = 0  # that its cells were played in, all together

    @property
    def replayed(self) -> int:
        return sum(map(len, (self.same, self.alike, self.untold, self.refuted)))

    @property
    def verdict(self) -> str:
        if self.refuted:
            return "REFUTED"
        if self.problems:
            return "NOT VERIFIED"
        if self.untold or self.unplayable:
            return "cannot tell"
        if not self.replayed:
            return "consistent"
        return CLOSE if self.loose else "verified"

    @property
    def counts(self) -> dict[str, int]:
        """Of its records, in the order of the table."""
        results = {"records": len(self.records), "replayed": self.replayed, "bit_for_bit": len(self.same)}
        answers = {"in_distribution": self.alike, "cannot_tell": self.untold, "refuted": self.refuted}
        return results | {name: len(places) for name, places in answers.items()}

    @property
    def answers(self) -> str:
        """How many were played anew, and what came of them: `5: 4 bit for bit, 1 cannot tell`."""
        _, (_, replayed), *result = self.counts.items()
        text = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in result if count)
        return f"{replayed}: {text}" if text else str(replayed)


def replay(rows: Sequence[Row], sample: int, seed: int, data_root: str | None, tell: Tell) -> Environment | None:
    """Play `sample` of what can be played anew, drawn with `seed`; where that was, None where nothing was played."""
    playable = [(row, place) for row in rows for place in sorted(row.playable)]
    chosen = Random(seed).sample(playable, min(sample, len(playable)))
    alike: dict[Alike, list[tuple[Row, Path]]] = {}
    for row, place in sorted(chosen, key=lambda one: one[1]):
        alike.setdefault(row.playable[place], []).append((row, place))
    elsewhere: dict[Alike, list[tuple[Row, Path]]] = {}
    here: Environment | None = None
    for key, some in alike.items():
        for (row, place), new in _replay(key, some, data_root, (0,)):
            here = new[0].environment
            if _same_bits(row, place, new[0], tell):
                elsewhere.setdefault(key, []).append((row, place))
    cells = {key: _by_cell(some) for key, some in elsewhere.items()}
    rate = FALSE_ALARMS / max(1, sum(map(len, cells.values())))
    for key, groups in cells.items():
        for row, places in groups:
            _judge(key, row, places, data_root, rate, tell)
    if here is not None:
        for row in rows:
            _hold_loosely(row, here)
            if row.slower and (times := median(row.slower)) > FASTEST:
                row.problems.append(f"its rounds take {times:.0f} times as long here as they are said to have taken")
    return here


def _hold_loosely(row: Row, here: Environment) -> None:
    """Tell which of a row's records were not found equal bit for bit, and need not be, as they say of themselves."""
    row.loose = {
        place
        for place, record in row.records.items()
        if place not in row.same and not same_bits(record.environment, here)
    }
    if row.loose and row.replayed:
        made = sorted({row.records[place].environment.arithmetic or "unnamed" for place in row.loose})
        row.notes.append(
            f"{len(row.loose)} of its {len(row.records)} records are of another arithmetic, processor or version than "
            f"this one ({', '.join(made)}): they hold {CLOSE} at most, and not to their bits"
        )


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
        pictures: dict[str, dict[str, float]] = {}
        for event in done.all("record"):
            played.setdefault(event["place"], []).append(Record.model_validate(event["record"]))
            pictures.setdefault(event["place"], {}).update(event.get("other_pictures") or {})
        silent = []
        for row, place in places:
            if len(new := played.get(str(place.resolve()), [])) == len(neighbours):
                others = pictures[str(place.resolve())]
                row.problems += [f"{place.name}: {told}" for told in _other_images(row.records[place], new[0], others)]
                _note_time(row, row.records[place], new[0])
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


def _other_images(old: Record, new: Record, others: dict[str, float]) -> Iterator[str]:
    """What images beside a record, or their scores one by one, show that its cell does not give.

    Under one arithmetic that is every pixel; elsewhere what rounding does not change where it has not grown.
    """
    exact = same_bits(old.environment, new.environment)
    if not exact and not within_rounding(numbers(old), numbers(new)):
        return
    for name, apart in others.items():
        if exact or apart > MOST_LEVELS:
            yield f"its picture {name} is not what its cell gives"
    for what in () if exact else ("psnr", "control_psnr"):  # else they are compared to the last bit
        published, played = getattr(old, what), getattr(new, what)
        if any(abs(one - other) > MOST_DECIBELS for one, other in zip(published, played, strict=False)):
            yield f"its {what}, image by image, is not what its cell gives"


def _note_time(row: Row, old: Record, new: Record) -> None:
    """How much longer a round takes here than it is said to have taken, of what boards show: clean runs."""
    if old.cell.kind == "training" and old.cell.attack is None and old.cost.round_seconds is not None:
        here = new.cost.round_seconds or 0.0
        row.slower.append(here / old.cost.round_seconds if old.cost.round_seconds > 0 else math.inf)


def _not_played(place: Path, why: str) -> str:
    return f"{place.name}: it could not be played anew: {why}"


def _same_bits(row: Row, place: Path, new: Record, tell: Tell) -> bool:
    """Compare the record with what playing its cell anew gave; whether it is yet to be judged in distribution.

    Equal bits verify it under any arithmetic; others refute it only where the two have the same one.
    """
    old = row.records[place]
    results = list(differing(everything(old), everything(new), exact=True))
    if results and not same_bits(old.environment, new.environment):
        row.played[place] = new
        return True
    if results:
        row.problems.append(f"{place.name}: {_in_short(results)} (under the same arithmetic)")
    (row.refuted if results else row.same).add(place)
    tell(f"{place}: {'differs' if results else 'the same'}")
    return False


def _by_cell(chosen: Iterable[tuple[Row, Path]]) -> list[tuple[Row, list[Path]]]:
    """The places of each row's cells."""
    results: dict[tuple[Path, str], tuple[Row, list[Path]]] = {}
    for row, place in chosen:
        results.setdefault((place.parent, row.records[place].cell.hash), (row, []))[1].append(place)
    return list(results.values())


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
    result, done = Judgement("cannot tell", ("it was not played anew",)), 0
    for count in NEIGHBOURS:
        for (_, place), new in _replay(alike, [(row, place) for place in seeds], data_root, range(done, count + 1)):
            plays.setdefault(place, []).extend(new)
        seeds, done = [place for place in seeds if len(plays.get(place, ())) == count + 1], count + 1
        if not seeds:
            break
        published = [numbers(row.records[place]) for place in seeds]
        played = [[numbers(new) for new in plays[place]] for place in seeds]
        result = judge(published, played, rate)
        if result.answer == "verified":  # to refute takes all neighbours, and one look
            break
    row.played |= {place: plays[place][0] for place in seeds}
    {"verified": row.alike, "refuted": row.refuted, "cannot tell": row.untold}[result.answer].update(seeds or drawn)
    _explain(row, result, seeds or drawn)
    tell(f"{one.cell.label} x {one.cell.column}: {result.answer}, in distribution, {done} plays a seed")


def play_worlds(rows: Sequence[Row], count: int, seed: int, data_root: str | None, tell: Tell) -> None:
    """Hold each cell of submitted code against `count` worlds that nobody knew before `seed` was drawn.

    What is better in its records than in them, in its submitter's favour, is a problem of the row; so is an inversion
    that finds images in messages of others.
    """
    draws = Random(f"{seed} worlds")
    for row in rows:
        cells = _by_cell(
            (row, place)
            for place, alike in sorted(row.playable.items())
            if alike.code and worlds.metric_of(row.records[place]) is not None
        )
        for _, places in cells:
            _hold_against_worlds(row, places, len(cells), count, draws, data_root, tell)


def _hold_against_worlds(
    row: Row, places: list[Path], cells: int, count: int, draws: Random, data_root: str | None, tell: Tell
) -> None:
    """One cell: some worlds at first, and more where it seems to be worse in them."""
    record, code = row.records[places[0]], row.playable[places[0]].code
    attacks = places[0].parent in code
    wanted = worlds.favour(record, row.folder in code, attacks)
    others = attacks and record.cell.kind == "inversion"
    published = [worlds.value_of(row.records[place]) for place in places]
    played: list[worlds.Outcome] = []
    result: float | None = None
    for more, rate in ((count, worlds.SUSPECT), (worlds.MORE * count, worlds.FALSE_ALARMS / cells)):
        drawn = [(draws.randbytes(16).hex(), draws.randrange(2**31)) for _ in range(more)]
        try:
            played += _in_worlds(row, places[0], drawn, data_root, others)
        except BadInputError as error:
            row.problems.append(f"{record.cell.column}: {error}")
            return
        result = worlds.excess(published, [one.value for one in played], wanted, rate)
        if result is None:
            break
    what = worlds.metric_of(record)
    here, there = fmean(published), fmean(one.value for one in played)
    text = f"{record.cell.column}: {what} {here:.1%} as published, {there:.1%} in {len(played)} secret worlds"
    tell(f"{record.cell.label} x {text}")
    if result is not None:
        row.problems.append(f"{text}: what it knows of this world does not hold elsewhere")
    if others and (share := fmean(one.from_others or 0.0 for one in played)) > worlds.FROM_OTHERS:
        row.problems.append(
            f"{record.cell.column}: it recovers {share:.0%} of the images from messages of other images"
        )
    row.worlds += len(played)


def _in_worlds(
    row: Row, place: Path, drawn: Sequence[tuple[str, int]], data_root: str | None, others: bool
) -> list[worlds.Outcome]:
    """What the cell of a record gives in each; `BadInputError` where it cannot be played there."""
    alike = row.playable[place]
    job = {
        "do": "worlds",
        "records": {str(place.resolve()): drawn},
        "data_root": data_root,
        "recovered_psnr": alike.recovered_psnr,
        "others": others,
    }
    done = _call(job, Bounds(SECONDS_EACH, MEBIBYTES), alike.code)
    results = [worlds.Outcome(event["value"], event["from_others"]) for event in done.all("world")]
    if len(results) < len(drawn):
        why = done.broken or (done.last("refused") or {}).get("sentence", "nothing came of it")
        raise BadInputError(f"it could not be played in a secret world: {why}")
    return results


def _explain(row: Row, found: Judgement, places: Sequence[Path]) -> None:
    """Why a cell is not verified."""
    if found.answer != "verified":
        cell, names = row.records[places[0]].cell, ", ".join(place.name for place in places)
        text = "; ".join(found.reasons[:MOST_SHOWN])
        more = f"; and {len(found.reasons) - MOST_SHOWN} more" if len(found.reasons) > MOST_SHOWN else ""
        (row.problems if found.answer == "refuted" else row.notes).append(
            f"{cell.column} ({names}): {found.answer} in distribution: {text}{more}"
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
                packages.append(stack.enter_context(published_stand_in(folder, submission)))
        return sandbox.call(job, packages, bounds)
