"""The stand-in of a submitted defense: each side of it is played by a party of its own.

It never plays in sums: every message is sent, so that what is measured of messages is measured of those that made the
accuracy.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Self

import torch
from pydantic import PrivateAttr
from torch import Tensor

from bench.base import rng
from bench.federation.secret import is_secret
from bench.privacy.claims import PrivacyClaim
from bench.protocol import Alphabet, Defense, Delivered, LocalRound, ServerRound, Setting, Upload
from bench.protocol.defense import Party as Side
from bench.submission.referee import again, views
from bench.submission.referee.alone import check_alone, check_channel, check_speaks
from bench.submission.referee.noise import (
    MOST,
    check_honest,
    check_lengths,
    check_noise,
    check_votes,
    dithered,
    drawn_votes,
    exchanged,
)
from bench.submission.referee.party import LARGEST_MEMORY, Party, Role, plain
from bench.submission.referee.remote import OPEN, Remote, drawn, keep, only
from bench.submission.referee.wire import MEMORY, Tensors, prefixed

ROOT_IMAGES = "root_samples"
"""Under which name a record says how many images its server trains on, of `derived`."""

MOST_ROOT_IMAGES = 100
"""Images of its own that a server may train on: as many as FLTrust's authors take (Cao et al. 2021)."""

MOST_CALLS = 64
"""In a round of a secret world, of one side: where there are more clients, few of them are asked together."""

IMAGINED: dict[Role, Role] = {
    "clients": "imagined clients",
    "channel": "imagined channel",
    "server": "imagined server",
}


class Noise(NamedTuple):
    """What a defense claims of its messages' noise: the variance of each entry, or the share of random votes."""

    variance: float = 0.0
    share: float = 0.0


