"""What clients and channel of a submitted defense may not do: work together before anything is sent."""

from collections.abc import Mapping

import torch
from torch import Tensor

SHARED = ("generator",)
"""What a party gives that is of no client."""

CLOSE = 1e-4
"""Of a sum of messages that the channel may round, relative to its largest entry."""


def check_alone(made: Mapping[str, Tensor], other: Mapping[str, Tensor], kept: Tensor) -> None:
    """Raise `ValueError` where what the clients `kept (k,)` send or keep is another one with others' updates.

    A client that knows the updates of others could send what all of them mean, before anybody forges.
    """
    for name, rows in made.items():
        if name in SHARED or name.endswith(".receivers"):
            continue
        if name not in other or not _equal(rows[kept], other[name][kept]):
            what = "sends" if name == "messages" else "tells others or keeps"
            raise ValueError(f"what a client {what} depends on the updates of other clients")


def check_speaks(messages: Tensor, others: Tensor, changed: Tensor) -> None:
    """Raise `ValueError` where no message `(m, d)` is another one, though the updates of `changed (m,)` bool are.

    A file that tells by its setting that only privacy is measured could send what says nothing, and leak nothing there.
    """
    if bool(changed.any()) and messages.shape == others.shape and _equal(messages, others):
        raise ValueError("no client's message changes with its update: nothing that is measured of messages is of them")


def check_channel(rows: Tensor, messages: Tensor, senders: Tensor | None) -> None:
    """Raise `ValueError` unless a channel shuffles `messages (m, d)`, coordinate by coordinate, drops some, or adds up.

    One that makes numbers of its own is a server that nobody named, and sees who sent what.
    """
    if rows.shape[1:] != messages.shape[1:] or rows.dtype != messages.dtype:
        return  # what is told of every step
    if len(rows) == len(messages) and torch.equal(rows.sort(dim=0).values, messages.sort(dim=0).values):
        return
    if senders is not None and _are_rows(senders, messages) and torch.equal(rows, messages[senders]):
        return
    if len(rows) == 1:
        total = messages.double().sum(dim=0)
        for wanted in (total, total / len(messages)):
            if float((rows[0].double() - wanted).abs().max()) <= CLOSE * float(wanted.abs().max()):
                return
    raise ValueError("deliver gave other numbers than were sent: a channel shuffles, drops or adds up messages")


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same, also where both are no numbers, as an attacker's may be."""
    if torch.equal(one, other):
        return True
    same = one.shape == other.shape and one.dtype == other.dtype and one.is_floating_point()
    return same and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _are_rows(senders: Tensor, messages: Tensor) -> bool:
    whole = not senders.is_floating_point() and senders.dtype != torch.bool and senders.dim() == 1
    return whole and bool(((senders >= 0) & (senders < len(messages))).all())
