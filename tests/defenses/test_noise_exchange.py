"""NISS's exchange of noise shares: exact cancellation, the digraph, variances, the factors s, the scalar collapse.

Monte Carlo checks have fixed seeds; each states how often a right implementation would fail under a random one.
"""

import math
from fractions import Fraction
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, kstest, norm
from torch import Tensor

from bench.privacy.papers import noise_exchange
from bench.privacy.papers.noise_exchange import NoiseExchange
from bench.privacy.papers.noise_sharing import niss_aggregate_variance
from defenses.niss import exchange

sizes = st.integers(2, 9).flatmap(lambda m: st.tuples(st.just(m), st.integers(1, m - 1)))
seeds = st.integers(0, 2**32)


def make(
    num_clients: int = 10,
    num_shares: int = 4,
    sigma_squared: float | Tensor = 1.0,
    tau_squared: float | Tensor = 0.0,
    dim: int = 50,
    seed: int = 0,
    scale: Literal["coordinate", "share"] = "coordinate",
    mute: Tensor | None = None,
) -> NoiseExchange:
    source, dtype = torch.Generator().manual_seed(seed), torch.float64
    return exchange(num_clients, dim, sigma_squared, num_shares, tau_squared, source, scale, dtype, mute)


def mean_square(values: Tensor) -> tuple[float, float]:
    """The mean of the squares of `(rows, d)`, whose columns are independent, and its standard error."""
    per_column = values.square().mean(dim=0)
    return float(per_column.mean()), float(per_column.std()) / math.sqrt(len(per_column))


# -------------------------------------------------------------------------------------------------------- cancellation


@given(sizes, seeds)
def test_the_shares_sum_to_zero_exactly(size: tuple[int, int], seed: int) -> None:
    """In exact arithmetic: what a client keeps is the negative of what it sent, and everything sent is received."""
    noise = make(*size, dim=3, seed=seed)
    total = [Fraction(0)] * 3
    for client in range(size[0]):
        shares = noise.shares(client)
        for at in range(3):
            total[at] -= sum(map(Fraction, shares.sent[:, at].tolist()))
            total[at] += sum(map(Fraction, shares.got[:, at].tolist()))
    assert total == [0, 0, 0]


@given(sizes, seeds)
def test_own_and_received_are_the_sums_of_the_shares(size: tuple[int, int], seed: int) -> None:
    noise = make(*size, dim=3, seed=seed)
    for client in range(size[0]):
        shares = noise.shares(client)
        torch.testing.assert_close(noise.own[client], -shares.sent.sum(dim=0))
        torch.testing.assert_close(noise.received[client], shares.got.sum(dim=0))
    assert torch.equal(noise.upload, noise.own + noise.received)


def test_the_sum_of_all_uploads_vanishes_in_float32() -> None:
    noise = exchange(30, 2000, 1.0, 20, 0.0, torch.Generator().manual_seed(0))
    assert noise.upload.dtype == torch.float32
    assert float(noise.upload.abs().max()) > 1  # there is noise
    assert float(noise.upload.sum(dim=0).abs().max()) < 1e-4


def test_unequal_sigmas_cancel_as_well() -> None:
    noise = make(sigma_squared=torch.linspace(0, 9, 10))
    assert float(noise.upload.sum(dim=0).abs().max()) < 1e-12
    assert bool((noise.own[0] == 0).all())


# --------------------------------------------------------------------------------------------------------- the digraph


@given(sizes, seeds)
def test_everyone_sends_v_shares_to_v_others_and_gets_v(size: tuple[int, int], seed: int) -> None:
    num_clients, num_shares = size
    edges = [(k, int(to)) for _, receivers in make(*size, dim=1, seed=seed).legs() for k, to in enumerate(receivers)]
    assert len(edges) == len(set(edges)) == num_clients * num_shares
    for client in range(num_clients):
        assert (client, client) not in edges
        assert sum(sender == client for sender, _ in edges) == num_shares
        assert sum(receiver == client for _, receiver in edges) == num_shares


@given(sizes, seeds)
def test_both_ends_of_an_edge_tell_the_same_story(size: tuple[int, int], seed: int) -> None:
    noise = make(*size, dim=2, seed=seed)
    books = [noise.shares(client) for client in range(size[0])]
    for client, book in enumerate(books):
        assert book.sent.shape == book.got.shape == (size[1], 2)
        for receiver, message in zip(book.receivers.tolist(), book.sent, strict=True):
            back = books[receiver].senders.tolist().index(client)
            assert torch.equal(books[receiver].got[back], message)


