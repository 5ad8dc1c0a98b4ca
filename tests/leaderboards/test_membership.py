"""The board of membership inference: what stands in it, who leads, and the curves beside it."""

import numpy as np
import pytest

from bench.privacy.claims import PrivacyClaim
from bench.records import Privacy
from bench.suite import Cell, Part
from leaderboards.membership import panels
from leaderboards.pictures import membership

MEMBERS = 400


@pytest.fixture
def asked(make):
    """A membership record; `tpr` is the share of members found at 1 %."""

    def record(row, tpr, auc=0.7, attack="membership_loss", seed=0, rho=None, composed=None, roc=True, **strength):
        training = make(row, seed=seed)
        parameters = {**strength, **({} if rho is None else {"rho": rho})}
        cell = Cell.model_validate(
            {
                **training.cell.model_dump(),
                "attack": {"name": attack, "version": 1, "parameters": parameters},
                "kind": "membership",
                "rho": rho,
                "targets": 10,
                "sweep": ", ".join(f"{key}={value}" for key, value in strength.items()),
            }
        )
        metrics = {"members": MEMBERS, "least_fpr": 1 / MEMBERS, "tpr_at_1": tpr, "tpr_at_0.1": tpr / 4}
        metrics |= {"membership_auc": auc}
        curve = [(0.0, 0.0), (0.0025, tpr / 2), (0.01, tpr), (1.0, 1.0)] if roc else []
        privacy = Privacy(composed=composed)
        return training.model_copy(update={"cell": cell, "metrics": metrics, "roc": curve, "privacy": privacy})

    return record


def claim(epsilon):
    return PrivacyClaim(epsilon=epsilon, delta=1e-6, unit="per client and run", source="a paper")


def test_a_cell_has_both_rates_and_the_area(asked, make_boards, table):
    board = table(make_boards([asked("fedavg", 0.2, 0.8)]), "membership")
    assert board.cell("fedavg", "membership_loss") == "20% [16, 24] · 5.0% · 0.80"
    assert board.cell("fedavg", "worst case") == "20% [16, 24], AUC 0.80"
    assert board.cell("fedavg", "composed") == "–"
    assert board.number("fedavg", "tpr_at_1", "membership_loss") == 0.2
    assert board.number("fedavg", "membership_auc", "membership_loss") == 0.8
    assert "One false positive is 0.25% in a seed" in board.board.caption


def test_the_lowest_of_the_worst_columns_leads(asked, make_boards, table):
    records = [asked("a", 0.1), asked("a", 0.3, attack="membership_gradient"), asked("b", 0.2, composed=claim(3.0))]
    records += [asked("b", 0.05, attack="membership_gradient")]
    board = table(make_boards(records), "membership")
    assert board.rows() == ["b", "a"]
    assert board.cell("a", "worst case") == "30% [26, 35], AUC 0.70 (membership_gradient)"
    assert board.cell("b", "composed") == "ε = 3 per client and run"
    assert board.number("b", "rank") == 1
    assert board.number("b", "worst_tpr_at_1") == 0.2


def test_seeds_that_differ_widen_the_intervals(asked, make_boards, table):
    def interval(values):
        records = [asked("a", tpr, auc, seed=seed) for seed, (tpr, auc) in enumerate(values)]
        board = table(make_boards(records, seeds=3), "membership")
        ends = [board.number("a", metric, "membership_loss", end) for metric, end in
                (("tpr_at_1", "low"), ("tpr_at_1", "high"), ("membership_auc", "half_width"))]  # fmt: skip
        return ends[1] - ends[0], ends[2]

    alike, apart = interval([(0.2, 0.7)] * 3), interval([(0.1, 0.6), (0.2, 0.7), (0.3, 0.8)])
    assert apart[0] > 2 * alike[0]
    assert alike[1] == pytest.approx(0)
    assert apart[1] == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)  # t with two degrees of freedom


def test_a_row_that_lacks_a_column_has_no_rank(asked, make_boards, table):
    records = [asked("a", 0.1), asked("a", 0.3, attack="membership_gradient"), asked("b", 0.2)]
    board = table(make_boards(records), "membership")
    assert board.cell("b", "rank") == "–"
    assert board.cell("a", "rank") == "1"


