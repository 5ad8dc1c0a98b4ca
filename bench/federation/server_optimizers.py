"""Server optimizers (Reddi et al. 2021, "Adaptive Federated Optimization", algorithms 1 and 2).

The change that the defense would make of the global model is taken for a negative gradient, and an optimizer of the
server's follows it: w_{t+1} = w_t + step. As in the paper nothing is corrected for the first rounds' bias, and the
adaptive ones start from v = tau^2.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bench.base.elementary import sqrt

Second = Callable[[Tensor, Tensor, float], Tensor]
"""(v, change^2, beta_2) -> the next v, all `(d,)`."""


def momentum_step(change: Tensor, m: Tensor, lr: float, beta: float) -> tuple[Tensor, Tensor]:
    """(step, next m) of FedAvgM (Hsu et al. 2019), m <- beta m + change: `torch.optim.SGD` with momentum."""
    m = beta * m + change
    return lr * m, m


def adaptive_step(
    change: Tensor, m: Tensor, v: Tensor, lr: float, beta: float, beta2: float, tau: float, second: Second
) -> tuple[Tensor, Tensor, Tensor]:
    """(step, next m, next v), m <- beta m + (1 - beta) change, v as `second` says, step = lr m / (sqrt(v) + tau)."""
    m = torch.lerp(change, m, beta)
    v = second(v, change.square(), beta2)
    return lr * m / (sqrt(v) + tau), m, v


def adam_second(v: Tensor, squares: Tensor, beta2: float) -> Tensor:
    """The running mean of the squares."""
    return torch.lerp(squares, v, beta2)


def yogi_second(v: Tensor, squares: Tensor, beta2: float) -> Tensor:
    """Adam's, but moved by at most (1 - beta_2) times the new square."""
    return v - (1 - beta2) * squares * torch.sign(v - squares)


def adagrad_second(v: Tensor, squares: Tensor, beta2: float) -> Tensor:
    """The sum of the squares, whatever beta_2 is."""
    return v + squares


SECONDS: dict[str, Second] = {"adam": adam_second, "yogi": yogi_second, "adagrad": adagrad_second}


class ServerOptimizer:
    """One of them by name, `momentum` or a key of `SECONDS`, with its state, which starts with its first step."""

    def __init__(self, name: str, lr: float, beta: float, beta2: float, tau: float) -> None:
        self.name, self.lr, self.beta, self.beta2, self.tau = name, lr, beta, beta2, tau
        self.m: Tensor | None = None
        self.v: Tensor | None = None

    def step(self, change: Tensor) -> Tensor:
        """What is added to the global model `(d,)` for the defense's `change (d,)` of it; the state goes on."""
        m = torch.zeros_like(change) if self.m is None else self.m
        if self.name == "momentum":
            step, self.m = momentum_step(change, m, self.lr, self.beta)
            return step
        v = torch.full_like(change, self.tau**2) if self.v is None else self.v
        second = SECONDS[self.name]
        step, self.m, self.v = adaptive_step(change, m, v, self.lr, self.beta, self.beta2, self.tau, second)
        return step