def test_all_pairs_of_clients_are_equally_likely() -> None:
    """3,000 exchanges of 5 clients, 2 shares: each of 20 edges has probability 1 / 2; 6 sigma, false alarm 4e-8."""
    counts = torch.zeros(5, 5)
    for seed in range(3000):
        for _, receivers in make(5, 2, dim=1, seed=seed).legs():
            counts[torch.arange(5), receivers] += 1
    off = counts[~torch.eye(5, dtype=torch.bool)]
    assert float((off - 1500).abs().max()) < 6 * math.sqrt(3000 / 4)


# ----------------------------------------------------------------------------------------------------------- variances


def test_shares_that_are_kept_are_those_that_would_be_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    mute = torch.eye(10, dtype=torch.bool).roll(1, dims=1)
    kept = make(mute=mute)
    monkeypatch.setattr(noise_exchange, "KEPT_BYTES", 0)
    drawn = make(mute=mute)
    assert kept.kept is not None
    assert drawn.kept is None
    assert torch.equal(kept.upload, drawn.upload)
    for (share, receivers), (again, to) in zip(kept.legs(), drawn.legs(), strict=True):
        assert torch.equal(share, again)
        assert torch.equal(receivers, to)


@pytest.mark.parametrize("num_shares", [1, 3, 9])
def test_a_share_has_variance_sigma_squared_over_v(num_shares: int, has_variance: Any) -> None:
    """Exact, false alarm 1e-9 each (errata N1); the shares of a client add up to sigma_k^2."""
    noise = make(num_shares=num_shares, sigma_squared=2.5, dim=2000)
    shares = torch.stack([share for share, _ in noise.legs()])
    assert has_variance(shares, 2.5 / num_shares)
    assert has_variance(noise.own, 2.5)


def test_every_client_may_have_a_sigma_of_its_own(has_variance: Any) -> None:
    sigma_squared = torch.tensor([0.5, 1.0, 2.0, 8.0])
    noise = make(4, 2, sigma_squared=sigma_squared, dim=20_000)
    for client, variance in enumerate(sigma_squared.tolist()):
        assert has_variance(noise.own[client], variance)
        assert has_variance(noise.shares(client).sent, variance / 2)


def test_shares_are_independent() -> None:
    """Correlations of all 12 shares of 4 clients over 20,000 coordinates: 6 sigma, 66 pairs, false alarm 1.3e-7."""
    shares = torch.cat([share for share, _ in make(4, 3, dim=20_000).legs()])
    off_diagonal = torch.corrcoef(shares) - torch.eye(12, dtype=torch.float64)
    assert float(off_diagonal.abs().max()) < 6 / math.sqrt(20_000)


@pytest.mark.parametrize("tau_squared", [0.0, 0.3, 1.0])
def test_an_upload_has_variance_two_plus_tau_squared(tau_squared: float) -> None:
    """(2 + tau^2) sigma^2, and not 2 v sigma^2 (errata N1); 6 standard errors, false alarm 2e-9 each."""
    noise = make(sigma_squared=0.2, tau_squared=tau_squared, dim=20_000)
    found, error = mean_square(noise.upload)
    assert abs(found - (2 + tau_squared) * 0.2) < 6 * error


@pytest.mark.parametrize(
    ("sigma_squared", "tau_squared"),
    [
        (torch.full((10,), 0.2), torch.full((10,), 0.3)),
        (torch.full((10,), 0.2), torch.linspace(0, 2, 10)),
        (torch.linspace(0, 2, 10), torch.full((10,), 0.6)),
    ],
    ids=["common", "tau of its own", "sigma of its own"],
)
def test_the_aggregate_has_the_variance_of_theorem_2(sigma_squared: Tensor, tau_squared: Tensor) -> None:
    """6 standard errors over 40,000 coordinates, false alarm 2e-9 each."""
    noise = make(sigma_squared=sigma_squared, tau_squared=tau_squared, dim=40_000)
    found, error = mean_square(noise.upload.sum(dim=0, keepdim=True))
    assert abs(found - niss_aggregate_variance(sigma_squared.numpy(), tau_squared.numpy())) < 6 * error


def test_the_factor_is_the_receivers(has_variance: Any) -> None:
    """With sigma and tau both unequal the variance is the sum over edges of tau_l^2 sigma_k^2 / v (errata N8)."""
    sigma_squared, tau_squared = torch.linspace(0.1, 2, 6), torch.linspace(3, 0, 6)
    noise = make(6, 2, sigma_squared, tau_squared, dim=40_000)
    expected = sum(float((tau_squared[receivers] * sigma_squared / 2).sum()) for _, receivers in noise.legs())
    found, error = mean_square(noise.upload.sum(dim=0, keepdim=True))
    assert abs(found - expected) < 6 * error  # false alarm 2e-9
    exact = noise.shares(5).got.sum(dim=0)  # tau = 0: the last client adds the shares as they came
    torch.testing.assert_close(noise.received[5], exact)


