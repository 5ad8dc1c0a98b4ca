"""Threat models, typed: who sees what of a federation's transcript, and who may forge messages.

A threat model is a filter. The engine writes down everything that happened; a filter turns that into a view; an attack
works on the view alone. Parameters of the protocol are public (Kerckhoffs): every view carries them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor

from bench.errors import require_somebody
from bench.models import Model
from bench.protocol import Alphabet, Delivered, PeerMessages, Setting, all_finite
from bench.rng import shuffled
from bench.settings import Numbers


@dataclass(frozen=True)
class RoundTranscript:
    """All that happened in one round; only filters and the bench read it."""

    index: int
    broadcast: Tensor  # (d,)
    participants: Tensor  # (m,) names of clients
    messages: Tensor  # (m, d) as they were sent
    delivered: Delivered
    peers: PeerMessages | None
    updates: Tensor  # (m, d) of the honest training: the truth that a privacy metric may need
    mute: Tensor | None = None  # (m, m) bool: whom each client (a row) sent zeros instead of its peer messages


@dataclass(frozen=True)
class PublicFacts:
    """The protocol's parameters, which everybody knows."""

    model: Model
    setting: Setting
    alphabet: Alphabet
    weighted: bool  # messages carry the weight p_k
    keeps_models: bool  # RSA's local rule
    local_penalty: float  # RSA's lambda, 0 without that rule
    random_share: float  # the probability that an entry of a ternary message is random
    clip_norm: float | None
    local_steps: int
    momentum: float  # beta of the clients' running mean of updates
    mean: Tensor  # (C,) and (C,): how images are normalised
    std: Tensor
    batch_size: int = 1  # B, the images that a target trains on, all of them in every step
    parameters: Mapping[str, Any] = field(default_factory=dict)  # the defense's, and what it works out of them


@dataclass(frozen=True)
class RoundView:
    """What an attacker on the server knows of one round about its targets, T clients.

    estimate: the targets' messages `(T, d)` as far as the view determines them: exact where messages are linked, else
    the mean of the rows among which each one is hidden. hidden_among `(T,)`: the number of those rows, 1 where exact,
    0 where nothing of the target arrived.
    shares_sent, shares_got: sum over the peer messages `(T, d)` that colluders got from, or sent to, each target, and
    their numbers `(T,)`; each_got `(T, v, d)`: the single ones that they sent, 0 in the places of others' shares, for
    attacks that ask for `single_shares`. total `(d,)`: the sum of all that arrived.
    """

    index: int
    broadcast: Tensor
    estimate: Tensor
    hidden_among: Tensor
    shares_sent: Tensor | None = None
    shares_got: Tensor | None = None
    num_sent: Tensor | None = None
    num_got: Tensor | None = None
    each_got: Tensor | None = None
    total: Tensor | None = None


@dataclass(frozen=True)
class View:
    """A privacy attacker's knowledge: the public facts, and round by round what it saw of its targets."""

    facts: PublicFacts
    targets: Tensor  # (T,) names of clients
    rounds: tuple[RoundView, ...]
    image_shape: tuple[int, ...]
    mean_image: Tensor  # (C, H, W), public knowledge of the domain; the best guess without any view


@dataclass(frozen=True)
class Reconstruction:
    """What a privacy attack gives: normalised images `(T, B, C, H, W)`, labels `(T, B)`, its loss `(T,)` and its trace.

    The order of a target's images says nothing. `estimate (T, d)`, where the attack strips noise first, is its last
    guess at the targets' messages.
    """

    images: Tensor
    labels: Tensor
    loss: Tensor
    trace: list[float]
    estimate: Tensor


def check_collusion(rho: float, num_clients: int) -> None:
    """Raise `ValueError` where a positive rho of the other clients rounds to nobody."""
    require_somebody("rho", rho, num_clients - 1, "other clients")


def choose_colluders(num_clients: int, targets: Tensor, rho: float, generator: torch.Generator) -> Tensor:
    """`(T, n)` bool: round(rho (n - 1)) of the others collude against each target, the first of one random order."""
    rank = shuffled(num_clients, generator)
    own = rank[targets].unsqueeze(1)
    among_others = rank - (rank > own).long()
    return (among_others < round(rho * (num_clients - 1))) & (rank != own)


@dataclass(frozen=True)
class Saboteurs:
    """Clients that deviate for the server: `colluders (T, n)` bool send the `targets (T,)` peer messages of zeros.

    Each target stands for a game of its own: what it sends to another target, as whose enemy it sends zeros, counts as
    honest where it is the target itself.
    """

    targets: Tensor
    colluders: Tensor

    def mute(self, participants: Tensor) -> Tensor:
        """`(m, m)` bool among the round's clients: whom each of them (a row) sends zeros."""
        silent = torch.zeros(len(participants), len(participants), dtype=torch.bool)
        here = torch.isin(self.targets, participants)
        silent[:, torch.searchsorted(participants, self.targets[here])] = self.colluders[here][:, participants].mT
        return silent


