"""ALIE: the published z, the mean moved by z deviations, and a median that takes it for an honest value."""

from collections.abc import Callable
from statistics import NormalDist

import pytest
import torch
from scipy.stats import beta

from attacks.alie import ALIE, alie, alie_z
from bench.protocol import Alphabet
from bench.threat import ByzantineView
from defenses.median import coordinate_median

ROWS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])


@pytest.mark.parametrize(("n", "f", "supporters"), [(50, 24, 2), (100, 20, 31), (100, 40, 11), (51, 10, 16)])
def test_z_leaves_the_supporters_further_out(n: int, f: int, supporters: int) -> None:
    """Algorithm 3: Phi(z) = (n - f - s) / (n - f), s = floor(n / 2 + 1) - f."""
    assert supporters == int(n / 2 + 1) - f
    assert alie_z(n, f) == pytest.approx(NormalDist().inv_cdf((n - f - supporters) / (n - f)), abs=1e-9)


def test_attackers_in_the_majority_still_take_one_supporter() -> None:
    assert alie_z(10, 7) == pytest.approx(NormalDist().inv_cdf(2 / 3))


@pytest.mark.parametrize(("ddof", "expected"), [(0, [7.6742346, 8.6742346, 9.6742346]), (1, [8.5, 9.5, 10.5])])
def test_three_rows(ddof: int, expected: list[float]) -> None:
    """4 + 1.5 sqrt(6), and 4 + 1.5 * 3: the value in the documentation of ByzFL 0.0.11, whose deviation has ddof 1."""
    forged = alie(ROWS, 2, z=1.5, ddof=ddof)
    torch.testing.assert_close(forged, torch.tensor([expected, expected]))


def test_as_many_honest_values_lie_further_out_as_the_formula_wants() -> None:
    """Of h normal values, (x - mean) / sigma has a square that is (h - 1) times a Beta(1/2, (h - 2) / 2)."""
    n, f, d = 50, 24, 40_000
    h, z = n - f, alie_z(n, f)
    honest = torch.randn(h, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    beyond = (honest > alie(honest, f)[0]).double().sum(dim=0)
    expected = h / 2 * float(beta.sf(z**2 / (h - 1), 0.5, (h - 2) / 2))
    assert float(beyond.mean()) == pytest.approx(expected, abs=6 * float(beyond.std()) / d**0.5)
    assert expected == pytest.approx(2, abs=0.1)  # the supporters, up to the sample's own mean and deviation


def test_the_median_takes_the_forged_value_where_the_honest_are_scattered() -> None:
    honest = torch.randn(26, 4000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    forged = alie(honest, 24)
    median = coordinate_median(torch.cat([honest, forged]))
    mean, std = honest.mean(dim=0), honest.std(dim=0, correction=0)
    assert bool((median - mean <= alie_z(50, 24) * std + 1e-9).all())
    assert float((median - mean).mean()) > 0.9 * float((forged[0] - mean).mean())


def test_the_class_is_the_function_and_votes_are_its_signs(omniscient_view: Callable[..., ByzantineView]) -> None:
    own = torch.zeros(2, 3)
    assert torch.equal(ALIE().forge(omniscient_view(ROWS, own)), alie(ROWS, 2))
    votes = torch.tensor([[1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, -1.0, 0.0]])
    forged = ALIE(z=0.5).forge(omniscient_view(votes, own.to(torch.int8), Alphabet.TERNARY))
    assert forged.tolist() == [[1, -1, 0], [1, -1, 0]]
    assert forged.dtype == torch.int8


def test_updates_move_as_the_authors_gradients_do(omniscient_view: Callable[..., ByzantineView]) -> None:
    """Their code sends mean - z sigma of gradients; an update is minus a gradient."""
    gradients = torch.randn(8, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sent = gradients.mean(dim=0) - 1.3 * gradients.std(dim=0, correction=0)
    torch.testing.assert_close(alie(-gradients, 1, z=1.3)[0], -sent)
    other = gradients.mean(dim=0) + 1.3 * gradients.std(dim=0, correction=0)
    torch.testing.assert_close(alie(-gradients, 1, z=1.3, sign="minus")[0], -other)
    view = omniscient_view(-gradients, torch.zeros(2, 5, dtype=torch.float64))
    assert torch.equal(ALIE(sign="minus").forge(view), alie(-gradients, 2, sign="minus"))


def test_the_sign_came_after_records_and_is_none_of_theirs() -> None:
    assert ALIE().model_dump() == {"z": None, "ddof": 0}
    assert ALIE(sign="minus").model_dump() == {"z": None, "ddof": 0, "sign": "minus"}


@pytest.mark.parametrize(("n", "f"), [(2, 0), (10, 9), (10, -1)])
def test_arguments_out_of_range_are_refused(n: int, f: int) -> None:
    with pytest.raises(ValueError, match=r"is -?[0-9]+, but must be"):
        alie_z(n, f)
    with pytest.raises(ValueError, match="ddof is 3"):
        alie(ROWS, 1, z=1.0, ddof=3)
    with pytest.raises(ValueError, match="sign is 'both', but must be one of plus, minus"):
        alie(ROWS, 1, sign="both")  # type: ignore[arg-type]
