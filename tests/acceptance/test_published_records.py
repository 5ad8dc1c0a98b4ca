"""The published records: complete, of today's suites, and showing what we say that they show."""

from collections import Counter
from functools import cache
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from bench import data, suite
from bench.privacy.papers.shuffle import robustness_bound
from bench.records import Record, Store, contents, protocol_hash, record_key, setting_hash
from bench.runs.jobs import FILES, make_leaderboard
from leaderboards.board import Leaderboard
from leaderboards.estimates import of_values
from leaderboards.formats import FORMATS

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = (
    *("digits", "mnist", "mnist-bounds", "audits", "cifar100-sample", "digits-collusion", "digits-leakage"),
    *("field", "field-mnist", "siege", "backdoors", "membership", "malicious-server", "digits-tuned"),
    *("uneven-clients", "coalitions", "label-shares", "robust-dp", "strong-inversions", "factors"),
)
every_suite = pytest.mark.parametrize("name", PUBLISHED)


def folder(name: str) -> Path:
    """Where a suite's records are published; a skip where they are not yet."""
    if not any((RESULTS / name).glob("*/*/*.json")):
        pytest.skip(f"no records in results/{name}: `python -m bench run --suite {name} --results results` makes them")
    return RESULTS / name


@cache
def load(path: Path) -> tuple[Record, ...]:
    found = contents(path)
    assert found.problems == []
    return tuple(found.records.values())


def published(name: str) -> tuple[Record, ...]:
    return load(folder(name))


@cache
def leaderboard(name: str) -> Leaderboard:
    """The boards of a suite's published records."""
    return make_leaderboard(suite.load(name), Store(folder(name).parent, name))


def values(name: str, metric: str, column: str, row: str | None = None) -> list[float]:
    """A metric in all records of a column, of one row or of all; none of them may have failed."""
    chosen = [record for record in published(name) if record.cell.column == column]
    chosen = [record for record in chosen if row in (None, record.cell.label)]
    assert chosen
    assert {record.status for record in chosen} == {"ok"}
    assert all(count == 3 for count in Counter(record.cell.label for record in chosen).values())
    return [record.metrics[metric] for record in chosen]


# -------------------------------------------------------------------------------------------------------- the records


@every_suite
def test_every_cell_and_seed_has_exactly_one_record(name: str) -> None:
    loaded = suite.load(name)
    wanted = {record_key(cell, seed) for cell in loaded.cells() for seed in loaded.seeds_for(cell)}
    found = Counter(record.key for record in published(name))
    assert set(found) - wanted == set(), "records of cells that the suite does not hold"
    assert wanted - set(found) == set(), "cells without a record"
    assert set(found.values()) == {1}


@every_suite
def test_every_record_is_small_and_lies_where_it_belongs(name: str) -> None:
    store = Store(RESULTS, name)
    for path, record in contents(folder(name)).records.items():
        assert store.path(record.cell, record.seed) == path
        assert path.stat().st_size < 10_000
        assert all((path.parent / file).read_bytes().startswith(b"\x89PNG") for file in record.files.values())


@every_suite
def test_every_picture_is_named_in_a_record(name: str) -> None:
    named = {file for record in published(name) for file in record.files.values()}
    assert {path.name for path in folder(name).glob("*/*/*.png")} == named


@every_suite
def test_every_record_is_of_todays_protocol_and_one_setting(name: str) -> None:
    loaded = suite.load(name)
    for record in published(name):
        assert record.protocol == protocol_hash(record.cell, record.data_digest), record.key
        assert record.setting == setting_hash(loaded, record.data_digest), record.key


def test_the_digits_are_todays_digits() -> None:
    assert {record.data_digest for record in published("digits")} == {data.load("digits").digest}


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "mnist-bounds"])
def test_mnist_is_the_mnist_at_hand(name: str, data_root: Path) -> None:
    assert {record.data_digest for record in published(name)} == {data.load("mnist", data_root).digest}


@every_suite
@pytest.mark.parametrize("output_format", FILES)
def test_the_published_boards_are_made_of_the_published_records(name: str, output_format: str) -> None:
    board = folder(name) / FILES[output_format]
    assert leaderboard(name).left_out == []
    assert board.read_text() == FORMATS[output_format](leaderboard(name))


@every_suite
def test_the_published_plots_are_those_of_the_published_records(name: str) -> None:
    """Their pixels are not compared: they differ with the fonts and the version of matplotlib."""
    pictures = leaderboard(name).pictures
    assert {path.name for path in (folder(name) / "plots").glob("*")} == {f"{one.name}.png" for one in pictures}
    for picture in pictures:
        content = (folder(name) / picture.path).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < 150_000


@every_suite
def test_no_record_was_made_of_code_that_is_in_no_commit(name: str) -> None:
    commits = {record.environment.commit for record in published(name)}
    assert not any(commit is None or commit.endswith("-dirty") for commit in commits), commits


# ------------------------------------------------------------------------------------------------------ what they show


def test_clean_fedavg_learns_mnist_within_a_hundred_rounds() -> None:
    assert suite.load("mnist").federation.rounds <= 100
    assert suite.load("mnist").federation.model == "softmax"
    assert mean(values("mnist", "accuracy", "clean", "fedavg")) >= 0.88


def test_rsa_stands_the_sign_flip_under_which_the_mean_is_lost() -> None:
    assert mean(values("mnist-bounds", "accuracy", "sign_flip b=0.4", "rsa")) > 0.8
    assert mean(values("mnist", "accuracy", "sign_flip b=0.4", "fedavg")) < 0.3


