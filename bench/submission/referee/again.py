"""Servers asked again: once a secret world is over, what each one was given, without anybody to whisper to it.

The clients' processes have ended by then. A server that lives by its messages gives every model a second time, bit for
bit; one that heard something beside them, by whatever the sides of a machine share, does not.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import IO, Any

import torch
from torch import Tensor

from bench.base.context import holding
from bench.submission.referee.party import end_all
from bench.submission.referee.wire import Tensors

Ask = Callable[[Mapping[str, Tensor], Mapping[str, Any]], Tensors]
"""What asks a server in a process of its own: its tensors, and what else stands in the call."""


@dataclass
class _Asked:
    """One server of the world: how to ask it anew, and its rounds, which may be more than memory should hold."""

    fresh: Callable[[], Ask]
    rounds: int = 0
    place: IO[bytes] = field(default_factory=tempfile.TemporaryFile)


_servers: ContextVar[dict[int, _Asked] | None] = ContextVar("servers", default=None)


@contextmanager
def asking_again() -> Iterator[Callable[[], None]]:
    """Keep what servers of submitted defenses are given in here; what is yielded asks them again.

    It raises `ValueError` where one gives another model.
    """
    kept: dict[int, _Asked] = {}
    try:
        with holding(_servers, kept):
            yield lambda: _ask(kept)
    finally:
        for one in kept.values():
            one.place.close()


def keep(
    server: int,
    fresh: Callable[[], Ask],
    given: Mapping[str, Tensor],
    more: Mapping[str, Any],
    made: Tensors,
) -> None:
    """A round of the server of this number, where rounds are kept."""
    if (kept := _servers.get()) is None:
        return
    one = kept.setdefault(server, _Asked(fresh))
    content = (dict(given), dict(more), made)
    torch.save(content, one.place, _use_new_zipfile_serialization=False)  # zips cannot follow each other
    one.rounds += 1


def _ask(kept: Mapping[int, _Asked]) -> None:
    end_all()
    for one in kept.values():
        one.place.seek(0)
        ask = one.fresh()
        for number in range(1, one.rounds + 1):
            given, more, made = torch.load(one.place, weights_only=True)
            if not _same(ask(given, more), made):
                raise ValueError(
                    f"in round {number} its server gives another model when it is asked again, alone and with the same "
                    "messages: it heard something beside them"
                )


def _same(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == made.dtype
        and one[name].shape == made.shape
        and one[name].numpy().tobytes() == made.numpy().tobytes()
        for name, made in other.items()
    )
