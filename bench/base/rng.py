"""Every random draw of the suite comes from a generator made here: a hash of (seed, role, round, ...), no global state.

Cells share streams on purpose. The partition, the initial model, the batches and the Byzantine clients of a seed are
the same whatever defense and attack meet, so that two rows of a board differ by what was tested and by nothing else.
"""

import hashlib
import json
from contextlib import AbstractContextManager
from contextvars import ContextVar

import torch

from bench.base.context import holding
from bench.base.device import current

_salt: ContextVar[str] = ContextVar("salt", default="")


def salted(salt: str) -> AbstractContextManager[None]:
    """In here every draw depends on `salt` too: whoever knows a cell's seed, as everybody does, cannot repeat a draw.

    An empty salt changes nothing.
    """
    return holding(_salt, salt)


def salt() -> str:
    """The salt of the present draws, empty where there is none."""
    return _salt.get()


def derive_seed(seed: int, *labels: str | int) -> int:
    """A 63-bit seed from `seed` and the labels of the draw (role, round, client, ...); equal labels, equal seed."""
    named = [seed, *labels] if not salt() else [salt(), seed, *labels]
    digest = hashlib.sha256(json.dumps(named).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *labels: str | int, device: torch.device | str | None = None) -> torch.Generator:
    """A fresh `torch.Generator` for the draw that `labels` names, on the device that tensors are made on."""
    place = current() if device is None else device
    return torch.Generator(device=place).manual_seed(derive_seed(seed, *labels))


def shuffled(count: int, source: torch.Generator) -> torch.Tensor:
    """The numbers below `count` in random order, `(count,)`, where the generator is."""
    return torch.randperm(count, generator=source, device=source.device)


def fork(source: torch.Generator, *labels: str | int) -> torch.Generator:
    """A generator derived from the seed of another one, whatever has been drawn from that one since."""
    return generator(source.initial_seed(), *labels, device=source.device)
