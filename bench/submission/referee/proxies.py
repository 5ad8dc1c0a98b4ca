"""Stand-ins for submitted classes: to the engine a defense or an attack like any other, played elsewhere.

What the engine must know before a round (alphabet, parameters, which steps are the file's own) are the facts that the
inspection of the file gave; they are data, and are checked like all that comes from there. A defense never plays in
sums: every message is sent, so that what is measured of messages is measured of those that made the accuracy.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from torch import Tensor

from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.base.explain import explain
from bench.base.numbers import STRICT
from bench.data import Split
from bench.privacy.claims import PrivacyClaim
from bench.protocol import Alphabet, Defense, Delivered, LocalRound, ServerRound, Setting, Upload
from bench.protocol.defense import Party as Side
from bench.submission.referee.party import LARGEST_MEMORY, Code, Party, Role, plain
from bench.submission.referee.views import pack, trace_of
from bench.submission.referee.wire import Tensors, WireError
from bench.threat import (
    Attack,
    ByzantineAttack,
    ByzantineView,
    Game,
    PrivacyAttack,
    PrivacyAudit,
    Reconstruction,
    RoundView,
    View,
)

MOST_ROOT_IMAGES = 100
"""Images of its own that a server may train on: as many as FLTrust's authors take (Cao et al. 2021)."""

LONGEST_TRACE = 10_000
"""Entries of a loss trace."""

SLACK = 2**14
"""Bytes that a generator's state, and small tensors, may take beside the large ones."""


class Facts(BaseModel):
    """What a file says of its class."""

    model_config = STRICT

    base: Literal["defense", "forging", "poisoning", "inversion", "audit"]
    version: int = Field(ge=1, le=10**6)
    parameters: dict[str, Any]
    alphabet: Alphabet = Alphabet.REAL
    keeps_models: bool = False
    weighted: bool = False
    gaussian: bool = False
    breakdown: float | Literal["assumed"] = 0.0
    own: frozenset[str] = frozenset()  # the methods that it has of its own
    omniscient: bool = False
    finite: bool = True
    needs_updates: bool = False
    active: bool = False
    single_shares: bool = False
    collusion: float = Field(default=0.0, ge=0, le=1)
    sabotages: bool = False
    size: tuple[int, int] = (1, 1)


IMAGINED: dict[Role, Role] = {
    "clients": "imagined clients",
    "channel": "imagined channel",
    "server": "imagined server",
}


OPEN = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
"""Parameters are the file's own: which ones there are is a fact of it."""


class _Elsewhere:
    """What every stand-in has: the code, and a party that is started when it is first needed."""

    code: ClassVar[Code]
    facts: ClassVar[Facts]


