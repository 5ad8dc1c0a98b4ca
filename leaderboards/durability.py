"""The board of durability: what a backdoor does while it is attacked with, and what is left of it afterwards."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from bench.records import Record
from leaderboards.board import Board, Line, Number, make_board, numbers
from leaderboards.estimates import MISSING, Estimate, Estimates, of_values
from leaderboards.frame import CLEAN

HALF = 0.5
"""The success below which a backdoor counts as gone, Neurotoxin's kappa (Zhang et al. 2022, definition of lifespan)."""
CAPTION = (
    "Backdoors that start and stop: the share of images that get the attackers' answer, in %, mean and 95 % t interval "
    "over the seeds, for each row under the attack that succeeds most after its last round; then, at the end of the "
    "training, and before the first attacked round, where it is the control. Rounds above half: how many rounds after "
    "the last attack success stays at 50 % or more, as far as evaluations tell, the median over the seeds; ≥ where it "
    "does to the end. Accuracy lost: of the row's own run without an attack, after the last attacked round, in points, "
    "paired by seed. The lowest success leads; a training that broke off is worse than any success. † beyond what the "
    "defense itself claims to stand."
)
EVERY = (
    "The same share for every attack, after its last round, mean and 95 % t interval over the seeds; behind the arrow "
    "what is left of it at the end."
)


@dataclass(frozen=True)
class Life:
    """One record's backdoor: its success before, after the last attacked round and at the end, how long it lives.

    `rounds` counts those after the last attack at whose evaluations success was at least a half; `survived` says
    whether it was so to the end. `accuracy` is that after the last attacked round, `stopped`, nan where not taken.
    """

    stopped: int
    before: float
    stop: float
    end: float
    rounds: int
    survived: bool
    accuracy: float


Lives = dict[tuple[str, str], dict[int, Life]]
"""By (row, column), then by seed."""
Clean = Mapping[tuple[str, int], Mapping[int, float]]
"""Accuracy by round of the runs without an attack, by (row, seed)."""


def life_of(record: Record) -> Life | None:
    """What the record's curves say; None without a curve of success, or a round in which the attack ends."""
    stop, success = record.cell.stop, dict(record.success)
    if record.status != "ok" or stop is None or stop not in success:
        return None
    first = record.cell.start or 1
    before = [share for at, share in record.success if at < first]
    after = [(at, share) for at, share in record.success if at >= stop]
    fallen = next((index for index, (_, share) in enumerate(after) if share < HALF), None)
    last = after[-1][0] if fallen is None else after[max(fallen - 1, 0)][0]
    return Life(
        stopped=stop,
        before=before[-1] if before else math.nan,
        stop=success[stop],
        end=after[-1][1],
        rounds=last - stop,
        survived=fallen is None,
        accuracy=dict(record.curve).get(stop, math.nan),
    )


def lives_of(records: Iterable[Record]) -> Lives:
    """The life of every backdoor that starts and stops."""
    results: Lives = {}
    for record in records:
        if (life := life_of(record)) is not None:
            results.setdefault((record.cell.label, record.cell.column), {})[record.seed] = life
    return results


def durability_boards(
    rows: Sequence[str], columns: Sequence[str], tried: Estimates, records: Sequence[Record]
) -> list[Board]:
    """A line a row, and every row under every attack; no board where no attack stops."""
    lives = lives_of(records)
    places = [column for column in columns if any(column == other for _, other in lives)]
    if not places:
        return []
    at_stop, at_end = (_estimates(lives, tried, part) for part in ("stop", "end"))
    clean = _clean(records)
    worst = {row: _worst(row, places, at_stop, at_end) for row in rows}
    order = sorted(rows, key=lambda row: _score(at_stop.get((row, worst[row] or ""), MISSING)))
    lines = [_line(row, worst[row], at_stop, at_end, lives, clean) for row in order]
    every: list[Line] = [
        {"defense": row, **{column: _arrow(at_stop, at_end, (row, column)) for column in places}} for row in order
    ]
    first = make_board("durability", "Backdoors that stop: what is left", CAPTION, lines, _lost(lives, clean))
    data = [*numbers("success_at_stop", at_stop), *numbers("success_at_end", at_end)]
    return [first, make_board("success", "Each backdoor, while it attacks and after", EVERY, every, data)]


