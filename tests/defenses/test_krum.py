"""Krum and Multi-Krum: hand-worked scores, the plain definition in float64, forged rows far away, refusals."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Delivered, ServerRound, Setting
from defenses.krum import Krum, krum

# n = 7, f = 2, so three neighbours: the scores are 10, 9, 9, 6, 7, 14, 10. Two or four neighbours, or distances that
# are not squared, choose another row than (3, 3).
POINTS = torch.tensor([[4.0, 2.0], [2.0, 0.0], [4.0, 0.0], [3.0, 3.0], [3.0, 0.0], [4.0, 4.0], [2.0, 2.0]])

# n = 5, f = 1, so two neighbours: the scores are 10, 5, 13, 52, 458.
LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0], [20.0]])


def scores_by_definition(messages: Tensor, num_byzantine: int) -> Tensor:
    """Sums of squared distances to the n - f - 2 nearest others, from differences in float64."""
    rows = messages.double()
    scores = []
    for i, row in enumerate(rows):
        others = torch.cat([rows[:i], rows[i + 1 :]])
        nearest = (others - row).square().sum(dim=1).sort().values
        scores.append(nearest[: len(rows) - num_byzantine - 2].sum())
    return torch.stack(scores)


def rows_of(kind: str, seed: int) -> Tensor:
    """11 rows of 300 coordinates in float32, of which Krum at f = 4 has to choose the right one."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(11, 300, generator=generator)
    common = torch.randn(300, generator=generator)
    match kind:
        case "plain":
            rows = noise
        case "clustered far from zero":
            rows = 1000 * common + 0.01 * noise
        case "two clusters":
            rows = 0.01 * noise + common
            rows[:4] -= 3 * common
        case "duplicates":
            rows = noise
            rows[1], rows[4] = rows[0], rows[0]
        case "far-off rows":
            rows = noise
            rows[:4] *= 1e5
        case _:
            raise AssertionError(kind)
    return rows[torch.randperm(11, generator=generator)]


def test_squared_distances_to_n_minus_f_minus_2_neighbours() -> None:
    assert krum(POINTS, 2).tolist() == [3.0, 3.0]
    assert krum(LINE, 1).tolist() == [1.0]


@pytest.mark.parametrize(("num_selected", "expected"), [(1, 1.0), (2, 0.5), (3, 4 / 3), (4, 11 / 4), (5, 31 / 5)])
def test_more_than_one_selected_is_their_mean(num_selected: int, expected: float) -> None:
    assert krum(LINE, 1, num_selected).item() == pytest.approx(expected)


def test_three_rows_suffice_without_byzantine_clients() -> None:
    assert krum(torch.tensor([[0.0], [10.0], [11.0]]), 0).item() == 10.0


@pytest.mark.parametrize(
    "order", [(0, 1, 2, 3, 4, 5, 6), (0, 3, 4, 1, 6, 2, 5), (6, 5, 4, 3, 2, 1, 0), (3, 2, 1, 4, 0, 6, 5)]
)
def test_of_equal_scores_the_first_row_counts(order: tuple[int, ...]) -> None:
    """Footnote 3. Of 0 to 6 with f = 2 the scores are 14, then five times 6, then 14."""
    first = next(i for i in order if 0 < i < 6)
    assert krum(torch.tensor(order, dtype=torch.float32)[:, None], 2).item() == first


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["plain", "clustered far from zero", "two clusters", "duplicates", "far-off rows"])
def test_the_choice_is_that_of_the_definition_in_float64(kind: str, seed: int) -> None:
    messages = rows_of(kind, seed)
    best = scores_by_definition(messages, 4).argmin()
    assert torch.equal(krum(messages, 4), messages[best])


@pytest.mark.parametrize("seed", range(5))
def test_multi_krum_takes_the_best_of_the_definition(seed: int) -> None:
    messages = rows_of("two clusters", seed)
    best = scores_by_definition(messages, 4).argsort()[:3]
    torch.testing.assert_close(krum(messages, 4, 3), messages[best].mean(dim=0))


@pytest.mark.parametrize("forged", [0, 100])
def test_of_many_rows_too_which_are_scored_some_at_a_time(forged: int) -> None:
    messages = torch.randn(600, 5, generator=torch.Generator().manual_seed(forged), dtype=torch.float64)
    messages[:forged] = 7e3
    best = scores_by_definition(messages, 120).argsort()[:4]
    assert torch.equal(krum(messages, 120), messages[best[0]])
    torch.testing.assert_close(krum(messages, 120, 4), messages[best].mean(dim=0))


@pytest.mark.parametrize("spread", [0.02, 0.04, 0.08, 0.16])
def test_no_cluster_is_so_tight_that_rounding_chooses(spread: float) -> None:
    """The chosen row's true score is the best one to 0.01 %, just above and just below the switch to float64."""
    generator = torch.Generator().manual_seed(1)
    common = torch.randn(5000, generator=generator)
    for _ in range(10):
        messages = common + spread * torch.randn(11, 5000, generator=generator)
        messages[:4] *= -1.75
        scores = scores_by_definition(messages, 4)
        chosen = (messages == krum(messages, 4)).all(dim=1)
        assert float(scores[chosen][0]) <= float(scores.min()) * (1 + 1e-4)


