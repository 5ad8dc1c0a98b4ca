"""Batched L-BFGS on problems whose minima are known, and against scipy's."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from bench.attacking.lbfgs import Minimum, Objective, _History, minimise
from bench.base.rng import generator

Function = Callable[[Tensor, Tensor], Tensor]
"""(points `(k, n)`, names `(k,)`) -> losses `(k,)`."""


def objective(function: Function) -> Objective:
    def evaluate(points: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        points = points.detach().requires_grad_()
        losses = function(points, names)
        return losses.detach(), torch.autograd.grad(losses.sum(), points)[0]

    return evaluate


class Counted:
    """An objective that counts its calls and the rows in each of them."""

    def __init__(self, function: Function) -> None:
        self.evaluate = objective(function)
        self.rows: list[list[int]] = []

    def __call__(self, points: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        self.rows.append(names.tolist())
        return self.evaluate(points, names)


def only(function: Function, row: int) -> Objective:
    """The problem of one row on its own."""
    return objective(lambda points, names: function(points, torch.full_like(names, row)))


def quadratics(conditions: list[float], width: int = 6) -> tuple[Function, Tensor]:
    """Rotated bowls with eigenvalues from 1 to each condition number, and their minima `(B, n)`, where they are 0."""
    source = generator(11)
    rotations = torch.linalg.qr(torch.randn(len(conditions), width, width, generator=source, dtype=torch.float64)).Q
    exponents = torch.linspace(0, 1, width, dtype=torch.float64)
    eigenvalues = torch.stack([condition**exponents for condition in conditions])
    curvature = rotations @ torch.diag_embed(eigenvalues) @ rotations.mT
    centres = torch.randn(len(conditions), width, generator=source, dtype=torch.float64)

    def function(points: Tensor, names: Tensor) -> Tensor:
        away = (points - centres[names]).unsqueeze(-1)
        return (away.mT @ curvature[names] @ away).flatten() / 2

    return function, centres


def rosenbrock(points: Tensor, names: Tensor) -> Tensor:
    x, y = points[:, ::2], points[:, 1::2]
    return (100 * (y - x**2) ** 2 + (1 - x) ** 2).sum(dim=1)


def logistic(points: Tensor, names: Tensor) -> Tensor:
    """Regularised logistic regressions, a data set a row; convex, with a minimum above 0."""
    source = generator(12)
    inputs = torch.randn(4, 30, points.shape[1], generator=source, dtype=torch.float64)
    signs = torch.randn(4, 30, generator=source, dtype=torch.float64).sign()
    margins = signs[names] * (inputs[names] @ points.unsqueeze(-1)).squeeze(-1)
    return torch.nn.functional.softplus(-margins).mean(dim=1) + 0.01 * points.square().sum(dim=1)


def scipys(function: Function, row: int, start: Tensor) -> tuple[np.ndarray, float]:
    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        losses, gradients = only(function, row)(torch.from_numpy(x).unsqueeze(0), torch.tensor([0]))
        return float(losses), gradients[0].numpy()

    found = minimize(evaluate, start.numpy(), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
    return found.x, float(found.fun)


def check(found: Minimum, function: Function) -> None:
    """What must hold of any result: the loss is that of the point and the end of its trace, which never rises."""
    size = len(found.x)
    torch.testing.assert_close(function(found.x, torch.arange(size)), found.loss, rtol=0, atol=0)
    assert found.trace.shape[1] == size
    assert torch.equal(found.trace[-1], found.loss)
    assert bool((found.trace[1:] <= found.trace[:-1]).all())


def test_quadratics_of_different_condition_reach_their_minima_in_one_batch() -> None:
    function, centres = quadratics([1.0, 30.0, 1e3, 1e5])
    found = minimise(objective(function), torch.zeros_like(centres), evaluations=500)
    check(found, function)
    assert float(found.loss.max()) < 1e-12
    torch.testing.assert_close(found.x, centres, rtol=0, atol=2e-6)  # a loss of 1e-12 at the flattest curvature, 1


@settings(max_examples=25)
@given(st.lists(st.floats(1, 1e4), min_size=1, max_size=5), st.integers(1, 8), st.integers(1, 10))
def test_any_quadratic_reaches_its_minimum(conditions: list[float], width: int, history: int) -> None:
    function, centres = quadratics(conditions, width)
    found = minimise(objective(function), torch.zeros_like(centres), 2000, history=history, patience=200)
    check(found, function)
    assert float(found.loss.max()) < 1e-6 * float(function(torch.zeros_like(centres), torch.arange(len(centres))).max())


@pytest.mark.parametrize("exponent", [-80, -30, 30, 80])
def test_the_scale_of_the_losses_changes_no_step(exponent: int) -> None:
    """Powers of 2 round nothing, so that the points are the same bit for bit; `tolerance` alone has the loss's unit."""
    function, centres = quadratics([1.0, 30.0, 1e3, 1e5])
    scale = 2.0**exponent
    usual = minimise(objective(function), torch.zeros_like(centres), 100, tolerance=1e-9)
    scaled = objective(lambda points, names: scale * function(points, names))
    found = minimise(scaled, torch.zeros_like(centres), 100, tolerance=scale * 1e-9)
    assert torch.equal(found.x, usual.x)
    assert torch.equal(found.trace, scale * usual.trace)


