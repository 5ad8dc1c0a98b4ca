"""What the engine does to forged messages that cannot be sent: rejected or rounded, counted, alike for all defenses."""

from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.protocol import Alphabet
from bench.threat import ByzantineAttack, ByzantineView, sanitize
from defenses.fedavg import FedAvg
from defenses.median import Median

numbers = st.floats(width=32) | st.sampled_from([-1.0, 0.0, 1.0])


def test_a_row_of_reals_with_a_number_that_is_not_finite_becomes_zero() -> None:
    forged = torch.tensor([[1.0, 2.0], [torch.nan, 2.0], [3.0, -torch.inf], [1e38, -1e38]])
    clean, rejected = sanitize(forged, Alphabet.REAL)
    assert clean.tolist() == [[1.0, 2.0], [0.0, 0.0], [0.0, 0.0], torch.tensor([1e38, -1e38]).tolist()]
    assert rejected == 4  # both entries of two rows


def test_reals_that_are_finite_pass_bit_by_bit() -> None:
    forged = torch.randn(5, 30, generator=torch.Generator().manual_seed(0))
    clean, rejected = sanitize(forged, Alphabet.REAL)
    assert torch.equal(clean, forged)
    assert rejected == 0


def test_ternary_entries_are_rounded_into_the_alphabet_and_counted() -> None:
    forged = torch.tensor([[1.0, -1.0, 0.0, 7.0, -1e30], [0.4, -0.6, torch.nan, torch.inf, -torch.inf]])
    clean, rejected = sanitize(forged, Alphabet.TERNARY)
    assert clean.dtype == torch.int8
    assert clean.tolist() == [[1, -1, 0, 1, -1], [0, -1, 0, 1, -1]]
    assert rejected == 7


def test_a_number_that_is_a_sign_in_float32_only_is_counted() -> None:
    clean, rejected = sanitize(torch.tensor([[1 + 1e-12]], dtype=torch.float64), Alphabet.TERNARY)
    assert clean.tolist() == [[1]]
    assert rejected == 1


@pytest.mark.parametrize("value", [2, -2, 127, -128])
def test_integers_out_of_the_alphabet_are_counted(value: int) -> None:
    clean, rejected = sanitize(torch.tensor([[1, value, 0]], dtype=torch.int8), Alphabet.TERNARY)
    assert clean.tolist() == [[1, 1 if value > 0 else -1, 0]]
    assert rejected == 1


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=5))
def test_what_is_clean_stays_and_what_is_not_is_counted(rows: list[list[float]]) -> None:
    forged = torch.tensor(rows)
    reals, rejected = sanitize(forged, Alphabet.REAL)
    assert bool(torch.isfinite(reals).all())
    assert rejected == 3 * sum(not all(abs(x) < float("inf") for x in row) for row in rows)
    votes, rounded = sanitize(forged, Alphabet.TERNARY)
    assert set(votes.unique().tolist()) <= {-1, 0, 1}
    assert rounded == sum(x not in (-1, 0, 1) for row in rows for x in row)
    assert sanitize(votes, Alphabet.TERNARY)[1] == 0


class Huge(ByzantineAttack):
    """Sends rows that are finite in float64, and not in the messages' own float32."""

    name: ClassVar[str] = "huge"

    def forge(self, view: ByzantineView) -> Tensor:
        return torch.full(view.own.shape, 1e300, dtype=torch.float64)


@pytest.mark.parametrize("defense", [FedAvg(), Median()], ids=["fedavg", "median"])
def test_rows_that_overflow_the_messages_precision_are_not_finite_either(defense: FedAvg | Median) -> None:
    settings = FederationSettings(dataset="digits", clients=10, rounds=1, local_steps=1, lr=0.1)
    federation = Federation(settings, defense, load("digits"), seed=0, attack=Huge(), byzantine=0.2)
    transcript = federation.play()
    assert bool((transcript.messages[federation.is_byzantine] == 0).all())
    assert bool(torch.isfinite(federation.global_model).all())
    assert federation.rejected == 2 * 650
