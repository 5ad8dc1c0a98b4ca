"""DeMoA, delayed momentum aggregation (Otsuka, Takezawa and Yamada 2026): absent clients count with their last message.

Where few clients take part in a round, most of them may be attackers by chance, though few of all clients are. So the
server keeps the last message of every client, and a robust rule aggregates all of them in every round: the fresh ones
of those who take part, and the kept ones of those who do not. What clients send is a momentum, the federation's.

Of the paper (arXiv 2509.02970) the abstract and notes by others were at hand; its authors published no code. Who has
never taken part is left out until then, which the notes do not say; in the first rounds the promise is a round's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from bench import registry
from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, Setting, check_messages
from bench.registry import register
from bench.rules import names_of, rule_of

MESSAGES, SEEN = "demoa.messages", "demoa.seen"
"""What the server keeps, beside what its rule keeps."""


def kept(messages: Tensor, clients: Tensor, memory: Mapping[str, Tensor], num_clients: int) -> dict[str, Tensor]:
    """The last message of each client `(n, d)`, and who has sent one `(n,)`, after messages `(k, d)` of `clients (k,)`.

    Raises `ValueError` unless the messages are finite and there is a client for each.
    """
    check_messages(messages)
    require(clients.shape == messages.shape[:1], "clients", tuple(clients.shape), f"{len(messages)} names")
    last = memory.get(MESSAGES, messages.new_zeros(num_clients, messages.shape[1]))
    seen = memory.get(SEEN, torch.zeros(num_clients, dtype=torch.bool, device=messages.device))
    return {MESSAGES: last.index_copy(0, clients, messages), SEEN: seen.index_fill(0, clients, True)}


@register("defense", "demoa")
class DeMoA(Defense):
    """DeMoA around `rule` with its `parameters`, which sees all clients that have ever taken part.

    With all clients in every round it is the rule itself.
    """

    rule: str = "median"
    parameters: dict[str, Any] = Field(default_factory=dict, validate_default=True)

    @field_validator("parameters")
    @classmethod
    def _of_the_rule(cls, parameters: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """All parameters of the rule, defaults included, so that a record tells them."""
        if "rule" not in info.data:
            return parameters  # the rule's own fault is told
        return rule_of(info.data["rule"], parameters).model_dump()

    @property
    def wrapped(self) -> Defense:
        """The rule itself."""
        rule: Defense = registry.get("defense", self.rule)(**self.parameters)
        return rule

    def remembers_clients(self) -> bool:
        return True

    def start(self, setting: Setting) -> None:
        for count in (setting.participants, setting.num_clients):  # in the first round, and at last
            self.wrapped.start(replace(setting, participants=count))

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        memory = server.memory
        memory |= kept(delivered.messages, names_of(server), memory, server.setting.num_clients)
        clients = memory[SEEN].nonzero()[:, 0]
        count = len(clients)
        whole = replace(
            server,
            setting=replace(server.setting, participants=count),
            weights=server.weights.new_full((count,), 1 / count),
            clients=clients,
        )
        places = torch.arange(count, device=clients.device)
        return self.wrapped.aggregate(Delivered(memory[MESSAGES][clients], places), whole)

    def num_root_samples(self) -> int:
        return self.wrapped.num_root_samples()

    def derived(self, setting: Setting) -> dict[str, float]:
        return self.wrapped.derived(replace(setting, participants=setting.num_clients))

    def singled_out(self, memory: Mapping[str, Tensor]) -> dict[str, int]:
        return self.wrapped.singled_out(memory)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return self.wrapped.tolerates(fraction, replace(setting, participants=setting.num_clients))
