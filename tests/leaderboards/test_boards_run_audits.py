"""The board of runs: each number beside what it is held against, and the marks of what is broken."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.privacy.claims import PrivacyClaim
from bench.records import Privacy, Record
from leaderboards.run_audits import ONCE, RUN, find_run_audits, run_audits_board
from leaderboards.run_epsilons import LEAST, run_epsilons

ROW, COLUMN = "noisy", "run_audit"
COMPOSED = PrivacyClaim(epsilon=3.0, delta=1e-6, unit="per client and run", source="60 Gaussian releases")
Make = Callable[..., Record]


@pytest.fixture
def make_run_audit(make_audit: Make) -> Make:
    """A record of an audit of a run that proves `epsilon`; `composed` is None where nothing is promised over a run."""

    def make(row: str, epsilon: float, seed: int = 0, composed: PrivacyClaim | None = COMPOSED, **more: Any) -> Record:
        record = make_audit(row, epsilon, seed=seed)
        assert record.cell.attack is not None
        attack = record.cell.attack.model_copy(update={"name": COLUMN, "parameters": {"canaries": 10}})
        cell = record.cell.model_copy(update={"kind": "run_audit", "attack": attack, "rho": None})
        audited = COMPOSED.model_copy(update={"epsilon": epsilon, "source": "audit: one run"})
        metrics = {"epsilon_run": epsilon, "epsilon_run_provable": 9.0, "guesses": 10.0, "right_guesses": 8.0}
        privacy = Privacy(claimed=record.privacy.claimed, composed=composed, audited=audited)
        return record.model_copy(update={"cell": cell, "metrics": metrics, "privacy": privacy, **more})

    return make


def line_of(records: list[Record]) -> dict[str, str]:
    runs = find_run_audits(records)
    board = run_audits_board([ROW], [COLUMN], runs, {})
    (line,) = board.text.to_dict("records")
    return {str(key): str(value) for key, value in line.items()}


def test_a_bound_below_what_is_composed_stands(make_run_audit: Make) -> None:
    line = line_of([make_run_audit(ROW, 2.0)])
    assert line["composed"] == "3 per client and run, δ = 1e-06"
    assert line[RUN] == "2 ✓ (8 of 10 right)"
    assert line[ONCE] == "–"


def test_a_bound_above_it_breaks_it_and_one_at_the_limit_says_so(make_run_audit: Make) -> None:
    assert line_of([make_run_audit(ROW, 9.0)])[RUN] == "9+ ✗ (8 of 10 right)"


def test_the_median_seed_decides(make_run_audit: Make) -> None:
    records = [make_run_audit(ROW, epsilon, seed) for seed, epsilon in enumerate((5.0, 1.0, 2.0))]
    assert line_of(records)[RUN].startswith("2 ✓")
    (audit,) = find_run_audits(records).values()
    assert (audit.seeds, audit.failed, audit.breaks) == (3, 0, False)
    (broken,) = find_run_audits([*records[:1], make_run_audit(ROW, 4.0, 1)]).values()
    assert broken.breaks
    assert broken.epsilon == 4.0  # the lower one of two


def test_failed_seeds_are_told(make_run_audit: Make) -> None:
    failed = make_run_audit(ROW, 0.0, 1, status="failed", error="x")
    assert "(1 failed)" in line_of([make_run_audit(ROW, 2.0), failed])[RUN]
    assert find_run_audits([failed]) == {}


def test_audits_of_one_round_are_not_among_them(make_audit: Make) -> None:
    assert find_run_audits([make_audit(ROW, 2.0)]) == {}
    assert not len(run_audits_board([ROW], [], {}, {}).text)


def test_the_picture_has_a_line_a_row_with_both_ends(make_run_audit: Make) -> None:
    runs = find_run_audits([make_run_audit("kept", 2.0), make_run_audit("broken", 9.0), make_run_audit("silent", 0.0)])
    rows = ["broken", "kept", "silent", "another"]
    (axes,) = run_epsilons(rows, [COLUMN], runs).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == rows[:3]
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    marked = {(line.get_marker(), round(float(line.get_xdata()[0]), 6)) for line in points}
    assert marked == {("|", 3.0), ("o", 2.0), ("o", 9.0), ("o", LEAST)}
    assert [text.get_text() for text in axes.texts] == ["9+", "2", "0"]
