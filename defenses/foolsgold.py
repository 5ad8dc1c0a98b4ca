"""FoolsGold (Fung et al. 2020): clients whose updates point the same way lose weight.

The paper compares the sums of each client's updates over all rounds, as it is here with `memory`; without, the updates
of the round alone. All coordinates are compared. The weights count for a mean, not for a sum, whose length would grow
with the number of clients.
"""

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.base.numbers import added
from bench.protocol import Delivered, ServerRound, check_messages
from bench.registry import register
from bench.rules import RowRule, apply_weights, names_of
from bench.rules.gram import checked_gram, squared_distances


def foolsgold_weights(gram: Tensor, kappa: float = 1.0) -> Tensor:
    """Weights `(n,)`, which add up to 1, from the Gram matrix `(n + 1, n + 1)` with the origin.

    All 0 where every message has a twin, when nobody can be told from a sybil. A lone message has weight 1.
    """
    require(0 < kappa < math.inf, "kappa", kappa, "positive and finite")
    distances = squared_distances(gram)
    norms = sqrt(distances[-1, :-1])
    if len(norms) == 1:
        return torch.ones_like(norms)
    product = norms[:, None] * norms[None, :]
    apart = (distances[:-1, :-1] - (norms[:, None] - norms[None, :]).square()) / (2 * product)  # 1 - cosine
    cs = torch.where(product > 0, 1 - apart, 0.0).fill_diagonal_(0)
    v = cs.max(dim=1).values
    pardon = torch.where(v[None, :] > v[:, None], v[:, None] / v[None, :], 1.0)
    alpha = (1 - (cs * pardon).max(dim=1).values).clamp(0, 1)
    if not bool(alpha.any()):
        return alpha
    share = alpha / alpha.max()
    logit = torch.xlogy(1, share / (1 - share))  # torch's own `logit` differs between processors
    alpha = (kappa * (logit + 0.5)).clamp(0, 1)
    return alpha / alpha.sum()


def foolsgold(messages: Tensor, *, kappa: float = 1.0, history: Tensor | None = None) -> Tensor:
    """The weighted mean `(d,)` of `(n, d)`, whose clients are compared by their `history (n, d)`, or else by messages.

    Raises `ValueError` unless kappa is positive and all is finite.
    """
    if history is not None:
        check_messages(messages)
        require(history.shape == messages.shape, "history", tuple(history.shape), f"of shape {tuple(messages.shape)}")
    gram = checked_gram(messages if history is None else history, origin=True)
    return apply_weights(foolsgold_weights(gram, kappa), messages)


@register("defense", "foolsgold")
class FoolsGold(RowRule):
    """FoolsGold on the updates of one round, or of all; it needs no number of Byzantine clients."""

    origin = True
    breakdown = 1.0  # any number of sybils that share a goal, and at least one honest client

    kappa: float = Field(default=1.0, gt=0)  # how sure the logit is
    memory: bool = added(False)

    def remembers_clients(self) -> bool:
        return self.memory

    def is_plain(self) -> bool:
        return not self.memory

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        if self.is_plain():
            return super().aggregate(delivered, server)
        messages, clients = delivered.messages, names_of(server)
        sums = server.memory.get("sums", messages.new_zeros(server.setting.num_clients, messages.shape[1]))
        largest = torch.finfo(messages.dtype).max
        history = (sums[clients] + messages).clamp(-largest, largest)  # no attacker makes it infinite
        server.memory["sums"] = sums.index_copy(0, clients, history)
        return server.global_model + foolsgold(messages, kappa=self.kappa, history=history)

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return foolsgold_weights(gram, self.kappa)
