"""Bulyan: the plain algorithm in float64, hand-worked selection, forged rows, refusals."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Setting
from bench.rules.gram import gram_matrix
from defenses.bulyan import Bulyan, bulyan, bulyan_selection


def by_definition(messages: Tensor, f: int) -> Tensor:
    """Lists and loops: Krum over what remains, then the values nearest to each coordinate's median."""
    rows, chosen = list(messages.double()), []
    while len(chosen) < len(messages) - 2 * f:
        scores = []
        for i, row in enumerate(rows):
            away = sorted(float((row - other).square().sum()) for j, other in enumerate(rows) if j != i)
            scores.append((sum(away[: max(0, len(rows) - f - 2)]), sum(away)))
        chosen.append(rows.pop(scores.index(min(scores))))
    selected = torch.stack(chosen)
    middle = selected.quantile(0.5, dim=0)
    nearest = (selected - middle).abs().argsort(dim=0, stable=True)[: len(selected) - 2 * f]
    return selected.gather(0, nearest).mean(dim=0)


def test_without_byzantine_clients_it_is_the_mean() -> None:
    """theta = n and beta = n."""
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    assert bulyan(x, 0).tolist() == [4.0, 5.0, 6.0]


def test_the_order_of_selection_by_hand() -> None:
    """n = 7, f = 1, on a line: Krum looks at 4, 3, 2, 1 neighbours, and at none in the end.

    The scores are 30, 18, 14, 15, 26, 130, 7654: out goes 2. Of 0 1 3 4 9 50 they are 26, 14, 14, 26, .. and both 1 and
    3 score 14; the sums over all that remain, 2479 and 2259, choose 3. Of 0 1 4 9 50 they are 17, 10, 25, ..: out goes
    1. Of 0 4 9 50 with one neighbour 16, 16, 25, ..; 2597 against 2157 choose 4. Of 0 9 50 it is 9, the most central.
    """
    line = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [9.0], [50.0]], dtype=torch.float64)
    selection = bulyan_selection(gram_matrix(line), 1)
    assert line[selection].flatten().tolist() == [2.0, 3.0, 1.0, 4.0, 9.0]
    assert bulyan(line, 1).item() == 3.0  # of 1 2 3 4 9 the three nearest to 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "f"), [(7, 1), (11, 2), (15, 3), (15, 1), (16, 0)])
def test_it_is_the_definition(n: int, f: int, seed: int) -> None:
    messages = torch.randn(n, 50, generator=torch.Generator().manual_seed(seed))
    messages[:f] += 3
    torch.testing.assert_close(bulyan(messages, f).double(), by_definition(messages, f), rtol=1e-5, atol=1e-6)


@given(st.integers(0, 99), st.integers(0, 2))
def test_it_moves_and_scales_with_the_messages_and_does_not_see_their_order(seed: int, f: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    messages, order = torch.randn(11, 5, generator=generator).double(), torch.randperm(11, generator=generator)
    torch.testing.assert_close(bulyan(messages[order], f), bulyan(messages, f))
    torch.testing.assert_close(bulyan(2 * messages + 7, f), 2 * bulyan(messages, f) + 7)


@given(st.integers(0, 99), st.sampled_from([5.0, 1e6, 1e20, 3e38]))
def test_forged_rows_stay_within_the_honest_range(seed: int, size: float) -> None:
    """In each coordinate the beta kept values lie around an honest median, within the honest range."""
    messages = torch.randn(11, 5, generator=torch.Generator().manual_seed(seed))
    messages[:2] = size
    honest, found = messages[2:], bulyan(messages, 2)
    assert bool(((found >= honest.amin(dim=0)) & (found <= honest.amax(dim=0))).all())


@pytest.mark.parametrize(("n", "f"), [(10, 2), (2, 0), (7, -1)])
def test_fewer_than_four_f_and_three_are_refused(n: int, f: int, make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match=f"num_byzantine is {f}.*n >= 4 f"):
        bulyan(torch.zeros(n, 2), f)
    if f >= 0:
        with pytest.raises(ValueError, match="n >= 4 f"):
            Bulyan().start(make_setting(participants=n, assumed_byzantine=f / n))
    Bulyan().start(make_setting(participants=11, assumed_byzantine=2 / 11))