def test_a_row_without_a_slope_ends_at_once() -> None:
    found = minimise(objective(lambda points, names: 0 * points.sum(dim=1) + 1), torch.zeros(2, 3), 50)
    assert found.loss.tolist() == [1, 1]
    assert len(found.trace) == 1


def test_rosenbrock_from_many_starts() -> None:
    start = torch.tensor(
        [[-1.2, 1.0, 2.0, -1.0], [2.0, 2.0, 0.0, 0.0], [0.5, -2.0, -1.0, 3.0], [1.0, 1.0, 1.0, 1.0]],
        dtype=torch.float64,
    )
    found = minimise(objective(rosenbrock), start, evaluations=400)
    check(found, rosenbrock)
    torch.testing.assert_close(found.x, torch.ones_like(start), rtol=0, atol=1e-5)


@pytest.mark.parametrize("history", [1, 3, 20])
def test_a_row_fares_the_same_alone_and_in_a_batch(history: int) -> None:
    """Rows that end at different times, and that accept and reject their steps at different times."""
    function, centres = quadratics([1.0, 10.0, 100.0])

    def mixed(points: Tensor, names: Tensor) -> Tensor:
        return torch.where(names < 3, function(points, names.clamp(max=2)), rosenbrock(points, names))

    start = torch.cat([torch.zeros_like(centres), torch.full((2, 6), 0.5, dtype=torch.float64)])
    start[4] = -1.5
    together = minimise(objective(mixed), start, 60, history=history)
    for row in range(len(start)):
        alone = minimise(only(mixed, row), start[row : row + 1], 60, history=history)
        torch.testing.assert_close(together.x[row], alone.x[0], rtol=1e-6, atol=1e-6)
        shared = min(len(alone.trace), len(together.trace))
        torch.testing.assert_close(together.trace[:shared, row], alone.trace[:shared, 0], rtol=1e-5, atol=1e-9)


def test_the_minima_are_scipys() -> None:
    start = torch.randn(4, 5, generator=generator(2), dtype=torch.float64)
    found = minimise(objective(logistic), start, evaluations=300, progress=1e-12)
    check(found, logistic)
    for row in range(4):
        x, loss = scipys(logistic, row, start[row])
        assert float(found.loss[row]) == pytest.approx(loss, abs=1e-10)
        np.testing.assert_allclose(found.x[row].numpy(), x, atol=1e-4)


def test_a_row_without_a_number_spoils_no_other() -> None:
    """Row 1 has none from the start, row 2 has none wherever it may go."""
    function, centres = quadratics([3.0, 5.0, 7.0, 50.0])
    start = torch.zeros_like(centres)

    def holed(points: Tensor, names: Tensor) -> Tensor:
        away = (names == 1) | ((names == 2) & (points != 0).any(dim=1))
        return torch.where(away, torch.nan, 1.0) * function(points, names)

    counted = Counted(holed)
    found, clean = minimise(counted, start, 200), minimise(objective(function), start, 200)
    fine = torch.tensor([0, 3])
    torch.testing.assert_close(found.x[fine], clean.x[fine], rtol=0, atol=1e-8)
    assert float(found.loss[fine].max()) < 1e-12
    assert bool(found.loss[1].isnan())
    assert [1 in rows for rows in counted.rows].count(True) == 1  # it costs no second evaluation
    assert torch.equal(found.x[1:3], start[1:3])
    assert float(found.loss[2]) == float(function(start, torch.arange(4))[2])


