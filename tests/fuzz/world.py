"""One call of a function under fuzzing: how many rows and numbers its arguments have, and whether they may be wild."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

REALS = (torch.float32, torch.float64)
OTHERS = (torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool)
MODERATE = ("normal", "ties", "zeros", "alike", "large", "tiny", "outlier")
EXTREME = ("huge", "subnormal", "nan", "inf")

SCALARS = (math.nan, math.inf, -math.inf, -1.0, -0.0, 0.0, 5e-324, 1e-200, 1e-9, 0.5, 1.0, 1 - 2**-53, 1e200, 1.7e308)


@dataclass(frozen=True)
class World:
    """One call: n rows of d numbers, f of them forged, and whether values may be wild."""

    draw: st.DrawFn
    n: int
    d: int
    dtype: torch.dtype
    is_wild: bool

    def strays(self) -> bool:
        """Whether this value breaks the rules: one in four does, where values may be wild."""
        return self.is_wild and self.draw(st.integers(0, 3)) == 0

    def one_of(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def count(self, low: int, high: int, *wild: int) -> int:
        return int(self.one_of(*wild)) if wild and self.strays() else self.draw(st.integers(low, high))

    def number(self, low: float, high: float, *usual: float) -> float:
        """A number between the two, often one of the usual ones; a wild one is any there is."""
        if self.strays():
            return float(self.draw(st.sampled_from(SCALARS) | st.floats()))
        within = st.floats(low, high, allow_nan=False, allow_infinity=False)
        return float(self.draw(st.sampled_from(usual) | within if usual else within))

    def tensor(self, *shape: int, dtype: torch.dtype | None = None, kinds: tuple[str, ...] = MODERATE) -> Tensor:
        seed = self.draw(st.integers(0, 2**16))
        return made(shape, self.dtype if dtype is None else dtype, self.one_of(*kinds), seed)

    def rows(self, *, kinds: tuple[str, ...] = MODERATE) -> Tensor:
        """Messages `(n, d)`; wild ones have another shape, another type, or extreme values."""
        if not self.strays():
            return self.tensor(self.n, self.d, kinds=kinds)
        shape = self.draw(st.lists(st.integers(0, 4), max_size=3)) if self.draw(st.booleans()) else [self.n, self.d]
        dtype = self.one_of(*REALS, *OTHERS)
        return self.tensor(*shape, dtype=dtype, kinds=(*MODERATE, *EXTREME))

    def vector(self, size: int) -> Tensor:
        if self.strays():
            shape = self.draw(st.lists(st.integers(0, 4), max_size=2))
            return self.tensor(*shape, dtype=self.one_of(*REALS, *OTHERS), kinds=(*MODERATE, *EXTREME))
        return self.tensor(size)


Maker = Callable[[World], Any]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    return World(
        draw, draw(st.integers(1, 8)), draw(st.integers(1, 6)), draw(st.sampled_from(REALS)), draw(st.booleans())
    )


def made(shape: tuple[int, ...], dtype: torch.dtype, kind: str, seed: int) -> Tensor:
    """A tensor of a kind, the same for the same arguments."""
    base = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if not dtype.is_floating_point:
        return base.round().to(dtype)
    single = dtype is not torch.float64
    factors = {
        "large": 1e15,
        "tiny": 1e-15,
        "huge": 1e30 if single else 1e200,
        "subnormal": 1e-40 if single else 5e-310,
    }
    values = base * factors.get(kind, 1.0)
    if kind == "ties":
        values = values.round()
    elif kind == "zeros":
        values = torch.zeros_like(values)
    elif kind == "alike" and values.dim():
        values = values[:1].expand(values.shape).clone()
    elif kind == "outlier" and values.dim() and values.numel():
        values[-1] *= 1e6
    elif kind in ("nan", "inf") and values.numel():
        values.view(-1)[seed % values.numel()] = float(kind)
    return values.to(dtype)
