"""Threat models, typed: who sees what of a federation's transcript, and who may forge messages.

A threat model is a filter. The engine writes down everything that happened; a filter turns that into a view; an attack
works on the view alone. Parameters of the protocol are public (Kerckhoffs): every view carries them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from bench.models import Model
from bench.protocol import Alphabet, Delivered, PeerMessages, Setting, all_finite


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


@dataclass(frozen=True)
class PublicFacts:
    """The protocol's parameters, which everybody knows."""

    model: Model
    setting: Setting
    alphabet: Alphabet
    weighted: bool  # messages carry the weight p_k
    keeps_models: bool  # RSA's local rule
    penalty: float  # RSA's lambda, 0 without that rule
    gamma: float  # the probability that a ternary message is random
    clip_norm: float | None
    local_steps: int
    momentum: float  # beta of the clients' running mean of updates
    mean: Tensor  # (C,) and (C,): how images are normalised
    std: Tensor


@dataclass(frozen=True)
class RoundView:
    """What an attacker on the server knows of one round about its targets, T clients.

    estimate: the targets' messages `(T, d)` as far as the view determines them: exact where messages are linked, else
    the mean of the rows among which each one is hidden. hidden_among `(T,)`: the number of those rows, 1 where exact,
    0 where nothing of the target arrived.
    shares_sent, shares_got: sum over the peer messages `(T, d)` that colluders got from, or sent to, each target.
    """

    index: int
    broadcast: Tensor
    estimate: Tensor
    hidden_among: Tensor
    shares_sent: Tensor | None = None
    shares_got: Tensor | None = None


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
    """What a privacy attack gives: normalised images `(T, C, H, W)`, labels `(T,)`, its own loss `(T,)` and its trace.

    `estimate (T, d)`, where the attack strips noise first, is its last guess at the targets' messages.
    """

    images: Tensor
    labels: Tensor
    loss: Tensor
    trace: list[float]
    estimate: Tensor


def choose_colluders(num_clients: int, targets: Tensor, rho: float, generator: torch.Generator) -> Tensor:
    """`(T, n)` bool: round(rho (n - 1)) of the others collude against each target, the first of one random order."""
    rank = torch.randperm(num_clients, generator=generator)
    own = rank[targets].unsqueeze(1)
    among_others = rank - (rank > own).long()
    return (among_others < round(rho * (num_clients - 1))) & (rank != own)


def server_view(transcript: RoundTranscript, targets: Tensor, colluders: Tensor | None = None) -> RoundView:
    """The server's view of a round about `targets (T,)`, with what each one's `colluders (T, n)` tell; none by default.

    Raises `ValueError` where a target did not take part in the round.
    """
    names, messages, delivered = transcript.participants, transcript.messages, transcript.delivered
    rows = torch.searchsorted(names, targets)
    if not torch.equal(names[rows.clamp(max=len(names) - 1)], targets):
        raise ValueError("targets must be participants of the round")
    accomplice = torch.zeros(len(targets), len(names), dtype=torch.bool) if colluders is None else colluders[:, names]
    if delivered.senders is not None:
        at = torch.full((len(names),), -1)
        at[delivered.senders] = torch.arange(len(delivered.senders))
        arrived = at[rows]
        estimate = torch.where((arrived >= 0).unsqueeze(1), delivered.messages[arrived], 0)
        hidden = (arrived >= 0).long()  # 0 where the message never arrived
    else:
        known = accomplice.double() @ messages.double()  # colluders know what they sent themselves
        hidden = len(names) - accomplice.sum(dim=1)
        estimate = (delivered.messages.sum(dim=0, dtype=torch.float64) - known) / hidden.unsqueeze(1)
    sent, got = None, None
    if transcript.peers is not None and bool(accomplice.any()):
        sent = torch.zeros(len(rows), messages.shape[1], dtype=messages.dtype)
        got = torch.zeros_like(sent)
        for share, receivers in transcript.peers.legs():
            to, source = receivers[rows], receivers.argsort()[rows]
            sent += share[rows] * accomplice.gather(1, to.unsqueeze(1))
            got += share[source] * accomplice.gather(1, source.unsqueeze(1))
    return RoundView(transcript.index, transcript.broadcast, estimate.to(transcript.broadcast.dtype), hidden, sent, got)


class Attack(BaseModel, ABC):
    """Base of all attacks; fields are the parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1


@dataclass(frozen=True)
class ByzantineView:
    """What Byzantine clients know when they forge.

    own `(f, d)`: the updates of their own honest training, or the signs sign(w_0 - w_i) in a ternary alphabet, without
    any noise (errata D12, D14: they bypass it); honest `(h, d)`: the others' messages as sent, in units of updates, for
    omniscient attacks only; broadcast `(d,)`.
    """

    own: Tensor
    honest: Tensor | None
    broadcast: Tensor
    alphabet: Alphabet
    generator: torch.Generator


class ByzantineAttack(Attack):
    """Byzantine clients, a fraction b of all, send what they like; oblivious ones see only their own messages."""

    omniscient: ClassVar[bool] = False

    @abstractmethod
    def forge(self, view: ByzantineView) -> Tensor:
        """The forged messages `(f, d)`: updates, or int8 signs in a ternary alphabet."""


class PrivacyAttack(Attack):
    """A curious server, with a fraction rho of the other clients on its side, infers what its targets trained on."""

    def collusion(self) -> float:
        """rho, the fraction of the other clients that collude with the server."""
        return 0.0

    def alone(self) -> "PrivacyAttack":
        """The same attack by the server alone: what it is without a defense, where colluders know nothing more."""
        return self

    @abstractmethod
    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        """A reconstruction of each target's training images from the view alone."""


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
