"""Submitted defenses asked again: once a secret world is over, what their sides were given, without anybody to hear of.

All processes have ended by then. A side that lives by what it is given answers a second time, bit for bit, in whatever
order it is asked; one that heard something beside it, by whatever the sides of a machine share, or that knows by
counting its calls when it is looked at, does not.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import SystemRandom
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from bench.base.context import holding
from bench.submission.referee.party import end_all
from bench.submission.referee.wire import Tensors

WHOLE = 200
"""So many calls of a side are all kept; of N later on, one in N / 200."""

SERVER, CLIENTS = "its server gives another model", "its clients send something else"

Ask = Callable[[Mapping[str, Tensor], Mapping[str, Any]], Tensors]
"""What asks a side in a process of its own: its tensors, and what else stands in the call."""


class Question(NamedTuple):
    """Where a call is kept, in which round it was, and what has changed where the answer is another one."""

    at: int
    round: int
    what: str


@dataclass
class _Asked:
    """One side of the world: how to ask it anew, and its calls, which may be more than memory should hold."""

    fresh: Callable[[], Ask]
    calls: int = 0
    questions: list[Question] = field(default_factory=list)
    place: IO[bytes] = field(default_factory=tempfile.TemporaryFile)


_sides: ContextVar[dict[tuple[int, str], _Asked] | None] = ContextVar("sides", default=None)
_draws = SystemRandom()


@contextmanager
def asking_again() -> Iterator[Callable[[], None]]:
    """Keep what sides of submitted defenses are given in here; what is yielded asks them again.

    It raises `ValueError` where one gives another answer.
    """
    kept: dict[tuple[int, str], _Asked] = {}
    try:
        with holding(_sides, kept):
            yield lambda: _ask(kept)
    finally:
        for one in kept.values():
            one.place.close()


def keep(
    defense: int,
    what: str,
    fresh: Callable[[], Ask],
    given: Mapping[str, Tensor],
    more: Mapping[str, Any],
    made: Tensors,
) -> None:
    """A call of the defense of this number, where calls are kept; `what` changes where the answer is another one."""
    if (kept := _sides.get()) is None:
        return
    one = kept.setdefault((defense, what), _Asked(fresh))
    one.calls += 1
    if _draws.randrange(one.calls) >= WHOLE:
        return
    one.questions.append(Question(one.place.tell(), more["index"] + 1, what))
    content = (dict(given), dict(more), made)
    torch.save(content, one.place, _use_new_zipfile_serialization=False)  # zips cannot follow each other


def _ask(kept: Mapping[tuple[int, str], _Asked]) -> None:
    """In an order that nobody knows: a side that counts finds nothing to count by."""
    end_all()
    for one in kept.values():
        ask = one.fresh()
        for question in _shuffled(one.questions):
            one.place.seek(question.at)
            given, more, made = torch.load(one.place, weights_only=True)
            if not _same(ask(given, more), made):
                raise ValueError(
                    f"in round {question.round} {question.what} when it is asked again, alone and with the same "
                    "messages: it heard something beside them, or keeps what its memory does not hold"
                )


def _shuffled(questions: list[Question]) -> list[Question]:
    """In an order in which no round begins as before: a side that keeps, or counts, its first calls hears of it."""
    order = _draws.sample(questions, len(questions))
    _move_back(order, list(range(len(order))), questions[0])
    for first in {question.round: question for question in reversed(questions)}.values():
        _move_back(order, [place for place, one in enumerate(order) if one.round == first.round], first)
    return order


def _move_back(order: list[Question], places: list[int], first: Question) -> None:
    """Change places with a later one of them, where it has the first."""
    if len(places) > 1 and order[places[0]] is first:
        other = _draws.choice(places[1:])
        order[places[0]], order[other] = order[other], order[places[0]]


def _same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == made.dtype
        and one[name].shape == made.shape
        and one[name].numpy().tobytes() == made.numpy().tobytes()
        for name, made in other.items()
    )
