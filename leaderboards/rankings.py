"""Which rows the seeds tell apart, and the ranks that follow: intervals of ranks, and groups that share one.

Rows are paired: a seed's partition, first model, batches and Byzantine clients are the same for all of them, so that
the spread of a difference, not of each row, says what the seeds can tell. A row's score is its worst column's mean over
the seeds. What choosing that column adds to the spread is part of it: the score is worked out anew without each seed,
the column chosen anew each time, and the pseudo-values `k score - (k - 1) score without the seed` stand for the seeds
(the jackknife: Tukey 1958; Miller 1974). Where one column is the worst throughout they are its accuracies themselves.
The lowest of several means lies too low; so two scores differ by the least of what they differ as they are, after the
jackknife's correction of that, and after twice the correction: where columns are equal it finds half of the bias.

Two rows are told apart by a t test of the paired differences. Over all pairs of a board Holm's correction (1979;
Demsar 2006 for comparisons of many rows) keeps the chance that any two equal rows are told apart at 5 %, however the
pairs depend on each other and however unlike the rows' spreads are. It assumes that differences are about normal. No
test of few seeds does without an assumption. A sign-flip permutation test of k pairs has a p value of at least
2 / 2^k: with five seeds it tells no two rows apart. A bootstrap of seeds tells two equal rows apart as soon as all
seeds favour the same one, which of three seeds happens in every fourth pair (Agarwal et al. 2021 resample the runs of
many tasks for one mean over all of these).

A row's rank interval runs from one more than the rows that are better by the test to all but those that are worse:
all intervals of a board hold the true ranks at once with 95 % (Mogstad, Romano, Shaikh and Wilhelm 2024, section 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ERROR_RATE = 0.05
"""The chance that a board tells any two rows apart that are equal."""

ROUNDING = 1e-9

Matrix = NDArray[np.float64]
Interval = tuple[int, int]
"""The best and the worst rank that a row may have."""


@dataclass(frozen=True)
class Scored:
    """A row's score, the higher the better, and its pseudo-values `(k,)`, which stand for the seeds."""

    score: float
    values: Matrix


def scored(values: Matrix) -> Scored:
    """Of a row's numbers `(k, c)` by seed and column, the higher the better: the lowest of the columns' means.

    With one seed, k = 1, there is nothing to leave out: the pseudo-value is the score.
    """
    k = len(values)
    score = float(values.mean(axis=0).min())
    if k == 1:
        return Scored(score, np.array([score]))
    without = ((values.sum(axis=0) - values) / (k - 1)).min(axis=1)
    return Scored(score, k * score - (k - 1) * without)


def told_apart(rows: Sequence[Scored], grain: float = 0.0, error_rate: float = ERROR_RATE) -> NDArray[np.bool_]:
    """`(r, r)`: whether the seeds tell two rows apart; nobody where there is one seed.

    `grain` is the step in which each seed's numbers are counted, such as 1 / 300 of 300 images. Rounding to it hides a
    spread of grain / sqrt(12) in each number, so that differences that are the same in all seeds prove no more.
    """
    r, k = len(rows), len(rows[0].values) if rows else 0
    apart = np.zeros((r, r), dtype=bool)
    first, second = np.triu_indices(r, k=1)
    if k < 2 or not len(first):
        return apart
    from scipy import stats  # here, because loading it takes long, and a run makes its boards last

    values, scores = np.stack([row.values for row in rows]), np.array([row.score for row in rows])
    spread = (values[first] - values[second]).var(axis=1, ddof=1)
    error = np.sqrt(np.maximum(spread, grain**2 / 6) / k)
    shown, corrected = scores[first] - scores[second], (values[first] - values[second]).mean(axis=1)
    readings = np.sign(shown) * np.stack([shown, corrected, 2 * corrected - shown])
    least = np.maximum(readings.min(axis=0), 0.0)  # none where they do not agree on who is better
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(least > ROUNDING, least / error, 0.0)
    result = holm(2 * stats.t.sf(t, df=k - 1), error_rate)
    apart[first, second] = apart[second, first] = result
    return apart


def holm(p: Matrix, error_rate: float) -> NDArray[np.bool_]:
    """Which hypotheses `(m,)` Holm's step-down procedure (1979) rejects at a family-wise error rate."""
    order = np.argsort(p, kind="stable")
    passed = p[order] <= error_rate / np.arange(len(p), 0, -1)
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order[: len(p) if passed.all() else int(np.argmin(passed))]] = True
    return rejected


