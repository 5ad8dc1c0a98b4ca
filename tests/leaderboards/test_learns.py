"""What who learns: which attack is whose, and what a number is in words."""

import math
from pathlib import Path

import pytest

from bench.plays.findings import build_attack
from bench.suite import load
from leaderboards import learns
from leaderboards.decision import Measured
from leaderboards.estimates import Estimate

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def lines() -> dict[str, dict[str, str]]:
    boards = [Measured.published(load(name), RESULTS) for name in learns.SUITES]
    head, *rows = learns.table(boards)
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


@pytest.mark.parametrize(
    ("suite", "column", "who"),
    [
        ("digits", "dlg label=joint", "the server"),
        ("digits", "collusion rho=0.3", "the server and half of the clients"),
        ("digits", "zero_shares rho=1", "the server and all others"),
        ("membership", "membership_lira on=model", "another client"),
        ("membership", "membership_lira on=uploads", "the server"),
        ("membership", "membership_gradient rho=0.5", "the server and half of the clients"),
        ("malicious-server", "imprint batch_size=1", "a server that sends its own model"),
        ("malicious-server", "analytic batch_size=1", "the server"),
    ],
)
def test_each_attack_is_one_attacker_s(suite: str, column: str, who: str) -> None:
    cell = {cell.column: cell for cell in load(suite).cells()}[column]
    assert cell.attack is not None
    attack = build_attack(cell.attack)
    assert [name for name, is_of in learns.WHO.items() if is_of(attack)] == [who]  # type: ignore[arg-type]
    assert learns._attacker(cell) == who


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Estimate(0.81, 0.02, 3, 0), "who was in it (AUC 0.81)"),
        (Estimate(0.53, 0.06, 3, 0), "not who was in it"),
        (Estimate(0.9, math.nan, 1, 0), "who was in it (AUC 0.90)"),
    ],
)
def test_an_auc_that_covers_a_guess_tells_nothing(value: Estimate, words: str) -> None:
    assert learns._members([value]) == words
    assert learns._members([]) == ""


def test_one_image_in_ten_is_a_leak() -> None:
    assert learns._images([Estimate(0.09, 0.0, 3, 0)]) == "no images"
    assert learns._images([Estimate(0.09, 0.0, 3, 0), Estimate(0.1, 0.0, 3, 0)]) == "10% of images"


def test_the_published_boards_say_what_the_findings_say(lines: dict[str, dict[str, str]]) -> None:
    """Noise hides images, a sum hides them from who looks on alone, and an upload in the clear hides nothing."""
    assert "no images" in lines["dp_fedavg"]["the server"]
    assert "no images" in lines["secure_aggregation"]["the server"]
    assert "no images" not in lines["secure_aggregation"]["a server that sends its own model"]
    assert "100% of images" in lines["fedavg"]["the server"]
    assert lines["secure_aggregation"]["the server and all others"] == "–"
