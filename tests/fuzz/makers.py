"""Values of the kinds that the mathematics takes, each drawn for one `World`.

What is called Gram matrix, norms, sorted block and the like comes from the function that makes it, and has its shape
always: such functions are called after their caller has looked at the messages.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st
from torch import Tensor

from bench.attacking.linear_layers import Layer
from bench.data import Dataset, Split
from bench.protocol import Setting
from bench.rules.gram import gram_matrix
from tests.fuzz.world import REALS, SCALARS, Maker, World, made


def gram(world: World) -> Tensor:
    return gram_matrix(world.tensor(world.n, world.d))


def gram_with_origin(world: World) -> Tensor:
    return gram_matrix(world.tensor(world.n, world.d), origin=True)


def moderate(world: World) -> Tensor:
    """Honest messages that the caller has checked."""
    return world.tensor(world.n, world.d)


def nonzero(world: World) -> Tensor:
    return world.tensor(world.d, kinds=("normal",))


def labels(world: World) -> Tensor:
    if world.strays():
        return world.tensor(
            *world.draw(st.lists(st.integers(0, 4), max_size=2)), dtype=world.one_of(*REALS, torch.int64)
        )
    return torch.randint(0, 3, (world.draw(st.integers(1, 30)),), generator=generator(world))


def generator(world: World) -> torch.Generator:
    return torch.Generator().manual_seed(world.draw(st.integers(0, 99)))


def array(world: World, low: float, high: float) -> Any:
    """A number, or a list of them, perhaps empty."""
    numbers = st.floats(low, high)
    wild = st.sampled_from(SCALARS) | numbers
    either = wild if world.strays() else numbers
    return world.draw(either | st.lists(either, max_size=4) | st.lists(either, max_size=3).map(np.array))


def scores(world: World) -> Any:
    if world.strays():
        numbers: st.SearchStrategy[Any] = st.lists(st.floats() | st.sampled_from(SCALARS), max_size=8)
        return world.draw(numbers | st.floats() | st.lists(st.lists(st.floats(), min_size=2, max_size=2), max_size=3))
    return world.draw(st.lists(st.floats(-5, 5) | st.sampled_from([0.0, 1.0, math.inf]), min_size=2, max_size=40))


def setting(world: World) -> Setting:
    clients = world.draw(st.integers(1, 20))
    some = world.draw(st.integers(1, clients))
    return Setting(clients, some, world.d, 3, 0.1, None, world.draw(st.floats(0, 0.9)), 1e-6)


def layer(world: World) -> Layer:
    return Layer(world.tensor(2, world.n, world.d, dtype=torch.float64), world.tensor(2, world.n, dtype=torch.float64))


def layer_that_learns(world: World) -> Layer:
    """With a gradient that is not 0: of one that is, no input explains any share."""
    weight = world.tensor(2, world.n, world.d, dtype=torch.float64, kinds=("normal", "large", "tiny", "outlier"))
    return Layer(weight, world.tensor(2, world.n, dtype=torch.float64))


def dataset(world: World) -> Dataset:
    split = Split(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))
    mean, std = torch.tensor([0.5]), torch.tensor([0.25])
    return Dataset("tiny", split, split, split, mean=mean, std=std, digest="", class_names=("a", "b", "c"))


def split(world: World) -> Split:
    size = world.count(1, 5, 0)
    return Split(made((size, 1, 2, 2), torch.float32, "normal", 1), torch.arange(size) % 3)


def frame(world: World) -> pd.DataFrame:
    """Records of a board, as `leaderboards.frame.to_frame` gives them."""
    size = world.draw(st.integers(0, 8))

    def some(*values: Any) -> list[Any]:
        return world.draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))

    return pd.DataFrame(
        {
            "defense": some("krum", "median"),
            "column": some("clean", "dlg"),
            "seed": some(0, 1, 2),
            "status": some("ok", "ok", "failed", "diverged"),
            "within_claim": some(True, False, None),
            "images": some(1.0, 4.0, 16.0),
            "score": some(0.0, 0.25, 1.0, math.nan) if size else [],
        }
    )


def aggregate(world: World) -> Callable[[Tensor], Tensor]:
    rules: dict[str, Callable[[Tensor], Tensor]] = {
        "mean": lambda messages: messages.mean(dim=0),
        "first": lambda messages: messages[0],
        "nothing": lambda messages: torch.zeros_like(messages[0]),
        "no number": lambda messages: torch.full_like(messages[0], math.nan),
    }
    return rules[world.one_of(*rules)]


def literal(*names: str) -> Maker:
    """One of the names, or none of them."""
    return lambda world: "nonsense" if world.strays() else world.one_of(*names)


def whole(low: int, high: int, *wild: int) -> Maker:
    return lambda world: world.count(low, high, *wild)


def real(low: float, high: float, *usual: float) -> Maker:
    return lambda world: world.number(low, high, *usual)


def flag(world: World) -> bool:
    return bool(world.draw(st.booleans()))


def magnitudes(values: Tensor) -> Tensor:
    """Without their signs; truth values have none, and torch 2.4 takes no `abs` of them."""
    return values if values.dtype == torch.bool else values.abs()


def perhaps(maker: Maker) -> Maker:
    """None in half of the cases."""
    return lambda world: maker(world) if world.draw(st.booleans()) else None
