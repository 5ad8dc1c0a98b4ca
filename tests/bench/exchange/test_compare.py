"""Verdicts on rules of others, on rules whose meaning is known: ours, our variants, and ones that are wrong."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.exchange.foreign import compare
from bench.exchange.foreign.compare import Case, Verdict, cases, compared
from bench.exchange.foreign.entry import Entry, Kind
from bench.exchange.foreign.meanings import MEANINGS
from defenses.arc import arc
from defenses.bulyan import bulyan
from defenses.krum import krum
from defenses.meamed import meamed
from defenses.nnm import nnm
from defenses.trimmed_mean import trimmed_mean


def verdict(rule: Callable[[Tensor, int], Tensor], ours: str, kind: Kind = "rule") -> Verdict:
    def make(n: int, f: int, parameters: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
        return lambda rows: rule(rows, f)

    return compared(Entry("theirs", "Rule", kind, make, ours))


@pytest.mark.parametrize(
    ("rule", "ours"),
    [
        (krum, "krum"),
        (trimmed_mean, "trimmed_mean"),
        (meamed, "meamed"),
        (lambda rows, f: rows.quantile(0.5, dim=0), "median"),
        (lambda rows, f: rows.mean(dim=0), "fedavg"),
        (nnm, "nnm"),
    ],
)
def test_the_same_rule_is_the_same(rule: Callable[[Tensor, int], Tensor], ours: str) -> None:
    found = verdict(rule, ours, "mixing" if ours == "nnm" else "rule")
    assert found.outcome == "same"
    assert found.examples > 100
    assert found.example is None


def test_a_variant_is_named_with_the_smallest_example() -> None:
    found = verdict(lambda rows, f: krum(rows, f, variant="one_neighbour_more"), "krum")
    assert (found.outcome, found.told) == ("variant", "n - f - 1 neighbours, one more than the paper's n - f - 2")
    assert found.example is not None
    rows = torch.tensor(found.example.rows, dtype=torch.float64)
    assert len(rows) <= 4
    assert krum(rows, found.example.f).flatten().tolist() == pytest.approx(found.example.ours)
    assert found.example.theirs != pytest.approx(found.example.ours)


def test_bulyan_that_scores_all_rows_once_is_no_bulyan() -> None:
    def once(rows: Tensor, f: int) -> Tensor:
        if len(rows) < 4 * f + 3:
            raise ValueError("too few")
        squares = torch.cdist(rows, rows).square()
        scores = squares.sort(dim=1).values[:, 1 : len(rows) - f - 1].sum(dim=1)
        chosen = rows[scores.argsort()[: len(rows) - 2 * f]]
        around = (chosen - chosen.quantile(0.5, dim=0)).abs().argsort(dim=0)[: len(rows) - 4 * f]
        return chosen.gather(0, around).mean(dim=0)

    found = verdict(once, "bulyan")
    assert found.outcome == "variant"
    assert found.told.startswith("all rows scored once")
    assert found.example is not None
    rows = torch.tensor(found.example.rows, dtype=torch.float64)
    assert bulyan(rows, found.example.f).flatten().tolist() == pytest.approx(found.example.ours)


def test_what_no_meaning_fits_is_different() -> None:
    found = verdict(lambda rows, f: trimmed_mean(rows, max(f - 1, 0)), "trimmed_mean")
    assert found.outcome == "different"
    assert found.example is not None
    assert found.example.f >= 1


def test_where_only_ties_differ_that_is_said() -> None:
    """The last one of equal scores, where ours takes the first."""

    def last(rows: Tensor, f: int) -> Tensor:
        return krum(rows.flip(0), f)

    found = verdict(last, "krum")
    assert found.outcome == "same but for ties"


def test_a_rule_that_draws_is_random_and_one_without_an_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "SECONDS", 1)
    found = verdict(lambda rows, f: rows[torch.randint(len(rows), (1,))[0]] + torch.rand(1).double(), "krum")
    assert found.outcome == "random"

    def endless(rows: Tensor, f: int) -> Tensor:
        while len(rows) == 3:
            pass
        return trimmed_mean(rows, f)

    told = " ".join(verdict(endless, "trimmed_mean").notes)
    assert "it does not end within" in told


def test_float32_far_from_zero_shows_products_that_are_not_centred() -> None:
    def uncentred(rows: Tensor, f: int) -> Tensor:
        norms = rows.square().sum(dim=1)
        squares = norms[:, None] + norms[None, :] - 2 * rows @ rows.T
        scores = squares.sort(dim=1).values[:, 1 : len(rows) - f - 1].sum(dim=1)
        return rows[scores.argmin()]

    assert any("in float32 far from zero" in note for note in verdict(uncentred, "krum").notes)
    assert not any("far from zero" in note for note in verdict(krum, "krum").notes)


def test_counts_in_floating_point_are_found() -> None:
    def by_share(rows: Tensor, f: int) -> Tensor:
        return trimmed_mean(rows, int(f / len(rows) * len(rows)))

    notes = verdict(by_share, "trimmed_mean").notes
    assert any("n = 49, f = 1" in note for note in notes)
    assert int(1 / 49 * 49) == 0
    assert not verdict(arc, "arc", "mixing").notes


def test_a_rule_that_writes_into_its_rows_is_told() -> None:
    def careless(rows: Tensor, f: int) -> Tensor:
        rows -= rows.mean(dim=0)
        return rows.sum(dim=0)

    assert "it writes into the rows that it is given" in verdict(careless, "fedavg").notes


def test_buckets_are_each_row_once() -> None:
    def buckets(rows: Tensor, f: int) -> Tensor:
        return torch.stack([part.mean(dim=0) for part in rows[torch.randperm(len(rows))].split(2)])

    assert verdict(buckets, "bucketing", "mixing").outcome == "same"
    assert verdict(lambda rows, f: rows[: len(rows) // 2], "bucketing", "mixing").outcome == "different"


def test_cases_are_the_same_every_time_and_begin_with_whole_numbers() -> None:
    first, second = list(cases()), list(cases())
    assert len(first) > 200
    assert all(torch.equal(one.rows, other.rows) and one.f == other.f for one, other in zip(first, second, strict=True))
    assert torch.equal(first[0].rows, first[0].rows.round())
    assert isinstance(first[0], Case)


def test_every_meaning_of_ours_answers_an_easy_case() -> None:
    rows = torch.randn(11, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name, meaning in MEANINGS.items():
        for rule in (meaning.ours, *(one.rule for one in meaning.variants)):
            assert rule(rows, 2).shape[-1] == 4, name
