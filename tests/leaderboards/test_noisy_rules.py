"""The board of robust rules under noise: gains over the mean at the same epsilon, and when there is no such board."""

import io

import pytest
from PIL import Image

from bench.suite import make_part
from leaderboards.boards import build
from leaderboards.frame import select
from leaderboards.noisy_rules import noisy_rules, noisy_rules_board, rule_of
from leaderboards.pictures import find_pictures

ATTACKS = (None, "sign_flip", "ipm")
# (rule, epsilon) -> clean, sign_flip, ipm
SCORES = {
    ("fedavg", 10.0): (0.87, 0.40, 0.30),
    ("fedavg", 100.0): (0.95, 0.50, 0.60),
    ("median", 10.0): (0.83, 0.70, 0.60),
    ("median", 100.0): (0.94, 0.90, 0.92),
}


def label(rule: str, epsilon: float) -> str:
    return f"{rule} (epsilon={epsilon:g})"


ROWS = [label(*place) for place in SCORES]


@pytest.fixture
def records(make):
    """Two seeds; in the second all is 0.02 better, the median 0.06."""
    found = []
    for (rule, epsilon), scores in SCORES.items():
        part = make_part("defense", "robust_dp_fedavg", {"rule": rule, "epsilon": epsilon})
        for attack, accuracy in zip(ATTACKS, scores, strict=True):
            for seed in (0, 1):
                more = seed * (0.06 if rule == "median" else 0.02)
                made = make(label(rule, epsilon), attack, accuracy=accuracy + more, seed=seed)
                found.append(made.model_copy(update={"cell": made.cell.model_copy(update={"defense": part})}))
    return found


def board(records):
    return next(one for one in build("s", "t", 2, select(records), rows=ROWS).boards if one.name == "noisy-rules")


def test_gains_are_over_the_mean_at_the_same_epsilon_each_in_its_own_worst_column(records):
    """Of two seeds' differences, 0.04 apart, the half width is 0.02 times the t quantile 12.706."""
    data = board(records).data.set_index(["defense", "metric"])
    for row, clean, worst, column in (
        (label("median", 10.0), 0.83 - 0.87, 0.60 - 0.30, "ipm b=0.2"),
        (label("median", 100.0), 0.94 - 0.95, 0.90 - 0.50, "sign_flip b=0.2"),
    ):
        gain = data.loc[(row, "worst_gain")]
        assert data.loc[(row, "clean_gain"), "mean"] == pytest.approx(clean + 0.02)
        assert (gain["mean"], gain["column"]) == (pytest.approx(worst + 0.02), column)
        assert gain["half_width"] == pytest.approx(0.02 * 12.7062, rel=1e-4)
    assert label("fedavg", 10.0) not in {row for row, _ in data.index}


def test_the_table_tells_rule_epsilon_and_whether_the_seeds_tell(records):
    text = board(records).text.set_index("defense")
    line = text.loc[label("median", 100.0)]
    assert (line["rule"], line["ε an upload"]) == ("median", "100")
    assert line["worst, against the mean"] == "+42.0 ± 25.4 ✓"
    assert line["clean, against the mean"] == "+1.0 ± 25.4"
    assert text.loc[label("fedavg", 10.0), "worst, against the mean"] == "–"
    assert [row.rpartition("=")[2] for row in text.index] == ["10)", "10)", "100)", "100)"]


def test_a_seed_that_failed_counts_in_no_difference(records):
    def failed(record):
        return (record.cell.label, record.cell.attack, record.seed) == (ROWS[2], None, 1)

    assert sum(map(failed, records)) == 1
    data = board(
        [
            record.model_copy(update={"status": "failed", "error": "no", "metrics": {}}) if failed(record) else record
            for record in records
        ]
    ).data.set_index(["defense", "metric"])
    found = data.loc[(ROWS[2], "clean_gain")]
    assert (found["mean"], found["seeds"]) == (pytest.approx(-0.04), 1)


def test_without_two_epsilons_or_with_two_rows_in_one_place_there_is_nothing(records):
    one = [record for record in records if record.cell.label.endswith("=10)")]
    assert board(one).text.empty
    twin = [
        record.model_copy(update={"cell": record.cell.model_copy(update={"label": "again"})})
        for record in records
        if record.cell.label == ROWS[0]
    ]
    assert board([*records, *twin]).text.empty
    assert noisy_rules([], [], {}, select(records).frame, []) == []
    assert noisy_rules_board([]).data.empty


def test_a_pre_aggregation_is_told_with_its_rule():
    nested = {"rule": "arc", "parameters": {"rule": "nnm", "parameters": {"rule": "krum", "parameters": {}}}}
    assert rule_of(nested) == "arc + nnm + krum"
    assert rule_of({"rule": "krum", "parameters": {"num_selected": 1}}) == "krum"


def test_the_picture_is_drawn_and_says_what_the_best_rule_keeps(records, tmp_path):
    found = {one.name: one for one in find_pictures(ROWS, select(records), None, 20.0)}
    picture = found["rules"]
    assert "63% (median) and 31% (the mean) at ε = 10" in picture.sentence
    with Image.open(io.BytesIO(picture.draw())) as image:
        assert image.width > 600
