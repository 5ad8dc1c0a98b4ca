"""Attacks that forge: rounds of made-up messages, poisoned shards, and a small federation with another world in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.base import rng
from bench.protocol import Alphabet, Setting
from bench.protocol.contract import check_shape
from bench.submission import growth, made_up
from bench.submission.attack_probe import AttackProbe, AttackSubject
from bench.submission.common import bits, untouched
from bench.submission.probe import CLIENTS, DIM, LR, forged_extremes, inputs
from bench.submission.problems import BrokenError, Note, StepError
from bench.threat import ByzantineAttack, ByzantineView, sanitize

SHARE = 0.2
"""Of the clients of a probe that are Byzantine."""

ROUNDS = 2
"""That a probe plays with one memory."""

SAMPLES = 6
"""Of each poisoned shard."""

LARGE = 1e10
"""Of honest messages: its square, and a sum of such squares, are still numbers in float32."""

Change = Callable[[Tensor], Tensor]


class ForgingProbe(AttackProbe):
    """A `ByzantineAttack`; where it poisons data too, what it makes of shards is looked at as well."""

    gives, generator = "message", "view.generator"

    def play(self, seed: int, *, look: bool = False) -> list[Tensor]:
        results = [
            message
            for alphabet in self.subject.alphabets
            for message in _forged(self.subject, alphabet, torch.float32, seed=seed, look=look)
        ]
        return results + (_poisoned(self.subject, seed, look) if issubclass(self.subject.cls, DataPoisoning) else [])

    def shapes(self) -> str:
        for alphabet in self.subject.alphabets:
            for dtype in (torch.float32, torch.float64):
                for clients in (20, 15):
                    _forged(self.subject, alphabet, dtype, clients, rounds=1)
        told = f"messages (f, d) in the alphabet {' and '.join(self.subject.alphabets)}, in float32 and float64"
        if issubclass(self.subject.cls, DataPoisoning):
            _poisoned(self.subject, 0)
            told += "; poisoned images and labels of the shapes and types that they had"
        for alphabet in set(Alphabet) - set(self.subject.alphabets):
            try:
                _forged(self.subject, alphabet, torch.float32, rounds=1)
            except StepError as error:
                told += f"; not for {alphabet} rows: {error}"
        return told

    def prompt(self) -> str:
        return growth.prompt(partial(_round, self.subject))

    def finite(self) -> str:
        if not self._kind.finite:
            raise Note("it says that it sends what is not finite; the engine rejects that, the same for all rows")
        for alphabet in self.subject.alphabets:
            for case, change in _extremes(alphabet).items():
                try:
                    sent = _forged(self.subject, alphabet, torch.float32, seed=5, change=change)
                except StepError as error:
                    raise BrokenError(f"{error}, where {case}") from None
                if not all(bool(torch.isfinite(message).all()) for message in sent):
                    raise BrokenError(f"a forged message is not finite where {case} (meant so? say `finite = False`)")
        return "also where honest messages are large, tiny, equal or zero"

    def behind_its_view(self) -> str:
        if self._kind.omniscient:
            return "it sees all messages; labels and training are in other processes where it is judged"
        for alphabet in self.subject.alphabets:
            forged = partial(_forged, self.subject, alphabet, torch.float32, seed=7)
            true, other = forged(), forged(change=_others)
            if bits(*true) != bits(*other):
                raise BrokenError("the same view gives another message where other clients' messages are others")
        return "the same bits where other clients' messages are others"

    def growth(self, size: tuple[int, int]) -> str:
        return growth.growth(partial(_round, self.subject), size)

    @property
    def _kind(self) -> type[ByzantineAttack]:
        return cast(type[ByzantineAttack], self.subject.cls)


def _round(subject: AttackSubject, clients: int, dim: int) -> Callable[[], object]:
    """For measuring: the forging of one round of that size."""
    attack, given = subject.build(), inputs(clients, dim, torch.float32)

    def play() -> None:
        view = _view(attack, subject.alphabets[0], given.updates, given.broadcast, 0, {})
        with subject.step("forge"):
            attack.forge(view)

    return play


def _forged(
    subject: AttackSubject,
    alphabet: Alphabet,
    dtype: torch.dtype,
    clients: int = CLIENTS,
    dim: int = DIM,
    *,
    seed: int = 0,
    change: Change = lambda messages: messages,
    rounds: int = ROUNDS,
    look: bool = False,
) -> list[Tensor]:
    """The messages `(f, d)` of a few rounds, one memory through all of them; `change` is made to the honest updates.

    Raises `StepError` where `forge` raises, breaks shape, type or alphabet, or, with `look`, what it was given.
    """
    attack, memory, sent = subject.build(), dict[str, Tensor](), []
    for index in range(rounds):
        given = inputs(clients, dim, dtype, _round_seed(seed, index))
        given = replace(given, updates=change(given.updates))
        view = _view(attack, alphabet, given.updates, given.broadcast, _round_seed(seed, index), memory)
        known = {"own": view.own, "honest": view.honest, "broadcast": view.broadcast, "names": view.names}
        tensors = {name: tensor for name, tensor in known.items() if tensor is not None}
        with _hinted(view), subject.step("forge"), untouched(look, "forge", **tensors):
            forged = attack.forge(view)
            check_shape(forged, "forge", view.own.shape)
            _check_alphabet(forged, view, attack.finite)
        sent.append(forged)
    return sent


def _round_seed(seed: int, index: int) -> int:
    """Of one round of a probe."""
    return 100 * seed + index


def _view(
    attack: ByzantineAttack,
    alphabet: Alphabet,
    updates: Tensor,
    broadcast: Tensor,
    seed: int,
    memory: dict[str, Tensor],
) -> ByzantineView:
    """What the last of the clients know, as the engine tells them."""
    clients, dim = updates.shape
    f = round(SHARE * clients)
    ternary = alphabet is Alphabet.TERNARY
    messages = torch.sign(-updates) if ternary else updates.clone()
    own = messages[-f:].to(torch.int8) if ternary else messages[-f:].clone()
    setting = Setting(clients, clients, dim, 10, LR, None, f / clients, 1e-6)
    view = ByzantineView(own, None, broadcast, alphabet, rng.generator(seed, "forge"), setting, memory)
    if attack.needs_updates():
        view = replace(view, updates=updates[-f:].clone())
    if not attack.omniscient:
        return view

    def aggregate(rows: Tensor) -> Tensor:
        mean = rows.to(updates.dtype).mean(dim=0)
        return -LR * mean if ternary else mean

    return replace(view, honest=messages[:-f].clone(), names=torch.arange(clients - f), aggregate=aggregate)


@contextmanager
def _hinted(view: ByzantineView) -> Iterator[None]:
    """Of an oblivious attack whose step raised over what it does not have, the error says how it would have that."""
    try:
        yield
    except StepError as error:
        if view.honest is None and "None" in str(error):
            raise StepError(f"{error} (an attack that sees view.honest says `omniscient = True`)") from None
        raise


def _check_alphabet(forged: Tensor, view: ByzantineView, finite: bool) -> None:
    """Raise `StepError` unless a real message is of the others' type, and a vote one that the engine takes as it is."""
    if view.alphabet is Alphabet.REAL:
        if forged.dtype != view.own.dtype:
            raise StepError(f"forge returned {forged.dtype}, not {view.own.dtype}")
        return
    if finite and sanitize(forged, view.alphabet)[1]:
        low, high = float(forged.min()), float(forged.max())
        raise StepError(f"forge returned {low:g} to {high:g}, outside the ternary alphabet -1, 0, 1")