def test_dlg_recovers_most_images_of_the_undefended_control() -> None:
    assert min(values("mnist", "control_recovered", "dlg")) >= 0.5
    assert min(values("mnist", "control_psnr", "dlg")) > 20
    assert max(values("mnist", "blind_recovered", "dlg")) == 0


def test_dlg_recovers_no_image_under_dp_fedavg() -> None:
    assert values("mnist", "recovered", "dlg", "dp_fedavg") == [0, 0, 0]


def test_every_inversion_recovers_its_undefended_control() -> None:
    for name in ("digits", "cifar100-sample"):
        attacked = [record for record in published(name) if record.cell.kind == "inversion"]
        assert min(record.metrics["control_recovered"] for record in attacked) >= 0.5


def test_a_claim_is_broken_where_it_must_be_and_nowhere_else() -> None:
    """NISS without noise in the sum, and against colluders that deviate; never DP-FedAvg or LDPBFL."""
    flags = leaderboard("audits").flags
    broken = {row for row, notes in flags.items() if any("claim is broken" in note for note in notes)}
    assert broken == {"niss (tau_squared=0.0)"}


def test_dpbfl_holds_below_its_bound_and_breaks_beyond_it() -> None:
    """It breaks where it has lost half of the accuracy of its clean run, as on the overall board."""
    clean = mean(values("mnist-bounds", "accuracy", "clean", "dpbfl"))
    kept = {b: mean(values("mnist-bounds", "accuracy", f"sign_flip b={b}", "dpbfl")) / clean for b in (0.3, 0.5)}
    assert 0.3 < robustness_bound(0.283) < 0.5
    assert clean > 0.8
    assert kept[0.3] >= 0.5
    assert kept[0.5] < 0.5


def test_noise_takes_robustness_before_it_takes_accuracy() -> None:
    """Multi-Krum withstands every attack at an epsilon of 100, and falls to chance at 10, where it is accurate."""

    def accuracy(column: str, epsilon: int) -> float:
        return mean(values("robust-dp", "accuracy", column, f"multi_krum (epsilon={epsilon})"))

    attacked = ("gaussian b=0.2", "sign_flip b=0.2", "sign_flip on=model b=0.2", "alie b=0.2", "ipm b=0.2")
    assert min(accuracy(column, 100) for column in attacked) > 0.85
    assert accuracy("clean", 10) > 0.8
    assert accuracy("sign_flip b=0.2", 10) < 0.2


def test_no_rule_changes_what_an_audit_or_an_inversion_of_uploads_finds() -> None:
    """Rows of one epsilon and one clipping norm send the same; Krum's row at an epsilon of 10 clips at another."""
    for rule in ("median", "multi_krum", "nnm + trimmed_mean"):
        for metric, column in (("epsilon_audited", "audit rho=1"), ("recovered", "analytic")):
            found, plain = (values("robust-dp", metric, column, f"{one} (epsilon=10)") for one in (rule, "fedavg"))
            assert found == plain


def test_membership_is_told_of_the_control_and_not_under_much_noise() -> None:
    """The control memorises; under epsilon = 1 an upload no attacker is above a guess by its interval."""
    column = "membership_lira on=uploads"
    assert min(values("membership", "membership_auc", column, "fedavg")) > 0.7
    assert min(values("membership", "tpr_at_1", column, "fedavg")) > 0.05
    found = of_values(
        np.array(values("membership", "membership_auc", column, "dp_fedavg (epsilon=1)")), "membership_auc"
    )
    assert found.ends[0] <= 0.5


def test_membership_is_asked_of_as_many_who_are_in_as_who_are_not() -> None:
    asked = [record for record in published("membership") if record.cell.kind == "membership"]
    assert {record.metrics["members"] * record.metrics["least_fpr"] for record in asked} == {1.0}
    assert {record.metrics["members"] for record in asked} == {200, 400}


def test_label_shares_are_told_of_the_control_and_of_signs_and_not_behind_a_sum() -> None:
    """Under much noise and behind a sum no attacker is above a blind guess by more than five parts in a hundred."""
    gradients, rehearsals = (f"label_shares by={by}" for by in ("gradients", "rehearsals"))
    assert min(values("label-shares", "explained", gradients, "fedavg")) > 0.6
    assert min(values("label-shares", "explained", gradients, "sign_majority")) > 0.5
    assert min(values("label-shares", "explained", rehearsals, "ldpbfl")) > 0.5
    for row in ("secure_aggregation", "dp_fedavg (epsilon=1)"):
        for column in (gradients, rehearsals):
            assert max(values("label-shares", "explained", column, row)) < 0.05, (row, column)


def successes(row: str, attack: str) -> list[dict[int, float]]:
    """Success by round in every seed of a row under a backdoor that stops."""
    found = [one for one in published("backdoors") if (one.cell.label, one.cell.attack_name) == (row, attack)]
    return [dict(record.success) for record in found if record.status == "ok"]


BACKDOORS = ("backdoor", "dba", "neurotoxin", "model_replacement", "edge_case", "a3fl")


@pytest.mark.parametrize("attack", BACKDOORS)
def test_a_backdoor_works_under_a_mean_and_not_before_it_is_planted(attack: str) -> None:
    found = successes("fedavg", attack)
    assert len(found) >= 3
    assert max(one[30] for one in found) < 0.2
    assert mean(one[60] for one in found) > 0.9


def test_flame_stops_a_trigger_and_not_edge_cases() -> None:
    assert max(one[60] for one in successes("flame", "backdoor")) < 0.1
    assert min(one[60] for one in successes("flame", "edge_case")) > 0.9
