"""Threat models, typed: who sees what of a federation's transcript, and who may forge messages.

A threat model is a filter. The engine writes down everything that happened; a filter turns that into a view; an attack
works on the view alone. Parameters of the protocol are public (Kerckhoffs): every view carries them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from bench.models.base import Model
from bench.protocol import Alphabet, Delivered, PeerMessages, Setting


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
    variance `(T, d)`: of the noise on each coordinate of `estimate`, up to a factor that is common to the rounds, where
    colluders have worked it out; None where all are alike to the attacker.
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
    variance: Tensor | None = None


def strip(seen: RoundView) -> Tensor:
    """The targets' messages `(T, d)` without the noise that the colluders can account for.

    The target uploads n_i for each share -n_i that it sent, and s_i r_i for each share r_i that it got.
    """
    if seen.shares_sent is None or seen.shares_got is None:
        return seen.estimate
    return seen.estimate + seen.shares_sent - seen.shares_got


@dataclass(frozen=True)
class View:
    """A privacy attacker's knowledge: the public facts, and round by round what it saw of its targets."""

    facts: PublicFacts
    targets: Tensor  # (T,) names of clients
    rounds: tuple[RoundView, ...]
    image_shape: tuple[int, ...]
    mean_image: Tensor  # (C, H, W), public knowledge of the domain; the best guess without any view

    @property
    def most_images(self) -> int:
        """How many images there are in what was seen of a target, and may be in an answer: B, or m B in a sum of m."""
        return self.facts.batch_size * max(1, int(torch.stack([seen.hidden_among.max() for seen in self.rounds]).max()))

    def answered(self, images: object) -> torch.Size:
        """The shape `(T, K, C, H, W)` that an answer `images` is held to: K is its own, from B to `most_images`."""
        given = images.shape[1] if isinstance(images, Tensor) and images.ndim > 1 else 0
        count = min(max(given, self.facts.batch_size), self.most_images)
        return torch.Size((len(self.targets), count, *self.image_shape))


@dataclass(frozen=True)
class Reconstruction:
    """What a privacy attack gives: normalised images `(T, B, C, H, W)`, labels `(T, B)`, its loss `(T,)` and its trace.

    Where a target is hidden among m messages, up to m B images: which of them are the target's, nobody need know.
    The order of a target's images says nothing. `estimate (T, d)`, where the attack strips noise first, is its last
    guess at the targets' messages.
    """

    images: Tensor
    labels: Tensor
    loss: Tensor
    trace: list[float]
    estimate: Tensor


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