class RemoteDefense(Defense, _Elsewhere):
    """A submitted defense. Each side of it is a copy, and each copy talks to a process of its own."""

    model_config = OPEN

    _party: Party | None = PrivateAttr(default=None)
    _role: Role = PrivateAttr(default="public")
    _imagining: Self | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        """All parameters, those that were not given as the file has them."""
        return _with_defaults(cls, given)

    def side(self, party: Side) -> Self:
        copied = type(self)(**self._parameters())
        copied._role = party
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """The copy in which rounds are imagined, one for each side; what it keeps between them is the engine's."""
        if self._imagining is None:
            self._imagining = type(self)(**self._parameters())
            self._imagining._role = IMAGINED[self._role]
        return self._imagining

    def _parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.facts.parameters}

    def _call(self, do: str, tensors: Tensors | None = None, room: int = 0, **more: Any) -> tuple[Any, Tensors]:
        if self._party is None:
            self._party = Party(self._role, self.code, self._parameters())
        return self._party.call(do, tensors, room, **more)

    def _is_own(self, step: str) -> bool:
        return step in self.facts.own

    # ----------------------------------------------------------------------------------------------- the steps

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        if not self._is_own("message"):
            return updates
        given = {"updates": updates, "weights": weights}
        _, made = self._call("message", given, updates.numel() * 8 + SLACK)
        return _only(made, "messages", "message", updates.shape)

    def upload(self, local: LocalRound) -> Upload:
        if not self._is_own("upload"):
            return Upload(self.message(local.updates, local.weights))
        given = {
            "clients": local.clients,
            "global_model": local.global_model,
            "updates": local.updates,
            "weights": local.weights,
            "generator": local.generator.get_state(),
            **({} if local.mute is None else {"mute": local.mute}),
            **_prefixed(local.memory),
        }
        room = local.updates.numel() * 8 * (1 + LARGEST_MEMORY) + SLACK
        _, made = self._call("upload", given, room, index=local.index, setting=vars(local.setting))
        _drawn(made, local.generator)
        _keep(made, local.memory)
        legs = sum(name.endswith(".receivers") for name in made)
        peers = _Peers([(made[f"peer.{k}.messages"], made[f"peer.{k}.receivers"]) for k in range(legs)], local)
        return Upload(_only(made, "messages", "upload", local.updates.shape), peers if legs else None)

    def deliver(self, messages: Tensor, generator: torch.Generator) -> Delivered:
        if not self._is_own("deliver"):
            return super().deliver(messages, generator)
        given = {"messages": messages, "generator": generator.get_state()}
        _, made = self._call("deliver", given, messages.numel() * 8 + len(messages) * 8 + SLACK)
        _drawn(made, generator)
        if "rows" not in made or made["rows"].dim() != 2 or len(made["rows"]) > len(messages):
            raise ValueError(f"{self.name}.deliver gave no rows, or more than were sent")
        return Delivered(made["rows"], made.get("senders"))

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        given = {
            "rows": delivered.messages,
            **({} if delivered.senders is None else {"senders": delivered.senders}),
            "global_model": server.global_model,
            "weights": server.weights,
            "generator": server.generator.get_state(),
            **({} if server.root_update is None else {"root_update": server.root_update}),
            **({} if server.clients is None else {"clients": server.clients}),
            **_prefixed(server.memory),
        }
        room = delivered.messages.numel() * 8 * (1 + LARGEST_MEMORY) + SLACK
        _, made = self._call("aggregate", given, room, index=server.index, setting=vars(server.setting))
        _drawn(made, server.generator)
        _keep(made, server.memory)
        return _only(made, "model", "aggregate", server.global_model.shape)

    # ----------------------------------------------------------------------------------------------- its facts

    def _ask(self, method: str, *arguments: object) -> Any:
        told = [vars(one) if isinstance(one, Setting) else one for one in arguments]
        header, _ = self._call("ask", method=method, arguments=told)
        return header.get("answer")

    def start(self, setting: Setting) -> None:
        if self._is_own("start"):
            self._ask("start", setting)

    def claim(self, setting: Setting) -> PrivacyClaim | None:
        return _claim(self._ask("claim", setting)) if self._is_own("claim") else None

    @classmethod
    def claims_privacy(cls) -> bool:
        return "claim" in cls.facts.own

    def composed(self, setting: Setting) -> PrivacyClaim | None:
        return _claim(self._ask("composed", setting)) if self._is_own("composed") else None

    def derived(self, setting: Setting) -> dict[str, float]:
        answer = self._ask("derived", setting) if self._is_own("derived") else {}
        if not isinstance(answer, dict) or len(answer) > 32:
            raise ValueError(f"{self.name}.derived gave no small dictionary of numbers")
        return {plain(str(name), 40): _number(value, "derived") for name, value in answer.items()}

    def num_root_samples(self) -> int:
        if not self._is_own("num_root_samples"):
            return 0
        count = int(_number(self._ask("num_root_samples"), "num_root_samples"))
        if not 0 <= count <= MOST_ROOT_IMAGES:
            raise ValueError(f"num_root_samples is {count}, but must be at most {MOST_ROOT_IMAGES}")
        return count

    def noise_variance(self, setting: Setting) -> float | None:
        answer = self._ask("noise_variance", setting) if self._is_own("noise_variance") else None
        return None if answer is None else _number(answer, "noise_variance")

    def local_penalty(self) -> float:
        return _number(self._ask("local_penalty"), "local_penalty") if self._is_own("local_penalty") else 0.0

    def random_share(self) -> float:
        return _number(self._ask("random_share"), "random_share") if self._is_own("random_share") else 0.0

    def remembers_clients(self) -> bool:
        return self._is_own("remembers_clients") and self._ask("remembers_clients") is True

    def clip_norm(self) -> float | None:
        answer = self._ask("clip_norm") if self._is_own("clip_norm") else None
        return None if answer is None else _number(answer, "clip_norm")

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        if not self._is_own("tolerates"):
            return super().tolerates(fraction, setting)
        return self._ask("tolerates", fraction, setting) is True

    def upload_bytes(self, setting: Setting) -> int:
        if not self._is_own("upload_bytes"):
            return super().upload_bytes(setting)
        return int(_number(self._ask("upload_bytes", setting), "upload_bytes"))

    def peer_bytes(self, setting: Setting) -> int:
        return int(_number(self._ask("peer_bytes", setting), "peer_bytes")) if self._is_own("peer_bytes") else 0


class _RemoteAttack(Attack, _Elsewhere):
    """What stand-ins of attacks share: the parameters of the file, and one party."""

    model_config = OPEN

    _party: Party | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        return _with_defaults(cls, given)

    def _call(self, do: str, tensors: Tensors, room: int, **more: Any) -> tuple[Any, Tensors]:
        if self._party is None:
            parameters = {name: getattr(self, name) for name in self.facts.parameters}
            self._party = Party("attack", self.code, parameters)
        return self._party.call(do, tensors, room + SLACK, **more)


