"""Whether a record that another arithmetic gave can be of its cell: the statistics, without I/O.

Rounding differs between processors. In most cells that stays in the last digits; where signs are sent or a training is
on the edge it grows into another trajectory. How far it takes a cell is measured with the cell's neighbours: the same
seed, the learning rate a few units in its last place away. They share partition, first model, batches and noise, so
that the spread over seeds, often several times as large, does not blur the comparison.

A cell's published numbers minus the mean of what the same seeds gave when they were played anew is a shift; its
interval is Welch's (Satterthwaite 1946: the variance of a mean over seeds whose spreads differ).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Any, Literal

from bench.records.comparison import TOLERANCES, Tolerance, portable, shared, tolerance_of
from bench.suite import Cell

Answer = Literal["verified", "refuted", "cannot tell"]
Fields = Mapping[str, Any]
"""Every number of a record by its path, as `bench.records.comparison.numbers` gives them."""

FALSE_ALARMS = 1e-3
"""The chance that any honest record of a whole call is refuted, where shifts are normal: Bonferroni over all tests."""

ROUNDING: dict[str, Tolerance] = {
    **TOLERANCES,
    **dict.fromkeys(("accuracy", "curve", "validation", "backdoor_success", "model_accuracy"), Tolerance(0.005, 0.0)),
    "success": Tolerance(0.005, 0.0),
    **dict.fromkeys(("recovered", "label_recovered"), Tolerance(0.035, 0.0)),
    **dict.fromkeys(("gradient_match_loss", "trace"), Tolerance(1e-6, 0.01)),  # 1 - cosine, in units of 6e-8
    "mse": Tolerance(1e-6, 0.3),
    "psnr": Tolerance(0.1, 0.0),
    "ssim": Tolerance(0.005, 0.0),
    "worst_class_accuracy": Tolerance(0.05, 0.0),  # of the 30 images of a class one
    "worst_tenth_accuracy": Tolerance(0.015, 0.0),
}
"""What rounding may change that has not grown: of 300 test images one, of 16 targets in several seeds one.