# ----------------------------------------------------------------------------------------------------------- factors s


def factors(noise: NoiseExchange) -> Tensor:
    """s of every client `(m, d)` where v = 1."""
    ((message, receivers),) = noise.legs()
    return noise.received / message[receivers.argsort()]


def test_by_default_every_coordinate_has_its_own_factor() -> None:
    """s ~ N(1, 0.49): Kolmogorov-Smirnov over 400,000 draws, false alarm 1e-7."""
    s = factors(make(20, 1, tau_squared=0.49, dim=20_000))
    assert kstest(s.flatten().numpy(), norm(1, 0.7).cdf).pvalue > 1e-7
    assert float(torch.corrcoef(s[:2])[0, 1].abs()) < 6 / math.sqrt(20_000)


def test_scale_share_draws_one_factor_a_share() -> None:
    """One s for all coordinates of a share, s ~ N(1, 0.49) over 4,000 clients: false alarm 1e-7."""
    s = factors(make(4000, 1, tau_squared=0.49, dim=5, scale="share"))
    torch.testing.assert_close(s, s[:, :1].expand_as(s))
    assert kstest(s[:, 0].numpy(), norm(1, 0.7).cdf).pvalue > 1e-7


def test_the_shares_of_a_client_have_different_factors() -> None:
    """With v = 2 the received noise is no multiple of the sum of the two shares, but lies in their span."""
    noise = make(5, 2, tau_squared=1.0, dim=30, scale="share")
    shares = noise.shares(0)
    solution = torch.linalg.lstsq(shares.got.mT, noise.received[0].unsqueeze(1))
    torch.testing.assert_close(shares.got.mT @ solution.solution, noise.received[0].unsqueeze(1))
    assert abs(float(solution.solution[0] - solution.solution[1])) > 1e-3


def relative_error_after_projection(noise: NoiseExchange, update: Tensor) -> float:
    """All others collude: they know every share, take their own out and project the rest on the shares' complement."""
    shares = noise.shares(0)
    message = update + noise.upload[0]
    known = message + shares.sent.sum(dim=0) - shares.got.sum(dim=0)
    basis = torch.linalg.qr(shares.got.mT).Q
    return float((known - basis @ (basis.mT @ known) - update).norm() / update.norm())


@pytest.mark.parametrize("num_shares", [5, 20])
def test_one_factor_a_share_collapses_under_projection(num_shares: int) -> None:
    """Errata N2: rho = 1, tau^2 = 1, h = 7850 leaves sqrt(v / h), .0505 at v = 20.

    The squared error is the update's share in a random v-dimensional space, Beta(v / 2, (h - v) / 2): false alarm 1e-7
    each. Factors a coordinate leave the full noise: relative error sqrt(h) sigma / |update| = 89 here.
    """
    update = torch.nn.functional.normalize(
        torch.randn(7850, generator=torch.Generator().manual_seed(1)).double(), dim=0
    )
    broken = make(num_shares + 1, num_shares, tau_squared=1.0, dim=7850, scale="share")
    law = beta(num_shares / 2, (7850 - num_shares) / 2)
    assert law.ppf(5e-8) < relative_error_after_projection(broken, update) ** 2 < law.isf(5e-8)
    assert math.sqrt(law.mean()) == pytest.approx(math.sqrt(num_shares / 7850))
    whole = make(num_shares + 1, num_shares, tau_squared=1.0, dim=7850)
    assert relative_error_after_projection(whole, update) > 60


# -------------------------------------------------------------------------------------------- colluders that send zeros


def muted(*edges: tuple[int, int], m: int = 10) -> Tensor:
    """`(m, m)`: who sends whom zeros."""
    mute = torch.zeros(m, m, dtype=torch.bool)
    for sender, receiver in edges:
        mute[sender, receiver] = True
    return mute


@pytest.mark.parametrize("scale", ["coordinate", "share"])
@pytest.mark.parametrize("tau_squared", [0.0, 0.7])
def test_with_nobody_mute_the_exchange_is_the_same_bit_for_bit(scale: Any, tau_squared: float) -> None:
    plain = make(tau_squared=tau_squared, scale=scale)
    nobody = make(tau_squared=tau_squared, scale=scale, mute=muted())
    assert torch.equal(plain.own, nobody.own)
    assert torch.equal(plain.received, nobody.received)
    assert torch.equal(plain.shares(3).got, nobody.shares(3).got)


