"""The adversary of a whole run: it watches every round, and tells of many clients which of two inputs each held."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.base.errors import require
from bench.threat.attacks import Attack


@dataclass(frozen=True)
class RunGame:
    """What the adversary of a run audit knows beforehand.

    canaries `(k,)`: the names of the clients that hold one of two inputs; a coin of their own says which.
    participants: m, the clients of a round. rounds: of the run. random_share: the probability that an entry of a
    ternary message is random.
    parameters: the defense's, public.
    """

    canaries: Tensor
    participants: int
    rounds: int
    random_share: float
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class RunRound:
    """What the adversary sees of one round of the run, and what it could have seen.

    differences `(k, d)`: by what each canary's message, before any noise, is another one with the second input than
    with the first; 0 where the adversary knows that it sent none. rows `(q, d)`: what the channel delivered, and
    senders `(q,)`, the names of those who sent it, None where they are not linked. total `(d,)`: the rows' sum; to an
    adversary that sees the models alone, who has no rows, what the round moved the model, in units of that sum.
    """

    index: int
    differences: Tensor
    total: Tensor
    rows: Tensor | None = None
    senders: Tensor | None = None


def check_canaries(count: int, num_clients: int) -> None:
    """Raise `ValueError` where there are more canaries than clients."""
    require(count <= num_clients, "canaries", count, f"at most {num_clients}, the clients")


class RunAudit(Attack):
    """The adversary of a run audit; what it has seen so far is in `memory`, empty at first."""

    plays = "run_audit"

    @abstractmethod
    def count(self) -> int:
        """k, the canaries."""

    @abstractmethod
    def samples(self) -> bool:
        """Whether a canary is a sample among a client's others, and not a whole update."""

    @abstractmethod
    def directions(self, dim: int, signs: bool, generator: torch.Generator) -> Tensor:
        """The updates `(k, d)` of the canaries, of length 1; every entry counts by its sign alone where `signs`."""

    @abstractmethod
    def watch(self, seen: RunRound, game: RunGame, memory: dict[str, Tensor]) -> None:
        """Take up a round."""

    @abstractmethod
    def scores(self, game: RunGame, memory: Mapping[str, Tensor]) -> Tensor:
        """What the run says for the second input of each canary `(k,)`."""

    @abstractmethod
    def is_gaussian(self, game: RunGame) -> bool:
        """Whether Gaussian noise of a defense makes the run a Gaussian mechanism, so that its curve may be taken."""
