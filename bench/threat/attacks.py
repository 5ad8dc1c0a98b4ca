"""The kinds of attack: what each of them is shown, and what it gives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor

from bench.base.classes import still_said
from bench.base.numbers import Numbers
from bench.models.base import Model
from bench.protocol import Alphabet, Setting, all_finite
from bench.threat.training import OwnTraining
from bench.threat.views import PublicFacts, Reconstruction, RoundView, View, strip


class Attack(Numbers, ABC):
    """Base of all attacks; fields are the parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    plays: ClassVar[str]
    """The kind of its cells, a name of `bench.suite.kinds`."""


@dataclass(frozen=True)
class Asked:
    """The images `(M, *shape)` and labels `(M,)` of which a coalition asks who trained on them, and the model."""

    model: Model
    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class ByzantineView:
    """What Byzantine clients know when they forge.

    own `(f, d)`: the updates of their own honest training, or the signs sign(w_0 - w_i) in a ternary alphabet, without
    any noise (errata D12, D14: they bypass it), and perhaps zeros where the attack does not say `needs_own`; updates
    `(f, d)`: those updates in any alphabet, where the attack `needs_updates`; broadcast `(d,)`; memory: what they keep
    from round to round, empty at first. For omniscient attacks only: honest `(h, d)`, the others' messages as sent, in
    units of updates; names `(h,)`, whose those are; aggregate, the change `(d,)` of the model that the server would
    make of messages `(m, d)`, the honest rows first: its deployed rule, with randomness of its own rather than the
    round's.
    damage: for attacks that measure it, the mean loss of a model `(d,)` on images that the attackers hold.
    training: for attacks that train their clients themselves, what those would train on; None where it is not at hand,
    as for submitted attacks.
    asked: the images of which the attackers ask who trained on them, where they infer membership as well; None
    elsewhere, and for submitted attacks.
    """

    own: Tensor
    honest: Tensor | None
    broadcast: Tensor
    alphabet: Alphabet
    generator: torch.Generator
    setting: Setting
    memory: dict[str, Tensor]
    names: Tensor | None = None
    aggregate: Callable[[Tensor], Tensor] | None = None
    updates: Tensor | None = None
    damage: Callable[[Tensor], float] | None = None
    training: OwnTraining | None = None
    asked: Asked | None = None


class ByzantineAttack(Attack):
    """Byzantine clients, a fraction b of all, send what they like; oblivious ones see only their own messages."""

    plays = "training"
    omniscient: ClassVar[bool] = False
    finite: ClassVar[bool] = True
    """Whether all that it sends are numbers; False is for attacks that mean to send others."""
    measures_damage: ClassVar[bool] = False
    """Whether it looks at the loss of models on images of its own."""
    trains: ClassVar[bool] = False
    """Whether it trains its clients itself, in a way of its own."""
    apart: ClassVar[bool] = False
    """Whether a client's forged message has to do with no other's `own`, with nothing in memory and not with how many
    they are; draws are then for one row after another, as `torch.randn(f, d)` has them. Its class says it of its own
    `forge`."""

    def needs_updates(self) -> bool:
        """Whether it looks at its clients' updates behind their messages, four times as large where those are signs."""
        return False

    def needs_own(self, alphabet: Alphabet) -> bool:
        """Whether what it forges depends on the numbers in `view.own`, beyond their shape and type.

        Where it does not, nobody need train its clients. An attack that `trains` them itself has `view.training` here.
        """
        return True

    @classmethod
    def forges_apart(cls) -> bool:
        """Whether it says of its own `forge` that it is `apart`; a base's word does not count."""
        return cls.apart and still_said(cls, "apart", "forge")

    def needs_training(self, alphabet: Alphabet) -> bool:
        """Whether its clients have to train before it forges; they do where a subclass changed `forge` alone."""
        known = still_said(type(self), "needs_own", "forge")
        return not known or self.needs_own(alphabet) or self.needs_updates()

    @abstractmethod
    def forge(self, view: ByzantineView) -> Tensor:
        """The forged messages `(f, d)`: updates, or int8 signs in a ternary alphabet."""


