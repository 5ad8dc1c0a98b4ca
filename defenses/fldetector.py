"""FLDetector (Zhang et al. 2022): clients whose updates are not what their last ones foretell are out from then on.

    foretold = g_i of the last round that client i took part in + H (w - w of that round)

H stands for how updates change with the model: L-BFGS makes it of the last `window` steps of the global model and of
what the mean update changed by over each. How far a client is off, in units of the round's mean, is averaged over its
last `window` foretold rounds: its score. Where the gap statistic finds more than one cluster of scores, the clients of
the higher of two are out, and steps and scores are gathered anew. Those that are left are averaged.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, Setting, all_finite, check_finite, check_messages
from bench.registry import register
from bench.rules import apply_weights, names_of

REFERENCES = 10
"""Draws of evenly spread scores that the gap statistic compares with, as in the authors' code."""

TINY = 1e-300
"""Distances stay between this and its inverse, so that their mean divides them."""


def hessian_product(steps: Tensor, changes: Tensor, vectors: Tensor) -> Tensor:
    """H v `(m, d)`, float64, for each v of `vectors (m, d)`, by L-BFGS.

    `steps (k, d)` are those of the model, `changes (k, d)` what the gradient, or a multiple of it, changed by; oldest
    first. The compact form (Byrd, Nocedal and Schnabel 1994) on the multiple of the identity that fits the last pair.
    """
    fits = steps.dim() == 2 and len(steps) > 0 and steps.shape == changes.shape
    require(fits, "steps", f"{tuple(steps.shape)} for changes {tuple(changes.shape)}", "of the same shape, (k, d)")
    s, y, v = steps.double(), changes.double(), vectors.double()
    sy = s @ y.mT
    sigma = (sy[-1, -1] / (s[-1] @ s[-1])).nan_to_num(0.0)  # a model that stood still tells nothing
    lower = sy.tril(-1)
    upper = torch.cat([sigma * (s @ s.mT), lower], dim=1)
    middle = torch.cat([upper, torch.cat([lower.mT, -sy.diagonal().diag()], dim=1)])
    if not all_finite(middle):
        return torch.zeros_like(v)
    around = torch.cat([sigma * s, y])
    product: Tensor = sigma * v - v @ around.mT @ torch.linalg.pinv(middle, hermitian=True) @ around
    return product


def higher_cluster(scores: Tensor) -> tuple[Tensor, Tensor]:
    """k-means with k = 2, exactly: who of `scores (n,)` is in the higher cluster, `(n,)` bool, and both their inertia.

    Raises `ValueError` for fewer than two scores.
    """
    require(len(scores) >= 2, "scores", f"{len(scores)} of them", "at least 2")
    ordered = scores.sort().values
    count = torch.arange(1, len(scores), dtype=scores.dtype)
    sums, squares = ordered.cumsum(dim=0), ordered.square().cumsum(dim=0)
    below = squares[:-1] - sums[:-1].square() / count
    above = squares[-1] - squares[:-1] - (sums[-1] - sums[:-1]).square() / (len(scores) - count)
    best = (below + above).argmin()
    return scores >= ordered[best + 1], (below + above)[best].clamp(min=0)


