"""Weighted collusion: what is left of the noise, coordinate by coordinate, and what weighing by it gains.

Monte Carlo checks have fixed seeds; each states how often a right implementation would fail under a random one.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from attacks.dlg import DLG
from attacks.subspace import recover
from attacks.weighted_collusion import FLOOR, WeightedCollusion, noise_left
from bench.attacking.inversion import matcher, observations
from bench.models.base import Model
from bench.protocol import Alphabet, Delivered, Setting
from bench.threat import PublicFacts, RoundTranscript, View, choose_colluders, server_view, strip
from defenses.niss import exchange

Scale = Literal["coordinate", "share"]


class Line(Model):
    """A linear problem in the form of a model: every coordinate of the gradient is the one pixel of its one image."""

    name = "line"

    def __init__(self, dim: int) -> None:
        super().__init__((1, 1, 1), 2)
        self.shapes = [(dim,)]

    def initial(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(self.dim, dtype=dtype)

    def logits(self, params: Tensor, x: Tensor) -> Tensor:
        return x.flatten(1).expand(-1, 2)

    def gradients(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        return (x.flatten(1) + 0 * targets.flatten(1)[:, :1]).expand(-1, self.dim)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def view_of(
    dim: int,
    v: int,
    tau_squared: float | tuple[float, ...],
    rho: float = 1.0,
    seed: int = 0,
    scale: Scale = "coordinate",
    mute: Tensor | None = None,
) -> View:
    """Of v + 1 clients, each of them a target: they send zeros, and share noise of variance 1 in v parts."""
    m, clients = v + 1, torch.arange(v + 1)
    tau = torch.tensor(tau_squared, dtype=torch.float64)
    noise = exchange(m, dim, 1.0, v, tau, seeded(seed), scale=scale, dtype=torch.float64, mute=mute)
    zeros = torch.zeros(m, dim, dtype=torch.float64)
    transcript = RoundTranscript(
        0, zeros[0], clients, noise.upload, Delivered(noise.upload, clients), noise, zeros, mute
    )
    colluders = choose_colluders(m, clients, rho, seeded(seed + 1))
    seen = server_view(transcript, clients, colluders, single_shares=True)
    return View(facts_of(dim, m, v, tau_squared, scale), clients, (seen,), (1, 1, 1), torch.zeros(1, 1, 1))


def facts_of(dim: int, m: int, v: int, tau_squared: float | tuple[float, ...], scale: Scale) -> PublicFacts:
    """Updates are minus gradients: the learning rate is 1, and nothing is clipped or weighted."""
    parameters: dict[str, Any] = {"num_shares": v, "share_variance": 1 / v, "tau_squared": tau_squared, "scale": scale}
    return PublicFacts(
        model=Line(dim),
        setting=Setting(m, m, dim, rounds=1, lr=1.0, lr_decay=None, assumed_byzantine=0.0, delta=1e-6),
        alphabet=Alphabet.REAL,
        weighted=False,
        keeps_models=False,
        local_penalty=0.0,
        random_share=0.0,
        clip_norm=None,
        local_steps=1,
        momentum=0.0,
        mean=torch.zeros(1),
        std=torch.ones(1),
        parameters=parameters,
    )


def variance_of(view: View) -> Tensor:
    (variance,) = WeightedCollusion(rho=1.0).variances(view)
    assert variance is not None
    return variance


def best_pixels(view: View, messages: Tensor, variances: Sequence[Tensor | None] | None) -> Tensor:
    """Of messages `(k, d)` the pixels `(k,)` at which the matching loss is least; its slope is linear in a pixel."""
    (seen,) = observations(view, [messages], variances)
    match, y = (
        matcher(view.facts.model, seen, torch.arange(len(messages)), view.facts),
        torch.zeros(len(messages), 1, 2),
    )
    at = (torch.full((len(messages), 1, 1, 1, 1), place, dtype=torch.float64) for place in (0.0, 1.0))
    zero, one = (match(x, y)[1][0].flatten() for x in at)
    return zero / (zero - one)


# ------------------------------------------------------------------------------------------------- the linear problem


@pytest.mark.parametrize("v", [1, 4])
def test_the_least_loss_is_that_of_weighted_least_squares(v: int) -> None:
    """Of one number under d noises the best estimate has the variance 1 / sum(1 / var) (Aitken), the mean mean(var)/d.

    The estimate is linear in the message, so messages that are 1 in one coordinate each give its weights.
    """
    view, dim = view_of(60, v, 0.8), 60
    variance = variance_of(view)[:1].expand(dim, -1)
    var = variance[0].numpy()
    for given, expected in (([variance], 1 / (1 / var).sum()), (None, var.mean() / dim)):
        weights = -best_pixels(
            view, torch.eye(dim, dtype=torch.float64), given
        ).numpy()  # an update is minus a gradient
        assert weights.sum() == pytest.approx(1, rel=1e-9)
        assert (weights**2 * var).sum() == pytest.approx(expected, rel=1e-9)


def test_the_gain_over_equal_weights_is_v_over_v_minus_2() -> None:
    """At rho = 1 and v = 10, 1.25. 40 exchanges of 11 clients of 500 coordinates: 440 estimates either way.

    Given the shares an estimate is normal: its square over its variance is chi-squared, and 440 of them add up to one
    of 440 degrees of freedom, within its quantiles 5e-8 from both ends. The ratio of both variances, mean(x) mean(1/x)
    of d draws of chi-squared with v degrees of freedom, is on average g - (g - 1) / d with g = v / (v - 2): within 6
    standard errors over the exchanges, false alarm 5e-7 (Student's t of 39 degrees of freedom). The gain itself, a
    ratio of sums of squares, lies within 6 of its jackknife's standard errors (Efron 1982), near 5e-7 as well.
    """
    v, dim, tau_squared = 10, 500, 0.6
    weighted, equal, scaled, ratios = [], [], [], []
    for seed in range(40):
        view = view_of(dim, v, tau_squared, seed=2 * seed)
        variance, message = variance_of(view), strip(view.rounds[0])
        by_weight, by_mean = (best_pixels(view, message, given).square() for given in ([variance], None))
        best, plain = 1 / (1 / variance).sum(dim=1), variance.mean(dim=1) / dim
        scaled.append((float((by_weight / best).sum()), float((by_mean / plain).sum())))
        ratios.append(float((plain / best).mean()))
        weighted.append(float(by_weight.sum()))
        equal.append(float(by_mean.sum()))
    for sums in np.array(scaled).T:
        assert chi2(440).ppf(5e-8) < sums.sum() < chi2(440).isf(5e-8)
    gain = v / (v - 2)
    expected = gain - (gain - 1) / dim
    assert abs(np.mean(ratios) - expected) < 6 * np.std(ratios, ddof=1) / math.sqrt(40)
    left_out = [(sum(equal) - a) / (sum(weighted) - b) for a, b in zip(equal, weighted, strict=True)]
    error = math.sqrt(39 / 40 * float(np.square(np.array(left_out) - np.mean(left_out)).sum()))
    assert abs(sum(equal) / sum(weighted) - gain) < 6 * error


# ------------------------------------------------------------------------------------------------ what colluders know


@pytest.mark.parametrize("rho", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("tau_squared", [0.0, 0.6, (0.0, 0.1, 0.5, 2.0, 4.0)], ids=["0", "0.6", "each its own"])
def test_what_is_left_is_added_up_share_by_share(rho: float, tau_squared: Any) -> None:
    """An unknown share that the target sent leaves 1 / v, one that it got 1 + tau^2 times that; a known r tau^2 r^2."""
    v, view = 4, view_of(7, 4, tau_squared, rho)
    (seen,) = view.rounds
    assert seen.num_sent is not None
    assert seen.num_got is not None
    assert seen.each_got is not None
    found = variance_of(view)
    for target in range(v + 1):
        tau = tau_squared[target] if isinstance(tau_squared, tuple) else tau_squared
        expected = np.zeros(7)
        expected += (v - int(seen.num_sent[target])) / v + (v - int(seen.num_got[target])) * (1 + tau) / v
        for r in seen.each_got[target].numpy():
            expected += tau * r**2
        np.testing.assert_allclose(found[target].numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("rho", [0.2, 0.6, 1.0])
def test_squares_of_the_noise_that_is_left_have_that_mean(rho: float) -> None:
    """Over its variance a square is 1 on average: 20,000 coordinates of six targets, 6 standard errors each (2e-9)."""
    view = view_of(20_000, 5, (0.2, 0.4, 0.6, 0.8, 1.0, 3.0), rho, seed=3)
    squares = strip(view.rounds[0]).square() / variance_of(view)
    error = squares.std(dim=1) / math.sqrt(20_000)
    assert bool(((squares.mean(dim=1) - 1).abs() < 6 * error).all())


def test_nothing_left_is_counted_as_the_least_that_counts() -> None:
    assert torch.equal(variance_of(view_of(9, 3, 0.0)), torch.full((4, 9), FLOOR / 3, dtype=torch.float64))


def test_shares_of_zeros_leave_all_coordinates_alike() -> None:
    """Active colluders know r = 0, so that nothing is left but the least that counts."""
    mute = ~torch.eye(4, dtype=torch.bool)
    variance = variance_of(view_of(9, 3, 2.0, mute=mute))
    assert torch.equal(variance, torch.full((4, 9), FLOOR / 3, dtype=torch.float64))


def test_a_round_without_colluders_counts_by_all_of_its_noise() -> None:
    """Beside one in which all collude: (2 + tau^2) sigma^2 of a whole upload."""
    view = view_of(9, 3, 0.5)
    bare = replace(view.rounds[0], shares_sent=None, shares_got=None, num_sent=None, num_got=None, each_got=None)
    both = replace(view, rounds=(view.rounds[0], bare))
    first, second = WeightedCollusion(rho=1.0).variances(both)
    assert first is not None
    assert second is not None
    assert torch.equal(first, variance_of(view))
    torch.testing.assert_close(second, torch.full((4, 9), 2.5, dtype=torch.float64))


def test_without_shares_colluders_or_factors_of_each_coordinate_nothing_is_weighed() -> None:
    attack, view = WeightedCollusion(rho=1.0), view_of(9, 3, 0.5)
    printed, alone = view_of(9, 3, 0.5, scale="share"), view_of(9, 3, 0.5, rho=0.0)
    plain = replace(view, facts=replace(view.facts, parameters={"zeta": 1.0, "scale": "coordinate"}))
    for one in (printed, alone, plain):
        assert attack.variances(one) == [None]
    assert torch.equal(attack.estimates(printed)[0], recover(printed.rounds[0]))
    for one in (view, alone, plain):
        assert torch.equal(attack.estimates(one)[0], strip(one.rounds[0]))


def test_what_a_cleaned_view_says_of_its_noise_is_kept() -> None:
    """There the shares are gone, and the variance stands in their place."""
    view = view_of(9, 3, 0.5)
    known = replace(view.rounds[0], variance=variance_of(view), shares_sent=None, shares_got=None, each_got=None)
    (kept,) = WeightedCollusion(rho=1.0).variances(replace(view, rounds=(known,)))
    assert kept is known.variance
    assert DLG().variances(replace(view, rounds=(known,))) == [known.variance]


@pytest.mark.parametrize("share_variance", [0.0, -1.0, math.inf, math.nan])
def test_a_share_without_variance_is_refused(share_variance: float) -> None:
    one = torch.ones(1)
    with pytest.raises(ValueError, match="share_variance"):
        noise_left(torch.ones(1, 3), one, one, one, 2, share_variance)


def test_the_attack_is_collusion_that_sees_single_shares() -> None:
    attack = WeightedCollusion(rho=0.7, starts=2)
    assert (attack.collusion(), attack.single_shares, attack.active) == (0.7, True, False)
    assert attack.alone() == DLG(starts=2)
