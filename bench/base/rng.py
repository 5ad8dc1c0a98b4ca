"""Every random draw of the suite comes from a generator made here: a hash of (seed, role, round, ...), no global state.

Cells share streams on purpose. The partition, the initial model, the batches and the Byzantine clients of a seed are
the same whatever defense and attack meet, so that two rows of a board differ by what was tested and by nothing else.
"""

import hashlib
import json

import torch

from bench.base.device import current


def derive_seed(seed: int, *labels: str | int) -> int:
    """A 63-bit seed from `seed` and the labels of the draw (role, round, client, ...); equal labels, equal seed."""
    digest = hashlib.sha256(json.dumps([seed, *labels]).encode()).digest()
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
