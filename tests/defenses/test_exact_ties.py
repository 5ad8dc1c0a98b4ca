"""Rules that pick by order against exact arithmetic: integer matrices, where sums and distances tie, in either type.

A matrix is moved and scaled so that centring rounds; floats are fractions, and fractions have no rounding.
"""

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

import mpmath  # type: ignore[import-untyped]
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Delivered, ServerRound, Setting
from bench.rules.gram import decided, gram_matrix
from defenses.bulyan import bulyan_selection
from defenses.caf import caf
from defenses.cge import cge
from defenses.dnc import dnc
from defenses.krum import VARIANTS, Krum, krum, krum_weights
from defenses.mda import MDA, mda
from defenses.meamed import meamed
from defenses.monna import monna
from defenses.multi_krum import multi_krum
from defenses.nnm import NNM, nnm
from defenses.smea import SMEA, smea

Rows = list[list[int]]
Exact = list[list[Fraction]]
DTYPES = [torch.float32, torch.float64]


@st.composite
def matrices(draw: st.DrawFn, low: int = 3, high: int = 9) -> tuple[Tensor, Exact]:
    """Small integers, many of them equal, moved and scaled; as a tensor and as the fractions that it holds."""
    dim = draw(st.integers(1, 3))
    rows = draw(st.lists(st.lists(st.integers(-3, 3), min_size=dim, max_size=dim), min_size=low, max_size=high))
    move = draw(st.lists(st.integers(-40, 40), min_size=dim, max_size=dim))
    scale = draw(st.sampled_from([1.0, 0.1, 1 / 3, 1e-3, 2.0**40]))
    messages = (torch.tensor(rows).double() + torch.tensor(move)) * scale
    return exactly(messages.to(draw(st.sampled_from(DTYPES))))


def exactly(messages: Tensor) -> tuple[Tensor, Exact]:
    return messages, [[Fraction(value) for value in row] for row in messages.tolist()]


def draw_f(data: st.DataObject, most: int) -> int:
    return data.draw(st.integers(0, most))


def apart(rows: Exact) -> list[list[Fraction]]:
    return [[sum(((a - b) ** 2 for a, b in zip(x, y, strict=True)), Fraction(0)) for y in rows] for x in rows]


def equal_to_rounding(values: list[Fraction], scale: Fraction) -> list[Fraction]:
    """What differs by float64's rounding alone counts as one: exact ties of integers that a scale has rounded."""
    slack = scale / 2**40
    ordered = sorted(set(values))
    names: dict[Fraction, Fraction] = {}
    for value in ordered:
        below = [other for other in names.values() if value - other <= slack]
        names[value] = below[0] if below else value
    return [names[value] for value in values]


def first(values: list[Fraction], count: int, scale: Fraction) -> list[int]:
    """The places of the `count` lowest, of equal ones the first; in order."""
    named = equal_to_rounding(values, scale)
    return sorted(sorted(range(len(named)), key=lambda row: (named[row], row))[:count])


def longest(rows: Exact) -> Fraction:
    return max(max(line) for line in apart(rows))


def mean(messages: Tensor, rows: list[int]) -> Tensor:
    return messages[rows].double().mean(dim=0)


def agrees(found: Tensor, messages: Tensor, rows: list[int]) -> bool:
    """Whether this is the mean of these rows, to the rounding of a sum of at most nine."""
    slack = 16 * torch.finfo(messages.dtype).eps * float(messages.abs().max())
    return bool(((found.double() - mean(messages, rows)).abs() <= slack).all())


