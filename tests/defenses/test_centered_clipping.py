"""Centered clipping: published values, the loop over messages in float64, how far one message can pull."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.rules.gram import gram_matrix
from defenses.centered_clipping import CenteredClipping, centered_clipping, centered_clipping_weights


def by_definition(messages: Tensor, tau: float, iterations: int) -> Tensor:
    rows = messages.double()
    centre = torch.zeros_like(rows[0])
    for _ in range(iterations):
        steps = []
        for row in rows:
            length = float((row - centre).norm())
            steps.append((row - centre) * (min(1.0, tau / length) if length else 1.0))
        centre = centre + torch.stack(steps).mean(dim=0)
    return centre


@pytest.mark.parametrize(
    ("tau", "expected"),
    [(1.0, [0.408558, 0.559564, 0.71057]), (5.0, [1.930688, 2.573616, 3.216543]), (100.0, [4, 5, 6])],
)
def test_published_values_on_the_square(tau: float, expected: list[float], square: Tensor) -> None:
    """ByzFL 0.0.11, started from zero as here; tau = 100 in its documentation."""
    torch.testing.assert_close(centered_clipping(square, tau=tau), torch.tensor(expected).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("tau", "iterations", "expected"),
    [
        (10.0, 1, [4.096068, 3.801564, 4.092298, 2.744867, 3.478791, 2.500738]),
        (0.5, 10, [1.962931, 1.809137, 1.947075, 1.30252, 1.640744, 1.189251]),
        (2.0, 200, [7.037821, 6.413387, 6.894122, 4.214108, 6.012344, 3.758357]),
    ],
)
def test_published_values_on_the_larger_example(
    tau: float, iterations: int, expected: list[float], larger: Tensor
) -> None:
    """ByzFL 0.0.11; with a small radius and steps enough it is the geometric median."""
    found = centered_clipping(larger, tau=tau, iterations=iterations)
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("tau", "iterations"), [(0.1, 10), (20.0, 3), (1e4, 2)])
def test_it_is_the_loop_over_messages(adverse_rows: Tensor, tau: float, iterations: int) -> None:
    weights = centered_clipping_weights(gram_matrix(adverse_rows, origin=True), tau, iterations)
    expected = by_definition(adverse_rows, tau, iterations)
    scale = float(expected.abs().max())
    torch.testing.assert_close(weights @ adverse_rows.double(), expected, rtol=0, atol=1e-5 * scale)


@given(st.integers(0, 10**6), st.floats(0.01, 10), st.integers(1, 5), st.sampled_from([1.0, 1e6, 1e38]))
def test_a_message_pulls_by_no_more_than_tau_a_step(seed: int, tau: float, iterations: int, size: float) -> None:
    """A step is a mean of vectors no longer than tau, of which f / n are forged."""
    generator = torch.Generator().manual_seed(seed)
    rows = (size * torch.randn(7, 3, generator=generator)).clamp(-3e38, 3e38)
    assert float(centered_clipping(rows, tau=tau, iterations=iterations).double().norm()) <= tau * iterations * (
        1 + 1e-5
    )
    other = torch.cat([-rows[:2], rows[2:]])
    change = centered_clipping(other, tau=tau) - centered_clipping(rows, tau=tau)
    assert float(change.double().norm()) <= 2 / 7 * 2 * tau * (1 + 1e-5)


@given(st.sampled_from([0.25, 2.0, 1024.0]), st.integers(1, 4))
def test_it_scales_with_the_messages_and_the_radius(by: float, iterations: int) -> None:
    rows = torch.randn(7, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found = centered_clipping(by * rows, tau=by, iterations=iterations)
    torch.testing.assert_close(found, by * centered_clipping(rows, tau=1.0, iterations=iterations))


def test_the_start_is_zero_and_not_the_mean() -> None:
    """ByzPy starts from the mean, 3 here, and gets 8/3."""
    assert centered_clipping(torch.tensor([[0.0], [0.0], [9.0]]), tau=1.0).item() == pytest.approx(1 / 3)


def test_what_it_cannot_do_is_refused(square: Tensor) -> None:
    with pytest.raises(ValueError, match="tau is 0, but must be positive"):
        centered_clipping(square, tau=0)
    with pytest.raises(ValueError, match="iterations is 0, but must be at least 1"):
        centered_clipping(square, iterations=0)
    with pytest.raises(ValueError, match="tau"):
        CenteredClipping(tau=math.inf)
