"""What a defense is: a protocol between clients, channel and server, one method a step of the round.

    local training -> upload (client) -> forged rows (engine) -> deliver (channel) -> aggregate (server)

Each step sees what its party sees and no more: the clients' side their models, the server's side the delivered
messages. No step is told who is Byzantine. Messages are updates, local model minus broadcast: the broadcast is public,
so the two say the same, and a forged message weighs the same under every defense.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self

import torch
from pydantic import ConfigDict
from torch import Tensor

from bench.base.classes import still_said
from bench.base.errors import require
from bench.base.numbers import Numbers
from bench.models import Layer, Model
from bench.privacy.claims import PrivacyClaim
from bench.privacy.sampling import busiest_client

REALS = (torch.float32, torch.float64)
WHOLE = (torch.int8, torch.int16, torch.int32, torch.int64)
"""Number types of messages, and of signs and labels."""


Party = Literal["clients", "channel", "server"]
"""Who plays a step of a defense."""


class Alphabet(StrEnum):
    """What a message may hold."""

    REAL = "real"
    TERNARY = "ternary"  # int8 in {-1, 0, 1}


@dataclass(frozen=True)
class Setting:
    """The public facts of a federation: what every client and the server know before the first round."""

    num_clients: int
    participants: int  # m, the clients of a round
    dim: int  # d, the parameters of the model
    rounds: int
    lr: float
    lr_decay: float | None
    assumed_byzantine: float  # the fraction that the operator assumes, the same for every defense
    delta: float  # at which composed privacy is stated
    lr_milestones: tuple[int, ...] = ()
    lr_milestone_factor: float = 0.1

    def learning_rate(self, round_index: int) -> float:
        """alpha_k = lr / sqrt(1 + k / lr_decay), or lr times the factor for each milestone that k has reached.

        Constant without a decay and milestones.
        """
        if self.lr_milestones:
            reached = sum(milestone <= round_index for milestone in self.lr_milestones)
            return self.lr * self.lr_milestone_factor**reached
        return self.lr if self.lr_decay is None else self.lr / (1 + round_index / self.lr_decay) ** 0.5

    @property
    def num_byzantine(self) -> int:
        """f, the assumed number of Byzantine clients among the participants of a round."""
        return round(self.assumed_byzantine * self.participants)

    @property
    def busiest(self) -> tuple[int, float]:
        """The most rounds that any client takes part in, and what is left of delta for what it releases there."""
        return busiest_client(self.num_clients, self.participants, self.rounds, self.delta)

    @property
    def of_busiest(self) -> str:
        """What the source of a composed claim adds where clients take part in different numbers of rounds."""
        most, left = self.busiest
        if self.participants == self.num_clients:
            return ""
        beyond = f", more with probability {self.delta - left:.1g}" if left < self.delta else ""
        return f" in the busiest client's {most} of {self.rounds} rounds{beyond}"


@dataclass(frozen=True)
class LocalRound:
    """The clients' side of a round: names `(m,)`, broadcast `(d,)`, updates w_k - w_t `(m, d)`, weights p_k `(m,)`.

    mute `(m, m)` bool: where row a has column b set, client a works for the server and sends client b peer messages of
    zeros; None where nobody does.
    memory: what these clients have kept, tensors `(m, ...)` by name with a row for each; what stands there after the
    upload is kept for their next round. Empty at first; a client that has kept nothing yet has zeros.
    """

    index: int
    clients: Tensor
    setting: Setting
    global_model: Tensor
    updates: Tensor
    weights: Tensor
    generator: torch.Generator
    mute: Tensor | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ServerRound:
    """The server's side of a round: what it broadcast `(d,)` and the weights p_k `(k,)` of the delivered rows.

    root_update `(d,)` is what training on images of its own gave the server, where the defense asked for some.
    memory: what the server has kept, by name; what stands there after a round is there in the next. Empty at first.
    clients: the names `(k,)` of those whose rows were delivered; None when the channel unlinked them.
    layers: names, shapes and places of the model's tensors in a message `(d,)`; empty where nobody said them.
    model: the architecture, a function of its parameters `(d,)`; None where the messages alone are there.
    """

    index: int
    setting: Setting
    global_model: Tensor
    weights: Tensor
    generator: torch.Generator
    root_update: Tensor | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)
    clients: Tensor | None = None
    layers: tuple[Layer, ...] = ()
    model: Model | None = field(default=None, repr=False)


class PeerMessages(Protocol):
    """What clients told each other before they uploaded (NISS: noise shares)."""

    def legs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(messages `(m, d)`, receivers `(m,)`), leg by leg: row k is what client k sent to `receivers[k]`."""
        ...


