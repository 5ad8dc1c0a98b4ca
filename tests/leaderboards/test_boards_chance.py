"""Accuracy at chance, and failures: no rank, no front, and no merit."""

import math

import pytest

from bench.base.errors import BadInputError
from bench.data import load
from leaderboards.chance import CONSTANT, Z, floor
from leaderboards.overall import BACKDOOR_SHARE

BAD = {"accuracy": None, "status": "failed", "error": "ValueError: no"}


FEATURES = {"cifar10-scattering": "cifar10"}
"""Data sets that take minutes to make, and whose labels they have."""


@pytest.mark.parametrize("name", CONSTANT)
def test_the_best_constant_answer_is_that_of_the_test_split(name):
    try:
        test = load(FEATURES.get(name, name)).test
    except BadInputError as error:
        pytest.skip(str(error))
    share, images = CONSTANT[name]
    assert (round(share * images), images) == (int(test.y.bincount().max()), len(test))


def test_the_floor_is_a_binomial_bound():
    """Of n images a constant answer's share is known, and a random one is above the floor once in twenty."""
    share, images = CONSTANT["mnist"]
    assert floor("mnist") == pytest.approx(share + Z * math.sqrt(share * (1 - share) / images))
    from scipy.stats import binom

    assert binom.sf(floor("mnist") * images, images, share) == pytest.approx(0.05, abs=0.003)
    assert floor("somebody's own") == 0.0


def suite(make, make_leak, clean, attacked):
    """Two rows; what is None has failed."""
    records = []
    for row in ("a", "b"):
        for attack, accuracy in ((None, clean), ("sign_flip", attacked)):
            records.append(make(row, attack, **(BAD if accuracy is None else {"accuracy": accuracy})))
        records.append(make_leak(row, recovered=0.5 if row == "a" else 0.75))
    return records


@pytest.mark.parametrize("attacked", [0.1, 0.12, None])
@pytest.mark.parametrize("clean", [0.11, None])
def test_where_all_failed_or_are_at_chance_nobody_leads(make, make_leak, make_boards, table, clean, attacked):
    leaderboard = make_boards(suite(make, make_leak, clean, attacked))
    for name, metric in (("robustness", "worst_accuracy"), ("utility", "clean")):
        board = table(leaderboard, name)
        assert [board.cell(row, "rank") for row in "ab"] == ["–", "–"]
        assert "rank" not in set(board.board.data["metric"])
        assert board.number("a", metric) == ({"robustness": attacked, "utility": clean}[name] or 0.0)
    overall = table(leaderboard, "overall")
    assert "Pareto" not in overall.board.text.columns
    assert not len(overall.board.data)
    assert overall.cell("a", "robustness").startswith("– (worst ")
    assert overall.cell("a", "privacy").startswith("1 (")


def test_where_one_row_learnt_something_all_are_ranked(make, make_leak, make_boards, table):
    records = [*suite(make, make_leak, 0.1, 0.1), make("c", accuracy=0.5), make("c", "sign_flip"), make_leak("c")]
    leaderboard = make_boards(records)
    assert [table(leaderboard, "robustness").cell(row, "rank") for row in "abc"] == ["2", "2", "1"]
    overall = table(leaderboard, "overall")
    assert [overall.cell(row, "Pareto") for row in "abc"] == ["", "", "yes"]


def test_a_row_without_a_working_model_is_on_no_front(make, make_leak, make_boards, table):
    """Nothing is recovered from a model that never trained, which is no merit."""
    records = [make("a", accuracy=0.9), make("a", "sign_flip", accuracy=0.5), make_leak("a", recovered=0.5)]
    records += [make("b", **BAD), make("b", "sign_flip", **BAD), make_leak("b", recovered=0.0)]
    overall = table(make_boards(records), "overall")
    assert [overall.cell(row, "Pareto") for row in "ab"] == ["yes", ""]


def test_where_no_inversion_finished_nobody_leads_in_privacy(make, make_leak, make_boards, table):
    records = [make_leak(row, status="failed", error="no") for row in "ab"]
    board = table(make_boards(records), "privacy")
    assert [board.cell(row, "rank") for row in "ab"] == ["–", "–"]


@pytest.mark.parametrize(("clean", "attacked", "told"), [
    (0.9, 0.12, "sign_flip b=0.2"), (0.2, 0.12, "sign_flip b=0.2"), (0.2, 0.18, "nothing here"),
    (0.12, 0.12, "clean accuracy at chance"),
])  # fmt: skip
def test_an_attack_that_takes_a_model_to_chance_breaks_it(make, make_boards, table, clean, attacked, told):
    records = [make("a", accuracy=clean), make("a", "sign_flip", accuracy=attacked)]
    assert table(make_boards(records), "overall").cell("a", "what breaks it") == told


# ------------------------------------------------------------------------------------- backdoors, and what is not known


def planted(make, success):
    return make("fltrust", "backdoor", metrics={"accuracy": 0.9, "backdoor_success": success})


@pytest.mark.parametrize(
    ("success", "told"),
    [(0.98, "backdoor b=0.2 works on 98%"), (BACKDOOR_SHARE, "backdoor b=0.2 works on 50%"),
     (0.49, "nothing here")],
)  # fmt: skip
def test_a_backdoor_counts_from_a_stated_rate_on(make, make_boards, table, success, told):
    leaderboard = make_boards([make("fltrust"), planted(make, success)])
    overall = table(leaderboard, "overall")
    assert overall.cell("fltrust", "what breaks it") == told
    assert "at least half of the images with its trigger" in overall.board.caption


def test_what_a_suite_measures_of_nobody_is_said_below_the_board(make, make_leak, make_audit, make_boards, table):
    def caption(*records):
        return table(make_boards(records), "overall").board.caption

    bare = (
        "Nothing here measures attacks on accuracy, backdoors, audits of privacy claims, inversions, membership "
        "inference or label inference."
    )
    assert caption(make("a")).endswith(bare)
    some = (make("a"), planted(make, 0.1), make_leak("a"))
    assert caption(*some).endswith("measures audits of privacy claims, membership inference or label inference.")
    audited = caption(*some, make_audit("a", 1.0))
    assert audited.endswith("Nothing here measures membership inference or label inference.")


def test_what_was_not_measured_of_a_row_is_said_beside_it(make, make_leak, make_boards, table):
    records = [make(row, attack) for row in "ab" for attack in (None, "sign_flip")] + [make_leak("a")]
    records.append(make_leak("b", status="failed", error="no"))
    records.append(make("a", "ipm"))
    overall = table(make_boards(records), "overall")
    assert overall.cell("a", "what breaks it") == "nothing here"
    assert overall.cell("b", "what breaks it") == "nothing here; not measured: dlg, ipm b=0.2"
