"""What passes between the engine and submitted code: a header of JSON, and tensors as bytes in shared memory.

Each end writes into an arena of its own and copies what it reads. The engine works out for itself where the numbers
lie, and takes nothing but what it asked for.
"""

import fcntl
import json
import math
import mmap
import os
import socket
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

LONGEST_HEADER = 60_000
"""Bytes of a header: one packet of a local socket."""

ALIGNED = 64
"""Bytes at which tensors begin, as torch's own do."""

DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name) for name in ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
}

MEMORY = "memory."
"""Before the names of what a party remembers."""

WALLED = "FEDSIEGE_WALLS"
"""Tells a process behind walls that it is there."""

MOST_TENSORS = 512
"""In one message."""

Tensors = dict[str, Tensor]
Header = dict[str, Any]


class WireError(Exception):
    """What the other end sent is not what may be sent."""


class Arena:
    """Shared memory of a fixed size; the process that made it writes, the one that got its descriptor reads."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor, self.size = descriptor, size
        self._memory = mmap.mmap(descriptor, size)

    @classmethod
    def make(cls, size: int) -> "Arena":
        """A new one, which nobody can shrink under a reader."""
        descriptor = os.memfd_create("fedsiege", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        size = max(mmap.PAGESIZE, size)
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return cls(descriptor, size)

    def write(self, tensors: Mapping[str, Tensor]) -> list[list[Any]]:
        """Put the tensors one behind the other; their names, types and shapes. `WireError` where they do not fit."""
        if (needed := room_for(tensors)) > self.size:
            raise WireError(f"{needed:,} bytes of numbers, where {self.size:,} have room")
        told, at = [], 0
        for name, tensor in tensors.items():
            kind = str(tensor.dtype).removeprefix("torch.")
            if kind not in DTYPES:
                raise WireError(f"{name} has numbers of type {kind}")
            flat = tensor.detach().contiguous().reshape(-1).cpu()
            count = flat.numel()
            if count:
                view = np.frombuffer(self._memory, dtype=flat.numpy().dtype, count=count, offset=at)
                view[:] = flat.numpy()
                del view
            told.append([name, kind, list(tensor.shape)])
            at = _aligned(at + count * flat.element_size())
        return told

    def read(self, told: object) -> Tensors:
        """Copies of the tensors that the other end says it has written; `WireError` where that cannot be."""
        results: Tensors = {}
        at = 0
        for name, dtype, shape in _described(told):
            count = math.prod(shape)
            if at + count * dtype.itemsize > self.size:
                raise WireError(f"{name} reaches beyond the shared memory")
            empty = torch.empty(shape, dtype=dtype)
            if count:
                view = np.frombuffer(self._memory, dtype=empty.numpy().dtype, count=count, offset=at)
                empty.view(-1).numpy()[:] = view
                del view
            results[name] = empty
            at = _aligned(at + count * dtype.itemsize)
        return results

    def close(self) -> None:
        self._memory.close()
        os.close(self.descriptor)


def room_for(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of an arena that holds these tensors."""
    return sum(_aligned(tensor.numel() * tensor.element_size()) for tensor in tensors.values())


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """The tensors under longer names."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def named(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    """Those with longer names, as they were called before."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def send(end: socket.socket, header: Header) -> None:
    """Send a header; `WireError` for one that is too long."""
    content = json.dumps(header, allow_nan=True).encode()
    if len(content) > LONGEST_HEADER:
        raise WireError(f"a header of {len(content):,} bytes, where {LONGEST_HEADER:,} are the most")
    end.sendall(content)


def receive(end: socket.socket) -> Header:
    """The next header; `EOFError` where the other end is gone, `WireError` for what is none."""
    content = end.recv(LONGEST_HEADER + 1)
    if not content:
        raise EOFError
    try:
        header = json.loads(content)
    except (ValueError, RecursionError):
        raise WireError("what it sent is no header") from None
    if not isinstance(header, dict):
        raise WireError("what it sent is no header")
    return header


def _described(told: object) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
    if not isinstance(told, list) or len(told) > MOST_TENSORS:
        raise WireError("it does not say what tensors it sends")
    results = []
    for one in told:
        match one:
            case [str(name), str(kind), list(shape)] if kind in DTYPES and _is_shape(shape):
                results.append((name, DTYPES[kind], tuple(shape)))
            case _:
                raise WireError("it does not say what tensors it sends")
    return results


def _is_shape(lengths: list[object]) -> bool:
    return len(lengths) <= 6 and all(type(length) is int and 0 <= length <= 2**32 for length in lengths)


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED
