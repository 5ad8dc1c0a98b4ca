"""The search for a defense's values: every point once, on the validation split alone, best first."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from bench import suite
from bench.base.errors import BadInputError
from bench.data import Dataset, Split, load
from bench.federation.settings import FederationSettings
from bench.models.base import Model
from bench.plays import metrics, training
from bench.runs import tune
from bench.runs.tune import Trial
from bench.suite import Cell

ROWS = """
[[defense]]
name = "krum"
num_selected = 2
[defense.federation]
batch_size = 5

[[defense]]
name = "fedavg"

[[attack]]
name = "sign_flip"
byzantine = 0.25

[tune.krum]
lr = [1e-6, 0.5, 1.0]
num_selected = [1, 3]
"""
POINTS = [{"lr": lr, "num_selected": selected} for lr in (1e-6, 0.5, 1.0) for selected in (1, 3)]


@pytest.fixture
def tiny(tmp_path: Path, tiny_suite: Callable[..., str]) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(tiny_suite(ROWS, clients=8, assumed_byzantine=0.25))
    return str(path)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Cell, int]]:
    """The cells and seeds of a search that does not train; a rate of 0.5 is the best."""
    seen: list[tuple[Cell, int]] = []

    def measure(cell: Cell, seed: int, dataset: Dataset) -> float:
        seen.append((cell, seed))
        return 1 - abs(cell.federation.lr - 0.5)

    monkeypatch.setattr(training, "validation_accuracy", measure)
    return seen


def test_every_point_of_the_grid_is_tried_once_and_the_best_comes_first(tiny: str) -> None:
    trials = tune.search(tiny, "krum", None, ["rounds=20"])
    assert len(trials) == len(POINTS)
    assert all([trial.values for trial in trials].count(point) == 1 for point in POINTS)
    accuracies = [trial.accuracy for trial in trials]
    assert accuracies == sorted(accuracies, reverse=True)
    assert all(0 <= accuracy <= 1 for accuracy in accuracies)
    assert accuracies[0] > accuracies[-1]  # at a rate of 1e-6 nothing is learnt
    assert {trial.values["lr"] for trial in trials[-2:]} == {1e-6}


def test_the_search_sees_the_validation_split_and_no_other(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Split] = []

    def spy(model: Model, params: Tensor, split: Split) -> tuple[float, float]:
        seen.append(split)
        return metrics.accuracy_and_loss(model, params, split)

    monkeypatch.setattr(training, "accuracy_and_loss", spy)
    tune.search(tiny, "krum", None, ["rounds=1"])
    assert len(seen) == len(POINTS)
    assert all(split is load("digits").validation for split in seen)


def test_a_key_is_a_setting_or_a_parameter_of_the_clean_cell(tiny: str, tried: list[tuple[Cell, int]]) -> None:
    tune.search(tiny, "krum", None)
    clean = suite.load(tiny).cells(["krum"])[0]
    assert [(cell.federation.lr, cell.defense.parameters) for cell, _ in tried] == [
        (point["lr"], {"num_selected": point["num_selected"]}) for point in POINTS
    ]
    for cell, _ in tried:
        assert cell.attack is None
        assert cell.federation.model_copy(update={"lr": 0.5}) == clean.federation  # batch_size 5 is the row's own


def test_a_key_of_both_is_the_defenses(tmp_path: Path, tiny_suite: Callable[..., str], tried: Any) -> None:
    """The server's step of sign_majority has the name of that of server optimizers."""
    path = tmp_path / "signs.toml"
    rows = '[[defense]]\nname = "sign_majority"\n[[attack]]\nname = "sign_flip"\nbyzantine = 0.25\n'
    path.write_text(tiny_suite(rows + "[tune.sign_majority]\nserver_lr = [0.1, 0.2]\n", clients=8))
    tune.search(str(path), "sign_majority", None)
    assert [cell.defense.parameters["server_lr"] for cell, _ in tried] == [0.1, 0.2]
    assert {cell.federation.server_lr for cell, _ in tried} == {1.0}


def test_the_seed_of_the_search_is_no_suites(tiny: str, tried: list[tuple[Cell, int]]) -> None:
    tune.search(tiny, "krum", None)
    assert {seed for _, seed in tried} == {tune.SEED}
    assert all(tune.SEED not in suite.load(name).seeds for name in suite.shipped())


def test_equal_trials_stay_in_the_grids_order(tiny: str, tried: list[tuple[Cell, int]]) -> None:
    trials = tune.search(tiny, "krum", None)
    best = [{"lr": 0.5, "num_selected": selected} for selected in (1, 3)]
    assert [trial.values for trial in trials[:2]] == best
    assert len(tried) == len(trials)


def test_changes_reach_the_search(tiny: str, tried: list[tuple[Cell, int]]) -> None:
    tune.search(tiny, "krum", None, ["rounds=7"])
    assert {cell.federation.rounds for cell, _ in tried} == {7}


def test_a_setting_that_is_a_whole_number_stays_one(tiny: str) -> None:
    path = Path(tiny)
    path.write_text(path.read_text().replace("lr = [1e-6, 0.5, 1.0]", "batch_size = [4, 8]"))
    assert {trial.values["batch_size"] for trial in tune.search(tiny, "krum", None)} == {4, 8}


TUNING = """
[[tuning_attack]]
name = "ipm"
byzantine = 0.25

[[tuning_attack]]
name = "label_flip"
byzantine = 0.25
"""


