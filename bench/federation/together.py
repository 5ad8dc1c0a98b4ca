"""Who forges together: all attackers at once, or where nothing comes of that, blocks of them, in bounded memory."""

from collections.abc import Iterator

from torch import Tensor

from bench.base.device import on_gpu
from bench.protocol import Defense, SumDefense
from bench.threat import ByzantineAttack

BLOCK_BYTES = 32 * 2**20
"""Of what a block forges, as real numbers."""

DRAWN_TOGETHER = 16
"""On a CPU `torch.randn` turns so many numbers at a time into normal ones: the draws of blocks that end there are those
of the whole in order, which they are not where one ends in between."""

ROUNDED = 4096
"""So many clients' real messages are added up at once: the sum of their blocks is rounded otherwise. All published
records have fewer attackers."""


def forged_together(attack: ByzantineAttack, server: Defense, count: int, like: Tensor) -> Iterator[slice]:
    """Which of `count` attackers forge together, messages as long as the model `like (d,)`."""
    blocks = attack.forges_apart() and not on_gpu(like) and len(like) >= DRAWN_TOGETHER
    step = BLOCK_BYTES // (len(like) * like.element_size()) // DRAWN_TOGETHER * DRAWN_TOGETHER
    exact = isinstance(server, SumDefense) and server.adds_exactly()
    step = max(step, DRAWN_TOGETHER if exact else ROUNDED)
    for start in range(0, count, step if blocks else count):
        yield slice(start, min(start + step, count) if blocks else count)