def test_a_step_out_of_the_domain_is_halved_back_into_it() -> None:
    """x - log x - 1, NaN for x < 0, with its minimum 0 at 1."""

    def function(points: Tensor, names: Tensor) -> Tensor:
        return (points - points.log() - 1).sum(dim=1)

    found = minimise(objective(function), torch.tensor([[0.01], [30.0], [1.0]], dtype=torch.float64), 200)
    check(found, function)
    torch.testing.assert_close(found.x, torch.ones(3, 1, dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("evaluations", [1, 2, 3, 10, 41])
def test_the_budget_is_spent_and_not_exceeded(evaluations: int) -> None:
    counted = Counted(rosenbrock)
    start = torch.tensor([[-1.2, 1.0], [-3.0, -4.0]], dtype=torch.float64)
    found = minimise(counted, start, evaluations, tolerance=0.0, progress=0.0)
    check(found, rosenbrock)
    assert len(counted.rows) == evaluations
    assert found.trace.shape == (evaluations, 2)
    assert torch.equal(found.trace[0], rosenbrock(start, torch.arange(2)))


def test_a_budget_of_one_evaluates_the_start() -> None:
    start = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    found = minimise(objective(rosenbrock), start, 1)
    assert torch.equal(found.x, start)
    assert found.loss.tolist() == pytest.approx([24.2])  # 100 * (1 - 1.44)^2 + 2.2^2


def test_the_trace_has_a_row_an_evaluation_where_all_rows_end_early() -> None:
    function, centres = quadratics([1.0, 10.0])
    counted = Counted(function)
    found = minimise(counted, centres + 1, evaluations=500)
    check(found, function)
    assert len(counted.rows) < 500
    assert len(found.trace) == len(counted.rows)


def test_a_row_that_has_its_answer_leaves_the_batch() -> None:
    function, centres = quadratics([1.0, 1e3])
    counted = Counted(function)
    minimise(counted, torch.zeros_like(centres), evaluations=300)
    assert counted.rows[0] == [0, 1]
    assert counted.rows[-1] == [1]
    at = counted.rows.index([1])
    assert all(rows == [1] for rows in counted.rows[at:])


def test_a_row_that_makes_no_progress_stops_within_its_patience() -> None:
    """A floor above the tolerance: the loss cannot fall below 1."""
    function, centres = quadratics([1.0, 1.0])
    counted = Counted(lambda points, names: 1 + function(points, names))
    found = minimise(counted, torch.zeros_like(centres), evaluations=500, patience=10)
    assert len(counted.rows) <= 40
    torch.testing.assert_close(found.loss, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-3)


def test_the_start_is_not_written_to() -> None:
    start = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    found = minimise(objective(rosenbrock), start, 50)
    assert start.tolist() == [[-1.2, 1.0]]
    assert not torch.equal(found.x, start)


def test_one_pair_of_history_is_enough() -> None:
    start = torch.tensor([[-1.2, 1.0], [2.0, -2.0]], dtype=torch.float64)
    found = minimise(objective(rosenbrock), start, evaluations=2000, history=1, patience=100)
    check(found, rosenbrock)
    torch.testing.assert_close(found.x, torch.ones_like(start), rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6, 1e12])
def test_the_scale_of_the_loss_does_not_matter(scale: float) -> None:
    """The first step is short where gradients are long; that must not read as a step that has become too short."""
    function, centres = quadratics([20.0])
    start = torch.zeros_like(centres)
    scaled = minimise(objective(lambda points, names: scale * function(points, names)), start, 200, tolerance=0.0)
    torch.testing.assert_close(scaled.x, centres, rtol=0, atol=1e-4)


def test_a_long_direction_is_halved_until_the_move_is_short_not_until_the_factor_is() -> None:
    """Nearly flat, so that L-BFGS wants to go 10^9 far, where the domain ends at 1.05."""

    def function(points: Tensor, names: Tensor) -> Tensor:
        x = points[:, 0]
        return torch.where(x < 1.05, 2 - x + 1e-9 * x.square() / 2, torch.nan)

    found = minimise(objective(function), torch.zeros(1, 1, dtype=torch.float64), 300, patience=100)
    assert 1.04 < float(found.x) < 1.05


def two_loops(gradient: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """-H g of one row (Nocedal and Wright, algorithm 7.4), from its pairs, oldest first."""
    q, alphas = gradient.clone(), []
    for s, y in reversed(pairs):
        alphas.append(s @ q / (s @ y))
        q = q - alphas[-1] * y
    if pairs:
        q = q * (pairs[-1][0] @ pairs[-1][1]) / pairs[-1][1].square().sum()
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        q = q + (alpha - y @ q / (s @ y)) * s
    return -q


@pytest.mark.parametrize("history", [1, 4, 30])
def test_the_compact_form_is_the_two_loop_recursion(history: int) -> None:
    """Rows that store a pair every time, every second time, and never; rings that go round, and that do not."""
    source, width = generator(5), 7
    kept = _History.empty(torch.zeros(3, width, dtype=torch.float64), history, torch.float64)
    plain: list[list[tuple[Tensor, Tensor]]] = [[], [], []]
    for turn in range(13):
        step, gradient = torch.randn(2, 3, width, generator=source, dtype=torch.float64)
        change = step * torch.linspace(1, 50, width, dtype=torch.float64)
        fresh = torch.tensor([True, turn % 2 == 1, False])
        for row in fresh.nonzero()[:, 0].tolist():
            plain[row] = [*plain[row], (step[row], change[row])][-history:]
        kept.store(step, change, fresh)
        found = kept.direction(gradient, change, fresh)
        expected = torch.stack([two_loops(g, pairs) for g, pairs in zip(gradient, plain, strict=True)])
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert torch.equal(found[2], -gradient[2])


def test_a_history_in_single_precision_still_reaches_the_minima_in_double() -> None:
    function, centres = quadratics([1.0, 30.0, 1e3])
    found = minimise(objective(function), torch.zeros_like(centres), evaluations=500, precision=torch.float32)
    check(found, function)
    assert found.x.dtype == torch.float64
    assert float(found.loss.max()) < 1e-12