class RemoteForging(_RemoteAttack, ByzantineAttack):
    """A submitted attack that forges: it sees a view's numbers, and tries the deployed rule through the engine."""

    model_config = OPEN

    def needs_updates(self) -> bool:
        return self.facts.needs_updates

    def forge(self, view: ByzantineView) -> Tensor:
        given: Tensors = {"own": view.own, "broadcast": view.broadcast, "generator": view.generator.get_state()}
        for name in ("honest", "names", "updates"):
            if (tensor := getattr(view, name)) is not None:
                given[name] = tensor
        given |= _prefixed(view.memory)
        rows = len(view.own) + (0 if view.honest is None else len(view.honest))
        room = rows * view.own.shape[1] * 8 * (1 + LARGEST_MEMORY)
        _, made = self._call(
            "forge",
            given,
            room,
            imagine=None if view.aggregate is None else _on_rows(view.aggregate, rows, view.own.shape[1]),
            alphabet=str(view.alphabet),
            setting=vars(view.setting),
            omniscient=self.omniscient,
        )
        _drawn(made, view.generator)
        _keep(made, view.memory)
        return _only(made, "forged", "forge", view.own.shape)


class RemotePoisoning(RemoteForging, DataPoisoning):
    """A submitted attack that poisons its clients' shards, and forges where it says so."""

    model_config = OPEN

    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        given: Tensors = {"x": x, "y": y, "generator": generator.get_state()}
        facts = pack(data, given)
        _, made = self._call("poison", given, (x.numel() + y.numel()) * 8, data=facts)
        _drawn(made, generator)
        return _only(made, "x", "poison", x.shape), _only(made, "y", "poison", y.shape)

    def check_shard(self, num_samples: int) -> None:
        if "check_shard" in self.facts.own:
            self._call("ask", {}, 0, method="check_shard", arguments=[num_samples])

    def goal(self, test: Split, data: DataFacts) -> Split | None:
        if "goal" not in self.facts.own:
            return None
        given: Tensors = {"x": test.x, "y": test.y}
        facts = pack(data, given)
        _, made = self._call("goal", given, (test.x.numel() + test.y.numel()) * 8, data=facts)
        if not made:
            return None
        if made["x"].shape[1:] != test.x.shape[1:] or made["y"].shape != made["x"].shape[:1]:
            raise ValueError("goal gave images or labels of another shape")
        return Split(made["x"], made["y"])

    def forge(self, view: ByzantineView) -> Tensor:
        return RemoteForging.forge(self, view) if "forge" in self.facts.own else view.own


class RemoteInversion(_RemoteAttack, PrivacyAttack):
    """A submitted inversion: it sees its view and no more."""

    model_config = OPEN

    def collusion(self) -> float:
        return self.facts.collusion

    def estimates(self, view: View) -> list[Tensor]:
        if "estimates" not in self.facts.own:
            return super().estimates(view)
        given: Tensors = {}
        known = pack(view, given)
        shape = view.rounds[0].estimate.shape
        _, made = self._call("estimates", given, len(view.rounds) * shape.numel() * 8, view=known)
        return [_only(made, str(place), "estimates", shape) for place in range(len(view.rounds))]

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        given: Tensors = {"generator": generator.get_state()}
        known = pack(view, given)
        pixels, shape = math.prod(view.image_shape) * view.facts.batch_size, view.rounds[-1].estimate.shape
        room = (len(view.targets) * (pixels + 1) + shape.numel()) * 8 + LONGEST_TRACE * 8
        _, made = self._call("infer", given, room, view=known)
        size = torch.Size((len(view.targets), view.facts.batch_size))
        return Reconstruction(
            images=_only(made, "images", "infer", torch.Size((*size, *view.image_shape))),
            labels=_only(made, "labels", "infer", size),
            loss=_only(made, "loss", "infer", size[:1]),
            trace=trace_of(made.get("trace", torch.zeros(0))),
            estimate=_only(made, "estimate", "infer", shape),
        )


class RemoteAudit(_RemoteAttack, PrivacyAudit):
    """A submitted adversary of audits: it sees one game at a time, and not which of the two worlds it is in."""

    model_config = OPEN

    def collusion(self) -> float:
        return self.facts.collusion

    def sabotages(self) -> bool:
        return self.facts.sabotages

    def size(self) -> tuple[int, int]:
        return self.facts.size

    def canary(self, generator: torch.Generator) -> Tensor:
        _, made = self._call("canary", {"generator": generator.get_state()}, self.size()[1] * 8)
        _drawn(made, generator)
        return _only(made, "canary", "canary", torch.Size(self.size()[1:]))

    def evidence(self, seen: RoundView, game: Game) -> Tensor:
        return self._judged("evidence", seen, game)

    def recover(self, seen: RoundView, game: Game) -> Tensor:
        return self._judged("recover", seen, game)

    def is_gaussian(self, game: Game) -> bool:
        given: Tensors = {}
        header, _ = self._call("is_gaussian", given, 0, game=pack(game, given))
        return header.get("answer") is True

    def _judged(self, method: str, seen: RoundView, game: Game) -> Tensor:
        given: Tensors = {}
        known = {"seen": pack(seen, given, "seen."), "game": pack(game, given, "game.")}
        _, made = self._call("judge", given, game.without.numel() * 8, method=method, **known)
        return _only(made, method, method, game.without.shape)


