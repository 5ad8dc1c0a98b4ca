"""What must hold for every aggregation, whatever the messages: symmetries, and what forged rows cannot do."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from bench import registry
from bench.protocol import Delivered, ServerRound, Setting
from defenses.caf import caf
from defenses.centered_clipping import centered_clipping
from defenses.cge import cge
from defenses.dpbfl import analyze
from defenses.fedavg import weighted_mean
from defenses.geometric_median import geometric_median
from defenses.krum import krum
from defenses.mda import mda
from defenses.median import coordinate_median
from defenses.monna import monna
from defenses.multi_krum import multi_krum
from defenses.norm_clipping import norm_clipping
from defenses.rsa import sign_sum
from defenses.smea import smea
from defenses.trimmed_mean import trimmed_mean

Rows = list[list[int]]
DIM = 3


def matrices(low: int = 1, high: int = 9, bound: int = 1000) -> st.SearchStrategy[Rows]:
    """Integer rows: float64 adds them up without rounding, so that equalities are exact."""
    return st.lists(st.lists(st.integers(-bound, bound), min_size=DIM, max_size=DIM), min_size=low, max_size=high)


def tensor(rows: Rows) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def permutation(size: int, seed: int) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def krum_winners(messages: Tensor, num_byzantine: int) -> Tensor:
    """The rows of the smallest score, by definition; more than one distinct row is a tie."""
    distances = (messages[:, None] - messages[None]).square().sum(dim=2)
    scores = distances.sort(dim=1).values[:, 1 : len(messages) - num_byzantine - 1].sum(dim=1)
    return messages[scores == scores.min()].unique(dim=0)


@given(matrices(), st.integers(0, 99), st.data())
def test_mean_does_not_see_the_order(rows: Rows, seed: int, data: st.DataObject) -> None:
    messages, order = tensor(rows), permutation(len(rows), seed)
    weights = torch.tensor(data.draw(st.lists(st.integers(1, 9), min_size=len(rows), max_size=len(rows))))
    torch.testing.assert_close(weighted_mean(messages[order], weights[order]), weighted_mean(messages, weights))


@given(matrices(), st.integers(0, 99))
def test_median_does_not_see_the_order(rows: Rows, seed: int) -> None:
    messages = tensor(rows)
    assert torch.equal(coordinate_median(messages[permutation(len(rows), seed)]), coordinate_median(messages))


@given(matrices(5), st.integers(0, 1), st.integers(0, 99))
def test_krum_does_not_see_the_order(rows: Rows, num_byzantine: int, seed: int) -> None:
    messages = tensor(rows)
    assume(len(krum_winners(messages, num_byzantine)) == 1)
    moved = krum(messages[permutation(len(rows), seed)], num_byzantine)
    assert torch.equal(moved, krum(messages, num_byzantine))


@given(matrices(bound=3), st.lists(st.integers(-3, 3), min_size=DIM, max_size=DIM), st.integers(0, 99))
def test_sign_sum_does_not_see_the_order(rows: Rows, broadcast: list[int], seed: int) -> None:
    models, order = tensor(rows), permutation(len(rows), seed)
    expected = [sum((w > row[j]) - (w < row[j]) for row in rows) for j, w in enumerate(broadcast)]
    assert sign_sum(torch.tensor(broadcast).double(), models[order]).tolist() == expected


@given(matrices(bound=1), st.sampled_from([0.0, 0.283, 0.75]), st.integers(0, 99))
def test_analyze_does_not_see_the_order(rows: Rows, gamma: float, seed: int) -> None:
    messages = torch.tensor(rows, dtype=torch.int8)
    shuffled = analyze(messages[permutation(len(rows), seed)], gamma)
    assert torch.equal(shuffled, analyze(messages, gamma))


@given(matrices(5), st.lists(st.integers(-(10**6), 10**6), min_size=DIM, max_size=DIM))
def test_mean_median_and_krum_move_with_the_messages(rows: Rows, by: list[int]) -> None:
    messages, shift = tensor(rows), torch.tensor(by, dtype=torch.float64)
    torch.testing.assert_close(weighted_mean(messages + shift), weighted_mean(messages) + shift)
    torch.testing.assert_close(coordinate_median(messages + shift), coordinate_median(messages) + shift)
    if len(krum_winners(messages, 1)) == 1:
        torch.testing.assert_close(krum(messages + shift, 1), krum(messages, 1) + shift)


@given(matrices(bound=100), st.lists(st.integers(-100, 100), min_size=DIM, max_size=DIM), st.integers(-50, 50))
def test_sign_sum_does_not_see_a_common_move(rows: Rows, broadcast: list[int], by: int) -> None:
    models, w_0 = tensor(rows), torch.tensor(broadcast).double()
    assert torch.equal(sign_sum(w_0 + by, models + by), sign_sum(w_0, models))


@given(matrices(5), st.sampled_from([0.25, 2.0, 1024.0]))
def test_mean_median_and_krum_scale_with_the_messages(rows: Rows, by: float) -> None:
    messages = tensor(rows)
    torch.testing.assert_close(weighted_mean(by * messages), by * weighted_mean(messages))
    assert torch.equal(coordinate_median(by * messages), by * coordinate_median(messages))
    if len(krum_winners(messages, 1)) == 1:
        assert torch.equal(krum(by * messages, 1), by * krum(messages, 1))


forged_values = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from([3e38, -3e38, 0.0])


@given(matrices(2, 8), st.data())
def test_a_minority_cannot_move_the_median_out_of_the_honest_range(rows: Rows, data: st.DataObject) -> None:
    honest = tensor(rows).float()
    num_byzantine = data.draw(st.integers(1, len(rows) - 1))
    forged = [[data.draw(forged_values) for _ in range(DIM)] for _ in range(num_byzantine)]
    found = coordinate_median(torch.cat([honest, torch.tensor(forged)]))
    assert bool((honest.min(dim=0).values <= found).all())
    assert bool((found <= honest.max(dim=0).values).all())


@given(matrices(5, 9), st.integers(0, 1), st.sampled_from([torch.float32, torch.float64]))
def test_krum_returns_one_of_the_best_rows(rows: Rows, num_byzantine: int, dtype: torch.dtype) -> None:
    messages = tensor(rows).to(dtype)
    found = krum(messages, num_byzantine)
    assert bool((krum_winners(messages.double(), num_byzantine) == found.double()).all(dim=1).any())


@given(matrices(7, 9, bound=20), st.lists(forged_values, min_size=DIM, max_size=DIM))
def test_two_forged_rows_that_agree_cannot_take_krum_far_away(rows: Rows, forged: list[float]) -> None:
    """n - f - 2 neighbours of a forged row hold at least 2 honest ones, so that distant rows always lose."""
    honest = tensor(rows).float()
    lie = torch.tensor([forged, forged])
    assume(float(lie.abs().max()) > 1e4)
    found = krum(torch.cat([honest, lie]), 2)
    assert bool((honest == found).all(dim=1).any())


@given(matrices(1, 6, bound=50), st.integers(1, 9))
def test_copies_of_all_rows_change_no_mean_and_no_median(rows: Rows, copies: int) -> None:
    messages = tensor(rows)
    torch.testing.assert_close(weighted_mean(messages.repeat(copies, 1)), weighted_mean(messages))
    assert torch.equal(coordinate_median(messages.repeat(copies, 1)), coordinate_median(messages))


# ------------------------------------------------------------------------------- rules of one kind, all in one table


class Rule(NamedTuple):
    """A rule `(messages, f) -> (d,)`, and which of the symmetries its paper gives it."""

    apply: Callable[[Tensor, int], Tensor]
    ordered: bool = False  # one client's place matters
    moves: bool = True  # with a common move of all messages
    scales: bool = True  # with a common factor
    convex: bool = True  # stays in the convex hull of the messages
    drops: bool = True  # of f rows far away nothing is left
    within: float = 1e-9  # of the spread of the messages, to which it is computed


RULES: dict[str, Rule] = {
    "caf": Rule(caf, within=1e-6),
    "centered_clipping": Rule(lambda x, f: centered_clipping(x), moves=False, scales=False, convex=False, drops=False),
    "cge": Rule(cge, moves=False),
    "geometric_median": Rule(lambda x, f: geometric_median(x), drops=False, within=1e-5),
    "krum": Rule(krum),
    "mda": Rule(mda),
    "median": Rule(lambda x, f: coordinate_median(x), convex=False),
    "monna": Rule(monna, ordered=True),
    "multi_krum": Rule(multi_krum),
    "norm_clipping": Rule(lambda x, f: norm_clipping(x), moves=False, scales=False, convex=False, drops=False),
    "smea": Rule(smea),
    "trimmed_mean": Rule(trimmed_mean, convex=False),
}


def rules_where(holds: Callable[[Rule], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rule", [pytest.param(rule, id=name) for name, rule in RULES.items() if holds(rule)])


@st.composite
def real_rows(draw: st.DrawFn) -> Tensor:
    """5 to 9 rows of real numbers, where no rule is left to choose between equals but for duplicates."""
    n, generator = draw(st.integers(5, 9)), torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    rows = torch.randn(n, DIM, generator=generator, dtype=torch.float64)
    match draw(st.sampled_from(["plain", "far from zero", "two clusters", "duplicates", "one far off"])):
        case "far from zero":
            rows += 100 * torch.randn(DIM, generator=generator, dtype=torch.float64)
        case "two clusters":
            rows[:2] = 30 + 0.1 * rows[:2]
        case "duplicates":
            rows[1] = rows[0]
        case "one far off":
            rows[-1] *= 1e6
    return rows


def close(found: Tensor, expected: Tensor, rows: Tensor, rule: Rule) -> bool:
    spread = float((rows - coordinate_median(rows)).norm(dim=1).median()) + 1e-6 * float(rows.abs().max())
    return float((found - expected).norm()) <= rule.within * spread


@rules_where(lambda rule: True)
@given(rows=real_rows(), f=st.integers(0, 1), seed=st.integers(0, 99))
def test_a_rule_does_not_see_the_order(rule: Rule, rows: Tensor, f: int, seed: int) -> None:
    order = permutation(len(rows), seed)
    if rule.ordered:
        order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + permutation(len(rows) - 1, seed)])
    assert close(rule.apply(rows[order], f), rule.apply(rows, f), rows, rule)


@rules_where(lambda rule: rule.moves)
@given(rows=real_rows(), f=st.integers(0, 1), by=st.lists(st.integers(-1000, 1000), min_size=DIM, max_size=DIM))
def test_a_rule_moves_with_the_messages(rule: Rule, rows: Tensor, f: int, by: list[int]) -> None:
    shift = torch.tensor(by, dtype=torch.float64)
    assert close(rule.apply(rows + shift, f), rule.apply(rows, f) + shift, rows + shift, rule)


@rules_where(lambda rule: rule.scales)
@given(rows=real_rows(), f=st.integers(0, 1), by=st.sampled_from([0.25, 2.0, 1024.0]))
def test_a_rule_scales_with_the_messages(rule: Rule, rows: Tensor, f: int, by: float) -> None:
    assert close(rule.apply(by * rows, f), by * rule.apply(rows, f), by * rows, rule)


@rules_where(lambda rule: rule.convex)
@given(rows=real_rows(), f=st.integers(0, 1), direction=st.lists(st.integers(-9, 9), min_size=DIM, max_size=DIM))
def test_a_rule_stays_in_the_convex_hull(rule: Rule, rows: Tensor, f: int, direction: list[int]) -> None:
    """In every direction it goes no farther than a message does."""
    along = torch.tensor(direction, dtype=torch.float64)
    excess = rule.apply(rows, f) @ along - (rows @ along).max()
    assert float(excess) <= 1e-9 * float(rows.abs().max() * along.abs().sum())


@rules_where(lambda rule: not rule.convex)
@given(rows=real_rows(), f=st.integers(0, 1))
def test_the_other_rules_stay_in_the_box_of_the_messages_and_zero(rule: Rule, rows: Tensor, f: int) -> None:
    found, corners = rule.apply(rows, f), torch.cat([rows, torch.zeros(1, DIM, dtype=torch.float64)])
    slack = 1e-9 * float(rows.abs().max())
    assert bool((corners.amin(dim=0) - slack <= found).all())
    assert bool((found <= corners.amax(dim=0) + slack).all())


@rules_where(lambda rule: rule.drops)
@given(seed=st.integers(0, 10**6), f=st.integers(1, 2), size=st.sampled_from([1e4, 1e9, 1e38]))
def test_f_rows_far_away_leave_a_rule_among_the_honest(rule: Rule, seed: int, f: int, size: float) -> None:
    honest = torch.randn(7, DIM, generator=torch.Generator().manual_seed(seed))
    found = rule.apply(torch.cat([honest, torch.full((f, DIM), size)]), f)
    assert bool((honest.amin(dim=0) - 1e-3 <= found).all())
    assert bool((found <= honest.amax(dim=0) + 1e-3).all())


@pytest.mark.parametrize("name", RULES)
def test_class_and_function_are_one(
    name: str, make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    messages = torch.randn(11, 40, generator=torch.Generator().manual_seed(0))
    setting = make_setting(num_clients=11, participants=11, dim=40, assumed_byzantine=2 / 11)
    server = server_round(setting, torch.full((40,), 2.0), 11)
    defense = registry.get("defense", name)(**({"pivot": 0} if name == "monna" else {}))  # else it is drawn
    defense.start(setting)
    found = defense.aggregate(Delivered(messages, torch.arange(11)), server)
    torch.testing.assert_close(found, 2 + RULES[name].apply(messages, 2))
