"""A file of somebody's own that registers one of each kind, and a suite that names them."""

OWN = '''"""All my own."""

import numpy as np
import torch
from torch import Tensor, nn

from bench.data import Dataset, from_arrays
from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


@register("defense", "my_rule")
class MyRule(Defense):
    """A share of the mean."""

    share: float = 0.5

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + self.share * delivered.messages.mean(dim=0)


@register("attack", "my_attack")
class MyAttack(ByzantineAttack):
    """Its own update, against itself."""

    times: float = 3.0

    def forge(self, view: ByzantineView) -> Tensor:
        return -self.times * view.own


@register("dataset", "my_data")
def my_data() -> Dataset:
    """Two clouds of points in five dimensions."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 400)
    x = draw.normal(size=(400, 5)) + 3 * y[:, None]
    return from_arrays("my_data", (x[:300], y[:300]), (x[300:], y[300:]))


@register("model", "my_model")
def my_model(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A hidden layer of eight."""
    return nn.Sequential(nn.Linear(shape[0], 8), nn.Tanh(), nn.Linear(8, classes))
'''

SUITE = """
name = "own"
title = "all my own"
seeds = [0]

[federation]
dataset = "my_data"
model = "my_model"
clients = 6
rounds = 5
local_steps = 2
batch_size = 10
lr = 0.5
assumed_byzantine = 0.2

[[defense]]
name = "my_rule"
share = [0.5, 1.0]

[[defense]]
name = "nnm"
rule = "my_rule"

[[defense]]
name = "median"

[[attack]]
name = "my_attack"
byzantine = 0.2

[[attack]]
name = "sign_flip"
byzantine = 0.2

[tune.my_rule]
lr = [0.1, 0.5]
"""