def _estimates(lives: Lives, tried: Estimates, part: str) -> Estimates:
    """The mean of a part of the lives; failed seeds, and whether the claim covers them, as the end's success has it."""
    results = {}
    stopped = {column for _, column in lives}
    broken = [place for place, value in tried.items() if value.failed and place[1] in stopped]
    for place in dict.fromkeys([*lives, *broken]):
        seeds = lives.get(place, {})
        value = of_values(np.array([getattr(life, part) for life in seeds.values()]), "backdoor_success")
        known = tried.get(place, MISSING)
        results[place] = replace(value, failed=known.failed, within_claim=known.within_claim)
    return results


def _clean(records: Iterable[Record]) -> Clean:
    """Accuracy by round of every row's runs without an attack, by (row, seed)."""
    chosen = (record for record in records if record.cell.column == CLEAN and record.status == "ok")
    return {(record.cell.label, record.seed): dict(record.curve) for record in chosen}


def _worst(row: str, columns: Sequence[str], at_stop: Estimates, at_end: Estimates) -> str | None:
    """The column that succeeds most after its last round; of equal ones that of which most is left.

    Where a seed of a column failed, that is worse.
    """
    mine = [column for column in columns if (row, column) in at_stop]
    return max(mine, key=lambda column: (_score(at_stop[row, column]), at_end[row, column].mean)) if mine else None


def _score(value: Estimate) -> float:
    """The lower the better; a failed seed is worse than any success, and so is nothing."""
    return math.inf if value.failed or math.isnan(value.mean) else value.mean


def _line(
    row: str,
    column: str | None,
    at_stop: Estimates,
    at_end: Estimates,
    lives: Lives,
    clean: Clean,
) -> Line:
    place = (row, column or "")
    mine = lives.get(place, {})
    before = of_values(np.array([life.before for life in mine.values()]), "backdoor_success")
    lost = lost_of(row, column, lives, clean)
    return {
        "defense": row,
        "worst attack": column or "–",
        "before it": before.text().removesuffix(" †"),
        "in its last round": at_stop.get(place, MISSING).text(),
        "at the end": at_end.get(place, MISSING).text(),
        "rounds above half": _rounds(list(mine.values())),
        "accuracy lost": lost.text(),
    }


def _rounds(mine: Sequence[Life]) -> str:
    """The median of the lifespans; with a sign where the seed in the middle was not seen to end."""
    if not mine:
        return "–"
    middle = median(life.rounds for life in mine)
    censored = [life.rounds for life in mine if life.survived]
    return f"{'≥ ' if censored and middle >= min(censored) else ''}{middle:g}"


def lost_of(row: str, column: str | None, lives: Lives, clean: Clean) -> Estimate:
    """How far accuracy after the last attacked round lies below the clean run's after the same round, by seed."""
    if column is None:
        return MISSING
    pairs = [
        clean[row, seed][life.stopped] - life.accuracy
        for seed, life in lives.get((row, column), {}).items()
        if life.stopped in clean.get((row, seed), {}) and not math.isnan(life.accuracy)
    ]
    return of_values(np.array(pairs), "accuracy_lost") if pairs else MISSING


def _lost(lives: Lives, clean: Clean) -> list[Number]:
    results = {(row, column): lost_of(row, column, lives, clean) for row, column in lives}
    return numbers("accuracy_lost", {place: value for place, value in results.items() if value.seeds})


def _arrow(at_stop: Estimates, at_end: Estimates, place: tuple[str, str]) -> str:
    end = at_end.get(place, MISSING)
    behind = "" if math.isnan(end.mean) else f" → {100 * end.mean:.1f}"
    return at_stop.get(place, MISSING).text().removesuffix(" †") + behind
