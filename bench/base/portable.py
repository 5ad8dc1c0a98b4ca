"""What torch computes otherwise on processors of another maker, found while it is asked for.

Found in the instructions that an emulated processor executed: RSQRTPS and RCPPS, first guesses of MKL's vector library,
under nothing else that torch, numpy and scipy compute for us. `bench.base.elementary` has what takes their place.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

NEVER = (
    "sqrt",
    "_foreach_sqrt",
    "log2",
    "log10",
    "asin",
    "acos",
    "atan",
    "tan",
    "logit",
    "logsumexp",
    "_euclidean_dist",
)


class NotPortable(TorchDispatchMode):
    """In here operations are noted whose last bit depends on the maker of the processor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, None] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if differs(func, args):
            self.note(func)
        return func(*args, **(kwargs or {}))

    def note(self, func: Any) -> None:
        self.found[f"torch.{func.overloadpacket.__name__.rstrip('_')}"] = None


def differs(func: Any, args: Any) -> bool:
    """Whether an operation on these arguments is one of those: a logarithm in float64 alone, a power of a half."""
    given = [value for value in args if isinstance(value, Tensor)]
    name, real = func.overloadpacket.__name__.rstrip("_"), any(value.is_floating_point() for value in given)
    double = any(value.dtype == torch.float64 for value in given)
    root = name == "pow" and len(args) > 1 and not isinstance(args[1], Tensor) and args[1] == 0.5
    return (real and name in NEVER) or (double and name == "log") or root
