"""Comparative gradient elimination: hand-worked, the definition in float64, what long and short forged rows can do."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Setting
from bench.rules.gram import norms_of
from defenses.cge import CGE, cge, cge_weights


def test_the_longest_are_left_out_wherever_they_point(square: Tensor) -> None:
    assert cge(square, 1).tolist() == [2.5, 3.5, 4.5]
    torch.testing.assert_close(cge(square, 0), square.mean(dim=0))
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [0.0, -2.5], [1e38, 1e38]])
    assert cge(rows, 2).tolist() == pytest.approx([1 / 3, -0.5 / 3])


def test_the_choice_is_that_of_the_definition(adverse_rows: Tensor) -> None:
    chosen = cge_weights(norms_of(adverse_rows), 4).nonzero().flatten()
    expected = adverse_rows.double().square().sum(dim=1).argsort()[:7]
    if adverse_rows.unique(dim=0).shape[0] == 11:  # equal rows are equally long
        assert chosen.tolist() == sorted(expected.tolist())
    torch.testing.assert_close(cge(adverse_rows, 4), adverse_rows[expected].mean(dim=0), rtol=0, atol=1e-3)


@given(st.integers(0, 10**6), st.sampled_from([1e-3, 1.0, 1e6, 1e38]))
def test_it_is_no_longer_than_the_longest_honest_row(seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    honest = torch.randn(7, 3, generator=generator)
    lies = (size * torch.randn(3, 3, generator=generator)).clamp(-3e38, 3e38)
    assert float(cge(torch.cat([lies, honest]), 3).norm()) <= float(honest.norm(dim=1).max()) * (1 + 1e-6)


def test_one_more_than_f_carries_it_off(square: Tensor) -> None:
    lies = torch.full((3, 3), 1e30)
    assert float(cge(torch.cat([square.float(), square.float(), lies]), 2).max()) > 1e28


def test_what_it_cannot_do_is_refused_and_what_it_does_not_claim(make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match="num_byzantine is 2, but must be between 0 and 1"):
        cge(torch.zeros(4, 2), 2)
    with pytest.raises(ValueError, match="assumed Byzantine clients"):
        CGE().start(make_setting(participants=4, assumed_byzantine=0.5))
    assert CGE().tolerates(0.3, make_setting(assumed_byzantine=0.3))
    assert not CGE().tolerates(0.35, make_setting(assumed_byzantine=0.45))  # 7 of 20: more than a third


@pytest.mark.parametrize(
    ("clients", "byzantine", "stands"), [(21, 7, False), (21, 6, True), (20, 7, False), (22, 7, True)]
)
def test_it_claims_to_stand_less_than_a_third_and_never_a_third(
    clients: int, byzantine: int, stands: bool, make_setting: Callable[..., Setting]
) -> None:
    setting = make_setting(num_clients=clients, participants=clients, assumed_byzantine=0.45)
    assert CGE().tolerates(byzantine / clients, setting) is stands