@pytest.mark.parametrize("scale", ["coordinate", "share"])
@pytest.mark.parametrize("tau_squared", [0.0, 0.7])
def test_mute_senders_change_what_their_receivers_got_and_nothing_else(scale: Any, tau_squared: float) -> None:
    plain = make(num_shares=9, tau_squared=tau_squared, scale=scale)
    mute = muted((1, 4), (2, 4), (3, 7))
    deviating = make(num_shares=9, tau_squared=tau_squared, scale=scale, mute=mute)
    assert torch.equal(plain.own, deviating.own)
    for client in range(10):
        assert torch.equal(plain.received[client], deviating.received[client]) == (client not in (4, 7))
        assert torch.equal(plain.shares(client).got, deviating.shares(client).got)  # the legs hold what they kept
    if tau_squared == 0:
        book = plain.shares(4)
        honest = [place for place, sender in enumerate(book.senders.tolist()) if sender not in (1, 2)]
        torch.testing.assert_close(deviating.received[4], book.got[honest].sum(dim=0))


@pytest.mark.parametrize("scale", ["coordinate", "share"])
@pytest.mark.parametrize("tau_squared", [0.0, 0.7, 5.0])
def test_zeros_from_everybody_scale_to_zero(scale: Any, tau_squared: float) -> None:
    """Errata N4: at rho = 1 nothing of the received noise is left at any tau; what is left, colluders got negated."""
    noise = make(tau_squared=tau_squared, scale=scale, mute=torch.ones(10, 10, dtype=torch.bool))
    assert bool((noise.received == 0).all())
    for client in range(10):
        known = noise.shares(client).sent.sum(dim=0)
        torch.testing.assert_close(noise.upload[client], -known)


@pytest.mark.parametrize("silent", [0, 3, 6])
def test_the_shares_that_are_not_zeros_keep_their_variance(silent: int) -> None:
    """Of 9 received shares 9 - silent are left, each (1 + tau^2) sigma^2 / v; 6 standard errors, false alarm 2e-9."""
    mute = muted(*[(sender, 0) for sender in range(1, 1 + silent)])
    noise = make(num_shares=9, sigma_squared=0.2, tau_squared=0.6, dim=40_000, mute=mute)
    found, error = mean_square(noise.received[:1])
    assert abs(found - (9 - silent) / 9 * 1.6 * 0.2) < 6 * error


# ------------------------------------------------------------------------------------------------------- seeds, faults


@pytest.mark.parametrize("scale", ["coordinate", "share"])
def test_the_generator_alone_decides(scale: Literal["coordinate", "share"]) -> None:
    first, again, other = (make(tau_squared=0.5, scale=scale, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.upload, again.upload)
    assert torch.equal(first.shares(3).sent, again.shares(3).sent)
    assert not torch.equal(first.upload, other.upload)
    generator = torch.Generator().manual_seed(1)
    two = [exchange(10, 50, 1.0, 4, 0.5, generator, scale=scale) for _ in range(2)]
    assert not torch.equal(two[0].upload, two[1].upload)


def test_the_factors_do_not_change_the_shares() -> None:
    plain, scaled = make(tau_squared=0.0), make(tau_squared=1.0)
    assert torch.equal(plain.own, scaled.own)
    assert not torch.equal(plain.received, scaled.received)


@pytest.mark.parametrize(
    ("wrong", "argument"),
    [
        ({"num_clients": 1}, "num_clients"),
        ({"num_shares": 0}, "num_shares"),
        ({"num_shares": 4}, "num_shares"),
        ({"dim": 0}, "dim"),
        ({"sigma_squared": -1.0}, "sigma_squared"),
        ({"sigma_squared": math.nan}, "sigma_squared"),
        ({"sigma_squared": torch.ones(3)}, "sigma_squared"),
        ({"tau_squared": -0.1}, "tau_squared"),
        ({"tau_squared": math.inf}, "tau_squared"),
        ({"tau_squared": torch.ones(5)}, "tau_squared"),
        ({"scale": "client"}, "scale"),
    ],
    ids=["m", "no share", "self", "d", "sigma<0", "sigma nan", "3 sigmas", "tau<0", "tau inf", "5 taus", "scale"],
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any], argument: str) -> None:
    fine: dict[str, Any] = {"num_clients": 4, "dim": 3, "sigma_squared": 1.0, "num_shares": 2, "tau_squared": 0.5}
    with pytest.raises(ValueError, match=argument):
        exchange(**{**fine, **wrong}, generator=torch.Generator())