Of the 189 trainings of the suite `digits`, made on an Intel Xeon and played anew on an AMD EPYC, losses agree to 1e-5
and accuracies to one image, or have parted visibly: between them there is nothing.
"""

SETTLED = 0.1
"""The share of it by which plays of a settled seed may differ, so that none is called so by chance."""

MARGINS: dict[str, Tolerance] = {
    "accuracy": Tolerance(0.02, 0.0),
    "backdoor_success": Tolerance(0.02, 0.0),
    "model_accuracy": Tolerance(0.02, 0.0),
    "recovered": Tolerance(0.05, 0.0),
    "label_recovered": Tolerance(0.05, 0.0),
    "psnr": Tolerance(1.0, 0.0),
    "ssim": Tolerance(0.05, 0.0),
    "epsilon_audited": Tolerance(0.05, 0.05),
    "epsilon_run": Tolerance(0.05, 0.05),
}
"""What boards rank by: a cell is verified where each of these is shown to be shifted by less than this."""

DRAWN = ("metrics.", "curve.", "success.", "trace.", "siege.members.", "privacy.audited.epsilon")
"""How the paths of numbers begin that rounding can change; all else follows from the cell alone."""


@dataclass(frozen=True)
class Shift:
    """How far published numbers lie above those played anew, and how far rounding takes them at the error rate."""

    field: str
    centre: float
    reach: float
    p: float
    alpha: float

    def __str__(self) -> str:
        rounding = "every play gives the same" if self.reach == 0 else f"rounding takes it {self.reach:.2g} at most"
        where = f"{self.field} is {abs(self.centre):.4g} {'above' if self.centre > 0 else 'below'} what was played anew"
        return f"{where}; {rounding} (p = {self.p:.1g}, refuted below {self.alpha:.1g})"


@dataclass(frozen=True)
class Judgement:
    """The answer for one cell, and why it is not verified."""

    answer: Answer
    reasons: tuple[str, ...] = ()


def neighbour(cell: Cell, steps: int) -> Cell:
    """The cell with its learning rate `steps` times two units in the last place of its type away; itself for 0."""
    import torch

    unit = 2 * torch.finfo(getattr(torch, cell.federation.dtype)).eps
    settings = cell.federation.model_copy(update={"lr": cell.federation.lr * (1 + steps * unit)})
    return cell.model_copy(update={"federation": settings}) if steps else cell


def within_rounding(published: Fields, played: Fields) -> bool:
    """Whether nothing differs by more than rounding that has not grown."""
    return not list(_apart(portable(published), portable(played)))


def shift_of(field: str, published: Sequence[float], played: Sequence[Sequence[float]], alpha: float) -> Shift:
    """The mean over seeds of a published number minus the mean of its plays, of which each seed has at least two."""
    from scipy import stats  # here, because loading it takes long

    seeds = len(published)
    centre = fmean(one - fmean(plays) for one, plays in zip(published, played, strict=True))
    parts = [variance(plays) * (1 + 1 / len(plays)) / seeds**2 for plays in played]
    error = math.sqrt(sum(parts))
    if error == 0:
        return Shift(field, centre, 0.0, float(centre == 0), alpha)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(plays) - 1) for part, plays in zip(parts, played, strict=True))
    reach = float(stats.t.isf(alpha / 2, freedom)) * error
    return Shift(field, centre, reach, float(2 * stats.t.sf(abs(centre) / error, freedom)), alpha)


def judge(published: Sequence[Fields], played: Sequence[Sequence[Fields]], alpha: float) -> Judgement:
    """One cell: what is published of each seed against its plays, the cell itself first, its neighbours after it.

    A seed whose plays all agree is settled, and what is published must be within rounding of them. In the others
    rounding has grown: their shift refutes where the t test does at the rate `alpha`, half of it spent on what boards
    rank by, and where each of them lies beyond all its plays, to the same side. The second asks nothing of the
    distribution: plays that seldom collapse fool the first.
    """
    seeds = [portable(one) for one in published]
    plays = [[portable(one) for one in some] for some in played]
    settled = [all(not list(_apart(some[0], one, SETTLED)) for one in some) for some in plays]
    refuted: list[str] = []
    unsettled: list[str] = []
    for seed, some, calm in zip(seeds, plays, settled, strict=True):
        for field, before, after in _apart(seed, some[0]):
            if not calm and _is_drawn(field, before, after):
                continue
            text = f"{field} is {before!r}, but playing it anew gives {after!r}"
            (refuted if calm or all(one.get(field) == after for one in some) else unsettled).append(text)
    refuted += early(seeds, plays)
    grown = [(seed, some) for seed, some, calm in zip(seeds, plays, settled, strict=True) if not calm]
    for shift in _shifts(seeds, plays, alpha):
        if grown and abs(shift.centre) > max(shift.reach, _largest(tolerance_of(shift.field, ROUNDING), seeds, shift)):
            outside = all(_beyond(shift, seed[shift.field], some) for seed, some in grown)
            (refuted if outside else unsettled).append(str(shift))
        elif (margin := margin_of(shift.field)) is not None:
            bound = abs(shift.centre) + shift.reach
            if bound > _largest(margin, seeds, shift):
                unsettled.append(f"{shift.field} may be shifted by up to {bound:.3g}: rounding alone changes it so far")
    if refuted:
        return Judgement("refuted", tuple(refuted))
    return Judgement("cannot tell", tuple(unsettled)) if unsettled else Judgement("verified")


def early(seeds: Sequence[Fields], plays: Sequence[Sequence[Fields]]) -> list[str]:
    """What differs in the first half of the evaluations before which plays of one seed still agree.

    Differences grow about exponentially: half way they are the square root of what can be seen.
    """
    curves = sorted(
        (field for field in seeds[0] if field.startswith("curve.") and field.endswith(".1")),
        key=lambda field: int(field.split(".")[1]),
    )
    agreed = [field for field in curves if all(_agree(field, some) for some in plays)]
    together = next((index for index, field in enumerate(curves) if field not in agreed), len(curves))
    results = []
    for seed, some in zip(seeds, plays, strict=True):
        for field in curves[: together // 2]:
            before, after = seed.get(field), some[0].get(field)
            if isinstance(before, float) and isinstance(after, float) and not _close(field, before, after):
                when = seed.get(field[:-1] + "0")
                text = f"accuracy after round {when} is {before!r}, but playing it anew gives {after!r}"
                results.append(f"{text}, before rounding differences grow")
    return results


def margin_of(field: str) -> Tolerance | None:
    return MARGINS.get(field.removeprefix("metrics.")) if field.startswith("metrics.") else None


def _apart(old: Fields, new: Fields, share: float = 1.0) -> Iterator[tuple[str, Any, Any]]:
    """What differs by more than this share of what rounding may change."""
    old, new = shared(old, new), shared(new, old)
    for field in sorted({*old, *new}):
        before, after = old.get(field), new.get(field)
        if before != after and not _close(field, before, after, share):
            yield field, before, after


def _close(field: str, before: Any, after: Any, share: float = 1.0) -> bool:
    if not isinstance(before, float) or not isinstance(after, float):
        return bool(before == after)
    allowed = tolerance_of(field, ROUNDING)
    return math.isclose(before, after, rel_tol=share * allowed.relative, abs_tol=share * allowed.absolute)


def _is_drawn(field: str, *values: Any) -> bool:
    return field.startswith(DRAWN) and all(isinstance(value, float) for value in values)


def _agree(field: str, some: Sequence[Fields]) -> bool:
    return all(_close(field, some[0].get(field), one.get(field)) for one in some)


def _shifts(seeds: Sequence[Fields], plays: Sequence[Sequence[Fields]], alpha: float) -> Iterator[Shift]:
    """Of every number that all seeds and all plays have; what boards rank by shares half of `alpha`."""
    drawn = [
        field
        for field in sorted(seeds[0])
        if all(_is_drawn(field, one.get(field)) for one in (*seeds, *(one for some in plays for one in some)))
    ]
    ranking = [field for field in drawn if margin_of(field) is not None]
    groups: dict[str, list[str]] = {}
    for field in drawn:
        if field not in ranking:
            path = field.split(".")[0]
            groups.setdefault(path if path in ("curve", "success") else field, []).append(field)
    rates = {field: alpha / 2 / len(ranking) for field in ranking}
    for fields in groups.values():
        rates |= {field: alpha / 2 / len(groups) / len(fields) for field in fields}
    for field, rate in rates.items():
        yield shift_of(field, [one[field] for one in seeds], [[one[field] for one in some] for some in plays], rate)


def _beyond(shift: Shift, published: float, plays: Sequence[Fields]) -> bool:
    """Whether what is published of a seed lies beyond all its plays, to the side of the shift."""
    values: list[float] = [one[shift.field] for one in plays]
    return published > max(values) if shift.centre > 0 else published < min(values)


def _largest(allowed: Tolerance, seeds: Sequence[Fields], shift: Shift) -> float:
    largest: float = max(abs(one[shift.field]) for one in seeds)
    return max(allowed.absolute, allowed.relative * largest)
