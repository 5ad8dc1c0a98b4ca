"""Audits: what stands against a claim, where it is meant to hold, and what is told of it."""

import pytest

from bench.records import Cost, Privacy
from leaderboards.audits import find_audits, largest

ROW, ALONE, ALL = "noisy", "audit", "audit rho=1"


@pytest.fixture
def training(make, make_claim):
    """The row's clean run, whose clients send one another nothing."""
    return make(ROW, privacy=Privacy(claimed=make_claim(10.0)), cost=Cost(peer_bytes=0))


def only(records):
    (found,) = find_audits(records).values()
    return found


@pytest.mark.parametrize(("bounds", "median"), [((3.0,), 3.0), ((9.0, 4.0), 4.0), ((1.0, 12.0, 2.0), 2.0)])
def test_of_several_seeds_the_lower_median_counts(make_audit, bounds, median):
    """One lucky audit in three proves nothing: with three seeds the median exceeds the truth in 0.7 % of cases."""
    found = only([make_audit(ROW, bound, seed=seed) for seed, bound in enumerate(bounds)])
    assert (found.epsilon, found.seeds, found.failed) == (median, len(bounds), 0)
    assert found.record.privacy.audited is not None
    assert found.record.privacy.audited.epsilon == median


@pytest.mark.parametrize(
    ("epsilon", "rho", "colluders", "marks"),
    [
        (9.9, None, 0.0, "✓"),
        (10.0, 0.6, 0.6, "✓"),
        (10.1, 0.6, 0.6, "✗"),
        (10.1, 0.7, 0.6, "✗ †"),
        (3.0, 0.7, 0.6, "†"),
        (3.0, 0.1 + 0.2, 0.3, "✓"),  # 0.30000000000000004
    ],
)
def test_marks_tell_kept_broken_and_not_meant_here(make_audit, make_claim, epsilon, rho, colluders, marks):
    found = only([make_audit(ROW, epsilon, rho, claimed=make_claim(10.0, colluders=colluders))])
    assert found.marks == marks
    assert found.breaks == (marks == "✗")


@pytest.mark.parametrize(("peer_bytes", "marks"), [(0, "✗"), (100, "✗ †")])
def test_active_colluders_are_beyond_a_claim_that_rests_on_others_messages(make, make_audit, peer_bytes, marks):
    records = [make(ROW, cost=Cost(peer_bytes=peer_bytes)), make_audit(ROW, 50.0, 0.3, active=True)]
    assert only(records).marks == marks


def test_a_void_claim_has_no_marks_but_a_reach(make_audit, make_claim):
    void = make_claim(None, "needs epsilon < 1", colluders=0.0)
    assert only([make_audit(ROW, 5.0, claimed=void)]).marks == ""
    assert only([make_audit(ROW, 5.0, 1.0, claimed=void)]).marks == "†"
    assert not only([make_audit(ROW, 5.0, claimed=void)]).exceeds


def test_the_board(training, make_audit, make_boards, make_claim, table):
    small = make_claim(2.0, unit="per coordinate and round", colluders=0.0)
    records = [training, make_audit(ROW, 12.34, 1.0), make_audit("signs", 0.5, claimed=small, upload=33.33)]
    board = table(make_boards(records), "audits")
    assert board.rows() == [ROW, "signs"]
    assert board.cell(ROW, ALL) == "12.3 ✗"
    assert board.cell(ROW, ALONE) == "–"
    assert board.cell("signs", ALONE) == "0.5 ✓, upload 33.3"
    assert board.cell("signs", "claimed") == "2 per coordinate and round"
    assert board.cell("signs", "for rho up to") == "0"
    assert board.number(ROW, "epsilon_audited", ALL) == 12.34
    assert board.number("signs", "epsilon_audited_upload", ALONE) == 33.33
    assert board.number(ROW, "epsilon_audited", ALL, "within_claim")


