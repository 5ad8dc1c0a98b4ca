"""Subspace: the projection itself, the collapse of one factor a share (errata N2, N3), and that it gains nothing else.

Monte Carlo checks have fixed seeds; each states how often a right implementation would fail under a random one.
"""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta
from torch import Tensor

from attacks.dlg import DLG
from attacks.subspace import Subspace, project_out, recover
from bench.protocol import Delivered
from bench.threat import RoundTranscript, RoundView, choose_colluders, server_view, strip
from defenses.niss import exchange

Scale = Literal["coordinate", "share"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seen_by(
    updates: Tensor, num_shares: int, tau_squared: float, scale: Scale, rho: float, targets: int = 1, seed: int = 0
) -> RoundView:
    """What colluders see of the first targets in a round of NISS with sigma_k = 1 and these updates `(m, d)`."""
    m, d = updates.shape
    clients, games = torch.arange(m), torch.arange(targets)
    noise = exchange(m, d, 1.0, num_shares, tau_squared, seeded(seed), scale=scale, dtype=updates.dtype)
    messages = updates + noise.upload
    broadcast = torch.zeros(d, dtype=updates.dtype)
    transcript = RoundTranscript(0, broadcast, clients, messages, Delivered(messages, clients), noise, updates)
    return server_view(transcript, games, choose_colluders(m, games, rho, seeded(seed + 1)), single_shares=True)


@given(st.integers(1, 6), st.integers(0, 3), st.integers(0, 2**32))
def test_the_projection_is_that_of_linear_algebra(num_shares: int, zeros: int, seed: int) -> None:
    """Against a QR factorisation in numpy; shares of zeros, in whatever place, count for nothing."""
    generator = seeded(seed)
    estimate = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    shares = torch.randn(2, num_shares, 9, generator=generator, dtype=torch.float64)
    padded = torch.cat([shares, torch.zeros(2, zeros, 9, dtype=torch.float64)], dim=1)
    padded = padded[:, torch.randperm(num_shares + zeros, generator=generator)]
    found = project_out(estimate, padded).numpy()
    for target in range(2):
        basis = np.linalg.qr(shares[target].numpy().T)[0]
        expected = estimate[target].numpy() - basis @ (basis.T @ estimate[target].numpy())
        np.testing.assert_allclose(found[target], expected, atol=1e-9)


def test_nothing_known_is_nothing_taken_out() -> None:
    estimate = torch.randn(2, 5, generator=seeded())
    assert torch.equal(project_out(estimate, torch.zeros(2, 3, 5)), estimate)


@pytest.mark.parametrize("num_shares", [2, 20])
@pytest.mark.parametrize("tau_squared", [0.3, 4.0])
def test_one_factor_a_share_leaves_the_updates_part_in_the_span(num_shares: int, tau_squared: float) -> None:
    """Errata N2: at rho = 1 the relative error is sqrt(v / d), whatever tau is.

    Its square is a random direction's share in v of d dimensions, Beta(v / 2, (d - v) / 2): false alarm 1e-7 each.
    """
    updates = torch.randn(num_shares + 1, 2000, generator=seeded(3), dtype=torch.float64)
    seen = seen_by(updates, num_shares, tau_squared, "share", rho=1.0)
    squared = float((recover(seen) - updates[:1]).norm() / updates[0].norm()) ** 2
    law = beta(num_shares / 2, (2000 - num_shares) / 2)
    assert law.ppf(5e-8) < squared < law.isf(5e-8)
    assert law.mean() == pytest.approx(num_shares / 2000)
    stripped = float((strip(seen) - updates[:1]).norm() / updates[0].norm())
    assert stripped > 2 * math.sqrt(num_shares / 2000)  # without the projection s still hides


def test_the_mean_squared_error_is_v_over_d() -> None:
    """50 independent targets, v = 8, d = 500: mean of Beta(4, 246) within 6 standard errors, false alarm 2e-9."""
    errors = []
    for seed in range(50):
        updates = torch.randn(9, 500, generator=seeded(1000 + seed), dtype=torch.float64)
        seen = seen_by(updates, 8, 1.0, "share", rho=1.0, seed=2 * seed)
        errors.append(float((recover(seen) - updates[:1]).square().sum() / updates[0].square().sum()))
    law = beta(4, 246)
    assert abs(float(np.mean(errors)) - 8 / 500) < 6 * law.std() / math.sqrt(50)


def test_what_honest_peers_shared_is_left_in_all_other_directions() -> None:
    """Errata N3: (1 - rho)(2 + tau^2) sigma^2 in d - rho v directions, here .52 at rho = .8 and tau^2 = .6.

    Over 40 exchanges of 21 clients each, every unknown share with a factor of its own (3,360 of them): 6 standard
    errors over the exchanges, false alarm near 1e-7 (Student's t of 39 degrees of freedom has 5e-7).
    """
    m, d, rho, tau_squared = 21, 200, 0.8, 0.6
    left = []
    for seed in range(40):
        updates = torch.zeros(m, d, dtype=torch.float64)
        seen = seen_by(updates, m - 1, tau_squared, "share", rho, targets=m, seed=2 * seed)
        left.append(float(recover(seen).square().sum(dim=1).mean()) / (d - rho * (m - 1)))
    expected = (1 - rho) * (2 + tau_squared)
    assert expected == pytest.approx(0.52)
    assert abs(float(np.mean(left)) - expected) < 6 * float(np.std(left, ddof=1)) / math.sqrt(40)


def test_factors_of_each_coordinate_leave_the_projection_nothing_to_gain() -> None:
    """Of the noise left, tau^2 sum of r_i^2 a coordinate, a share of (v + 2) / d lies in the span, and no more.

    Given the shares r the noise is N(0, tau^2 sum of r_i^2), and its part in their span has on average the share
    E[chi^4] / (E[chi^2]^2) v / d = (v + 2) / d, chi^2 of v degrees of freedom. It is a sum of v squares: six of its
    standard deviations, sqrt(2 v) / d, above the mean. False alarm near 1e-5 (chi-squared of 20, at 6 deviations).
    """
    v, d = 20, 2000
    seen = seen_by(torch.zeros(v + 1, d, dtype=torch.float64), v, 1.0, "coordinate", rho=1.0)
    gained = 1 - float(recover(seen).square().sum() / strip(seen).square().sum())
    assert 0 < gained < (v + 2 + 6 * math.sqrt(2 * v)) / d
    assert float(strip(seen).square().mean()) == pytest.approx(1.0, rel=0.2)  # tau^2 sigma^2 is all there


def test_without_colluders_or_shares_the_message_stays_as_it_is() -> None:
    updates = torch.randn(5, 30, generator=seeded(1), dtype=torch.float64)
    seen = seen_by(updates, 2, 1.0, "share", rho=0.0)
    assert seen.each_got is None
    assert torch.equal(recover(seen), seen.estimate)


def test_the_projection_keeps_the_messages_precision() -> None:
    """float32 messages far below the noise: error sqrt(v / d) all the same, false alarm 1e-7."""
    updates = torch.randn(11, 2000, generator=seeded(3)) / 1000
    seen = seen_by(updates, 10, 1.0, "share", rho=1.0)
    found = recover(seen)
    assert found.dtype == torch.float32
    law = beta(5, 995)
    squared = float((found - updates[:1]).norm() / updates[0].norm()) ** 2
    assert law.ppf(5e-8) < squared < law.isf(5e-8)


def test_the_attack_is_collusion_that_sees_single_shares() -> None:
    attack = Subspace(rho=0.7, starts=2)
    assert (attack.collusion(), attack.single_shares, attack.active) == (0.7, True, False)
    assert attack.alone() == DLG(starts=2)
