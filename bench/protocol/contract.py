"""What the engine holds a defense's steps to: the shape and alphabet of what they give, and inputs left as they are.

Each check is a comparison or two a step: nothing here reads all of the messages but that of a ternary alphabet.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from bench.protocol.defense import Alphabet, Delivered, Upload

ENTRIES = 16
"""Of each dimension of a tensor, that are compared where the count of writes is not enough."""


@contextmanager
def untouched(step: str, *, closely: bool = False, **inputs: Tensor | None) -> Iterator[None]:
    """Raise `ValueError` where the step that runs inside changes one of its inputs in place.

    torch counts the writes to a tensor and all its views. What goes past the count (numpy, `.data`) shows where some
    entries are compared as well, `closely`, for which the first round of a cell is enough.
    """
    shown = {name: tensor for name, tensor in inputs.items() if tensor is not None}
    before = {name: (tensor._version, _entries(tensor) if closely else None) for name, tensor in shown.items()}
    yield
    for name, (version, entries) in before.items():
        same = shown[name]._version == version
        if not same or (entries is not None and not torch.equal(entries, _entries(shown[name]))):
            raise ValueError(f"{step} changed its {name} in place")


def _entries(tensor: Tensor) -> Tensor:
    """Some entries, bit by bit, so that what is not a number equals itself."""
    some = tensor[tuple(slice(None, None, max(1, size // ENTRIES)) for size in tensor.shape)]
    return some.clone(memory_format=torch.contiguous_format).view(torch.uint8)


def check_upload(upload: object, step: str, shape: tuple[int, ...], alphabet: Alphabet) -> None:
    """Raise `ValueError` unless it is an `Upload` of messages of this shape `(m, d)`, in the alphabet."""
    if not isinstance(upload, Upload):
        raise ValueError(f"{step} returned {type(upload).__name__}, not an Upload")
    messages = upload.messages
    check_shape(messages, step, shape)
    if alphabet is Alphabet.REAL:
        if not messages.is_floating_point():
            raise ValueError(f"{step} returned messages of {messages.dtype}, not real numbers")
    elif messages.dtype != torch.int8:
        raise ValueError(f"{step} returned messages of {messages.dtype}, not int8 for a ternary alphabet")
    elif bool(messages.amin() < -1) or bool(messages.amax() > 1):
        low, high = int(messages.amin()), int(messages.amax())
        raise ValueError(f"{step} returned messages from {low} to {high}, outside the ternary alphabet -1, 0, 1")


def check_delivered(delivered: object, step: str, dim: int) -> None:
    """Raise `ValueError` unless it is a `Delivered` of rows `(k, d)`, each with a sender if they are linked."""
    if not isinstance(delivered, Delivered):
        raise ValueError(f"{step} returned {type(delivered).__name__}, not a Delivered")
    rows, senders = delivered.rows, delivered.senders
    check_shape(rows, step, (len(rows) if isinstance(rows, Tensor) and rows.dim() else 0, dim))
    if senders is not None and senders.shape != rows.shape[:1]:
        raise ValueError(f"{step} returned {len(rows)} rows and senders of shape {tuple(senders.shape)}")


def check_shape(given: object, step: str, shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless it is a tensor of this shape."""
    if not isinstance(given, Tensor):
        raise ValueError(f"{step} returned {type(given).__name__}, not a tensor of shape {tuple(shape)}")
    if given.shape != shape:
        raise ValueError(f"{step} returned shape {tuple(given.shape)}, not {tuple(shape)}")
