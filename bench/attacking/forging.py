"""What attacks that forge messages share: moments of the honest ones, copies of one row, searches against a rule."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.base.blocks import in_column_blocks
from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.protocol import REALS, WHOLE, Alphabet, all_finite, check_detached
from bench.rules.gram import gram_matrix, squared_distances
from bench.threat import ByzantineAttack, ByzantineView

BLOCK_BYTES = 2**19
"""A core takes the moments of so much of all messages at a time: it stays in its cache."""

ORDINARY = 2.0**40
"""Messages whose largest number is between this and its inverse are taken as they are, others in another unit."""

Rule = Callable[[Tensor], Tensor]
"""What the server makes `(d,)` of all messages `(h + f, d)` of a round, the honest ones first."""

Perturbation = Literal["unit", "std", "sign"]
"""A direction from the honest mean: against the mean's own, along the deviation, or against the mean's signs."""

Sign = Literal["plus", "minus"]
"""Of the deviation sigma in what is forged. Where authors forge gradients g - z sigma, updates, minus a gradient, are
u + z sigma: their sign turns over. In a ternary alphabet it is that of the votes, which point as gradients do."""

SIGNS: dict[str, float] = {"plus": 1.0, "minus": -1.0}


def check_honest(honest: Tensor, num_byzantine: int, at_least: int = 1, *, signs: bool = False) -> None:
    """Raise `ValueError` unless `honest` is a detached `(h, d)` matrix of `at_least` rows and `num_byzantine` a number.

    They are float32 or float64; where they may be `signs`, also whole numbers.
    """
    good = honest.dim() == 2 and len(honest) >= at_least and honest.shape[1] > 0
    require(good, "honest", tuple(honest.shape), f"an (h, d) tensor with at least {at_least} rows")
    known = honest.dtype in REALS or (signs and honest.dtype in WHOLE)
    require(known, "honest", honest.dtype, "float32 or float64")
    check_detached(honest, "honest")
    require(num_byzantine >= 0, "num_byzantine", num_byzantine, "at least 0")


def check_number(argument: str, value: float, dtype: torch.dtype) -> None:
    """Raise `ValueError` unless the number type of the messages, float32 or float64, holds the value."""
    require(dtype in REALS, "dtype", dtype, "float32 or float64")
    largest = torch.finfo(dtype).max
    require(-largest <= value <= largest, argument, value, f"a number that {dtype} holds")


def copies(row: Tensor, num_byzantine: int) -> Tensor:
    """`row (d,)` for each Byzantine client, `(f, d)`: one row in memory, not to be written into."""
    require(row.dim() == 1, "row", tuple(row.shape), "a (d,) tensor")
    require(num_byzantine >= 0, "num_byzantine", num_byzantine, "at least 0")
    return row.expand(num_byzantine, -1)


def fit(forged: Tensor, alphabet: Alphabet) -> Tensor:
    """Forged reals `(f, d)` as messages: where the alphabet is ternary, their signs (as errata D15 has it)."""
    return torch.sign(forged).to(torch.int8) if alphabet is Alphabet.TERNARY else forged


def deployed(view: ByzantineView) -> Rule:
    """The server's rule as omniscient attackers play candidates through it; reals are made messages first."""
    aggregate = view.aggregate
    assert aggregate is not None
    return lambda messages: aggregate(fit(messages, view.alphabet))


def unit_of(values: Tensor) -> float:
    """The power of two just above the largest number where that one is far from 1, else 1; 1 where it is not finite.

    Over it squares neither overflow nor vanish, and no digit changes.
    """
    low, high = values.aminmax()
    largest = float(torch.maximum(-low, high))
    if 1 / ORDINARY <= largest <= ORDINARY or not 0 < largest < math.inf:
        return 1.0
    bounds = torch.finfo(values.dtype)
    least, most = math.frexp(bounds.tiny)[1], math.frexp(bounds.max)[1] - 1
    return math.ldexp(1.0, min(max(math.frexp(largest)[1], least), most))


