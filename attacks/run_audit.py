"""Run audit: many canaries in one training, each with a coin of its own (Steinke et al. 2023; Mahloujifar et al. 2024).

The adversary sees what the claim is against: all messages of all rounds as the channel delivers them, or the models
alone. A canary's update changes its sign from round to round, so that noise that is used again cancels; its score is
the sum over the rounds of the inner products of what is seen with what the canary would make of it.
`bench.plays.run_audit` plays the run on the defense's own code, `bench.privacy.one_run` has the bound.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from attacks.audit import target_tau_squared
from bench.registry import register
from bench.threat import Game, RunAudit, RunGame, RunRound

HALVES = ("first half", "second half")

LOUD = 0.3
"""By how much the loudest rows must be louder than chance allows before the shuffler counts as one that keeps them."""


def cosines(count: int, dim: int, generator: torch.Generator) -> Tensor:
    """`(k, d)`: rows of length 1, the first d of them orthogonal; float64.

    Rows of the discrete cosine transform in random order, with a random sign for each coordinate.
    """
    order = torch.randperm(dim, generator=generator)[torch.arange(count) % dim].double()
    signs = torch.randint(2, (dim,), generator=generator).double() * 2 - 1
    angles = math.pi / dim * (torch.arange(dim, dtype=torch.float64) + 0.5) * order.unsqueeze(1)
    rows = angles.cos() * signs * math.sqrt(2 / dim)
    return torch.where(order.unsqueeze(1) == 0, rows / math.sqrt(2), rows)


def share_of_sum(tau_squared: float, participants: int) -> float:
    """How much the sum of all uploads counts beside the target's own upload, under NISS.

    Generalized least squares: the noise of an upload has variance (2 + tau^2) sigma^2, that of the sum m tau^2 sigma^2
    (NISS paper, Theorem 2), and tau^2 sigma^2 is in both.
    """
    upload, both, everything = 2 + tau_squared, tau_squared, participants * tau_squared
    return (upload - both) / (upload + everything - 2 * both)


@register("attack", "run_audit")
class OneRunAudit(RunAudit):
    """The server alone, or who sees the models, over the whole run."""

    canaries: int = Field(default=100, ge=2)
    canary: Literal["update", "sample"] = "update"  # a whole update at the clipping bound, or one image of a client's

    def count(self) -> int:
        return self.canaries

    def samples(self) -> bool:
        return self.canary == "sample"

    def directions(self, dim: int, signs: bool, generator: torch.Generator) -> Tensor:
        if not signs:
            return cosines(self.canaries, dim, generator)
        drawn = torch.randint(2, (self.canaries, dim), generator=generator, dtype=torch.float64)
        return (2 * drawn - 1) / math.sqrt(dim)

    def watch(self, seen: RunRound, game: RunGame, memory: dict[str, Tensor]) -> None:
        differences = seen.differences.double()
        if seen.rows is not None and seen.senders is not None:
            self._watch_own(seen.rows, seen.senders, differences, game, memory)
        elif seen.rows is not None:
            self._watch_rows(seen.index, seen.rows, differences, game, memory)
        if seen.senders is None or "share_variance" in game.parameters:
            _add(memory, "gram", _gram(differences, memory))
            _add(memory, "inner", differences @ seen.total.double())

    def scores(self, game: RunGame, memory: Mapping[str, Tensor]) -> Tensor:
        own = memory["own"] / memory["energy"].clamp(min=1e-300) if "own" in memory else None
        if "gram" not in memory:
            assert own is not None
            return own
        summed = self._from_sums(game, memory)
        if own is not None:
            share = 0.0 if game.parameters["dropout"] else share_of_sum(_tau_squared(game), game.participants)
            return own + share * (summed - own)
        kept = _kept_order(memory)
        return summed if kept is None else kept

    def is_gaussian(self, game: RunGame) -> bool:
        """Not where NISS multiplies a whole share by one factor, so that the variance differs from run to run (N2)."""
        return game.parameters.get("scale") != "share" or _tau_squared(game) == 0

    def _watch_own(
        self, rows: Tensor, senders: Tensor, differences: Tensor, game: RunGame, memory: dict[str, Tensor]
    ) -> None:
        """Each canary's message under its own name, where it arrived."""
        at = torch.full((int(max(senders.max(), game.canaries.max())) + 1,), -1)
        at[senders] = torch.arange(len(senders))
        places = at[game.canaries]
        here = (places >= 0).double()
        _add(memory, "own", (rows[places.clamp(min=0)].double() * differences).sum(dim=1) * here)
        _add(memory, "energy", differences.square().sum(dim=1) * here)

    def _watch_rows(
        self, index: int, rows: Tensor, differences: Tensor, game: RunGame, memory: dict[str, Tensor]
    ) -> None:
        """How loud each row without a name answers to each canary, `(q, k)`, summed over the run's halves.

        A shuffler that keeps an order adds up one client's answers in one row.
        """
        answers = rows.float() @ differences.float().mT
        half = HALVES[2 * index >= game.rounds]
        if half not in memory or memory[half].shape == answers.shape:
            _add(memory, half, answers)

    def _from_sums(self, game: RunGame, memory: Mapping[str, Tensor]) -> Tensor:
        """The canaries `(k,)` by least squares from the sums of all rounds; by ridge regression where votes are random.

        A vote keeps its sign with probability 1 - gamma and is uniform on -1, 0, 1 otherwise, so that its variance is
        v = 1 - gamma / 3 - (1 - gamma)^2; a coin's two values are half a difference on either side of the middle.
        """
        gram, gamma = memory["gram"], game.random_share
        variance = game.participants * (1 - gamma / 3 - (1 - gamma) ** 2)
        ridge = max(4 * variance / (1 - gamma) ** 2, 1e-9 * float(gram.diagonal().mean()))
        result: Tensor = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), memory["inner"])
        return result


def _kept_order(memory: Mapping[str, Tensor]) -> Tensor | None:
    """What the row that answers each canary loudest says `(k,)`; None where no row is louder than chance allows."""
    halves = [memory[half] for half in HALVES if half in memory]
    best, result = LOUD, None
    for some in (halves, halves[1:]):
        if not some or some[0].shape != some[-1].shape:
            continue
        answers = torch.stack(some).sum(dim=0)
        answers = answers - answers.mean(dim=0)
        answers = answers / answers.std().clamp(min=1e-30)
        loudest = answers.abs().argmax(dim=0, keepdim=True)
        said = answers.gather(0, loudest)[0]
        beyond = float(said.abs().mean()) - math.sqrt(2 * math.log(2 * len(answers)))
        if beyond > best:
            best, result = beyond, said.double()
    return result


def _gram(differences: Tensor, memory: dict[str, Tensor]) -> Tensor:
    """`(k, k)`; that of the round before where the differences `(k, d)` are the same but for a sign, which is often."""
    last = memory.get("differences")
    if last is None or not (torch.equal(last, differences) or torch.equal(last, -differences)):
        memory["differences"], memory["gram of a round"] = differences, differences @ differences.mT
    return memory["gram of a round"]


def _tau_squared(game: RunGame) -> float:
    if "tau_squared" not in game.parameters:
        return 0.0
    return target_tau_squared(Game(torch.empty(0), torch.empty(0), game.participants, game.parameters))


def _add(memory: dict[str, Tensor], name: str, value: Tensor) -> None:
    memory[name] = memory[name] + value if name in memory else value