def _extremes(alphabet: Alphabet) -> dict[str, Change]:
    """What honest clients may send: as a defense is tried on, but no larger than `LARGE`, as forged messages may be."""
    if alphabet is Alphabet.TERNARY:
        return {f"all honest signs are {sign}": partial(_all, value=-float(sign)) for sign in (-1, 0, 1)}
    small = {case: change for case, change in forged_extremes(alphabet).items() if "1e20" not in case}
    small.pop("one message is -1e30")
    return small | {f"one message is {value:g}": partial(_one, value=value) for value in (LARGE, -LARGE)}


def _others(updates: Tensor) -> Tensor:
    """Those of everybody but the last, who are Byzantine, turned round."""
    own = round(SHARE * len(updates))
    return torch.cat([-updates[:-own], updates[-own:]])


def _all(messages: Tensor, value: float) -> Tensor:
    return torch.full_like(messages, value)


def _one(messages: Tensor, value: float) -> Tensor:
    return torch.cat([torch.full_like(messages[:1], value), messages[1:]])


# -------------------------------------------------------------------------------------------------- poisoned shards


def _poisoned(subject: AttackSubject, seed: int, look: bool = False) -> list[Tensor]:
    """Images and labels of three shards of made-up images, poisoned."""
    known = made_up.images()
    order = torch.randperm(len(known.train.y), generator=rng.generator(seed, "shards"))
    one_of_each = [order[known.train.y[order] == label][:1] for label in range(known.num_classes)]  # some want a class
    rows = torch.cat([*one_of_each, order])[: 3 * SAMPLES].view(3, SAMPLES)
    x, y = known.train.x[rows], known.train.y[rows]
    with subject.step("poison"), untouched(look, "poison", images=x, labels=y):
        images, labels = subject.build().poison(x, y, DataFacts.of(known), rng.generator(seed, "poison"))
        check_shape(images, "poison", x.shape)
        check_shape(labels, "poison", y.shape)
        if images.dtype != x.dtype or labels.dtype != y.dtype:
            raise StepError(f"poison returned {images.dtype} and {labels.dtype}, not {x.dtype} and {y.dtype}")
        if not bool(torch.isfinite(images).all()):
            raise StepError("poison returned images that are not finite")
        if int(labels.min()) < 0 or int(labels.max()) >= known.num_classes:
            raise StepError(f"poison returned labels outside 0 .. {known.num_classes - 1}")
    return [images, labels]