def mean_row(honest: Tensor) -> Tensor:
    """The mean `(d,)` of the rows, also where their sum overflows."""
    check_honest(honest, 0)
    mean = honest.mean(dim=0)
    if all_finite(mean) or (unit := unit_of(honest)) == 1:
        return mean
    return (honest / unit).mean(dim=0) * unit


def length_of(vector: Tensor) -> float:
    """|v|, also where the squares overflow or vanish."""
    length: Tensor = torch.linalg.vector_norm(vector)
    if is_clear(length.square()) or (unit := unit_of(vector)) == 1:
        return float(length)
    return float(torch.linalg.vector_norm(vector / unit)) * unit


def in_range(forged: Tensor) -> Tensor:
    """What is beyond the number type becomes its largest number: an infinite message would be rejected."""
    if not forged.is_floating_point():
        return forged
    largest = torch.finfo(forged.dtype).max
    return forged.clamp(-largest, largest)


def is_clear(square: Tensor) -> bool:
    """Whether this sum of squares, `()`, has neither overflowed nor lost its digits."""
    bounds = torch.finfo(square.dtype)
    return bounds.tiny / bounds.eps <= float(square) < math.inf


def moments(honest: Tensor, ddof: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `(d,)` of each coordinate over the rows; the sum of squares is over h - ddof."""
    check_honest(honest, 0)
    require(0 <= ddof < len(honest), "ddof", ddof, f"between 0 and {len(honest) - 1}, below the number of rows")
    mean, squares = _mean_and_squares(honest, ddof)
    if is_clear(squares.amax()) or (unit := unit_of(honest)) == 1:
        return mean, sqrt(squares, out=squares)
    mean, squares = _mean_and_squares(honest / unit, ddof)
    return mean.mul_(unit), sqrt(squares, out=squares).mul_(unit)


def _mean_and_squares(honest: Tensor, ddof: int) -> tuple[Tensor, Tensor]:
    h, d = honest.shape
    mean, squares = honest.new_empty(d), honest.new_empty(d)
    width, count = min(d, max(1, BLOCK_BYTES // (h * honest.element_size()))), torch.get_num_threads()
    room = honest.new_empty(min(count, d // width), h, width)  # new pages cost more than the arithmetic
    for columns, blocks in in_column_blocks(honest, width, count):
        middle = torch.mean(honest[:, columns], dim=0, out=mean[columns]).view(len(blocks), -1)
        centred = torch.sub(blocks, middle[:, None], out=room[: len(blocks), :, : blocks.shape[2]])
        torch.sum(centred.square_(), dim=1, out=squares[columns].view(len(blocks), -1))
    return mean, squares.div_(h - ddof)


def check_sign(sign: str, *others: str) -> None:
    """Raise `ValueError` unless it is `plus`, `minus`, or one of the others."""
    known = (*SIGNS, *others)
    require(sign in known, "sign", sign, f"one of {', '.join(known)}")


def perturbed(
    largest: Callable[[Tensor, Tensor, Tensor], float],
    honest: Tensor,
    num_byzantine: int,
    perturbation: Perturbation,
    sign: Sign = "plus",
) -> Tensor:
    """`num_byzantine` rows `(f, d)`, all mean + gamma p, with gamma = `largest(honest, mean, p)`; `sign` is sigma's.

    Where the honest are all alike, or the mean is zero, there may be no direction p to go: it is the mean then.
    """
    check_honest(honest, num_byzantine)
    check_perturbation(perturbation, sign)
    mean, std = moments(honest)
    unit = unit_of(torch.cat([mean, std]))
    if unit != 1:
        honest, mean, std = honest / unit, mean / unit, std / unit
    p = {"unit": -mean / length_of(mean), "std": std * SIGNS[sign], "sign": -torch.sign(mean)}[perturbation]
    if not float(squared_length(p)) > 0:
        return copies(mean * unit, num_byzantine)
    return copies(in_range((mean + largest(honest, mean, p) * p) * unit), num_byzantine)


def check_perturbation(perturbation: str, sign: str) -> None:
    """Raise `ValueError` unless both are known, and sigma, whose sign the second one is, is the first."""
    known = ("unit", "std", "sign")
    require(perturbation in known, "perturbation", perturbation, f"one of {', '.join(known)}")
    check_sign(sign)
    fits = perturbation == "std" or sign == "plus"
    require(fits, "sign", sign, f"plus with perturbation {perturbation!r}: it is the sign of the deviation")


def squared_length(vector: Tensor) -> Tensor:
    """|v|^2, float64."""
    return vector.double().square().sum()


def spread(honest: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances `(h, h)` of the honest messages from each other, and `(h,)` from their mean; float64."""
    apart = squared_distances(gram_matrix(honest))
    return apart, (apart.mean(dim=1) - apart.mean() / 2).clamp(min=0)


def deviation(aggregate: Rule, honest: Tensor) -> Callable[[Tensor], float]:
    """Of forged messages `(f, d)`: how far they move the rule's output from the mean of the honest ones (L2).

    What the attacks of Shejwalkar and Houmansadr 2021 and Allouah et al. 2023 maximise. Infinite where the output is
    not finite.
    """
    check_honest(honest, 0)
    mean = mean_row(honest)

    def measure(forged: Tensor) -> float:
        moved = length_of(aggregate(torch.cat([honest, forged])) - mean)
        return moved if math.isfinite(moved) else math.inf

    return measure


def most_harmful(
    forged: Callable[[float], Tensor], honest: Tensor, aggregate: Rule, low: float, high: float, points: int
) -> Tensor:
    """Of the messages `forged(factor)` `(f, d)` those that move the rule's output furthest, by `line_search`."""
    moved = deviation(aggregate, honest)
    return forged(line_search(lambda factor: moved(forged(factor)), low, high, points))


def line_search(score: Callable[[float], float], low: float, high: float, points: int) -> float:
    """The factor with the highest score of 2 `points`: a geometric grid, then a finer one around its best point."""
    good = 0 < low < high < math.inf and high / low < math.inf
    require(good, "low, high", (low, high), "positive and in order, and finite like their ratio")
    require(points >= 2, "points", points, "at least 2")
    grid = _geometric(low, high, points)
    scored = {factor: score(factor) for factor in grid}
    best = grid.index(max(scored, key=scored.__getitem__))
    finer = _geometric(grid[max(best - 1, 0)], grid[min(best + 1, points - 1)], points + 2)[1:-1]
    scored |= {factor: score(factor) for factor in finer}
    return max(scored, key=scored.__getitem__)


def _geometric(low: float, high: float, points: int) -> list[float]:
    return [low * (high / low) ** (k / (points - 1)) for k in range(points)]


class FactorSearch(ByzantineAttack):
    """Omniscient, and plays each candidate through the deployed rule; in a ternary alphabet, its signs."""

    omniscient = True

    low: float = Field(default=0.1, gt=0)
    high: float = Field(default=100.0, gt=0)
    points: int = Field(default=10, ge=2)

    @abstractmethod
    def strongest(self, honest: Tensor, num_byzantine: int, aggregate: Rule) -> Tensor:
        """The forged messages `(f, d)`, reals, with the factor from `low` to `high` that harms `aggregate` most."""

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        return fit(self.strongest(view.honest, len(view.own), deployed(view)), view.alphabet)


class AgnosticAttack(ByzantineAttack):
    """Omniscient, and agnostic of the rule: it goes from the honest mean along a perturbation."""

    version: ClassVar[int] = 2  # 1 went against the deviation where it goes along it now
    omniscient = True

    perturbation: Perturbation = "std"
    sign: Sign = "plus"

    @model_validator(mode="after")
    def _sign_of_the_deviation(self) -> Self:
        check_perturbation(self.perturbation, self.sign)
        return self

    @abstractmethod
    def furthest(self, honest: Tensor, num_byzantine: int) -> Tensor:
        """The forged messages `(f, d)`, reals, as far along the perturbation as the honest messages allow."""

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        return fit(self.furthest(view.honest, len(view.own)), view.alphabet)