class Ensemble(ByzantineAttack):
    """Attackers who rehearse: a whole training with each member, and then the one that harmed most, by their images."""

    @abstractmethod
    def members(self) -> Mapping[str, ByzantineAttack]:
        """The attacks that are rehearsed, by name."""


class PrivacyAttack(Attack):
    """A curious server, with a fraction rho of the other clients on its side, infers what its targets trained on."""

    plays = "inversion"
    active: ClassVar[bool] = False
    """Whether colluders deviate: they send their targets peer messages of zeros."""
    deviates: ClassVar[bool] = False
    """Whether the server does: in the rounds that it watches it sends the model that `tampered` makes."""
    single_shares: ClassVar[bool] = False
    """Whether the attack looks at the peer messages one by one, not at their sums alone."""

    def collusion(self) -> float:
        """rho, the fraction of the other clients that collude with the server."""
        return 0.0

    def alone(self) -> "PrivacyAttack":
        """The same attack by the server alone: what it is without a defense, where colluders know nothing more.

        Its `infer` also does the work where there are colluders, on a view whose messages are `estimates(view)`.
        """
        return self

    def tampered(self, facts: PublicFacts, params: Tensor, mean_image: Tensor, generator: torch.Generator) -> Tensor:
        """The model `(d,)` that a server which `deviates` sends in place of `params (d,)`."""
        return params

    def estimates(self, view: View) -> list[Tensor]:
        """The targets' messages `(T, d)` of each round, without the noise that colluders can account for."""
        return [strip(seen) for seen in view.rounds]

    def variances(self, view: View) -> list[Tensor | None]:
        """Of the noise on each coordinate of `estimates(view)`: `(T, d)` a round, or None where all are alike to it."""
        return [seen.variance for seen in view.rounds]

    @abstractmethod
    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        """A reconstruction of each target's training images from the view alone."""


@dataclass(frozen=True)
class Game:
    """What the adversary of an audit knows beforehand: its target holds one of two inputs.

    without, with_ `(d,)`: the message that each of them makes, before any noise; those of the others are 0.
    parameters: the defense's, public.
    """

    without: Tensor
    with_: Tensor
    participants: int  # m
    parameters: Mapping[str, Any]


class PrivacyAudit(Attack):
    """The adversary of a distinguishing game: it tells from a view which of two inputs its target held."""

    plays = "audit"

    @abstractmethod
    def collusion(self) -> float:
        """rho, the fraction of the other clients that collude with the server."""

    @abstractmethod
    def sabotages(self) -> bool:
        """Whether colluders send their target peer messages of zeros."""

    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(games in each of the two worlds, coordinates d of a message)."""

    @abstractmethod
    def canary(self, generator: torch.Generator) -> Tensor:
        """The direction `(d,)`, of length 1, in which the two inputs differ where messages are real."""

    @abstractmethod
    def evidence(self, seen: RoundView, game: Game) -> Tensor:
        """What each coordinate of the one target's view says for the canary, `(d,)`; for a whole upload, their sum."""

    @abstractmethod
    def recover(self, seen: RoundView, game: Game) -> Tensor:
        """The target's message `(d,)` as well as the view gives it."""

    @abstractmethod
    def is_gaussian(self, game: Game) -> bool:
        """Whether Gaussian noise of a defense makes the evidence Gaussian, so that a Gaussian mechanism may be fit."""


def sanitize(forged: Tensor, alphabet: Alphabet) -> tuple[Tensor, int]:
    """Forged messages `(f, d)` made sendable, and how many entries that took; the same for every defense.

    A row of reals that is not finite is rejected (a zero update stands for it); ternary entries are rounded into the
    alphabet, what is not a number to 0.
    """
    if alphabet is Alphabet.REAL:
        if all_finite(forged):
            return forged, 0
        bad = ~torch.isfinite(forged).all(dim=1)
        return torch.where(bad.unsqueeze(1), torch.zeros_like(forged), forged), int(bad.sum()) * forged.shape[1]
    if forged.dtype == torch.int8 and bool(forged.amin() >= -1) and bool(forged.amax() <= 1):
        return forged, 0
    rounded = forged if forged.dtype == torch.int8 else torch.nan_to_num(forged, nan=0.0).round()
    clean = rounded.clamp(-1, 1)
    return clean.to(torch.int8), int((clean != forged).sum())
