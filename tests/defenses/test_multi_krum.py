"""Multi-Krum: n - f rows by default, the meanings in public use, and that Krum's records stay what they were."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.protocol import Setting
from bench.rules.gram import gram_matrix
from defenses.krum import VARIANTS, Krum, Variant, krum, krum_weights
from defenses.multi_krum import MultiKrum, multi_krum

# n = 7, f = 2: each meaning of Krum has a winner of its own.
LINE = torch.tensor([[0.0], [1.0], [4.0], [8.0], [9.0], [12.0], [15.0]], dtype=torch.float64)


def best_by_definition(messages: Tensor, f: int, variant: Variant) -> list[int]:
    """The rows in the order of their scores, from differences in float64."""
    rows, (fewer, power, _) = messages.double(), VARIANTS[variant]
    distances = (rows[:, None] - rows[None]).square().sum(dim=2) ** (power / 2)
    nearest = distances.sort(dim=1).values[:, 1 : len(rows) - f - fewer + 1]  # without the row itself
    order: list[int] = nearest.sum(dim=1).argsort().tolist()
    return order


def test_published_values(larger: Tensor, first_nine: Tensor) -> None:
    """ByzFL 0.0.11, which takes a neighbour more; the n - f best are the same here."""
    torch.testing.assert_close(multi_krum(larger, 3), first_nine, rtol=0, atol=1e-6)
    torch.testing.assert_close(multi_krum(larger, 3, variant="one_neighbour_more"), first_nine, rtol=0, atol=1e-6)
    byzfl = torch.tensor([6.25, 6.75, 5.0, 3.5, 1.0, 7.25], dtype=torch.float64)
    assert torch.equal(krum(larger, 3, variant="one_neighbour_more"), byzfl)


@pytest.mark.parametrize(
    ("variant", "best", "two"),
    [
        ("paper", 8.0, 10.0),
        ("one_neighbour_more", 4.0, 6.5),
        ("unsquared", 9.0, 6.5),
        ("fourth_power", 12.0, 10.0),
        ("fourth_power_sum", 12.0, 20.0),
    ],
)
def test_every_meaning_of_krum_has_its_own_winner(variant: Variant, best: float, two: float) -> None:
    assert krum(LINE, 2, variant=variant).item() == best
    assert multi_krum(LINE, 2, 1, variant=variant).item() == best
    assert multi_krum(LINE, 2, 2, variant=variant).item() == two


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_choice_is_that_of_the_definition(adverse_rows: Tensor, variant: Variant) -> None:
    """Far-off rows, whose scores differ by less than float32 tells, are chosen after all others: of 11, the 7 best."""
    chosen = krum_weights(gram_matrix(adverse_rows), 4, 7, variant).nonzero().flatten()
    assert sorted(best_by_definition(adverse_rows, 4, variant)[:7]) == chosen.tolist()


def test_f_rows_far_away_do_not_count_and_one_more_does() -> None:
    honest = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    lies = torch.full((4, 4), 1e30)
    torch.testing.assert_close(multi_krum(torch.cat([honest, lies[:3]]), 3), honest.mean(dim=0))
    assert float(multi_krum(torch.cat([honest, lies]), 3).abs().max()) > 1e28


def test_the_paper_goes_without_saying_in_krums_record() -> None:
    assert Krum().model_dump() == {"num_selected": 1}
    assert Krum(variant="unsquared").model_dump() == {"num_selected": 1, "variant": "unsquared"}
    assert Krum(**Krum(variant="unsquared").model_dump()).variant == "unsquared"
    assert MultiKrum().model_dump() == {"num_selected": None, "variant": "paper"}


def test_what_it_cannot_do_is_refused(make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match="n >= 2 f"):
        MultiKrum().start(make_setting(participants=6, assumed_byzantine=2 / 6))
    with pytest.raises(ValueError, match="num_selected"):
        MultiKrum(num_selected=21).start(make_setting())
    with pytest.raises(ValueError, match="variant is 'other', but must be one of paper"):
        krum(LINE, 2, variant="other")  # type: ignore[arg-type]
