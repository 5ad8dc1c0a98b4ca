"""What each factor of a suite's design does: the worst accuracy over the attacks, level by level."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from bench.records import Record
from bench.suite.factors import Design
from leaderboards.board import Board, Line, Number, make_board
from leaderboards.estimates import MISSING, Estimate, estimates
from leaderboards.frame import CLEAN, Selection, columns, to_frame
from leaderboards.robustness import worst_case

CAPTION = (
    "Test accuracy in % under the worst attack at each level, and behind it that attack and the clean run; mean "
    "and 95 % t interval over the seeds. One thing is changed, all else is the suite's base case, the level "
    "marked so. A level with a failed seed counts as 0; – is a level at which the row lacks an attack."
)
NOTATION = (
    "alpha is the concentration of all classes together (Hsu et al. 2019): alpha = 10 over 10 classes is what most "
    "public code calls Dir(1), which draws from Dir(1, ..., 1), and alpha = 1 is its Dir(0.1)."
)
SKEW = {"alpha", "partition", "similarity", "shards_per_client"}
"""Settings of how alike the clients' data is."""


@dataclass(frozen=True)
class Worst:
    """A row at a level: its estimate under the worst attack, that attack's column, its clean run, and all by column."""

    value: Estimate
    attack: str
    clean: Estimate
    every: Mapping[str, Estimate] = field(default_factory=dict)

    def text(self) -> str:
        if math.isnan(self.value.score):
            return "–"
        attack = self.attack.partition(" b=")[0]
        return f"{self.value.text()} ({attack}), clean {self.clean.text()}"


@dataclass(frozen=True)
class Effect:
    """What a factor does to each row: `cells` by (row, level), the levels in their order, the base one named."""

    factor: str
    levels: tuple[str, ...]
    base: str
    cells: Mapping[tuple[str, str], Worst]
    without: tuple[str, ...]
    majorities: Mapping[str, tuple[int, int]]  # by level, of how many rounds Byzantine clients were most of the sample
    skewed: bool  # whether it changes how alike the clients' data is

    def scores(self, row: str) -> list[float]:
        """The worst accuracies of a row, level by level; nan where there is none."""
        return [self.cells[row, level].value.score for level in self.levels]

    def median_range(self, rows: Sequence[str]) -> float:
        """The median over the rows of the highest score less the lowest; 0 where no row has two of them."""
        known = [[score for score in self.scores(row) if not math.isnan(score)] for row in rows]
        ranges = [max(scores) - min(scores) for scores in known if len(scores) > 1]
        return median(ranges) if ranges else 0.0


def split(selection: Selection) -> tuple[Selection, dict[str, list[Record]]]:
    """The records of the base case, and those of each level of a factor, as if they stood in the base's columns."""
    base = [record for record in selection.records if not record.cell.level]
    levels: dict[str, list[Record]] = {}
    for record in selection.records:
        if record.cell.level:
            alone = record.model_copy(update={"cell": record.cell.model_copy(update={"level": ""})})
            levels.setdefault(record.cell.level, []).append(alone)
    if not levels:
        return selection, {}
    return replace(selection, frame=to_frame(base), records=base), levels


def effects(rows: Sequence[str], designs: Iterable[Design], selection: Selection) -> list[Effect]:
    """Of every factor of which a level beside the base has records."""
    base, levels = split(selection)
    everything = [*base.records, *(record for records in levels.values() for record in records)]
    results = []
    for design in designs:
        played = {level.name: levels.get(level.label, []) for level in design.levels}
        if not any(played.values()):
            continue
        played[design.base.name] = base.records
        cells = {
            (row, name): worst
            for name, records in played.items()
            for row, worst in _alone(rows, records, everything).items()
        }
        majorities = {name: told for name, records in played.items() if (told := _majority(records))}
        names, without = tuple(played), design.base.without
        skewed = bool(design.changes & SKEW)
        results.append(Effect(design.factor, names, design.base.name, cells, without, majorities, skewed))
    return results


def _alone(rows: Sequence[str], records: Sequence[Record], everything: Sequence[Record]) -> dict[str, Worst]:
    """Every row at one level; its clean run may stand at another one, of the same federation: it is played once."""
    accuracy = estimates(to_frame(records), "accuracy")
    attacked = [column for column in columns(to_frame(records)) if column != CLEAN]
    results = {}
    for row in rows:
        _, where = worst_case(row, attacked, accuracy)
        played = {one.cell.federation.model_dump_json() for one in records if one.cell.label == row}
        clean = [one for one in everything if one.cell.label == row and one.cell.attack is None]
        mine = estimates(
            to_frame([one for one in clean if one.cell.federation.model_dump_json() in played]), "accuracy"
        )
        clean_run = mine.get((row, CLEAN), MISSING)
        every = {column: accuracy.get((row, column), MISSING) for column in attacked} | {CLEAN: clean_run}
        results[row] = Worst(accuracy.get((row, where), MISSING), where, clean_run, every)
    return results


def _majority(records: Iterable[Record]) -> tuple[int, int] | None:
    """Rounds with more Byzantine clients than honest ones, and all rounds, of the seeds; None where all take part."""
    rounds = {
        record.seed: (record.byzantine.majority, record.cell.federation.rounds)
        for record in records
        if record.byzantine is not None and record.byzantine.majority is not None
    }
    return (sum(count for count, _ in rounds.values()), sum(all_ for _, all_ in rounds.values())) if rounds else None


def factor_boards(rows: Sequence[str], found: Iterable[Effect]) -> list[Board]:
    """A table a factor: the rows in the order of the suite, a column a level."""
    return [_board(rows, effect) for effect in found]


def _board(rows: Sequence[str], effect: Effect) -> Board:
    lines: list[Line] = []
    numbers: list[Number] = []
    for row in rows:
        mine = {level: effect.cells[row, level] for level in effect.levels}
        lines.append({"defense": row, **{_head(effect, level): worst.text() for level, worst in mine.items()}})
        for level, worst in mine.items():
            for metric, value in (("worst_accuracy", worst.value), ("clean_accuracy", worst.clean)):
                if value.seeds or value.failed:
                    numbers.append(_number(row, level, metric, value))
            if level != effect.base:  # the base's columns stand on the board of robustness
                numbers += [
                    _number(row, f"{column} [{effect.factor}: {level}]", "accuracy", value)
                    for column, value in worst.every.items()
                    if value.seeds or value.failed
                ]
    name = f"factor-{'-'.join(effect.factor.lower().split())}"
    return make_board(name, f"Factor: {effect.factor}", " ".join([CAPTION, *_notes(effect)]), lines, numbers)


def _head(effect: Effect, level: str) -> str:
    return f"{level} (base)" if level == effect.base else level


def _number(row: str, level: str, metric: str, value: Estimate) -> Number:
    return Number(
        row, level, metric, value.mean, value.half_width, value.low, value.high, value.seeds, value.failed,
        value.within_claim,
    )  # fmt: skip


def _notes(effect: Effect) -> list[str]:
    """What is to be known of one factor alone."""
    notes = [NOTATION] if effect.skewed else []
    if effect.without:
        notes.append(f"Not played: {', '.join(effect.without)}, which cannot take part at every level.")
    if any(count for count, _ in effect.majorities.values()):
        told = [f"{count} of {rounds} at {level}" for level, (count, rounds) in effect.majorities.items()]
        notes.append(
            f"Rounds whose sample held more Byzantine clients than honest ones, over the seeds: {', '.join(told)}."
        )
    return notes
