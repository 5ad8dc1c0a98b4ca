"""Mimic (Karimireddy et al. 2022, section 3): all attackers send what one honest client sends, which nobody can tell.

On heterogeneous data a rule then follows that client at the cost of the others. Whom to copy: the direction in which
the honest messages vary most is learnt by Oja's method over `warmup` rounds, and the client furthest along it is
copied; after them it stays the same client. So do the authors in their code.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.forging import check_honest, copies, fit, is_clear, mean_row, unit_of
from bench.base.errors import require
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def mimic(honest: Tensor, num_byzantine: int, direction: Tensor) -> Tensor:
    """`num_byzantine` copies `(f, d)` of the row of `honest (h, d)` that lies furthest along `direction (d,)`."""
    check_honest(honest, num_byzantine)
    return copies(honest[furthest(honest, direction)], num_byzantine)


def furthest(honest: Tensor, direction: Tensor) -> int:
    """The index of the row with the largest inner product."""
    check_direction(direction, honest)
    return int((honest @ direction).argmax())


def check_direction(direction: Tensor, honest: Tensor) -> None:
    """Raise `ValueError` unless it has an entry for each column of the messages `honest (h, d)`, of the same type."""
    check_honest(honest, 0)
    require(direction.shape == honest.shape[1:], "direction", tuple(direction.shape), f"of {honest.shape[1]} entries")
    require(direction.dtype == honest.dtype, "direction", direction.dtype, f"{honest.dtype}, as honest is")


def oja(honest: Tensor, mean: Tensor, direction: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Mean and direction `(d,)` of `rounds` rounds, updated with the messages `(h, d)` of one more.

    mean <- (t mean + mean of x) / (t + 1), step = sum (x - mean) <x - mean, z>, z <- (t z + step / |step|) / (t + 1),
    and then to length 1.
    """
    check_direction(direction, honest)
    mean = (rounds * mean + mean_row(honest)) / (rounds + 1)
    centred = honest - mean
    step, length = _drift(centred, direction)
    if not is_clear(length.square()):
        step, length = _drift(centred / unit_of(centred), direction)
    if float(length) > 0:
        direction = rounds * direction + step / length
    return mean, direction / torch.linalg.vector_norm(direction)


def _drift(centred: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Sum (x - mean) <x - mean, z> `(d,)`, and its length."""
    step = (centred @ direction) @ centred
    return step, torch.linalg.vector_norm(step)


@register("attack", "mimic")
class Mimic(ByzantineAttack):
    """Omniscient; a client that sits out a round is replaced by the one furthest along the direction."""

    omniscient = True

    warmup: int = Field(default=10, ge=1)  # rounds in which the direction is learnt

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        honest, names, memory = view.honest, view.names, view.memory
        assert honest is not None
        assert names is not None
        if not memory:
            random = torch.randn(honest.shape[1], generator=view.generator, dtype=honest.dtype)
            memory |= {"rounds": torch.tensor(0), "mean": torch.zeros_like(random), "direction": random}
        rounds = int(memory["rounds"])
        if rounds < self.warmup:
            memory["mean"], memory["direction"] = oja(honest, memory["mean"], memory["direction"], rounds)
            memory["client"] = names[furthest(honest, memory["direction"])]
        memory["rounds"] = torch.tensor(rounds + 1)
        present = names == memory["client"]
        if bool(present.any()):
            return fit(copies(honest[present][0], len(view.own)), view.alphabet)
        return fit(mimic(honest, len(view.own), memory["direction"]), view.alphabet)