def intervals(scores: Sequence[float], apart: NDArray[np.bool_]) -> list[Interval]:
    """Each row's rank interval, from who is told apart from it `(r, r)`, the higher score being better."""
    result = np.asarray(scores)
    better = apart & (result[None, :] > result[:, None])
    worse = apart & (result[None, :] < result[:, None])
    return [(1 + int(up), len(result) - int(down)) for up, down in zip(better.sum(1), worse.sum(1), strict=True)]


def groups(order: Sequence[int], apart: NDArray[np.bool_]) -> list[list[int]]:
    """The rows, best first, in groups in which nobody is told apart from anybody.

    A row that is told apart from one of the group above it opens the next one.
    """
    results: list[list[int]] = []
    for row in order:
        if results and not apart[row, results[-1]].any():
            results[-1].append(row)
        else:
            results.append([row])
    return results


@dataclass(frozen=True)
class Ranking:
    """Each row's rank, which its group shares, the number of the group, and where seeds tell it, the rank interval.

    None and no group for rows that are not ranked.
    """

    ranks: Mapping[str, int | None]
    group: Mapping[str, int]
    interval: Mapping[str, Interval]
    seeds: int = 1


def ranking(points: Mapping[str, int | None], rows: Mapping[str, Scored], grain: float = 0.0) -> Ranking:
    """What the seeds leave of the ranks by score alone, `points`, None for rows that have none.

    `rows` are those that have a number; others that have a rank stand below all of them. With one seed nobody can be
    told apart, and the ranks by score alone stay, without intervals.
    """
    order = sorted((row for row, rank in points.items() if rank is not None), key=lambda row: points[row] or 0)
    known = [row for row in order if row in rows]
    seeds = min((len(rows[row].values) for row in known), default=1)
    if seeds < 2:
        places = sorted({rank for rank in points.values() if rank is not None})
        return Ranking(points, {row: 1 + places.index(points[row] or 0) for row in order}, {})
    apart = told_apart([rows[row] for row in known], grain)
    below = [row for row in order if row not in rows]
    grouped = [[known[place] for place in some] for some in groups(range(len(known)), apart)] + [below] * bool(below)
    reach = intervals([rows[row].score for row in known], apart)
    interval = dict(zip(known, reach, strict=True)) | dict.fromkeys(below, (len(known) + 1, len(order)))
    ranks: dict[str, int] = {}
    for some in grouped:
        ranks |= dict.fromkeys(some, 1 + len(ranks))
    group = {row: number for number, some in enumerate(grouped, 1) for row in some}
    return Ranking({row: ranks.get(row) for row in points}, group, interval, seeds)


def by_seed(
    frame: pd.DataFrame, metric: str, columns: Mapping[str, Sequence[str]], *, failed: float, spoils: bool
) -> dict[str, Matrix]:
    """Each row's numbers `(k, c)` in its `columns`, over the seeds that all of these rows have in theirs.

    A seed that did not finish counts as `failed`, and where that `spoils` its row, the row is that throughout. A row
    that lacks a column is not there.
    """
    numbers = frame.reindex(columns=["defense", "column", "seed", "status", metric])
    numbers[metric] = numbers[metric].astype(float).where(numbers["status"] == "ok", failed)
    broken = numbers.loc[numbers["status"] != "ok", ["defense", "column"]]
    places = set(zip(broken["defense"], broken["column"], strict=True)) if spoils else set()
    spoilt = [row for row, mine in columns.items() if any((row, one) in places for one in mine)]
    results: dict[str, pd.DataFrame] = {}
    for row, mine in columns.items():
        table = numbers[numbers["defense"] == row].pivot_table(index="seed", columns="column", values=metric)
        if row not in spoilt and mine and set(mine) <= set(table.columns):
            results[row] = table[list(mine)].dropna()
    shared = sorted(set.intersection(*(set(table.index) for table in results.values()))) if results else [0]
    whole = {row: table.loc[shared].to_numpy(dtype=float) for row, table in results.items() if shared}
    return whole | {row: np.full((max(1, len(shared)), 1), failed) for row in spoilt}
