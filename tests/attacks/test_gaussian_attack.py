"""The Gaussian attack: moments of real messages, fair coins in a ternary alphabet, refusals."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import binomtest, kstest, norm

from attacks.gaussian import Gaussian, gaussian
from bench.protocol import Alphabet
from bench.threat import ByzantineView, sanitize


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("s", [0.1, 3.0])
def test_rows_are_gaussian_noise_of_standard_deviation_s(s: float) -> None:
    """Kolmogorov-Smirnov, false alarm 1e-7 each; rows are uncorrelated to 6 sigma."""
    forged = gaussian(torch.zeros(2, 50_000, dtype=torch.float64), 4, s, seeded())
    assert forged.shape == (4, 50_000)
    assert kstest(forged.flatten().numpy(), norm(scale=s).cdf).pvalue > 1e-7
    off_diagonal = torch.corrcoef(forged) - torch.eye(4, dtype=torch.float64)
    assert float(off_diagonal.abs().max()) < 6 / math.sqrt(50_000)


def test_the_noise_does_not_depend_on_what_honest_clients_send() -> None:
    quiet, loud = torch.zeros(3, 20), 1e6 * torch.randn(5, 20, generator=seeded(1))
    assert torch.equal(gaussian(quiet, 4, 1.0, seeded(2)), gaussian(loud, 4, 1.0, seeded(2)))
    assert not torch.equal(gaussian(quiet, 4, 1.0, seeded(2)), gaussian(quiet, 4, 1.0, seeded(3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_byzantine_clients_send_no_rows(dtype: torch.dtype) -> None:
    forged = gaussian(torch.zeros(3, 20, dtype=dtype), 0, 1.0, seeded())
    assert forged.shape == (0, 20)
    assert forged.dtype == dtype


@pytest.mark.parametrize(
    ("num_byzantine", "s", "argument"),
    [(-1, 1.0, "num_byzantine"), (1, 0.0, "s"), (1, -1.0, "s"), (1, math.nan, "s"), (1, math.inf, "s")],
)
def test_arguments_out_of_range_are_refused(num_byzantine: int, s: float, argument: str) -> None:
    with pytest.raises(ValueError, match=rf"^{argument} is"):
        gaussian(torch.zeros(3, 20), num_byzantine, s, seeded())


def test_the_class_is_the_function(byzantine_view: Callable[..., ByzantineView]) -> None:
    own = torch.randn(3, 40, generator=seeded(4))
    forged = Gaussian(s=2.0).forge(byzantine_view(own, seed=5))
    assert torch.equal(forged, gaussian(own, 3, 2.0, seeded(5)))
    assert not Gaussian.omniscient


def test_ternary_votes_are_fair_coins(byzantine_view: Callable[..., ByzantineView]) -> None:
    """The sign of N(0, s^2): +-1, each with probability 1 / 2 (errata D15); exact binomial test, false alarm 1e-7."""
    own = torch.ones(10, 20_000, dtype=torch.int8)
    forged, rejected = sanitize(Gaussian().forge(byzantine_view(own, Alphabet.TERNARY)), Alphabet.TERNARY)
    assert rejected == 0
    assert forged.dtype == torch.int8
    plus = int((forged == 1).sum())
    assert plus + int((forged == -1).sum()) == 200_000
    assert binomtest(plus, 200_000, 0.5).pvalue > 1e-7
