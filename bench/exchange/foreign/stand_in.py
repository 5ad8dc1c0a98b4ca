"""Another library's rule or attack as a class of ours, so that the contract and the suites take it as any other.

It plays in this process: it is an installed package of the user's own, which any import would run. What is to stand on
the published board goes through `submit`, behind the referee's walls.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench import registry
from bench.exchange.foreign.entry import Entry
from bench.protocol import Alphabet, Defense, Delivered, ServerRound
from bench.threat import ByzantineAttack, ByzantineView

KEPT = "theirs"
"""The name under which the server's memory holds their object, where it remembers."""


def defense_of(entry: Entry, parameters: Mapping[str, Any]) -> type[Defense]:
    """A defense whose `aggregate` is the entry's rule, or the mean of what its pre-aggregation gives."""

    class Foreign(Defense):
        """A rule of another library."""

        def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
            updates, f = delivered.messages, server.setting.num_byzantine
            rows = server.global_model + updates if entry.models else updates.clone()
            memory: dict[str, Any] = server.memory  # in this process it may hold anything
            called = memory.get(KEPT) or entry.make(len(rows), f, parameters)
            if entry.remembers:
                memory[KEPT] = called
            result = torch.as_tensor(called(rows)).to(updates.dtype)
            result = result.mean(dim=0) if result.dim() == 2 else result
            return result if entry.models else server.global_model + result

    Foreign.__name__ = Foreign.__qualname__ = entry.name.replace(".", "_")
    Foreign.__doc__ = f"{entry.name} of {entry.library}."
    Foreign.name = entry.label
    if entry.ours in registry.names("defense"):
        Foreign.breakdown = vars(registry.get("defense", entry.ours)).get(
            "breakdown", 0.0
        )  # it claims to stand what ours does
    return Foreign


def attack_of(entry: Entry, parameters: Mapping[str, Any]) -> type[ByzantineAttack]:
    """An omniscient attack whose clients all send what the entry's gives for the honest messages."""

    class ForeignAttack(ByzantineAttack):
        """An attack of another library."""

        omniscient = True
        finite = "inf" not in entry.name.lower()

        def forge(self, view: ByzantineView) -> Tensor:
            assert view.honest is not None
            honest = view.honest.to(view.broadcast.dtype)
            sent = torch.as_tensor(entry.make(len(honest), len(view.own), parameters)(honest.clone()))
            rows = sent.to(view.broadcast.dtype).expand(len(view.own), -1).clone()
            return torch.sign(rows).to(torch.int8) if view.alphabet is Alphabet.TERNARY else rows

    ForeignAttack.__name__ = ForeignAttack.__qualname__ = entry.name.replace(".", "_")
    ForeignAttack.__doc__ = f"{entry.name} of {entry.library}."
    ForeignAttack.name = entry.label
    return ForeignAttack