@dataclass(frozen=True)
class Upload:
    """What the clients of a round send: `messages (m, d)` to the server, perhaps `peers` among themselves."""

    messages: Tensor
    peers: PeerMessages | None = None


@dataclass(frozen=True)
class Delivered:
    """What reaches the server. `senders (k,)` says whose row is whose; None when the channel unlinked them."""

    rows: Tensor
    senders: Tensor | None
    mix: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)

    @property
    def linked(self) -> bool:
        return self.senders is not None

    @cached_property
    def messages(self) -> Tensor:
        """`(k, d)` as the server sees them; a shuffler's permutation is drawn when somebody looks."""
        return self.rows if self.mix is None else self.mix(self.rows)


class Defense(Numbers, ABC):
    """Base of all defenses; fields are the parameters, with the paper's defaults where it gives them.

    A plain aggregation rule overrides `aggregate` alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    alphabet: ClassVar[Alphabet] = Alphabet.REAL
    keeps_models: ClassVar[bool] = False  # each client keeps a model of its own and takes RSA's step on it
    breakdown: ClassVar[float | Literal["assumed"]] = 0.0  # stands fewer attackers, or as many as assumed
    weighted: ClassVar[bool] = False  # messages carry the weight p_k already; the server adds them up
    gaussian: ClassVar[bool] = False  # the noise of the claim is Gaussian: audits may fit a Gaussian mechanism
    apart: ClassVar[bool] = True  # a client's message has to do with no other's update; who changes upload says it anew
    against: ClassVar[Literal["server", "models"]] = "server"  # whom the claim is against: or who sees models alone

    def side(self, party: Party) -> Self:
        """A copy of its own for one of its parties, so that nothing passes between them but messages."""
        return deepcopy(self)

    if not TYPE_CHECKING:  # a type checker would take any name for one that may be set

        def __setattr__(self, name: str, value: object) -> None:
            """Refuse, with `ValueError`, what pydantic would refuse: a field, or a name that is none."""
            if name.startswith("_"):
                super().__setattr__(name, value)
                return
            raise ValueError(
                f"{self.name or type(self).__name__} sets self.{name}, but parameters do not change: what a defense "
                f"remembers is server.memory[{name!r}] in aggregate, local.memory[{name!r}] in upload"
            )

    def start(self, setting: Setting) -> None:
        """Refuse, with `ValueError`, a setting that the defense cannot work in."""

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        """What honest clients send before any noise, `(m, d)`: their updates `(m, d)` clipped, weighted or encoded.

        `weights (m,)` are the clients' p_k. Audits and privacy metrics measure against this; by default the updates.
        """
        return updates

    @classmethod
    def uploads_apart(cls) -> bool:
        """Whether it says of its own `upload` and `message` that they are `apart`; a base's word does not count."""
        return cls.apart and still_said(cls, "apart", "upload", "message")

    def upload(self, local: LocalRound) -> Upload:
        """The messages `(m, d)` with whatever noise the clients add; by default none."""
        return Upload(self.message(local.updates, local.weights))

    def deliver(self, messages: Tensor, generator: torch.Generator) -> Delivered:
        """What reaches the server of `messages (m, d)`; by default all, each linked to its sender."""
        return Delivered(messages, senders=torch.arange(len(messages), device=messages.device))

    @abstractmethod
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        """The next global model `(d,)`."""

    def claim(self, setting: Setting) -> PrivacyClaim | None:
        """What the paper claims for one release; None where it claims nothing."""
        return None

    @classmethod
    def claims_privacy(cls) -> bool:
        """Whether the defense makes a privacy claim, so that there is something to audit."""
        return cls.claim is not Defense.claim

    def composed(self, setting: Setting) -> PrivacyClaim | None:
        """The claim composed over all that one client releases in a run: an upper bound for every client.

        The server draws the clients of a round, or sees them: so its bound counts the rounds of the busiest client, and
        a draw hides nothing.
        """
        return None

    @classmethod
    def composes_privacy(cls) -> bool:
        """Whether the defense states a claim over a run, so that there is a run to audit."""
        return cls.composed is not Defense.composed

    def derived(self, setting: Setting) -> dict[str, float]:
        """What the defense works out of its parameters and the setting (a noise level, a count), for the record."""
        return {}

    def num_root_samples(self) -> int:
        """How many images of the validation split the server trains on itself; none by default."""
        return 0

    def noise_variance(self, setting: Setting) -> float | None:
        """The variance a coordinate of the noise that the claim rests on, in the message's units; None without one."""
        return None

    def local_penalty(self) -> float:
        """How strongly each kept model is pulled to the broadcast, lambda of RSA's step; of use with `keeps_models`."""
        return 0.0

    def random_share(self) -> float:
        """The probability that an entry of a ternary message is drawn at random, whatever the update."""
        return 0.0

    def remembers_clients(self) -> bool:
        """Whether the server keeps something for each client, and so has to know whose message is whose."""
        return False

    def singled_out(self, memory: Mapping[str, Tensor]) -> dict[str, int]:
        """Clients with a role of their own, names by role, of what the server keeps in `memory`: a record tells them.

        A rule draws them with the server's generator, anew for each seed; it is never told who is Byzantine.
        """
        return {}

    def clip_norm(self) -> float | None:
        """The L2 norm to which clients clip their updates."""
        return None

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        """Whether the defense itself claims to stand this fraction of Byzantine clients; most say `breakdown`."""
        if self.breakdown == "assumed":
            return round(fraction * setting.participants) <= setting.num_byzantine
        return fraction == 0 or fraction < self.breakdown

    def upload_bytes(self, setting: Setting) -> int:
        """Bytes a client uploads a round: float32, or two bits a ternary coordinate (errata D5)."""
        return setting.dim * 4 if self.alphabet is Alphabet.REAL else -(-setting.dim // 4)

    def peer_bytes(self, setting: Setting) -> int:
        """Bytes a client sends to other clients a round."""
        return 0


def clip(updates: Tensor, norm: float | None) -> Tensor:
    """Each row of `(m, d)` scaled down to L2 norm `norm` where it is longer; as they are where `norm` is None.

    Raises `ValueError` unless the updates are a matrix.
    """
    require(updates.dim() == 2, "updates", tuple(updates.shape), "an (m, d) tensor")
    if norm is None:
        return updates
    lengths: Tensor = torch.linalg.vector_norm(updates, dim=1, keepdim=True)
    if not all_finite(lengths):  # squares overflow long before the updates do
        lengths = torch.linalg.vector_norm(updates, dim=1, keepdim=True, dtype=torch.float64)
    return updates * (norm / lengths.clamp(min=norm)).to(updates.dtype)


def check_messages(messages: Tensor, argument: str = "messages", *, signs: bool = False) -> None:
    """Raise `ValueError` unless `messages` is a finite, non-empty matrix `(n, d)` with a message a row."""
    check_matrix(messages, argument, signs=signs)
    check_finite(messages, argument)


def check_matrix(messages: Tensor, argument: str = "messages", *, signs: bool = False) -> None:
    """Raise `ValueError` unless `messages` is a non-empty, detached matrix `(n, d)` of float32 or float64.

    Where they may be `signs`, whole numbers will do as well.
    """
    require(messages.dim() == 2 and messages.numel() > 0, argument, tuple(messages.shape), "a non-empty (n, d) tensor")
    wanted = "float32 or float64, or whole numbers" if signs else "float32 or float64"
    require(messages.dtype in REALS or (signs and messages.dtype in WHOLE), argument, messages.dtype, wanted)
    check_detached(messages, argument)


def check_detached(tensor: Tensor, argument: str) -> None:
    """Raise `ValueError` where the tensor requires grad: choices have no gradient, so that no rule gives one."""
    expected = f"detached: {argument}.detach()"
    require(not tensor.requires_grad, argument, "a tensor that requires grad", expected)


def check_finite(messages: Tensor, argument: str = "messages") -> None:
    """Raise `ValueError` where an entry is infinite or not a number; a pass over all of them.

    What is worked out of all entries anyway proves them finite by being finite: this is for where it is not.
    """
    require(all_finite(messages), argument, "not finite", "finite numbers")


def all_finite(values: Tensor) -> bool:
    """Whether no entry is infinite or not a number; one pass, since such an entry makes any sum with it one too."""
    return math.isfinite(values.sum().item()) or bool(torch.isfinite(values).all())