def server_view(
    transcript: RoundTranscript, targets: Tensor, colluders: Tensor | None = None, single_shares: bool = False
) -> RoundView:
    """The server's view of a round about `targets (T,)`, with what each one's `colluders (T, n)` tell; none by default.

    Raises `ValueError` where a target did not take part in the round.
    """
    names = transcript.participants
    rows = torch.searchsorted(names, targets)
    if not torch.equal(names[rows.clamp(max=len(names) - 1)], targets):
        raise ValueError("targets must be participants of the round")
    accomplice = torch.zeros(len(targets), len(names), dtype=torch.bool) if colluders is None else colluders[:, names]
    total = transcript.delivered.messages.sum(dim=0, dtype=torch.float64)
    estimate, hidden = _delivered_view(transcript, total, rows, accomplice)
    estimate = estimate.to(transcript.broadcast.dtype)
    seen = RoundView(transcript.index, transcript.broadcast, estimate, hidden, total=total)
    if transcript.peers is None or not bool(accomplice.any()):
        return seen
    return _with_shares(seen, transcript, rows, accomplice, single_shares)


def _delivered_view(
    transcript: RoundTranscript, total: Tensor, rows: Tensor, accomplice: Tensor
) -> tuple[Tensor, Tensor]:
    """What the channel, in sum `total (d,)`, delivered of the messages `rows (T,)`; among how many each is hidden."""
    messages, delivered = transcript.messages, transcript.delivered
    if delivered.senders is not None:
        at = torch.full((len(messages),), -1)
        at[delivered.senders] = torch.arange(len(delivered.senders))
        arrived = at[rows]
        estimate = torch.where((arrived >= 0).unsqueeze(1), delivered.messages[arrived], 0)
        return estimate, (arrived >= 0).long()  # 0 where the message never arrived
    known = accomplice.double() @ messages.double()  # colluders know what they sent themselves
    hidden = len(messages) - accomplice.sum(dim=1)
    return (total - known) / hidden.unsqueeze(1), hidden


def _with_shares(
    seen: RoundView, transcript: RoundTranscript, rows: Tensor, accomplice: Tensor, single_shares: bool
) -> RoundView:
    """The view with what colluders know of the peer messages from and to the targets in `rows (T,)`."""
    assert transcript.peers is not None
    sent, got, each = torch.zeros_like(seen.estimate), torch.zeros_like(seen.estimate), []
    opened = []  # which of the shares that each target sent, and which of those that it got, a colluder knows
    for share, receivers in transcript.peers.legs():
        ends = torch.stack([receivers.index_select(0, rows), receivers.argsort().index_select(0, rows)], dim=1)
        known = accomplice.gather(1, ends)
        opened.append(known)
        source, (to_colluder, from_colluder) = ends[:, 1], known.split(1, dim=1)
        sent += share.index_select(0, rows) * to_colluder
        if transcript.mute is not None:
            from_colluder = from_colluder & ~transcript.mute[source, rows].unsqueeze(1)
        received = share.index_select(0, source) * from_colluder
        got += received
        if single_shares:
            each.append(received)
    num_sent, num_got = torch.stack(opened).sum(dim=0).unbind(dim=1)
    return replace(
        seen,
        shares_sent=sent,
        shares_got=got,
        num_sent=num_sent,
        num_got=num_got,
        each_got=torch.stack(each, dim=1) if single_shares else None,
    )


class Attack(Numbers, ABC):
    """Base of all attacks; fields are the parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1


@dataclass(frozen=True)
class ByzantineView:
    """What Byzantine clients know when they forge.

    own `(f, d)`: the updates of their own honest training, or the signs sign(w_0 - w_i) in a ternary alphabet, without
    any noise (errata D12, D14: they bypass it); updates `(f, d)`: those updates in any alphabet, where the attack
    `needs_updates`; broadcast `(d,)`; memory: what they keep from round to round, empty at
    first. For omniscient attacks only: honest `(h, d)`, the others' messages as sent, in units of updates; names
    `(h,)`, whose those are; aggregate, the change `(d,)` of the model that the server would make of messages `(m, d)`,
    the honest rows first: its deployed rule, with randomness of its own rather than the round's.
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


class ByzantineAttack(Attack):
    """Byzantine clients, a fraction b of all, send what they like; oblivious ones see only their own messages."""

    omniscient: ClassVar[bool] = False
    finite: ClassVar[bool] = True
    """Whether all that it sends are numbers; False is for attacks that mean to send others."""

    def needs_updates(self) -> bool:
        """Whether it looks at its clients' updates behind their messages, four times as large where those are signs."""
        return False

    @abstractmethod
    def forge(self, view: ByzantineView) -> Tensor:
        """The forged messages `(f, d)`: updates, or int8 signs in a ternary alphabet."""


class PrivacyAttack(Attack):
    """A curious server, with a fraction rho of the other clients on its side, infers what its targets trained on."""

    active: ClassVar[bool] = False
    """Whether colluders deviate: they send their targets peer messages of zeros."""
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

    def estimates(self, view: View) -> list[Tensor]:
        """The targets' messages `(T, d)` of each round, without the noise that colluders can account for."""
        return [seen.estimate for seen in view.rounds]

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
