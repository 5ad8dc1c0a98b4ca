"""Worlds that nobody knows: a cell with another seed, a fresh salt, other names of classes, pixels in other places.

An honest rule is as good there as it was where its record was made. A model or data that lie in its file are of no use
there, nor is what it knows of a seed. A salt is drawn by whoever submits; how good the row is in salts that the
verifier draws says whether it was a lucky one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any, Literal

from scipy import stats

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.records import Record

FALSE_ALARMS = 1e-3
"""The chance that an honest row is refused, where accuracies are normal over seeds: Bonferroni over its cells."""

LEAST_SPREAD = 0.02
"""Standard deviation over seeds that is granted to every cell: a few worlds may lie close by chance."""

SUSPECT = 0.05
"""The same for one cell and the first worlds: more of them are played where it seems to be worse there."""

MORE = 4
"""Times as many worlds as at first."""

FROM_OTHERS = 0.1
"""Share of images beyond what the mean image gives that an inversion may find in messages of other images."""

WITHOUT_PLACES = ("softmax", "mlp")
"""Models to which it is all the same which pixel stands where."""

Favour = Literal[-1, 0, 1]
"""Whether a high number (1), a low one (-1), or either (0) is what a submitter wants."""


@dataclass(frozen=True)
class Outcome:
    """What a cell gave in one world: accuracy, or the share of images recovered; from zeros too, of an inversion."""

    value: float
    from_others: float | None = None


def metric_of(record: "Record") -> str | None:
    """What is compared of a record; None where nothing is, as in audits, whose inputs nobody has."""
    results = {
        "training": "accuracy",
        "inversion": "recovered",
        "membership": "membership_auc",
        "property": "explained",
    }
    return results.get(record.cell.kind)


def value_of(record: "Record") -> float:
    """Its metric; 0 of what did not finish, as on the boards."""
    name = metric_of(record)
    assert name is not None
    return record.metrics.get(name, 0.0) if record.status == "ok" else 0.0


def favour(record: "Record", defends: bool, attacks: bool) -> Favour:
    """What the submitter of its defense, or of its attack, would like it to be."""
    if defends == attacks:
        return 0
    return 1 if defends == (record.cell.kind == "training") else -1


def excess(published: Sequence[float], played: Sequence[float], wanted: Favour, rate: float) -> float | None:
    """By how much what is published is better than worlds are, where that is more than chance at this rate; else None.

    A t test of the difference of two means with one spread, that of the values around the mean of their own kind, and
    at least `LEAST_SPREAD`.
    """
    difference = fmean(published) - fmean(played)
    freedom = len(published) + len(played) - 2
    if wanted and difference * wanted <= 0:
        return None
    if not freedom:
        return None
    within = sum(variance(some) * (len(some) - 1) for some in (published, played) if len(some) > 1)
    spread = max(math.sqrt(within / freedom), LEAST_SPREAD) * math.sqrt(1 / len(published) + 1 / len(played))
    sides = 1 if wanted else 2
    return abs(difference) if sides * stats.t.sf(abs(difference) / spread, freedom) < rate else None


# ---------------------------------------------------------------------------------------------- playing a cell in one


def play(
    record: "Record", salt: str, seed: int, data_root: str | None, recovered_psnr: float, others: bool = False
) -> Outcome:
    """The cell of a record in the world of a salt, under another seed; of an inversion also from others' messages."""
    from bench import data
    from bench.base import rng
    from bench.base.errors import BadInputError
    from bench.federation.secret import secret_world
    from bench.plays.cell import run_cell
    from bench.plays.findings import Task
    from bench.records import World
    from bench.submission.referee.again import asking_again

    task = Task(
        record.suite,
        record.setting,
        record.cell,
        seed,
        record.environment.threads,
        data_root,
        recovered_psnr,
        world=World(salt, record.sources, secret=True),
    )
    everywhere = record.cell.kind == "training" and record.cell.federation.model in WITHOUT_PLACES
    with data.changed(shuffle(salt, everywhere)), asking_again() as ask_again:
        value = value_of(run_cell(task).record)
        try:
            ask_again()
        except (ValueError, RuntimeError) as error:
            raise BadInputError(str(error)) from None
        if not others:
            return Outcome(value)
        with rng.salted(salt), secret_world():
            return Outcome(value, _from_others(task))


def shuffle(salt: str, everywhere: bool) -> "Callable[[Dataset], Dataset]":
    """A change of data sets: classes under other names, and pixels anywhere, or images turned as a whole."""
    from bench.base import rng
    from bench.data import Split

    @cache
    def change(dataset: "Dataset") -> "Dataset":
        with rng.salted(salt):
            names = rng.shuffled(dataset.num_classes, rng.generator(0, "names of classes", device="cpu"))
            turn = _scattered(dataset.shape) if everywhere else _turned(dataset.shape)
        splits = (dataset.train, dataset.validation, dataset.test)
        train, validation, test = (Split(turn(one.x).contiguous(), names[one.y]) for one in splits)
        return replace(dataset, train=train, validation=validation, test=test)

    return change


def _scattered(shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """Pixels `(N, C, H, W)` in another order, the same in every channel."""
    from bench.base import rng

    order = rng.shuffled(math.prod(shape[1:]), rng.generator(0, "places of pixels", device="cpu"))
    return lambda x: x.flatten(2)[:, :, order].view(x.shape) if x.dim() > 2 else x


def _turned(shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """Images turned and mirrored: neighbours stay neighbours, which convolutions and inversions live by."""
    from bench.base import rng

    if len(shape) != 3:
        return lambda x: x
    square = shape[1] == shape[2]
    draw = int(rng.shuffled(7 if square else 3, rng.generator(0, "turn", device="cpu"))[0]) + 1
    axes = [axis for bit, axis in ((1, 2), (2, 3)) if draw & bit]

    def turn(x: Any) -> Any:
        flipped = x.flip(axes) if axes else x
        return flipped.transpose(2, 3) if draw & 4 else flipped

    return turn


def _from_others(task: Any) -> float:
    """The share of images that an inversion recovers from messages of other images, beyond the mean image's."""
    from bench.base import device
    from bench.data import load
    from bench.plays.inversion import from_others

    dataset = load(task.cell.federation.dataset, task.data_root).to(device.current())
    return from_others(task, dataset)