def krum_scores(rows: Exact, neighbours: int, power: int = 2) -> list[Fraction]:
    lines = [sorted(line[:i] + line[i + 1 :]) for i, line in enumerate(apart(rows))]
    return [sum((value ** (power // 2) for value in line[:neighbours]), Fraction(0)) for line in lines]


def of_integers(*rows: list[int]) -> tuple[Tensor, Exact]:
    return exactly(torch.tensor(rows).float())


# ------------------------------------------------------------------------------------------------ the issue's own cases


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_centring_rounds_the_first_of_equal_ones_counts(dtype: torch.dtype) -> None:
    """1, 1, 0, 0, -1 with three neighbours: 5, 5, 3, 3, 9 with two 1, 1, 1, 1, 2; at f = 0 it is three."""
    rows = torch.tensor([[1], [1], [0], [0], [-1]], dtype=dtype)
    assert krum_scores(exactly(rows)[1], 3) == [2, 2, 2, 2, 6]
    assert krum(rows, 0).item() == 1
    triangle = torch.tensor([[0, 0, 1], [-1, -1, -1], [-1, 0, 0]], dtype=dtype)
    assert mda(triangle, 1).tolist() == [-0.5, 0.0, 0.5]


@pytest.mark.parametrize("dtype", DTYPES)
def test_smea_of_subsets_without_scatter(dtype: torch.dtype) -> None:
    rows = torch.tensor([[-4, 7], [-4, 7], [-4, 7], [-6, 2], [0, -9]], dtype=dtype)
    assert smea(rows, 2).tolist() == pytest.approx([-4, 7], rel=4 * torch.finfo(dtype).eps)
    assert smea(torch.ones(5, 3, dtype=dtype), 2).tolist() == pytest.approx([1, 1, 1], rel=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_caf_of_equal_attackers(dtype: torch.dtype) -> None:
    rows = torch.tensor([[4, -3], [2, 5], [-2, 1], [-3, 4], [2, 2]] + 4 * [[3, -14]], dtype=dtype)
    assert caf(rows, 4).tolist() == pytest.approx([2.779, -1.518], abs=5e-4)
    assert caf(rows, 4).tolist() == pytest.approx([float(value) for value in caf_in_sixty_digits(rows, 4)], rel=1e-5)


# ----------------------------------------------------------------------------------------------------- integer matrices


@given(matrices(), st.data())
@example(of_integers([1], [1], [0], [0], [-1]), None)
def test_krum_takes_the_first_of_the_best(matrix: tuple[Tensor, Exact], data: st.DataObject | None) -> None:
    messages, rows = matrix
    n = len(rows)
    f = 0 if data is None else draw_f(data, (n - 3) // 2)
    scores = krum_scores(rows, n - f - 2)
    for count in (1, n - f):
        expected = first(scores, count, longest(rows) * n)
        assert agrees(multi_krum(messages, f, count), messages, expected)


@given(matrices(), st.sampled_from(["one_neighbour_more", "fourth_power"]))
def test_so_do_its_variants(matrix: tuple[Tensor, Exact], variant: str) -> None:
    messages, rows = matrix
    meaning, n = VARIANTS[variant], len(rows)  # type: ignore[index]
    expected = first(krum_scores(rows, n - meaning.fewer, meaning.power), 1, longest(rows) ** (meaning.power // 2) * n)
    assert agrees(krum(messages, 0, 1, variant), messages, expected)  # type: ignore[arg-type]


@given(matrices(low=3, high=8), st.data())
@example(of_integers([0, 0, 1], [-1, -1, -1], [-1, 0, 0]), None)
def test_mda_takes_the_first_subset(matrix: tuple[Tensor, Exact], data: st.DataObject | None) -> None:
    messages, rows = matrix
    n = len(rows)
    f = 1 if data is None else draw_f(data, (n - 1) // 2)
    distances, subsets = apart(rows), list(combinations(range(n), n - f))
    widths = [max(distances[i][j] for i in kept for j in kept) for kept in subsets]
    (best,) = first(widths, 1, longest(rows))
    assert agrees(mda(messages, f), messages, list(subsets[best]))


@given(matrices(low=3, high=8), st.data())
def test_smea_takes_the_first_subset(matrix: tuple[Tensor, Exact], data: st.DataObject) -> None:
    messages, rows = matrix
    n = len(rows)
    f = draw_f(data, (n - 1) // 2)
    subsets = list(combinations(range(n), n - f))
    norms = [norm_of_scatter([rows[i] for i in kept]) for kept in subsets]
    (best,) = first(norms, 1, longest(rows) * n)
    assert agrees(smea(messages, f), messages, list(subsets[best]))


@given(matrices(), st.data())
def test_cge_and_monna_leave_the_last_out(matrix: tuple[Tensor, Exact], data: st.DataObject) -> None:
    messages, rows = matrix
    n = len(rows)
    f, pivot = draw_f(data, (n - 1) // 2), data.draw(st.integers(0, n - 1))
    lengths = [sum((value**2 for value in row), Fraction(0)) for row in rows]
    assert agrees(cge(messages, f), messages, first(lengths, n - f, max(lengths)))
    near = apart(rows)[pivot]
    assert agrees(monna(messages, f, pivot=pivot), messages, first(near, n - f, max(near)))


@given(matrices(), st.data())
def test_nnm_mixes_the_first_of_the_nearest(matrix: tuple[Tensor, Exact], data: st.DataObject) -> None:
    messages, rows = matrix
    n = len(rows)
    f, distances = draw_f(data, (n - 1) // 2), apart(rows)
    found = nnm(messages, f)
    for row in range(n):
        near = [Fraction(-1) if other == row else distances[row][other] for other in range(n)]
        assert agrees(found[row], messages, first(near, n - f, longest(rows)))


@given(matrices(low=3, high=12), st.data())
def test_bulyan_selects_by_exact_sums(matrix: tuple[Tensor, Exact], data: st.DataObject) -> None:
    messages, rows = matrix
    n = len(rows)
    f = draw_f(data, (n - 3) // 4)
    remaining, expected, scale = list(range(n)), [], longest(rows) * n
    while len(remaining) > 2 * f:
        left = [rows[i] for i in remaining]
        scores = equal_to_rounding(krum_scores(left, max(0, len(left) - f - 2)), scale)
        to_all = equal_to_rounding(krum_scores(left, len(left) - 1), scale)
        best = min(range(len(left)), key=lambda i: (scores[i], to_all[i], i))
        expected.append(remaining.pop(best))
    found = decided(messages, lambda gram, error: bulyan_selection(gram, f, error))
    assert found.tolist() == expected


@given(st.lists(st.integers(-5, 5), min_size=3, max_size=9), st.data())
def test_dnc_drops_the_last_of_the_farthest_on_a_line(values: list[int], data: st.DataObject) -> None:
    """On a line the first axis is the line."""
    messages, rows = exactly(torch.tensor(values, dtype=data.draw(st.sampled_from(DTYPES)))[:, None])
    n, middle = len(rows), Fraction(sum(values), len(values))
    f = draw_f(data, (n - 1) // 2)
    scores = [(row[0] - middle) ** 2 for row in rows]
    assert agrees(dnc(messages, f, torch.Generator().manual_seed(0)), messages, first(scores, n - f, max(scores)))


@given(matrices(), st.data())
def test_meamed_takes_the_smaller_of_two_at_one_distance(matrix: tuple[Tensor, Exact], data: st.DataObject) -> None:
    messages, rows = matrix
    n = len(rows)
    f = draw_f(data, (n - 1) // 2)
    found = meamed(messages, f)
    for column in range(messages.shape[1]):
        values = sorted(row[column] for row in rows)
        twice = values[(n - 1) // 2] + values[n // 2]
        near = first([abs(2 * value - twice) for value in values], n - f, Fraction(0))
        expected = sum(values[i] for i in near) / (n - f)
        slack = 16 * torch.finfo(messages.dtype).eps * float(messages.abs().max())
        assert abs(float(found[column]) - float(expected)) <= slack


def norm_of_scatter(rows: Exact) -> Fraction:
    """The largest eigenvalue of the scatter of rows of up to 3 coordinates, to 50 digits."""
    middle = [sum(column, Fraction(0)) / len(rows) for column in zip(*rows, strict=True)]
    away = [[value - centre for value, centre in zip(row, middle, strict=True)] for row in rows]
    d = len(middle)
    with mpmath.workdps(60):
        scatter = mpmath.matrix(d, d)
        for i in range(d):
            for j in range(d):
                total = sum((row[i] * row[j] for row in away), Fraction(0))
                scatter[i, j] = mpmath.mpf(total.numerator) / total.denominator
        largest = max(mpmath.eigsy(scatter, eigvals_only=True)) if d > 1 else scatter[0, 0]
        return Fraction(mpmath.nstr(largest, 50))


# ------------------------------------------------------------------------------------------------ order, types, classes


@settings(max_examples=50)
@given(matrices(low=7, high=9), st.integers(0, 99))
def test_the_order_of_the_rows_decides_nothing_but_ties(matrix: tuple[Tensor, Exact], seed: int) -> None:
    """Scores by place in one order are those by place in the other; the class chooses as the function does."""
    messages, rows = matrix
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    scores = equal_to_rounding(krum_scores(rows, len(rows) - 3), longest(rows) * len(rows))
    best = [row for row in range(len(rows)) if scores[row] == min(scores)]
    winners = messages[best]
    assert bool((winners == krum(messages[order], 1)).all(dim=1).any())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", ["krum", "mda", "smea", "nnm"])
@settings(max_examples=30)
@given(data=st.data())
def test_the_class_chooses_as_the_function(
    rule: str,
    dtype: torch.dtype,
    data: st.DataObject,
    make_setting: Callable[..., Setting],
    server_round: Callable[..., ServerRound],
) -> None:
    cells = st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=7, max_size=7)
    messages = (torch.tensor(data.draw(cells)).double() / 3).to(dtype)
    setting = make_setting(num_clients=7, participants=7, assumed_byzantine=2 / 7, dim=2)
    server = server_round(setting, torch.zeros(2, dtype=dtype), 7)
    functions: dict[str, Callable[[Tensor, int], Tensor]] = {"krum": krum, "mda": mda, "smea": smea}
    kind = {"krum": Krum(), "mda": MDA(), "smea": SMEA(), "nnm": NNM(rule="krum")}[rule]
    found = kind.aggregate(Delivered(messages, torch.arange(7)), server)
    if rule == "nnm":  # mixtures in float32 are rounded, so that ties of theirs are not those of exact ones
        mixed = nnm(messages.double(), 2)
        expected = krum_scores(exactly(mixed)[1], 3)
        place = (mixed - found.double()).abs().amax(dim=1).argmin()
        assert float(expected[int(place)]) <= float(min(expected)) + 1e-4 * float(max(expected))
    else:
        torch.testing.assert_close(found, functions[rule](messages, 2))


@pytest.mark.parametrize("seed", range(6))
def test_near_ties_in_float32_are_decided_as_in_float64(seed: int) -> None:
    """A row and its mirror image about the mean of the rest, moved by a hair: their scores differ by some 1e-7."""
    generator = torch.Generator().manual_seed(seed)
    near, rest = (torch.randn(size, 20, generator=generator) for size in (1, 8))
    near = rest.mean(dim=0) + 0.3 * near
    messages = torch.cat([2 * rest.mean(dim=0) - near, rest, near * (1 + 1e-7)])
    scores = krum_scores(exactly(messages)[1], len(messages) - 2)
    assert torch.equal(krum(messages, 0), messages[scores.index(min(scores))])


# ------------------------------------------------------------------------------------------------------------------ CAF


def caf_in_sixty_digits(messages: Tensor, num_byzantine: int) -> list[mpmath.mpf]:
    """Algorithm 2 on the rows, in 60 digits; deviations that agree to 40 of them are one."""
    with mpmath.workdps(60):
        rows = mpmath.matrix(messages.double().tolist())
        n, d = rows.rows, rows.cols
        kept, smallest = [mpmath.mpf(1)] * n, mpmath.inf
        best = [sum(rows[i, j] for i in range(n)) / n for j in range(d)]
        while sum(kept) > n - 2 * num_byzantine:
            total = sum(kept)
            weights = [count / total for count in kept]
            mean = [sum(weights[i] * rows[i, j] for i in range(n)) for j in range(d)]
            away = mpmath.matrix(n, d)
            for i in range(n):
                for j in range(d):
                    away[i, j] = mpmath.sqrt(weights[i]) * (rows[i, j] - mean[j])
            values, vectors = mpmath.eigsy(away * away.T)
            top = max(range(n), key=lambda i: values[i])
            if values[top] < smallest:
                best, smallest = mean, values[top]
            if values[top] < mpmath.mpf(10) ** -50:
                break
            axis = away.T * vectors[:, top]
            deviations = [sum((rows[i, j] - mean[j]) * axis[j] for j in range(d)) ** 2 for i in range(n)]
            most = max(deviation for deviation, count in zip(deviations, kept, strict=True) if count > 0)
            shares = [max(0, 1 - deviation / most) for deviation in deviations]
            kept = [
                count * share if share > mpmath.mpf(10) ** -40 else mpmath.mpf(0)
                for count, share in zip(kept, shares, strict=True)
            ]
        return best


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(10))
def test_caf_under_inner_product_manipulation(seed: int, dtype: torch.dtype) -> None:
    """n = 10, f = 2, d = 30: the attackers' rows are equal."""
    honest = torch.randn(8, 30, generator=torch.Generator().manual_seed(seed)) + 0.3
    messages = torch.cat([honest, (-0.5 * honest.mean(dim=0)).expand(2, -1)]).to(dtype)
    expected = torch.tensor([float(value) for value in caf_in_sixty_digits(messages, 2)], dtype=torch.float64)
    slack = 1e-4 if dtype == torch.float32 else 1e-9
    assert float((caf(messages, 2).double() - expected).norm()) <= slack * float(expected.norm())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=3, max_size=8), st.sampled_from(DTYPES), st.data())
def test_caf_on_a_line_of_integers(values: list[int], dtype: torch.dtype, data: st.DataObject) -> None:
    """There is one direction on a line: no eigenvalue is double, and deviations on two sides tie."""
    f = draw_f(data, (len(values) - 1) // 2)
    messages = torch.tensor(values, dtype=dtype)[:, None]
    (expected,) = caf_in_sixty_digits(messages, f)
    assert caf(messages, f).item() == pytest.approx(float(expected), abs=1e-4 if dtype == torch.float32 else 1e-8)


@pytest.mark.parametrize("seed", range(12))
def test_smea_where_mimic_copies_a_client(seed: int) -> None:
    """n = 2 f + 1: the copies and their model are f + 1 equal rows, whose scatter has rank 0."""
    generator = torch.Generator().manual_seed(seed)
    f = 1 + seed % 4
    honest = torch.randn(f + 1, 20, generator=generator)
    messages = torch.cat([honest, honest[:1].expand(f, -1)])
    torch.testing.assert_close(smea(messages, f), honest[0], rtol=1e-6, atol=0)


def test_ties_need_no_gram_of_the_same_bits() -> None:
    """The rules' weights from products that another processor has rounded otherwise are the same."""
    rows = torch.tensor([[1.0], [1.0], [0.0], [0.0], [-1.0]], dtype=torch.float64)
    gram = gram_matrix(rows)
    noise = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for sign in (-1, 1):
        moved = gram + sign * 2.0**-53 * (noise + noise.T)
        assert krum_weights(moved, 0).tolist() == [1, 0, 0, 0, 0]
