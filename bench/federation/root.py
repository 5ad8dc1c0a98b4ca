"""The server's own small data set, for defenses that trust it (FLTrust): images of the validation split.

The validation split is where a defense's parameters are tuned, on the clean run; no client holds any of it, and no
reported accuracy is measured on it.
"""

import torch
from torch import Tensor

from bench.base import rng
from bench.base.errors import require
from bench.data import Dataset
from bench.federation.clients import PLAIN, Plan, Shards, Step, sgd_blocks
from bench.models.base import Model


class Root:
    """`count` random images at the server, on which it trains from the broadcast as a client does.

    Raises `ValueError` where the validation split holds fewer.
    """

    def __init__(
        self,
        dataset: Dataset,
        count: int,
        model: Model,
        plan: Plan,
        seed: int,
        dtype: torch.dtype = torch.float32,
        step: Step = PLAIN,
    ) -> None:
        held = dataset.validation
        require(count <= len(held.y), "root_samples", count, f"at most {len(held.y)}, the images to validate on")
        chosen = rng.shuffled(len(held.y), rng.generator(seed, "root", device="cpu"))[:count].to(held.y.device)
        self.shards = Shards(held.x, held.y, chosen[None], dataset.num_classes, plan.batch_size, dtype=dtype)
        self.model, self.plan, self.seed, self.step = model, plan, seed, step
        self._last: tuple[int, Tensor] | None = None

    def update(self, index: int, broadcast: Tensor, lr: float) -> Tensor:
        """The update `(d,)` of round `index`; asked for again in the same round, the same."""
        if self._last is None or self._last[0] != index:
            windows = self.plan.windows(self.shards.size, rng.generator(self.seed, "root batches", index, device="cpu"))
            where = (broadcast, self.shards, torch.zeros(1, dtype=torch.long), windows, lr)
            self._last = (index, next(sgd_blocks(self.model, *where, step=self.step))[1][0].clone())
        return self._last[1]
