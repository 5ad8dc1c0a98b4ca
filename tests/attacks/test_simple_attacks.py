"""Attacks of one line each: the same value, crashes, the free rider."""

from collections.abc import Callable

import pytest
import torch
from scipy.stats import kstest, norm

from attacks.crash import Crash, Kind, crash
from attacks.free_rider import FreeRider, free_rider
from attacks.same_value import SameValue, same_value
from bench.protocol import Alphabet
from bench.threat import ByzantineView, sanitize


def test_every_coordinate_is_the_value(byzantine_view: Callable[..., ByzantineView]) -> None:
    own = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(same_value(own, 3, 7.0), torch.full((3, 4), 7.0))
    assert torch.equal(SameValue().forge(byzantine_view(own)), torch.full((3, 4), 100.0))


@pytest.mark.parametrize(("value", "vote"), [(5.0, -1), (-5.0, 1), (0.0, 0)])
def test_the_vote_is_that_of_a_model_moved_by_the_value(
    value: float, vote: int, byzantine_view: Callable[..., ByzantineView]
) -> None:
    """sign(w_0 - w_i) with w_i = w_0 + value."""
    forged = SameValue(value=value).forge(byzantine_view(torch.ones(2, 3, dtype=torch.int8), Alphabet.TERNARY))
    assert forged.tolist() == [[vote] * 3] * 2


@pytest.mark.parametrize(("kind", "entry", "rejected"), [("nan", 0, 6), ("inf", 1, 6), ("silence", 0, 0)])
def test_the_engine_rejects_what_is_not_finite_and_counts_it(
    kind: Kind, entry: int, rejected: int, byzantine_view: Callable[..., ByzantineView]
) -> None:
    own = torch.ones(2, 3)
    assert sanitize(Crash(kind=kind).forge(byzantine_view(own)), Alphabet.REAL)[1] == rejected
    assert torch.equal(sanitize(crash(own, 2, kind), Alphabet.REAL)[0], torch.zeros(2, 3))
    votes, counted = sanitize(
        Crash(kind=kind).forge(byzantine_view(own.to(torch.int8), Alphabet.TERNARY)), Alphabet.TERNARY
    )
    assert votes.tolist() == [[entry] * 3] * 2
    assert counted == rejected


def test_a_free_rider_sends_the_last_change_of_the_model(byzantine_view: Callable[..., ByzantineView]) -> None:
    memory: dict[str, torch.Tensor] = {}
    attack, own = FreeRider(s=0.0), torch.ones(2, 3)
    first, second = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.5, 2.0, 1.0])
    assert torch.equal(attack.forge(byzantine_view(own, broadcast=first, memory=memory)), torch.zeros(2, 3))
    assert attack.forge(byzantine_view(own, broadcast=second, memory=memory)).tolist() == [[0.5, 0.0, -2.0]] * 2
    again = byzantine_view(own.to(torch.int8), Alphabet.TERNARY, first, memory=memory)
    assert attack.forge(again).tolist() == [[1, 0, -1]] * 2  # the model fell by 0.5 and rose by 2: w_0 - w_i


def test_its_noise_has_standard_deviation_s_and_differs_between_riders() -> None:
    """Kolmogorov-Smirnov, false alarm 1e-7."""
    change = torch.linspace(-1, 1, 20_000, dtype=torch.float64)
    forged = free_rider(change, 2, 0.3, torch.Generator().manual_seed(1))
    assert kstest((forged - change).flatten().numpy(), norm(scale=0.3).cdf).pvalue > 1e-7
    assert not torch.equal(forged[0], forged[1])
    with pytest.raises(ValueError, match="s is -1"):
        free_rider(change, 1, -1.0, torch.Generator())
