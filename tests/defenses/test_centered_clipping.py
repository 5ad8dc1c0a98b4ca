"""Centered clipping: published values, the loop over messages in float64, how far one message can pull."""

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attacks.sign_flip import SignFlip
from bench.federation.engine import Federation
from bench.protocol import Delivered, ServerRound, Setting
from bench.rules.gram import gram_matrix
from bench.threat import ByzantineView
from defenses.centered_clipping import CenteredClipping, centered_clipping, centered_clipping_weights
from defenses.nnm import NNM, nnm


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


# -------------------------------------------------------------------------------------------------------- with memory


class Authors:
    """The aggregator of the authors' code (`codes/aggregator/clipping.py`), in numpy: it keeps its last output."""

    def __init__(self, tau: float, n_iter: int) -> None:
        self.tau, self.n_iter, self.momentum = tau, n_iter, np.zeros(())

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        for _ in range(self.n_iter):
            steps = [v * min(1.0, self.tau / np.linalg.norm(v)) for v in inputs - self.momentum]
            self.momentum = sum(steps) / len(inputs) + self.momentum
        return self.momentum


@pytest.mark.parametrize("participation", [1.0, 0.5])
def test_with_memory_it_is_the_authors_aggregator_round_by_round(
    participation: float, make_federation: Callable[..., Federation]
) -> None:
    rule = CenteredClipping(tau=0.05, iterations=3, memory=True)
    found = make_federation(rule, SignFlip(), 0.2, dtype="float64", participation=participation, momentum=0.9)
    authors, differs = Authors(0.05, 3), 0.0
    for transcript in found.rounds():
        change = found.global_model - transcript.broadcast
        np.testing.assert_allclose(change.numpy(), authors(transcript.messages.numpy()), rtol=0, atol=1e-12)
        from_zero = centered_clipping(transcript.messages, tau=0.05, iterations=3)
        differs = max(differs, float((change - from_zero).norm()))
    assert differs > 1e-3


def test_memory_starts_from_zero(
    server_round: Callable[..., ServerRound], make_setting: Callable[..., Setting]
) -> None:
    messages = torch.randn(20, 7, generator=torch.Generator().manual_seed(0))
    server = server_round(make_setting(), torch.zeros(7), 20)
    found = [
        CenteredClipping(tau=0.5, memory=memory).aggregate(Delivered(messages, torch.arange(20)), server)
        for memory in (False, True)
    ]
    assert torch.equal(*found)
    assert list(server.memory) == ["centre"]


def test_an_attackers_imagination_leaves_the_centre_as_it_is(
    make_federation: Callable[..., Federation], final_model: Callable[[Federation], Tensor]
) -> None:
    class Imagining(SignFlip):
        omniscient: ClassVar[bool] = True

        def forge(self, view: ByzantineView) -> Tensor:
            assert view.aggregate is not None
            assert view.honest is not None
            view.aggregate(torch.cat([view.honest, 100 * torch.ones_like(view.own)]))
            return super().forge(view)

    rule = CenteredClipping(tau=0.05, memory=True)
    models = [final_model(make_federation(rule, attack, 0.2)) for attack in (SignFlip(), Imagining())]
    assert torch.equal(*models)


def test_a_mean_before_it_keeps_the_centre_too(
    server_round: Callable[..., ServerRound], make_setting: Callable[..., Setting]
) -> None:
    """Behind a pre-aggregation it clips the mixed messages, around its own last output."""
    server = server_round(make_setting(), torch.zeros(7, dtype=torch.float64), 20)
    rule, centre = NNM(rule="centered_clipping", parameters={"tau": 0.5, "memory": True}), torch.zeros(7).double()
    for seed in range(3):
        messages = torch.randn(20, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found = rule.aggregate(Delivered(messages, torch.arange(20)), server)
        centre = centered_clipping(nnm(messages, server.setting.num_byzantine), tau=0.5, centre=centre)
        torch.testing.assert_close(found, centre)


def test_without_memory_it_is_written_as_before() -> None:
    assert CenteredClipping().model_dump() == {"tau": 10.0, "iterations": 1}
    assert CenteredClipping(memory=True).model_dump()["memory"] is True


def test_a_centre_that_does_not_fit_is_refused(square: Tensor) -> None:
    with pytest.raises(ValueError, match=r"centre is 'torch.float64 \(2,\)', but must be torch.float64 \(3,\)"):
        centered_clipping(square, centre=torch.zeros(2).double())
    with pytest.raises(ValueError, match="centre is 'not finite'"):
        centered_clipping(square, centre=torch.full((3,), math.inf).double())