def test_the_worst_case_is_the_lowest_accuracy_under_the_tuning_attacks(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each point is tried clean and under each of them; the board's own attack is not among them."""
    with Path(tiny).open("a") as file:
        file.write(TUNING)
    value = {"clean": {1e-6: 0.1, 0.5: 0.8, 1.0: 0.9}, "ipm b=0.25": {1e-6: 0.1, 0.5: 0.7, 1.0: 0.2}}
    monkeypatch.setattr(
        training, "validation_accuracy", lambda cell, *_: value.get(cell.column, value["clean"])[cell.federation.lr]
    )
    trials = tune.search(tiny, "krum", None, worst_case=True)
    assert len(trials) == len(POINTS)
    assert trials[0].values == {"lr": 0.5, "num_selected": 1}
    assert trials[0].attacked == {"ipm b=0.25": 0.7, "label_flip b=0.25": 0.8}
    assert (trials[0].worst, trials[0].accuracy) == (0.7, 0.8)
    assert tune.search(tiny, "krum", None)[0].values["lr"] == 1.0  # of the clean run alone


def test_a_tuning_attack_is_played(tiny: str) -> None:
    """What it does to the validation accuracy is what training under it does."""
    with Path(tiny).open("a") as file:
        file.write(TUNING)
    trial = tune.search(tiny, "krum", None, ["rounds=10"], worst_case=True)[0]
    cell = next(cell for cell in suite.load(tiny).cells(["krum"]) if cell.attack is None)
    under = cell.model_copy(update={"attack": suite.make_part("attack", "ipm", {}), "byzantine": 0.25})
    lr, selected = trial.values["lr"], trial.values["num_selected"]
    part = suite.make_part("defense", "krum", {"num_selected": selected})
    federation = cell.federation.model_copy(update={"lr": lr, "rounds": 10})
    under = under.model_copy(update={"federation": federation, "defense": part})
    assert trial.attacked["ipm b=0.25"] == training.validation_accuracy(under, tune.SEED, load("digits"))


def test_a_row_is_never_tuned_under_what_ranks_it(tiny: str) -> None:
    path = Path(tiny)
    path.write_text(path.read_text() + TUNING.replace("ipm", "sign_flip"))
    with pytest.raises(BadInputError, match="'sign_flip' is a column") as caught:
        suite.load(tiny)
    assert "\n" not in str(caught.value)


def test_without_a_tuning_attack_there_is_no_worst_case(tiny: str) -> None:
    with pytest.raises(BadInputError, match="has no attack to tune under: add a"):
        tune.search(tiny, "krum", None, worst_case=True)


@pytest.mark.parametrize(("defense", "told"), [("krumm", "did you mean krum?"), ("fedavg", "known are krum")])
def test_a_defense_without_a_grid_is_told_in_one_line(tiny: str, defense: str, told: str) -> None:
    with pytest.raises(BadInputError) as caught:
        tune.search(tiny, defense, None)
    assert str(caught.value) == f"no search grid in suite 'tiny' named '{defense}': {told}"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("num_chosen = [1]", ("krum", "num_chosen")),
        ("num_selected = [0]", ("krum", "num_selected", "0")),
        ("lr = [-1.0]", ("lr", "-1.0")),
        ("lr = []", ("krum", "lr")),
        ('lr = ["fast"]', ("tune.krum.lr", "'fast'")),
        ("num_selected = [9]", ("num_selected", "9", "at most 8")),
    ],
)
def test_a_grid_that_cannot_be_searched_is_told_in_one_line(tiny: str, wrong: str, told: tuple[str, ...]) -> None:
    path = Path(tiny)
    head, _ = path.read_text().split("[tune.krum]")
    path.write_text(f"{head}[tune.krum]\n{wrong}\n")
    with pytest.raises(BadInputError) as caught:
        tune.search(tiny, "krum", None)
    assert "\n" not in str(caught.value)
    assert all(part in str(caught.value) for part in told), str(caught.value)


def test_trials_are_printed_and_dumped(capsys: pytest.CaptureFixture[str]) -> None:
    trials = [Trial({"lr": 0.5, "kappa": 2.0}, 0.91234), Trial({"lr": 1e-6, "kappa": 6.0}, 0.1)]
    tune.print_trials(trials)
    lines = capsys.readouterr().out.splitlines()
    assert any("2 trials" in line for line in lines)
    (best,) = [place for place, line in enumerate(lines) if "91.23%" in line]
    (worst,) = [place for place, line in enumerate(lines) if "10.00%" in line]
    assert best < worst
    assert "1e-06" in lines[worst]
    assert trials[0].as_dict() == {"lr": 0.5, "kappa": 2.0, "validation_accuracy": 0.91234}


# ------------------------------------------------------------------------------------------------- the shipped searches


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_all_defenses_of_a_full_suite_have_the_same_budget(name: str) -> None:
    loaded = suite.load(name)
    assert set(loaded.tune) == {entry.name for entry in loaded.defense}
    sizes = {defense: math.prod(map(len, grid.values())) for defense, grid in loaded.tune.items()}
    assert len(set(sizes.values())) == 1
    assert min(sizes.values()) >= 6


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_the_values_of_a_full_suite_are_points_of_their_grids(name: str) -> None:
    loaded = suite.load(name)
    for cell in loaded.cells():
        if cell.attack is None:
            chosen: dict[str, Any] = cell.federation.model_dump() | cell.defense.parameters
            grid = loaded.tune[cell.defense.name]
            points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
            assert {key: chosen[key] for key in grid} in points, cell.label


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_every_key_of_a_shipped_grid_is_a_setting_or_a_parameter(name: str) -> None:
    loaded = suite.load(name)
    for cell in loaded.cells():
        assert set(loaded.tune[cell.defense.name]) <= {*FederationSettings.model_fields, *cell.defense.parameters}
