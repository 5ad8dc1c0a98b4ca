"""DPBFL: the server's sum of randomized signs, drawn there. Apart from its package's rest: it needs torch."""

import torch
from torch import Tensor

from bench.base.errors import require


def randomized_sum(counts: Tensor, num_clients: int, gamma: float, generator: torch.Generator) -> Tensor:
    """The sum `(d,)` of R(x) over clients, drawn from `counts (2, d)`, how many x are 1 and how many are -1.

    Of the clients with x = 1, -1 and 0, binomially many are randomized, and a third of those, binomially, goes to each
    value: exactly the distribution of `randomize(x).sum(0)`, without a draw for every client.
    """
    require(0 <= gamma < 1, "gamma", gamma, "in [0, 1)")
    fits = counts.dim() == 2 and len(counts) == 2 and counts.is_floating_point()
    require(fits, "counts", f"{counts.dtype} of shape {tuple(counts.shape)}", "real numbers (2, d)")
    votes = torch.cat([counts, num_clients - counts.sum(dim=0, keepdim=True)])
    random = torch.binomial(votes, torch.full_like(votes, gamma), generator=generator)
    total = random.sum(dim=0)
    plus = torch.binomial(total, torch.full_like(total, 1 / 3), generator=generator)
    minus = torch.binomial(total - plus, torch.full_like(total, 1 / 2), generator=generator)
    kept = votes - random
    return kept[0] - kept[1] + plus - minus