@pytest.mark.parametrize("size", [1e6, 1e8, 1e12, 1e20, 1e30, 1e38])
@pytest.mark.parametrize("how", ["together", "apart"])
def test_forged_rows_of_any_size_do_not_change_the_choice_among_the_honest(size: float, how: str) -> None:
    """Finite messages are all legal; two clients that send the same huge row must not win, nor blind the rule."""
    generator = torch.Generator().manual_seed(2)
    for _ in range(10):
        messages = torch.randn(9, 50, generator=generator)
        messages[5:7] = size
        if how == "apart":
            messages[5] *= -1
        expected = messages[scores_by_definition(messages, 2).argmin()]
        assert float(expected.abs().max()) < 10  # the definition takes an honest row
        assert torch.equal(krum(messages, 2), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_row_comes_back_bit_by_bit_in_its_dtype(dtype: torch.dtype) -> None:
    messages = torch.randn(9, 40, generator=torch.Generator().manual_seed(3), dtype=dtype)
    found = krum(messages, 2)
    assert found.dtype == dtype
    assert bool((messages == found).all(dim=1).any())


@pytest.mark.parametrize(
    ("messages", "num_byzantine", "num_selected", "argument"),
    [
        (LINE, 2, 1, "num_byzantine"),
        (LINE[:2], 0, 1, "num_byzantine"),
        (LINE, -1, 1, "num_byzantine"),
        (LINE, 1, 0, "num_selected"),
        (LINE, 1, 6, "num_selected"),
        (LINE.clone().index_fill_(0, torch.tensor([1]), torch.nan), 1, 1, "messages"),
        (LINE.clone().index_fill_(0, torch.tensor([1]), torch.inf), 1, 1, "messages"),
        (torch.zeros(0, 3), 0, 1, "messages"),
        (torch.zeros(5, 0), 0, 1, "messages"),
        (torch.zeros(5), 0, 1, "messages"),
    ],
)
def test_arguments_out_of_range_are_refused(
    messages: Tensor, num_byzantine: int, num_selected: int, argument: str
) -> None:
    with pytest.raises(ValueError, match=argument):
        krum(messages, num_byzantine, num_selected)


def test_exactly_two_f_plus_three_rows_are_enough() -> None:
    """n = 7, f = 2: 1.0 scores .01 + .04 + 1 = 1.05, its rivals 1.1 and 1.2 score 1.23 and 1.49."""
    assert krum(torch.cat([LINE, torch.tensor([[1.1], [1.2]])]), 2).item() == 1.0


def test_the_defense_uses_the_assumed_count(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    """f = round(2 / 7 * 7) = 2; with f = 1 or 3 another row wins."""
    setting = make_setting(num_clients=7, participants=7, assumed_byzantine=2 / 7)
    server = server_round(setting, torch.tensor([100.0, 200.0]), 7)
    found = Krum().aggregate(Delivered(POINTS, torch.arange(7)), server)
    assert found.tolist() == [103.0, 203.0]
    several = Krum(num_selected=2).aggregate(Delivered(POINTS, torch.arange(7)), server)
    assert several.tolist() == [103.0, 201.5]


@pytest.mark.parametrize(("participants", "fine"), [(7, True), (6, False)])
def test_it_refuses_a_federation_that_is_too_small(
    participants: int, fine: bool, make_setting: Callable[..., Setting]
) -> None:
    setting = make_setting(participants=participants, assumed_byzantine=2 / participants)
    if fine:
        Krum().start(setting)
        assert setting.num_byzantine == 2
    else:
        with pytest.raises(ValueError, match="n >= 2 f"):
            Krum().start(setting)


def test_it_refuses_to_select_more_than_take_part_or_none(make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match="num_selected"):
        Krum(num_selected=21).start(make_setting())
    with pytest.raises(ValueError, match="num_selected"):
        Krum(num_selected=0)


def test_it_tolerates_what_is_assumed_and_no_more(make_setting: Callable[..., Setting]) -> None:
    setting = make_setting(assumed_byzantine=0.2)
    assert Krum().tolerates(0.2, setting)
    assert not Krum().tolerates(0.25, setting)


@given(participants=st.integers(3, 200), percent=st.integers(0, 40))
@example(participants=100, percent=7)
@example(participants=10, percent=25)
def test_it_tolerates_the_very_fraction_that_is_assumed(
    participants: int, percent: int, make_setting: Callable[..., Setting]
) -> None:
    """Also 7 % of 100 clients, which is 7.000000000000001, and 25 % of 10, which the engine rounds to 2."""
    setting = make_setting(num_clients=participants, participants=participants, assumed_byzantine=percent / 100)
    assert Krum().tolerates(percent / 100, setting)
