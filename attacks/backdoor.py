"""Backdoor: a pixel trigger (Gu et al. 2017, BadNets) with model replacement (Bagdasaryan et al. 2020).

Byzantine clients put a white square into the corner of some of their images and call them the target class; the model
shall be right elsewhere, and answer the target whenever it sees the square. Their update is sent `boost` times: with
m / f of them the mean becomes their model.
"""

from pydantic import Field
from torch import Tensor

from bench.attacking.poisoning import DataFacts
from bench.attacking.triggers import Triggered, boosted
from bench.base.errors import require
from bench.registry import register


def stamp(x: Tensor, size: int, data: DataFacts) -> Tensor:
    """Images `(..., C, H, W)` with a white square of `size` pixels in the lower right corner; copies."""
    require(1 <= size <= min(x.shape[-2:]), "size", size, f"between 1 and {min(x.shape[-2:])}, the image's width")
    stamped = x.clone()
    stamped[..., -size:, -size:] = data.normalised(1.0).to(x.dtype)
    return stamped


def backdoor(own: Tensor, boost: float = 1.0) -> Tensor:
    """`boost * own` `(f, d)`: the replacement gamma (X - G) + G of the model G by X, in updates."""
    return boosted(own, boost)


@register("attack", "backdoor")
class Backdoor(Triggered):
    """Oblivious; `boost` 1 sends the poisoned update as it is, "replace" m / f times. Signs cannot be boosted."""

    size: int = Field(default=3, ge=1)  # of the square, in pixels

    def stamped(self, x: Tensor, data: DataFacts) -> Tensor:
        return stamp(x, self.size, data)