def fldetector(scores: Tensor, generator: torch.Generator) -> Tensor:
    """Who is malicious, `(n,)` bool, by `scores (n,)`: the higher of two clusters, or nobody where there is but one.

    Scores, scaled to [0, 1], are more than one cluster where two gain more, by the gap statistic (Tibshirani, Walther
    and Hastie 2001), than two gain for evenly spread ones, which are drawn. Fewer than three are one cluster.
    Raises `ValueError` unless the scores are finite numbers in one dimension.
    """
    require(scores.dim() == 1 and scores.is_floating_point(), "scores", tuple(scores.shape), "(n,) real numbers")
    check_finite(scores, "scores")
    nobody = torch.zeros(len(scores), dtype=torch.bool)
    if len(scores) < 3 or bool((scores == scores[0]).all()):
        return nobody
    lowest, highest = scores.double().aminmax()
    even = torch.rand(REFERENCES, len(scores), generator=generator, dtype=torch.float64)
    rows = [(scores.double() - lowest) / (highest - lowest), *even]
    one = torch.stack([(row - row.mean()).square().sum() for row in rows])
    two = torch.stack([higher_cluster(row)[1] for row in rows])
    gap_of_one, gap_of_two = (_log(inertia[1:].mean()) - _log(inertia[0]) for inertia in (one, two))
    slack = (1 + 1 / REFERENCES) ** 0.5 * _log(two[1:]).std(correction=0)
    return nobody if bool(gap_of_one >= gap_of_two - slack) else higher_cluster(rows[0])[0]


def _log(values: Tensor) -> Tensor:
    return torch.xlogy(1, values)  # torch's own `log` differs between processors


@register("defense", "fldetector")
class FLDetector(Defense):
    """FLDetector before a mean; who is out stays out."""

    window: int = Field(default=10, ge=1)  # N

    def remembers_clients(self) -> bool:
        return True

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        messages, clients = delivered.messages, names_of(server)
        check_messages(messages)
        memory, n = server.memory, server.setting.num_clients
        if not memory:
            for name in ("models", "updates"):  # of each client's last round
                memory[name] = messages.new_zeros(n, messages.shape[1])
            memory["off"] = torch.zeros(n, self.window, dtype=torch.float64)
            memory["foretold"] = torch.zeros(n, dtype=torch.int64)
            memory["seen"], memory["out"] = torch.zeros(2, n, dtype=torch.bool)
        self._foretell(messages, server, clients)
        self._leave_out(server)
        left = ~memory["out"][clients]
        if not bool(left.any()):
            return server.global_model
        mean = apply_weights(server.weights[left] / server.weights[left].sum(), messages[left])
        self._learn(messages[left], mean, server, clients[left])
        return server.global_model + mean

    def _foretell(self, messages: Tensor, server: ServerRound, clients: Tensor) -> None:
        """Keep how far each client was off."""
        memory = server.memory
        known = memory["seen"][clients] & ~memory["out"][clients]
        if len(memory.get("steps", ())) < self.window or not bool(known.any()):
            return
        names = clients[known]
        moved = server.global_model - memory["models"][names]
        foretold = memory["updates"][names] + hessian_product(memory["steps"], memory["changes"], moved)
        off = torch.linalg.vector_norm(foretold - messages[known], dim=1).clamp(TINY, 1 / TINY)
        memory["off"][names, memory["foretold"][names] % self.window] = off / off.mean()
        memory["foretold"][names] += 1

    def _leave_out(self, server: ServerRound) -> None:
        """From now on, those whose scores say so; then all that was learnt with them is forgotten."""
        memory = server.memory
        judged = ((memory["foretold"] >= self.window) & ~memory["out"]).nonzero()[:, 0]
        malicious = judged[fldetector(memory["off"][judged].mean(dim=1), server.generator)]
        if len(malicious):
            memory["out"][malicious] = True
            memory["foretold"].zero_()
            for name in ("steps", "changes", "broadcast", "mean"):
                del memory[name]

    def _learn(self, messages: Tensor, mean: Tensor, server: ServerRound, clients: Tensor) -> None:
        memory, w = server.memory, server.global_model
        if "broadcast" in memory:
            for name, change in (("steps", w - memory["broadcast"]), ("changes", mean - memory["mean"])):
                kept = memory.get(name, change.new_zeros(0, len(change)))
                memory[name] = torch.cat([kept, change[None]])[-self.window :]
        memory["broadcast"], memory["mean"] = w, mean
        memory["models"][clients], memory["updates"][clients], memory["seen"][clients] = w, messages, True

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return fraction <= 0.28  # of the authors' experiments, in their code