def test_where_nobody_asked_there_is_no_board(make, make_boards, table):
    board = table(make_boards([make("krum")]), "membership").board
    assert (len(board.text), len(board.data)) == (0, 0)


@pytest.mark.parametrize(("share", "told"), [(0.09, "nothing here"), (0.1, "members found by membership_loss")])
def test_the_overall_board_says_where_members_are_found(asked, make, make_boards, table, share, told):
    board = table(make_boards([make("a"), asked("a", share)]), "overall")
    assert board.cell("a", "what breaks it") == told
    assert "one in ten at 1 % false positives" in board.board.caption


def test_a_panel_has_each_rows_worst_attack_and_the_mean_of_its_seeds(asked):
    records = [asked("a", 0.1, 0.6, seed=0, models="last"), asked("a", 0.3, 0.7, seed=1, models="last")]
    records += [asked("a", 0.9, 0.64, models="all")]
    records += [asked("a", 0.2, 0.9, "membership_gradient"), asked("a", 0.2, 0.8, "membership_gradient", rho=0.5)]
    found = panels(records)
    assert list(found) == ["the models alone", "uploads", "uploads, colluders"]
    alone = found["the models alone"]["a"]
    assert alone.column == "membership_loss models=last"
    assert alone.area == pytest.approx(0.65)
    assert alone.true == pytest.approx((0, 0.1, 0.2, 1))
    assert [found[seen]["a"].area for seen in ("uploads", "uploads, colluders")] == [0.9, 0.8]


def test_the_picture_is_drawn_and_says_who_leaks_most(asked):
    records = [asked("fedavg", 0.2, 0.8), asked("krum", 0.1, 0.6), asked("krum", 0.1, 0.7, "membership_gradient")]
    picture = membership(["fedavg", "krum"], records)
    assert "0.80 under fedavg for whoever gets the models and 0.70 under krum for the server" in picture.sentence
    content = picture.draw()
    assert content.startswith(b"\x89PNG")
    assert len(np.frombuffer(content, np.uint8)) < 150_000


def poisoned(record, forging, accuracy):
    part = None if forging is None else Part(name=forging, version=1, parameters={})
    cell = record.cell.model_copy(update={"byzantine": 0.2, "forging": part})
    return record.model_copy(update={"cell": cell, "metrics": {**record.metrics, "model_accuracy": accuracy}})


def test_who_forges_stands_beside_who_only_looks_and_on_no_other_board(asked, make_boards, table):
    records = [asked("a", 0.1, 0.6, seed=seed) for seed in range(3)]
    for seed in range(3):
        records.append(poisoned(asked("a", 0.1, 0.6 + seed / 100, seed=seed), None, 0.9))
        records.append(poisoned(asked("a", 0.9, 0.8 + seed / 100, seed=seed), "ascent", 0.7))
        records.append(poisoned(asked("a", 0.9, 0.5 + seed / 100, seed=seed), "alie", 0.5))
    boards = make_boards(records, seeds=3)
    both = table(boards, "poisoned_membership")
    assert both.cell("a", "AUC, looking") == "0.61 ± 0.02"
    assert both.cell("a", "AUC, forging") == "0.81 ± 0.02"
    assert both.cell("a", "shown by") == "membership_loss b=0.2 + ascent"
    assert both.cell("a", "broken by") == "membership_loss b=0.2 + alie"
    assert both.cell("a", "forging adds") == "0.20 ± 0.00 ✗"
    assert both.number("a", "membership_auc_added", "membership_loss b=0.2 + ascent") == pytest.approx(0.2)
    assert table(boards, "membership").cell("a", "worst case") == "10% [7, 14], AUC 0.60"
    assert {curve.column for curve in panels(records)["the models alone"].values()} == {"membership_loss"}


def test_less_by_forging_is_said_as_less(asked, make_boards, table):
    records = [poisoned(asked("a", 0.1, 0.7, seed=seed), None, 0.9) for seed in range(3)]
    records += [poisoned(asked("a", 0.1, 0.6 + seed / 100, seed=seed), "alie", 0.9) for seed in range(3)]
    assert table(make_boards(records, seeds=3), "poisoned_membership").cell("a", "forging adds") == "-0.09 ± 0.02"
