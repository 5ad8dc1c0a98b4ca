"""Images that nobody took, of the shape of the digits: what attacks are probed with behind walls, where no data are."""

from functools import cache

import torch

from bench.base import rng
from bench.data import Dataset, from_arrays

TRAIN, TEST, CLASSES, WIDTH = 600, 200, 10, 8


@cache
def images() -> Dataset:
    """Ten classes in equal shares: an image is its class's random pattern and noise, pixels in [0, 1]."""
    patterns = torch.rand(CLASSES, 1, WIDTH, WIDTH, generator=rng.generator(0, "patterns", device="cpu"))
    draws = rng.generator(0, "made-up images", device="cpu")

    def some(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(count) % CLASSES
        return (patterns[labels] + torch.rand(count, 1, WIDTH, WIDTH, generator=draws)) / 2, labels

    return from_arrays("made-up", some(TRAIN), some(TEST))