class RemoteDefense(Remote, Defense):
    """A submitted defense. Each side of it is a copy, and each copy talks to a process of its own."""

    model_config = OPEN

    _role: Role = PrivateAttr(default="public")
    _imagining: Self | None = PrivateAttr(default=None)
    _others: "RemoteDefense | None" = PrivateAttr(default=None)
    _noise: Noise | None = PrivateAttr(default=None)
    _public: "RemoteDefense | None" = PrivateAttr(default=None)
    _answers: dict[str, Any] = PrivateAttr(default_factory=dict)

    def side(self, party: Side) -> Self:
        copied = type(self)(**self._parameters())
        copied._role, copied._public = party, self
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """The copy in which rounds are imagined, one for each side; what it keeps between them is the engine's."""
        if self._imagining is None:
            self._imagining = type(self)(**self._parameters())
            self._imagining._role = IMAGINED[self._role]
        return self._imagining

    # ----------------------------------------------------------------------------------------------- the steps

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        if not self._is_own("message"):
            return updates
        given = {"updates": updates, "weights": weights}
        _, made = self._call("message", given, updates.numel() * 8)
        return only(made, "messages", "message", updates.shape)

    def upload(self, local: LocalRound) -> Upload:
        if not self._is_own("upload"):
            return Upload(self._encoded(local))
        before = dict(local.memory)
        made = self._sent(local, local.updates, local.generator) if local.mute is not None else self._checked(local)
        drawn(made, local.generator)
        if is_secret() and local.mute is None and not any(name.startswith("peer.") for name in made):
            alone = replace(local, memory=before)
            made = self._sent_alone(alone)
            made["messages"] = self._with_others_noise(alone, only(made, "messages", "upload", local.updates.shape))
        keep(made, local.memory)
        legs = sum(name.endswith(".receivers") for name in made)
        peers = _Peers([(made[f"peer.{k}.messages"], made[f"peer.{k}.receivers"]) for k in range(legs)], local)
        return Upload(only(made, "messages", "upload", local.updates.shape), peers if legs else None)

    def _encoded(self, local: LocalRound) -> Tensor:
        """The messages of a file that adds nothing to them, each of its own client's update."""
        if self._claimed(local.setting) != Noise():
            raise ValueError(f"{self.name} claims noise, and has no upload that adds any")
        if not self._is_own("message"):
            return local.updates
        one, other = self._parties(local)
        made = one.message(local.updates, local.weights)
        mixed, kept = _mixed(local)
        sent = other.message(mixed, local.weights)
        check_alone({"messages": made}, {"messages": sent}, kept)
        _check_first(local, mixed, made, sent)
        return one._encoded_alone(local) if is_secret() else made

    def _encoded_alone(self, local: LocalRound) -> Tensor:
        """The same, client by client, as in `_sent_alone`."""
        order, made = _order_alone(local), []
        for rows in order.chunk(MOST_CALLS):
            given = {"updates": local.updates[rows], "weights": local.weights[rows]}
            _, few = self._call("message", given, given["updates"].numel() * 8)
            again.keep(id(self), again.CLIENTS, self._anew("message", "clients"), given, {"index": local.index}, few)
            made.append(only(few, "messages", "message", given["updates"].shape))
        return torch.cat(made)[order.argsort()]

    def _checked(self, local: LocalRound) -> Tensors:
        """What is sent, once it is found that each client's message is of its own update, and that its noise is there.

        Raises `ValueError` where a message changes with the update of another client, or where two draws of the noise
        differ by less than is claimed.
        """
        one, other = self._parties(local)
        mixed, kept = _mixed(local)
        made = one._sent(local, local.updates, local.generator)

        def alone() -> None:
            sent = other._sent(local, mixed, local.generator)
            check_alone(made, sent, kept)
            _check_first(local, mixed, *(only(some, "messages", "upload", mixed.shape) for some in (made, sent)))

        def noisy() -> None:
            twice = other._sent(local, local.updates, rng.generator(local.index, "other noise"))
            self._check_noise(local, made, twice, other)

        checks = [alone, noisy] if self._claimed(local.setting) != Noise() else [alone]
        if rng.derive_seed(local.index, "which check comes first") % 2:
            checks.reverse()
        for check in checks:
            check()
        return made

    def _check_noise(self, local: LocalRound, made: Tensors, twice: Tensors, other: "RemoteDefense") -> None:
        """What was sent against another draw; what clients got from each other may be noise that is said nowhere."""
        noise = self._claimed(local.setting)
        first, second = (only(result, "messages", "upload", local.updates.shape) for result in (made, twice))
        if noise.share:
            check_votes(first, second, noise.share)
            return
        trained = torch.isfinite(local.updates).all(dim=1)  # an attacker's may be anything
        if not all(bool(torch.isfinite(result[trained]).all()) for result in (first, second)):
            raise ValueError("its messages are not finite, so that nobody can tell what noise they carry")
        first, second = first[trained], second[trained]
        has_peers = any(name.endswith(".receivers") for name in made)
        check_noise(first, second, noise.variance, math.inf if has_peers else MOST)
        message = other.message(local.updates, local.weights)[trained]
        check_honest(first, second, message)
        carried = local.weights if self.weighted else torch.ones_like(local.weights)
        check_lengths(message, self.clip_norm(), carried[trained])

    def _parties(self, local: LocalRound) -> "tuple[RemoteDefense, RemoteDefense]":
        """Two that play every round: a draw that neither can know says which one is sent, and which one is a check."""
        if self._others is None:
            self._others = type(self)(**self._parameters())
            self._others._role = "other clients"
        swapped = rng.derive_seed(local.index, "which is sent") % 2
        return (self._others, self) if swapped else (self, self._others)

    def _sent_alone(self, local: LocalRound) -> Tensors:
        """The same, each client's message by a call of its own, or few in one where there are many.

        Who is asked with others could tell by them which update was forged, and undo it before it is sent.
        """
        one, _ = self._parties(local)
        order, parts = _order_alone(local), []
        for place, rows in enumerate(order.chunk(MOST_CALLS)):
            memory = {name: kept[rows] for name, kept in local.memory.items()}
            clients, updates, weights = local.clients[rows], local.updates[rows], local.weights[rows]
            few = replace(local, clients=clients, updates=updates, weights=weights, memory=memory)
            made = one._sent(few, few.updates, rng.generator(local.index, "alone", place))
            parts.append({name: rows for name, rows in made.items() if name != "generator"})
        back = order.argsort()
        if any(part.keys() != parts[0].keys() for part in parts):
            raise ValueError("its clients do not all keep the same")
        return {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}

    def _with_others_noise(self, local: LocalRound, sent: Tensor) -> Tensor:
        """The messages `(m, d)` with noise of which nobody knows where it is from; as they are where none is claimed.

        Noise may be all that is claimed, and a server know it nevertheless: of a seed that the message itself tells.
        """
        noise = self._claimed(local.setting)
        if noise == Noise():
            return sent
        clean = self._encoded_alone(local) if self._is_own("message") else local.updates
        draws = rng.generator(local.index, "whose noise")
        return drawn_votes(clean, noise.share, draws) if noise.share else exchanged(clean, sent, draws)

    def _sent(self, local: LocalRound, updates: Tensor, generator: torch.Generator) -> Tensors:
        """What the clients' party makes of updates `(m, d)` in this round, under a generator."""
        given = {
            "clients": local.clients,
            "global_model": local.global_model,
            "updates": updates,
            "weights": local.weights,
            "generator": generator.get_state(),
            **({} if local.mute is None else {"mute": local.mute}),
            **prefixed(local.memory, MEMORY),
        }
        room = local.updates.numel() * 8 * (1 + LARGEST_MEMORY)
        more = {"index": local.index, "setting": vars(local.setting)}
        made = self._call("upload", given, room, **more)[1]
        again.keep(id(self), again.CLIENTS, self._anew("upload", "clients"), given, more, made)
        return made

    def _claimed(self, setting: Setting) -> Noise:
        """The noise that its claim rests on; none where it claims nothing, or does not say how much there is."""
        if self._noise is None:
            claims = self.claim(setting) is not None
            if self.alphabet is Alphabet.TERNARY:
                self._noise = Noise(share=self.random_share() if claims else 0.0)
            else:
                said = self.noise_variance(setting) if claims else None
                if claims and self.gaussian and not said:
                    raise ValueError(f"{self.name} claims Gaussian noise: noise_variance has to say how much")
                self._noise = Noise(variance=said or 0.0)
        return self._noise

    def deliver(self, messages: Tensor, generator: torch.Generator) -> Delivered:
        if not self._is_own("deliver"):
            return super().deliver(messages, generator)
        given = {"messages": messages, "generator": generator.get_state()}
        secret = rng.fork(generator, "shuffled again")  # before the party sets the generator
        _, made = self._call("deliver", given, messages.numel() * 8 + len(messages) * 8)
        drawn(made, generator)
        if "rows" not in made or made["rows"].dim() != 2 or len(made["rows"]) > len(messages):
            raise ValueError(f"{self.name}.deliver gave no rows, or more than were sent")
        rows, senders = made["rows"], made.get("senders")
        check_channel(rows, messages, senders)
        if is_secret() and senders is None:  # whose a row is may stand in its place
            rows = rows[rng.shuffled(len(rows), secret)]
        return Delivered(rows, senders)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        rows = delivered.messages
        if is_secret() and (variance := self._claimed(server.setting).variance):
            extra = rng.generator(server.index, "dither")
            rows = dithered(rows, variance, extra, cancels=self.peer_bytes(server.setting) > 0)
        given = {
            "rows": rows,
            **({} if delivered.senders is None else {"senders": delivered.senders}),
            "global_model": server.global_model,
            "weights": server.weights,
            "generator": server.generator.get_state(),
            **({} if server.root_update is None else {"root_update": server.root_update}),
            **({} if server.clients is None else {"clients": server.clients}),
            **prefixed(server.memory, MEMORY),
        }
        room = rows.numel() * 8 * (1 + LARGEST_MEMORY)
        more = {"index": server.index, "setting": vars(server.setting), **views.architecture(server)}
        _, made = self._call("aggregate", given, room, **more)
        if self._role in ("server", "imagined server"):
            again.keep(id(self), again.SERVER, self._anew("aggregate", "server"), given, more, made)
        drawn(made, server.generator)
        keep(made, server.memory)
        return only(made, "model", "aggregate", server.global_model.shape)

    def _anew(self, do: str, role: Role) -> Callable[[], again.Ask]:
        """What starts a side that nobody else has talked to, to be asked."""

        def start() -> again.Ask:
            copied = type(self)(**self._parameters())
            copied._role = role

            def ask(given: Mapping[str, Tensor], more: Mapping[str, Any]) -> Tensors:
                rows = given["rows" if do == "aggregate" else "updates"]
                index = {} if do == "message" else more
                return copied._call(do, given, rows.numel() * 8 * (1 + LARGEST_MEMORY), **index)[1]

            return ask

        return start

    # ----------------------------------------------------------------------------------------------- its facts

    def _ask(self, method: str, *arguments: object) -> Any:
        """What a method of the file gives in plain data; the base class's answer where the file has none of its own.

        It is asked once in public, of nobody's side: what is said there of a setting holds for all. Each question has a
        process of its own, which has heard no other: whoever asks in an audit is told what is said in training.
        """
        if not self._is_own(method):
            return getattr(Defense, method)(self, *arguments)
        if self._public is not None:
            return self._public._ask(method, *arguments)
        told = [vars(one) if isinstance(one, Setting) else one for one in arguments]
        asked = json.dumps([method, told])
        if asked not in self._answers:
            one = Party(self._role, self.code, self._parameters())
            self._answers[asked] = one.call("ask", method=method, arguments=told)[0].get("answer")
        return self._answers[asked]

    def start(self, setting: Setting) -> None:
        if self._is_own("start"):
            self._call("ask", method="start", arguments=[vars(setting)])

    def claim(self, setting: Setting) -> PrivacyClaim | None:
        return _claim(self._ask("claim", setting))

    @classmethod
    def claims_privacy(cls) -> bool:
        return "claim" in cls.facts.own

    @classmethod
    def composes_privacy(cls) -> bool:
        return "composed" in cls.facts.own

    def composed(self, setting: Setting) -> PrivacyClaim | None:
        return _claim(self._ask("composed", setting))

    def derived(self, setting: Setting) -> dict[str, float]:
        answer = self._ask("derived", setting)
        if not isinstance(answer, dict) or len(answer) > 32:
            raise ValueError(f"{self.name}.derived gave no small dictionary of numbers")
        told = {plain(str(name), 40): _number(value, "derived") for name, value in answer.items()}
        told.pop(ROOT_IMAGES, None)
        return told | ({ROOT_IMAGES: float(count)} if (count := self.num_root_samples()) else {})

    def num_root_samples(self) -> int:
        count = int(_number(self._ask("num_root_samples"), "num_root_samples"))
        if not 0 <= count <= MOST_ROOT_IMAGES:
            raise ValueError(f"num_root_samples is {count}, but must be at most {MOST_ROOT_IMAGES}")
        return count

    def noise_variance(self, setting: Setting) -> float | None:
        return _number_or_none(self._ask("noise_variance", setting), "noise_variance")

    def local_penalty(self) -> float:
        return _number(self._ask("local_penalty"), "local_penalty")

    def random_share(self) -> float:
        return _number(self._ask("random_share"), "random_share")

    def remembers_clients(self) -> bool:
        return self._ask("remembers_clients") is True

    def clip_norm(self) -> float | None:
        return _number_or_none(self._ask("clip_norm"), "clip_norm")

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return self._ask("tolerates", fraction, setting) is True

    def upload_bytes(self, setting: Setting) -> int:
        return int(_number(self._ask("upload_bytes", setting), "upload_bytes"))

    def peer_bytes(self, setting: Setting) -> int:
        return int(_number(self._ask("peer_bytes", setting), "peer_bytes"))


def _mixed(local: LocalRound) -> tuple[Tensor, Tensor]:
    """Updates `(m, d)` of which a secret half is of other clients, negated, and which ones are not `(k,)`."""
    order = rng.shuffled(len(local.updates), rng.generator(local.index, "whose update"))
    moved, kept = order[: -(-len(order) // 2)], order[-(-len(order) // 2) :]
    mixed = local.updates.clone()
    mixed[moved] = -local.updates[moved.roll(1)]
    return mixed, kept


def _order_alone(local: LocalRound) -> Tensor:
    """In which order clients are asked one by one: places `(m,)` in the round."""
    return rng.shuffled(len(local.clients), rng.generator(local.index, "who is asked when"))


def _check_first(local: LocalRound, mixed: Tensor, messages: Tensor, others: Tensor) -> None:
    """That messages are of updates, in the first round: later on a rule may be silent where little changes."""
    if local.index == 0:
        check_speaks(messages, others, (mixed != local.updates).any(dim=1))


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


def _number_or_none(answer: object, method: str) -> float | None:
    return None if answer is None else _number(answer, method)
