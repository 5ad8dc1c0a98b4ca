"""DPBFL: the randomizer's probabilities, the shuffler's uniformity, the analyzer's mean and exact variance.

Monte Carlo checks have fixed seeds; each states how often a right implementation would fail under a random one.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare
from torch import Tensor

from bench.privacy.analysis.compose import compose_local
from bench.privacy.papers.blanket import compose_shuffle
from bench.privacy.papers.drawn_votes import randomized_sum
from bench.privacy.papers.shuffle import analyzer_variance
from bench.privacy.sampling import busiest_client
from bench.protocol import Alphabet, Delivered, LocalRound, ServerRound, Setting
from defenses.dpbfl import DPBFL, analyze, randomize, shuffle
from defenses.ldpbfl import LDPBFL

sign_lists = st.lists(st.lists(st.integers(-1, 1), min_size=4, max_size=4), min_size=1, max_size=9)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------------------------------------- the randomizer R


@pytest.mark.parametrize("sign", [-1, 0, 1])
@pytest.mark.parametrize("gamma", [0.05, 0.283, 0.75, 0.999])
def test_each_sign_stays_or_becomes_uniform_with_probability_gamma(sign: int, gamma: float) -> None:
    """P(y) = (1 - gamma) [y = x] + gamma / 3 (eq. 6). Chi-square; false alarm 1e-7 for each of the 12 cases."""
    y = randomize(torch.full((400, 500), sign, dtype=torch.int8), gamma, seeded())
    counts = np.array([int((y == value).sum()) for value in (-1, 0, 1)])
    expected = np.full(3, gamma / 3) + (1 - gamma) * (np.array([-1, 0, 1]) == sign)
    assert chisquare(counts, 200_000 * expected).pvalue > 1e-7


@pytest.mark.parametrize("gamma", [1e-4, 1e-3])
def test_a_rare_flip_is_as_rare_as_it_should_be(gamma: float) -> None:
    """Exact binomial test of the entries that change, 2 gamma / 3 of them; false alarm 1e-7 each."""
    y = randomize(torch.ones(1000, 1000), gamma, seeded(1))
    assert binomtest(int((y != 1).sum()), 1_000_000, 2 * gamma / 3).pvalue > 1e-7
    assert set(y.unique().tolist()) == {-1, 0, 1}


def test_entries_are_randomized_independently() -> None:
    """Neighbours in a row and in a column: 9 joint counts each, chi-square; false alarm 1e-7 each."""
    gamma = 0.6
    y = randomize(torch.ones(600, 600), gamma, seeded(2)).long() + 1
    p = np.full(3, gamma / 3) + (1 - gamma) * np.array([0, 0, 1])
    for first, second in ((y[:, ::2], y[:, 1::2]), (y[::2], y[1::2])):
        counts = torch.bincount((3 * first + second).flatten(), minlength=9).numpy()
        assert chisquare(counts, counts.sum() * np.outer(p, p).flatten()).pvalue > 1e-7


@given(sign_lists, st.sampled_from([0.0, 0.283, 0.9]), st.sampled_from([torch.int8, torch.float32, torch.int64]))
def test_ternary_int8_out_and_the_input_untouched(signs: list[list[int]], gamma: float, dtype: torch.dtype) -> None:
    given_signs = torch.tensor(signs, dtype=dtype)
    before = given_signs.clone()
    y = randomize(given_signs, gamma, seeded(3))
    assert y.dtype == torch.int8
    assert y.shape == given_signs.shape
    assert set(y.unique().tolist()) <= {-1, 0, 1}
    assert torch.equal(given_signs, before)
    assert y.data_ptr() != given_signs.data_ptr()


@given(sign_lists)
def test_gamma_zero_changes_nothing(signs: list[list[int]]) -> None:
    assert randomize(torch.tensor(signs), 0.0, seeded()).tolist() == signs


def test_the_generator_alone_decides() -> None:
    signs = torch.sign(torch.randn(50, 60, generator=seeded()))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert torch.equal(randomize(signs, 0.5, seeded(4)), randomize(signs, 0.5, seeded(4)))
    assert not torch.equal(randomize(signs, 0.5, seeded(4)), randomize(signs, 0.5, seeded(5)))
    generator = seeded(4)
    assert not torch.equal(randomize(signs, 0.5, generator), randomize(signs, 0.5, generator))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("gamma", [-0.1, 1.0, 1.5, math.nan, math.inf])
def test_gamma_out_of_range_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma"):
        randomize(torch.zeros(2, 2), gamma, seeded())
    with pytest.raises(ValueError, match="gamma"):
        analyze(torch.zeros(2, 2, dtype=torch.int8), gamma)
    with pytest.raises(ValueError, match="gamma"):
        DPBFL(gamma=gamma)


@pytest.mark.parametrize("value", [2.0, -3.0, 0.5, math.nan, math.inf])
def test_signs_out_of_the_alphabet_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="signs"):
        randomize(torch.tensor([[1.0, 0.0], [value, -1.0]]), 0.3, seeded())


@pytest.mark.parametrize("value", [2, -2, 127, -128])
def test_integers_out_of_the_alphabet_are_refused(value: int) -> None:
    with pytest.raises(ValueError, match="signs"):
        randomize(torch.tensor([[1, value]], dtype=torch.int8), 0.3, seeded())


# ------------------------------------------------------------------------------------------------------ the shuffler S


@given(sign_lists, st.integers(0, 99))
def test_every_coordinate_keeps_its_multiset(signs: list[list[int]], seed: int) -> None:
    messages = torch.tensor(signs, dtype=torch.int8)
    before = messages.clone()
    mixed = shuffle(messages, seeded(seed))
    assert mixed.dtype == messages.dtype
    assert torch.equal(mixed.sort(dim=0).values, messages.sort(dim=0).values)
    assert torch.equal(messages, before)


def test_every_permutation_is_equally_likely() -> None:
    """4 clients, 60,000 coordinates: 24 permutations, chi-square; false alarm 1e-7."""
    mixed = shuffle(torch.arange(4).unsqueeze(1).expand(4, 60_000), seeded())
    codes = (mixed * torch.tensor([64, 16, 4, 1]).unsqueeze(1)).sum(dim=0)
    values, counts = codes.unique(return_counts=True)
    assert len(values) == 24
    assert chisquare(counts.numpy()).pvalue > 1e-7


@pytest.mark.parametrize("distance", [1, 30_000])
def test_coordinates_are_permuted_independently(distance: int) -> None:
    """Pairs of coordinates, 36 joint permutations of 3 clients, chi-square; false alarm 1e-7 each (errata D7)."""
    mixed = shuffle(torch.arange(3).unsqueeze(1).expand(3, 60_000), seeded(1))
    codes = (mixed * torch.tensor([9, 3, 1]).unsqueeze(1)).sum(dim=0)
    permutations = codes.unique(return_inverse=True)[1]
    first = permutations[::2] if distance == 1 else permutations[:distance]
    second = permutations[1::2] if distance == 1 else permutations[distance:]
    counts = torch.bincount(6 * first + second, minlength=36).numpy()
    assert chisquare(counts).pvalue > 1e-7


def test_the_shuffler_follows_its_generator() -> None:
    messages = torch.arange(200).reshape(10, 20)
    assert torch.equal(shuffle(messages, seeded(2)), shuffle(messages, seeded(2)))
    assert not torch.equal(shuffle(messages, seeded(2)), shuffle(messages, seeded(3)))


# ------------------------------------------------------------------------------------------------------ the analyzer A


def test_the_sum_is_divided_by_one_minus_gamma() -> None:
    messages = torch.tensor([[1, -1, 0], [1, -1, 1], [1, 0, -1]], dtype=torch.int8)
    torch.testing.assert_close(analyze(messages, 0.25), torch.tensor([4.0, -8 / 3, 0.0]))


def test_more_than_127_votes_do_not_overflow() -> None:
    assert analyze(torch.ones(1000, 2, dtype=torch.int8), 0.5).tolist() == [2000.0, 2000.0]


@pytest.mark.parametrize("messages", [torch.zeros(0, 2), torch.tensor([[torch.nan]])], ids=["empty", "nan"])
def test_messages_out_of_range_are_refused(messages: Tensor) -> None:
    with pytest.raises(ValueError, match="messages"):
        analyze(messages, 0.3)


@pytest.mark.parametrize(("plus", "minus"), [(50, 0), (20, 10), (0, 0)])
@pytest.mark.parametrize("gamma", [0.283, 0.75])
def test_the_analyzer_is_unbiased_with_the_exact_variance(plus: int, minus: int, gamma: float) -> None:
    """50 clients, 40,000 independent coordinates; 6 standard errors of mean and variance: false alarm 2e-9 each (D10).

    The variance's standard error is taken from the sample's own fourth moment.
    """
    signs = torch.tensor([1] * plus + [-1] * minus + [0] * (50 - plus - minus))
    z = analyze(randomize(signs.unsqueeze(1).expand(50, 40_000), gamma, seeded(6)), gamma).double()
    squares = (z - (plus - minus)).square()
    variance = analyzer_variance(50, plus + minus, gamma)
    assert abs(float(z.mean()) - (plus - minus)) < 6 * math.sqrt(variance / 40_000)
    assert abs(float(squares.mean()) - variance) < 6 * float(squares.std()) / 200


def test_the_variance_formula_is_that_of_one_client_added_up() -> None:
    """One client by enumeration: E y^2 - (E y)^2 over P(y) = (1 - g) [y = x] + g / 3, over (1 - g)^2."""
    gamma = 0.4
    p = {x: [(1 - gamma) * (x == y) + gamma / 3 for y in (-1, 0, 1)] for x in (0, 1)}
    one = {x: p[x][0] + p[x][2] - (p[x][2] - p[x][0]) ** 2 for x in (0, 1)}
    assert analyzer_variance(9, 5, gamma) == pytest.approx((5 * one[1] + 4 * one[0]) / (1 - gamma) ** 2)


# ---------------------------------------------------------------------------------------------- a sum drawn as a whole


def exact_distribution(plus: int, minus: int, zero: int, gamma: float) -> np.ndarray:
    """Probabilities of the sum of R(x) being -n .. n, by convolution over the clients (eq. 5, 6)."""
    one = {x: np.array([(1 - gamma) * (x == y) + gamma / 3 for y in (-1, 0, 1)]) for x in (-1, 0, 1)}
    law = np.ones(1)
    for x, count in ((1, plus), (-1, minus), (0, zero)):
        for _ in range(count):
            law = np.convolve(law, one[x])
    return law


@pytest.mark.parametrize(("plus", "minus", "zero"), [(3, 2, 1), (0, 0, 4), (40, 10, 0), (0, 1, 0)])
@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9])
def test_a_sum_drawn_from_the_votes_has_the_distribution_of_randomized_ones(
    plus: int, minus: int, zero: int, gamma: float
) -> None:
    """Chi-squared over 200,000 draws against the convolution, rare values pooled: false alarm 1e-7 each."""
    n, draws = plus + minus + zero, 200_000
    counts = torch.tensor([[plus], [minus]], dtype=torch.float64).expand(2, draws)
    found = randomized_sum(counts, n, gamma, seeded(3)).long()
    seen = np.bincount((found + n).numpy(), minlength=2 * n + 1)
    expected = exact_distribution(plus, minus, zero, gamma) * draws
    common = expected >= 10
    pooled = [np.append(values[common], values[~common].sum()) for values in (seen, expected)]
    kept = pooled[1] > 0
    assert chisquare(pooled[0][kept], pooled[1][kept] * pooled[0].sum() / pooled[1].sum()).pvalue > 1e-7


def test_without_randomness_the_sum_is_the_votes() -> None:
    counts = torch.tensor([[3.0, 0.0], [1.0, 5.0]])
    assert randomized_sum(counts, 6, 0.0, seeded()).tolist() == [2.0, -5.0]


# -------------------------------------------------------------------------------------------------------- the protocol


def local_round(setting: Setting, models: Tensor, seed: int = 0) -> LocalRound:
    weights = torch.full((len(models),), 1 / len(models))
    return LocalRound(
        0, torch.arange(len(models)), setting, torch.zeros(models.shape[1]), models, weights, seeded(seed)
    )


def test_clients_upload_randomized_signs_of_global_minus_local(make_setting: Callable[..., Setting]) -> None:
    models = torch.randn(6, 40, generator=seeded())
    models[:, 0] = 0
    defense = DPBFL(gamma=0.5)
    upload = defense.upload(local_round(make_setting(), models, seed=7))
    assert defense.alphabet is Alphabet.TERNARY
    assert torch.equal(upload.messages, randomize(torch.sign(-models), 0.5, seeded(7)))
    assert upload.peers is None


def test_the_channel_unlinks_messages_but_keeps_their_sum() -> None:
    messages = randomize(torch.ones(30, 50), 0.9, seeded(8))
    delivered = DPBFL().deliver(messages, seeded(9))
    assert not delivered.linked
    assert torch.equal(delivered.messages.sum(dim=0), messages.sum(dim=0))
    assert not torch.equal(delivered.messages, messages)
    assert torch.equal(delivered.messages, delivered.messages)  # one permutation, whoever looks, however often
    assert torch.equal(delivered.messages.sort(dim=0).values, messages.sort(dim=0).values)


def test_the_step_of_equation_12_and_forged_votes_count_more(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    """alpha_0 = kappa lr / m = 4 * 0.1 / 4 = 0.1; a vote moves the model by 0.1 * lambda / (1 - gamma) (errata D12)."""
    server = server_round(make_setting(participants=4, lr=0.1), torch.tensor([1.0, 1.0, 1.0]), 4)
    messages = torch.tensor([[1, 0, -1], [1, 0, -1], [1, 1, -1], [0, 0, -1]], dtype=torch.int8)
    defense = DPBFL(gamma=0.5, penalty=0.02, kappa=4.0)
    found = defense.aggregate(Delivered(messages, senders=None), server)
    torch.testing.assert_close(found, 1 - 0.1 * 0.02 / 0.5 * torch.tensor([3.0, 1.0, -4.0]))


def test_the_claim_is_corollary_1_where_it_is_proved(make_setting: Callable[..., Setting]) -> None:
    small, large = make_setting(participants=1000), make_setting(participants=10_000)
    claim = DPBFL(gamma=0.283).claim(large)
    assert claim.epsilon == pytest.approx(math.sqrt(42 * math.log(2e6) / (9999 * 0.283)))
    assert (claim.delta, claim.unit) == (1e-6, "per coordinate and round")
    refused = DPBFL(gamma=0.283).claim(small)  # errata D1: 1.4681 at n = 1000
    assert refused.epsilon is None
    assert refused.reason is not None
    assert refused.reason.startswith("needs epsilon < 1: gamma would be 0.61 at n = 1000")
    assert "1.468" in refused.reason
    assert DPBFL(gamma=0.0).claim(large).epsilon is None


def test_every_coordinate_of_every_round_composes(make_setting: Callable[..., Setting]) -> None:
    setting = make_setting(dim=650, rounds=20, num_clients=50, participants=50)
    composed = DPBFL(gamma=0.6).composed(setting)
    assert composed.epsilon == pytest.approx(compose_shuffle(50, 0.6, 650 * 20, 1e-6))
    assert composed.source == "privacy blanket of n = 50, 13,000 releases"
    assert composed.unit == "per client and run"
    assert composed.colluders == DPBFL(gamma=0.6).claim(setting).colluders == 0  # n honest clients hide each other
    assert composed.epsilon > 100 * DPBFL(gamma=0.6).claim(make_setting(participants=10_000)).epsilon  # errata D6
    assert composed.epsilon < compose_local(0.6, 650 * 20, 1e-6)
    assert DPBFL(gamma=0.0).composed(setting).epsilon is None


def test_of_sampled_clients_the_busiest_one_counts(make_setting: Callable[..., Setting]) -> None:
    """Half of 100 clients in each of 40 rounds: 20 rounds on average, 37 of the busiest but with probability 7e-8."""
    setting = make_setting(dim=650, rounds=40, num_clients=100, participants=50)
    rounds, delta = busiest_client(100, 50, 40, 1e-6)
    assert rounds > 30
    shuffled, linked = DPBFL(gamma=0.6).composed(setting), LDPBFL(gamma=0.6).composed(setting)
    assert shuffled.epsilon == pytest.approx(compose_shuffle(50, 0.6, 650 * rounds, delta))
    assert linked.epsilon == pytest.approx(compose_local(0.6, 650 * rounds, delta))
    assert f"{650 * rounds:,} releases in the busiest client's {rounds} of 40 rounds" in shuffled.source


@pytest.mark.parametrize(("fraction", "fine"), [(0.19, True), (0.2, False)])
def test_the_robustness_bound_is_strict(fraction: float, fine: bool, make_setting: Callable[..., Setting]) -> None:
    """Definition 2 at gamma = 0.75: b < 1 - 1 / 1.25 = 0.2 (errata D2)."""
    defense = DPBFL(gamma=0.75)
    assert defense.derived(make_setting())["robustness_bound"] == pytest.approx(0.2)
    assert defense.tolerates(fraction, make_setting()) is fine


@pytest.mark.parametrize(("dim", "expected"), [(8, 2), (9, 3), (7850, 1963)])
def test_four_ternary_coordinates_go_into_a_byte(dim: int, expected: int, make_setting: Callable[..., Setting]) -> None:
    assert DPBFL().upload_bytes(make_setting(dim=dim)) == expected