class _Peers:
    """What clients told each other, leg by leg."""

    def __init__(self, legs: list[tuple[Tensor, Tensor]], local: LocalRound) -> None:
        for messages, receivers in legs:
            if messages.shape != local.updates.shape or receivers.shape != local.clients.shape:
                raise ValueError("a peer message has not the shape of an update, or no receiver for each client")
            if not torch.equal(receivers.sort().values, torch.arange(len(receivers))):
                raise ValueError("the receivers of peer messages are not each client once")
        self._legs = legs

    def legs(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self._legs


BASES: dict[str, type[RemoteDefense] | type[_RemoteAttack]] = {
    "defense": RemoteDefense,
    "forging": RemoteForging,
    "poisoning": RemotePoisoning,
    "inversion": RemoteInversion,
    "audit": RemoteAudit,
}
SHOWN = (
    *("alphabet", "keeps_models", "weighted", "gaussian", "breakdown"),
    *("omniscient", "finite", "active", "single_shares"),
)
"""Class attributes of defenses and attacks that the engine reads."""


def _with_defaults(cls: type[_Elsewhere], given: Any) -> Any:
    """All parameters, those that were not given as the file has them."""
    if not isinstance(given, dict):
        return given
    if unknown := sorted(set(given) - set(cls.facts.parameters)):
        raise ValueError(f"{cls.code.name} has no parameter {unknown[0]}")
    return {**cls.facts.parameters, **given}


def stand_in(code: Code, facts: Mapping[str, Any]) -> type[RemoteDefense] | type[_RemoteAttack]:
    """The engine's class for a submitted one; `ValueError` where the facts are none."""
    try:
        known = Facts.model_validate(dict(facts))
    except ValidationError as error:
        raise ValueError(f"what {code.file.name} says of itself: {explain(error)}") from None
    base = BASES[known.base]
    shown = {name: getattr(known, name) for name in SHOWN if hasattr(base, name)}
    return type(
        code.class_name,
        (base,),
        {"code": code, "facts": known, "version": known.version, **shown, "__module__": __name__},
    )


def _on_rows(aggregate: Callable[[Tensor], Tensor], rows: int, dim: int) -> Callable[[Tensor], Tensor]:
    def tried(messages: Tensor) -> Tensor:
        if messages.shape != (rows, dim):
            raise WireError(f"messages of shape {tuple(messages.shape)}, where the rule takes ({rows}, {dim})")
        return aggregate(messages)

    return tried


def _only(made: Tensors, name: str, step: str, shape: torch.Size) -> Tensor:
    """The tensor of that name and shape; `ValueError` where it is another."""
    if name not in made:
        raise ValueError(f"{step} gave no {name}")
    if made[name].shape != shape:
        raise ValueError(f"{step} gave {tuple(made[name].shape)}, not {tuple(shape)}")
    return made[name]


def _prefixed(memory: Mapping[str, Tensor]) -> Tensors:
    return {f"memory.{name}": tensor for name, tensor in memory.items()}


def _drawn(made: Tensors, generator: torch.Generator) -> None:
    """The generator goes on from where the party left it."""
    state = made.get("generator")
    if state is None or state.shape != generator.get_state().shape or state.dtype != torch.uint8:
        raise ValueError("it gave no state of its generator")
    try:
        generator.set_state(state)
    except RuntimeError:
        raise ValueError("it gave no state of its generator") from None


def _keep(made: Tensors, memory: dict[str, Tensor]) -> None:
    """What the party has in memory now, in place of what it had."""
    kept = {name.removeprefix("memory."): tensor for name, tensor in made.items() if name.startswith("memory.")}
    memory.clear()
    memory.update(kept)


def _claim(answer: object) -> PrivacyClaim | None:
    if answer is None:
        return None
    claim = PrivacyClaim.model_validate(answer)
    texts = {
        name: plain(text) for name in ("unit", "source", "reason") if isinstance(text := getattr(claim, name), str)
    }
    return claim.model_copy(update=texts)


def _number(answer: object, method: str) -> float:
    if isinstance(answer, bool) or not isinstance(answer, int | float) or not math.isfinite(answer):
        raise ValueError(f"{method} gave {plain(repr(answer), 60)}, not a number")
    return answer