def test_failed_seeds_are_told_and_a_cell_that_failed_is_none(training, make_audit, make_boards, table):
    failed = {"status": "failed", "error": "no", "metrics": {}, "privacy": Privacy()}
    records = [training, make_audit(ROW, 5.0), make_audit(ROW, 5.0, seed=1, **failed)]
    records += [make_audit(ROW, 5.0, 1.0, **failed)]
    leaderboard = make_boards(records)
    assert table(leaderboard, "audits").cell(ROW, ALONE) == "5 (1 failed) ✓"
    assert table(leaderboard, "audits").cell(ROW, ALL) == "–"
    assert leaderboard.flags[ROW] == [f"{ALONE}: 1 seed(s) failed: no", f"{ALL}: 1 seed(s) failed: no"]


def test_without_audits_there_is_no_board(training, make_boards, table):
    leaderboard = make_boards([training])
    assert table(leaderboard, "audits").board.text.empty
    assert table(leaderboard, "claims").cell(ROW, "audited") == "not yet"


def test_claims_show_the_largest_bound_within_and_a_larger_one_beyond(
    training, make_audit, make_boards, make_claim, table
):
    claimed = make_claim(10.0, colluders=0.6)
    records = [make_audit(ROW, bound, rho, claimed=claimed) for bound, rho in ((5.0, None), (8.0, 0.6), (30.0, 1.0))]
    assert [audit.epsilon for audit in largest(find_audits(records), ROW)] == [8.0, 30.0]
    assert [audit.epsilon for audit in largest(find_audits(records[:2]), ROW)] == [8.0]
    assert [audit.epsilon for audit in largest(find_audits(records[2:]), ROW)] == [30.0]
    assert largest(find_audits(records), "other") == []
    text = table(make_boards([training, *records]), "claims").cell(ROW, "audited")
    within, beyond = text.split("; ")
    assert within == "ε ≥ 8, δ = 1e-06 per upload ✓ at audit rho=0.6 (audit of 500 games)"
    assert beyond == "ε ≥ 30, δ = 1e-06 per upload ✗ † at audit rho=1 (audit of 500 games)"


def test_a_broken_claim_is_a_flag_with_the_evidence(training, make_audit, make_boards, table):
    broken = make_audit(ROW, 12.34, 1.0)
    leaderboard = make_boards([training, broken])
    (flag,) = leaderboard.flags[ROW]
    assert flag == (
        f"{ALL}: the privacy claim is broken: an audit proves epsilon of at least 12.3 per upload, where 10 is claimed "
        f"(audit of 500 games, true positives 75.0%, false positives 0.1%; record {broken.key})"
    )
    assert table(leaderboard, "overall").cell(ROW, "what breaks it") == f"privacy claim broken by {ALL}"


def test_beyond_what_is_claimed_the_flag_is_softer(training, make_audit, make_boards, make_claim, table):
    leaderboard = make_boards([training, make_audit(ROW, 99.0, 1.0, claimed=make_claim(10.0, colluders=0.6))])
    (flag,) = leaderboard.flags[ROW]
    assert flag.startswith(f"{ALL}: beyond what the claim is meant for (curious colluders up to rho = 0.6) an audit")
    assert "broken" not in flag
    assert table(leaderboard, "overall").cell(ROW, "what breaks it") == "nothing here"


def test_a_claim_that_stands_raises_no_flag(training, make_audit, make_boards):
    assert make_boards([training, make_audit(ROW, 9.99), make_audit(ROW, 10.0, 1.0)]).flags == {}


def test_defenses_that_claim_nothing_are_not_asked_for_audits(training, make, make_audit, make_boards):
    leaderboard = make_boards([training, make_audit(ROW, 1.0), make("open")])
    assert leaderboard.flags == {}


def test_audits_change_no_other_board(training, make, make_leak, make_audit, make_boards, table):
    records = [training, make(ROW, "sign_flip"), make_leak(ROW)]
    without, with_ = make_boards(records), make_boards([*records, make_audit(ROW, 1.0)])
    for name in ("overall", "robustness", "privacy", "noise", "utility"):
        assert table(without, name).board.text.equals(table(with_, name).board.text)
