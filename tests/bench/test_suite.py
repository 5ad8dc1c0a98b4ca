"""Suites: what ships, what a table means, what tells two cells apart, and one clear line for whatever is wrong."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import jobs, suite
from bench.errors import BadInputError
from bench.settings import FederationSettings
from bench.suite import Cell, Part, Suite

ROOT = Path(__file__).parents[2]
DEFENSES = ("fedavg", "dp_fedavg", "niss", "rsa", "krum", "median", "dpbfl", "ldpbfl")
COLUMNS = (
    "clean",
    *(f"{attack} b={b}" for attack in ("gaussian", "sign_flip") for b in ("0.2", "0.4")),
    "dlg",
    *(f"collusion rho={rho}" for rho in ("0.3", "0.6", "1")),
)

SMALL = """
name = "small"
title = "two defenses, two attacks"
seeds = [0, 1]

[federation]
dataset = "digits"
clients = 10
rounds = 3
local_steps = 1
lr = 0.1

[privacy]
targets = 2
rounds = 2
lr = 0.7

[[defense]]
name = "fedavg"

[[defense]]
name = "krum"
num_selected = 2
[defense.federation]
lr = 0.3
batch_size = 9

[[attack]]
name = "gaussian"
byzantine = [0.0, 0.2]
s = 3.0

[[attack]]
name = "dlg"
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def content(**changes: Any) -> dict[str, Any]:
    """A suite as its TOML file gives it."""
    federation = {"dataset": "digits", "clients": 10, "rounds": 3, "local_steps": 1, "lr": 0.1}
    given = {"name": "small", "title": "t", "seeds": [0], "federation": federation}
    return {**given, "defense": [{"name": "fedavg"}], "attack": [{"name": "gaussian", "byzantine": 0.2}], **changes}


def cells(**changes: Any) -> list[Cell]:
    return Suite(**content(**changes)).cells()


def found(cells: list[Cell], label: str, column: str) -> Cell:
    """The one cell of a row and column."""
    (cell,) = [cell for cell in cells if (cell.label, cell.column) == (label, column)]
    return cell


# ------------------------------------------------------------------------------------------------------------ shipped


@pytest.mark.parametrize("name", suite.shipped())
def test_every_shipped_suite_loads(name: str) -> None:
    loaded = suite.load(name)
    found = loaded.cells()
    assert loaded.name == name
    assert len(loaded.title) > 10
    assert len({cell.hash for cell in found}) == len(found)
    assert {cell.defense.name for cell in found} == {entry.name for entry in loaded.defense}


def test_the_three_suites_are_shipped_with_their_titles() -> None:
    assert {"digits", "mnist", "smoke"} <= set(suite.shipped())
    assert suite.titles() == {name: suite.load(name).title for name in suite.shipped()}


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_the_full_suites_are_the_whole_matrix(name: str) -> None:
    loaded = suite.load(name)
    matrix = {(cell.label, cell.column) for cell in loaded.cells()}
    assert len(loaded.cells()) == 72
    assert matrix == {(defense, column) for defense in DEFENSES for column in COLUMNS}
    assert loaded.seeds == (0, 1, 2)


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_all_defenses_of_a_full_suite_assume_the_same_fraction(name: str) -> None:
    federations = [cell.federation for cell in suite.load(name).cells()]
    assert {federation.assumed_byzantine for federation in federations} == {0.4}
    assert not any(federation.oracle_f for federation in federations)


# -------------------------------------------------------------------------------------------------------------- cells


def test_no_byzantine_clients_is_one_clean_cell_for_all_attacks() -> None:
    attacks = [{"name": "gaussian", "byzantine": [0.0, 0.2]}, {"name": "sign_flip", "byzantine": 0}]
    found = cells(attack=attacks)
    assert [cell.column for cell in found] == ["clean", "gaussian b=0.2"]
    assert (found[0].attack, found[0].byzantine, found[0].targets) == (None, 0.0, 0)


def test_one_fraction_needs_no_list() -> None:
    one, listed = (cells(attack=[{"name": "gaussian", "byzantine": b}]) for b in (0.2, [0.2]))
    assert [cell.hash for cell in one] == [cell.hash for cell in listed]


def test_a_list_among_an_attacks_parameters_is_a_sweep() -> None:
    found = cells(attack=[{"name": "gaussian", "byzantine": [0.1, 0.2], "s": [1.0, 2.0]}])
    swept = [(cell.attack.parameters["s"], cell.byzantine) for cell in found if cell.attack]
    assert sorted(swept) == [(1.0, 0.1), (1.0, 0.2), (2.0, 0.1), (2.0, 0.2)]


def test_every_point_of_an_attacks_sweep_has_a_column_of_its_own() -> None:
    """Else a board keeps one of them, and leaves the others out."""
    found = cells(attack=[{"name": "gaussian", "byzantine": 0.2, "s": [1.0, 2.0]}, {"name": "dlg", "starts": [1, 2]}])
    assert len(found) == 5
    assert len({cell.column for cell in found}) == 5


def test_a_list_among_a_defenses_parameters_is_a_row_each() -> None:
    found = cells(defense=[{"name": "niss", "num_shares": [2, 3], "tau_squared": [0.0, 0.2], "zeta": 0.5}])
    labels = [f"niss (num_shares={v}, tau_squared={tau})" for v in (2, 3) for tau in (0.0, 0.2)]
    assert list(dict.fromkeys(cell.label for cell in found)) == labels
    assert {cell.defense.parameters["zeta"] for cell in found} == {0.5}


def test_a_list_of_lists_sweeps_over_values_a_client() -> None:
    per_client = [0.1] * 10
    found = cells(defense=[{"name": "niss", "tau_squared": [0.0, per_client]}])
    assert [cell.defense.parameters["tau_squared"] for cell in found if cell.attack is None] == [0.0, per_client]


def test_a_label_names_the_row() -> None:
    found = cells(defense=[{"name": "krum", "label": "multi", "num_selected": 3}])
    assert {(cell.label, cell.defense.name) for cell in found} == {("multi", "krum")}


def test_a_part_holds_its_defaults() -> None:
    (clean, attacked) = cells()
    assert clean.defense == Part(name="fedavg", version=1, parameters={})
    assert attacked.attack == Part(name="gaussian", version=1, parameters={"s": 1.0})


def test_a_choice_of_rows_and_attacks_keeps_the_clean_run(small: Path) -> None:
    chosen = suite.load(str(small)).cells(defenses=["krum"], attacks=["dlg"])
    assert [(cell.label, cell.column) for cell in chosen] == [("krum", "clean"), ("krum", "dlg")]


def test_a_row_is_chosen_by_its_label_or_its_defense() -> None:
    loaded = Suite(**content(defense=[{"name": "krum"}, {"name": "krum", "label": "multi", "num_selected": 3}]))
    assert {cell.label for cell in loaded.cells(defenses=["multi"])} == {"multi"}
    assert {cell.label for cell in loaded.cells(defenses=["krum"])} == {"krum", "multi"}


@pytest.mark.parametrize(("kind", "name"), [("defenses", "kurm"), ("attacks", "dgl")])
def test_a_choice_that_is_not_in_the_suite_gets_the_nearest(small: Path, kind: str, name: str) -> None:
    near = {"kurm": "krum", "dgl": "dlg"}[name]
    with pytest.raises(
        BadInputError, match=rf"^no {kind[:-1]} in suite 'small' named '{name}': did you mean {near}\?$"
    ):
        suite.load(str(small)).cells(**{kind: [name]})


# ---------------------------------------------------------------------------------------------------------- overrides


def test_a_defenses_own_settings_go_over_the_federations_and_the_privacy_tables_over_both(small: Path) -> None:
    found_cells = suite.load(str(small)).cells()
    federations = {
        (label, column): found(found_cells, label, column).federation
        for label in ("fedavg", "krum")
        for column in ("clean", "gaussian b=0.2", "dlg")
    }
    learning_rates = {place: settings.lr for place, settings in federations.items()}
    assert learning_rates == {
        ("fedavg", "clean"): 0.1,
        ("fedavg", "gaussian b=0.2"): 0.1,
        ("fedavg", "dlg"): 0.7,
        ("krum", "clean"): 0.3,
        ("krum", "gaussian b=0.2"): 0.3,
        ("krum", "dlg"): 0.7,
    }
    assert federations["krum", "dlg"].batch_size == 9  # the privacy table does not name it
    assert federations["krum", "dlg"].rounds == 2
    assert federations["krum", "clean"].rounds == 3


def test_a_defense_may_count_its_training_in_epochs_where_the_federation_counts_steps() -> None:
    found_cells = cells(defense=[{"name": "fedavg", "federation": {"local_epochs": 2}}, {"name": "krum"}])
    lengths = {cell.label: (cell.federation.local_epochs, cell.federation.local_steps) for cell in found_cells}
    assert lengths == {"fedavg": (2, None), "krum": (None, 1)}


def test_privacy_cells_have_targets_and_rho(small: Path) -> None:
    attacks = [{"name": "collusion", "rho": [0.5, 1.0]}, {"name": "dlg"}]
    found_cells = cells(attack=attacks, privacy={"targets": 3})
    assert [(cell.rho, cell.targets, cell.is_privacy) for cell in found_cells] == [
        (None, 0, False),
        (0.5, 3, True),
        (1.0, 3, True),
        (None, 3, True),
    ]


# -------------------------------------------------------------------------------------------------------------- --set


def test_a_plain_key_goes_over_the_tuned_values_of_the_defenses_too(small: Path) -> None:
    found_cells = suite.load(str(small), ["lr=0.05"]).cells()
    assert {cell.federation.lr for cell in found_cells if not cell.is_privacy} == {0.05}
    assert found(found_cells, "krum", "clean").federation.batch_size == 9
    assert found(found_cells, "krum", "dlg").federation.lr == 0.7


@pytest.mark.parametrize(
    ("change", "place", "expected"),
    [
        ("rounds=7", ("fedavg", "clean", "federation.rounds"), 7),
        (" rounds = 7", ("fedavg", "clean", "federation.rounds"), 7),
        ("federation.lr=0.9", ("fedavg", "clean", "federation.lr"), 0.9),
        ("federation.lr=0.9", ("krum", "clean", "federation.lr"), 0.3),
        ('partition="sorted"', ("fedavg", "clean", "federation.partition"), "sorted"),
        ("partition=sorted", ("fedavg", "clean", "federation.partition"), "sorted"),
        ("oracle_f=true", ("krum", "clean", "federation.oracle_f"), True),
        ("privacy.targets=5", ("fedavg", "dlg", "targets"), 5),
        ("privacy.rounds=4", ("fedavg", "dlg", "federation.rounds"), 4),
        ("krum.num_selected=3", ("krum", "clean", "defense.parameters"), {"num_selected": 3}),
        ("gaussian.s=0.5", ("krum", "gaussian b=0.2", "attack.parameters"), {"s": 0.5}),
        ("gaussian.byzantine=0.4", ("krum", "gaussian b=0.4", "byzantine"), 0.4),
        ("dlg.starts=9", ("krum", "dlg", "attack.parameters"), 9),
    ],
)
def test_each_form_of_a_change(small: Path, change: str, place: tuple[str, str, str], expected: Any) -> None:
    label, column, path = place
    value: Any = found(suite.load(str(small), [change]).cells(), label, column)
    for step in path.split("."):
        value = getattr(value, step)
    assert (value["starts"] if change.startswith("dlg") else value) == expected


def test_a_change_may_be_a_sweep(small: Path) -> None:
    found_cells = suite.load(str(small), ["krum.num_selected=[1, 2]"]).cells(["krum"], ["dlg"])
    assert {cell.label for cell in found_cells} == {"krum (num_selected=1)", "krum (num_selected=2)"}


def test_the_last_of_two_changes_counts(small: Path) -> None:
    assert suite.load(str(small), ["rounds=5", "rounds=6"]).federation.rounds == 6


def test_a_suite_that_counts_steps_can_be_set_to_epochs(small: Path) -> None:
    settings = suite.load(str(small), ["local_epochs=2"]).federation
    assert (settings.local_epochs, settings.local_steps) == (2, None)


def test_steps_that_are_set_go_over_the_epochs_of_a_defense(small: Path) -> None:
    small.write_text(SMALL.replace("batch_size = 9", "local_epochs = 4"))
    settings = found(suite.load(str(small), ["local_steps=3"]).cells(), "krum", "clean").federation
    assert (settings.local_epochs, settings.local_steps) == (None, 3)


def test_the_score_of_a_recovered_image_can_be_set(small: Path) -> None:
    assert suite.load(str(small), ["ranking.recovered_psnr=15"]).ranking.recovered_psnr == 15


@pytest.mark.parametrize(
    ("change", "named", "near"),
    [
        ("roundz=5", "roundz", "rounds"),
        ("learning_rate=1", "learning_rate", "lr"),
        ("krumm.num_selected=2", "krumm", "krum"),
        ("pirvacy.targets=2", "pirvacy", "privacy"),
        ("=5", "", "rounds"),
    ],
)
def test_an_unknown_key_gets_the_nearest(small: Path, change: str, named: str, near: str) -> None:
    with pytest.raises(BadInputError, match=rf"^no .* named '{named}.*': .*\b{near}\b"):
        suite.load(str(small), [change])


def test_a_change_without_a_value_is_told_the_form(small: Path) -> None:
    with pytest.raises(BadInputError, match=r"^--set 'rounds' is not of the form key=value$"):
        suite.load(str(small), ["rounds"])


# --------------------------------------------------------------------------------------------------------------- hash


def whole_cell(**changes: Any) -> Cell:
    given: dict[str, Any] = {
        "label": "row",
        "defense": Part(name="krum", version=1, parameters={"num_selected": 1, "other": [1, 2.5]}),
        "attack": Part(name="gaussian", version=1, parameters={"s": 1.0, "t": "x"}),
        "federation": FederationSettings(**content()["federation"]),
        "byzantine": 0.2,
    }
    return Cell(**{**given, **changes})


def test_equal_cells_hash_alike_in_whatever_order_the_parameters_stand() -> None:
    swapped = Part(name="krum", version=1, parameters={"other": [1, 2.5], "num_selected": 1})
    assert whole_cell(defense=swapped).hash == whole_cell().hash


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_a_cell_that_was_written_and_read_has_the_same_hash(name: str) -> None:
    found_cells = suite.load(name).cells()
    assert [Cell.model_validate_json(cell.model_dump_json()).hash for cell in found_cells] == [
        cell.hash for cell in found_cells
    ]


def test_the_hash_is_the_same_in_another_process() -> None:
    code = (
        "from bench.suite import Cell, Part; from bench.settings import FederationSettings as F;"
        f"print(Cell.model_validate_json({whole_cell().model_dump_json()!r}).hash)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == whole_cell().hash


def test_the_hash_is_short_and_hexadecimal() -> None:
    assert len(whole_cell().hash) == 12
    assert int(whole_cell().hash, 16) > 0


OTHER_SETTINGS: dict[str, Any] = {
    "dataset": "mnist",
    "partition": "sorted",
    "shards_per_client": 3,
    "alpha": 0.5,
    "model": "mlp",
    "clients": 11,
    "samples_per_client": 5,
    "participation": 0.5,
    "rounds": 4,
    "local_epochs": 1,
    "local_steps": 2,
    "batch_size": 7,
    "lr": 0.2,
    "lr_decay": 9.0,
    "momentum": 0.5,
    "messages": "always",
    "assumed_byzantine": 0.1,
    "oracle_f": True,
    "delta": 1e-5,
    "eval_every": 2,
    "dtype": "float64",
}


@pytest.mark.parametrize("field", FederationSettings.model_fields)
def test_every_setting_of_the_federation_changes_the_hash(field: str) -> None:
    changes = {field: OTHER_SETTINGS[field]} | ({"local_steps": None} if field == "local_epochs" else {})
    changed = FederationSettings(**{**content()["federation"], **changes})
    assert whole_cell(federation=changed).hash != whole_cell().hash


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "other"},
        {"defense": Part(name="median", version=1, parameters={"num_selected": 1, "other": [1, 2.5]})},
        {"defense": Part(name="krum", version=2, parameters={"num_selected": 1, "other": [1, 2.5]})},
        {"defense": Part(name="krum", version=1, parameters={"num_selected": 2, "other": [1, 2.5]})},
        {"defense": Part(name="krum", version=1, parameters={"num_selected": 1, "other": [2.5, 1]})},
        {"attack": None},
        {"attack": Part(name="gaussian", version=1, parameters={"s": 1.0 + 1e-12, "t": "x"})},
        {"attack": Part(name="gaussian", version=2, parameters={"s": 1.0, "t": "x"})},
        {"byzantine": 0.3},
        {"rho": 0.0},
        {"targets": 1},
    ],
    ids=str,
)
def test_every_part_of_a_cell_changes_the_hash(changes: dict[str, Any]) -> None:
    assert whole_cell(**changes).hash != whole_cell().hash


# ------------------------------------------------------------------------------------------------------------- faults


def refusal(path: Path, changes: tuple[str, ...] = ()) -> str:
    """The one line that refuses a suite: when it is loaded, or when its cells are made."""
    with pytest.raises(BadInputError) as told:
        suite.load(str(path), changes).cells()
    message = str(told.value)
    assert "\n" not in message
    assert "pydantic.dev" not in message
    return message


FAULTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "unknown defense": ('name = "krum"', 'name = "kurm"', ("defense", "'kurm'", "krum")),
    "unknown attack": ('name = "gaussian"', 'name = "gausian"', ("attack", "'gausian'", "gaussian")),
    "no such parameter": ("num_selected = 2", "num_chosen = 2", ("'krum'", "num_chosen", "2")),
    "parameter of the wrong type": ("s = 3.0", 's = "loud"', ("'gaussian'", "s", "'loud'", "number")),
    "parameter out of range": ("num_selected = 2", "num_selected = 0", ("'krum'", "num_selected", "0", "equal to 1")),
    "rounds of the wrong type": ("rounds = 3", 'rounds = "many"', ("federation.rounds", "'many'", "integer")),
    "a fraction of a client": ("clients = 10", "clients = 2.5", ("federation.clients", "2.5", "integer")),
    "rounds out of range": ("rounds = 3", "rounds = 0", ("federation.rounds", "0", "equal to 1")),
    "rate out of range": ("\nlr = 0.1", "\nlr = -1.0", ("federation.lr", "-1.0", "greater than 0")),
    "rate not a number": ("\nlr = 0.1", "\nlr = nan", ("federation.lr", "nan", "finite")),
    "no such setting": ("\nlr = 0.1", "\nlr = 0.1\nlearning_rate = 5", ("federation.learning_rate", "5")),
    "no such partition": ("\nlr = 0.1", '\nlr = 0.1\npartition = "odd"', ("federation.partition", "'odd'", "'iid'")),
    "no such table": ("[privacy]", "[pirvacy]", ("pirvacy",)),
    "epochs and steps": ("local_steps = 1", "local_steps = 1\nlocal_epochs = 1", ("local_epochs", "local_steps")),
    "neither epochs nor steps": ("local_steps = 1", "", ("local_epochs", "local_steps")),
    "a seed twice": ("seeds = [0, 1]", "seeds = [0, 1, 0]", ("seeds", "seed 0", "twice")),
    "no seeds": ("seeds = [0, 1]", "seeds = []", ("seeds", "at least 1")),
    "half a seed": ("seeds = [0, 1]", "seeds = [0.5]", ("seeds", "0.5", "integer")),
    "no seeds at all": ("seeds = [0, 1]", "", ("seeds", "required")),
    "no threads": ("seeds = [0, 1]", "seeds = [0, 1]\nthreads = 0", ("threads", "0", "equal to 1")),
    "a name that is a path": ('name = "small"', 'name = "../up"', ("name", "'../up'")),
    "more Byzantine clients than all": ("[0.0, 0.2]", "[0.0, 1.2]", ("byzantine", "1.2", "between 0 and 1")),
    "fewer Byzantine clients than none": ("[0.0, 0.2]", "-0.1", ("byzantine", "-0.1", "between 0 and 1")),
    "a word for a fraction": ("[0.0, 0.2]", '"some"', ("byzantine", "'some'", "number")),
    "forging without Byzantine clients": ("byzantine = [0.0, 0.2]", "", ("'gaussian'", "byzantine", "fractions")),
    "forging by none of no fractions": ("[0.0, 0.2]", "[]", ("'gaussian'", "byzantine", "fractions")),
    "curious and Byzantine": ('name = "dlg"', 'name = "dlg"\nbyzantine = 0.2', ("'dlg'", "byzantine", "forges")),
    "no targets": ("targets = 2", "targets = 0", ("privacy.targets", "0", "equal to 1")),
    "no such setting of privacy": ("targets = 2", "targets = 2\nsubjects = 9", ("privacy", "subjects", "9")),
    "setting of privacy out of range": ("rounds = 2", "rounds = 0", ("privacy", "rounds", "0", "equal to 1")),
    "no such setting of a defense": ("batch_size = 9", "batchsize = 9", ("krum", "batchsize", "9")),
    "setting of a defense out of range": ("batch_size = 9", "batch_size = 0", ("krum", "batch_size", "0", "equal")),
    "a word where a table goes": ("[defense.federation]\nlr = 0.3", 'federation = "fast"', ("federation", "'fast'")),
    "no such ranking": ("[privacy]", "[ranking]\nspeed = 1\n[privacy]", ("ranking.speed", "1")),
    "a sweep over nothing": ("num_selected = 2", "num_selected = []", ("krum", "num_selected")),
    "a column twice": ('name = "dlg"', 'name = "dlg"\n[[attack]]\nname = "dlg"\nstarts = 9', ("dlg", "twice|list")),
    "a row twice": ('name = "fedavg"', 'name = "krum"', ("krum", "twice|label")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_in_one_line(small: Path, fault: str) -> None:
    right, wrong, told = FAULTS[fault]
    assert SMALL.count(right) >= 1
    small.write_text(SMALL.replace(right, wrong, 1))
    message = refusal(small)
    assert all(any(part in message for part in parts.split("|")) for parts in told), message


@pytest.mark.parametrize("kind", ["attack", "defense"])
def test_a_suite_without_attacks_or_defenses_is_refused(small: Path, kind: str) -> None:
    head, *entries = SMALL.split("[[")
    kept = "[[".join([head, *(entry for entry in entries if not entry.startswith(kind))])
    small.write_text(kept)
    assert f"{kind}: Field required" in refusal(small)
    small.write_text(f"{kind} = []\n{kept}")
    assert f"{kind}: Tuple should have at least 1 item" in refusal(small)


@pytest.mark.parametrize(
    ("right", "wrong", "line", "column"),
    [("clients = 10", "clients = = 10", 8, 11), ('name = "small"', 'name = "small', 2, 14)],
)
def test_broken_toml_is_told_with_line_and_column(small: Path, right: str, wrong: str, line: int, column: int) -> None:
    small.write_text(SMALL.replace(right, wrong))
    message = refusal(small)
    assert str(small) in message
    assert f"(at line {line}, column {column})" in message


def test_a_file_that_is_no_text_is_refused(small: Path) -> None:
    small.write_bytes(b"\xff\xfe\x00binary")
    assert f"suite {small} is not valid TOML" in refusal(small)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("rounds=0", ("rounds", "0", "equal to 1")),
        ("rounds=", ("rounds", "''", "integer")),
        ("rounds=[1, 2]", ("rounds", "[1, 2]", "integer")),
        ("lr=fast", ("lr", "'fast'", "number")),
        ("privacy.rounds=0", ("rounds", "0", "equal to 1")),
        ("privacy.subjects=9", ("subjects", "9")),
        ("federation.speed=9", ("speed", "9")),
        ("krum.num_selected=0", ("num_selected", "0", "equal to 1")),
        ("krum.federation=3", ("federation", "3", "dictionary")),
        ("gaussian.byzantine=2", ("byzantine", "2", "between 0 and 1")),
    ],
)
def test_a_change_that_cannot_be_is_told_in_one_line(small: Path, change: str, told: tuple[str, ...]) -> None:
    message = refusal(small, (change,))
    assert all(part in message for part in told), message


@pytest.mark.parametrize(
    ("broken", "change"),
    [
        ('[defense]\nname = "krum"', "rounds=5"),
        ("[[defense]]\nnum_selected = 2", "rounds=5"),
        ("[[defense]]\nnum_selected = 2", "krum.num_selected=5"),
        ('[[defense]]\nname = "krum"\nfederation = 3', "rounds=5"),
        ("defense = 3", "krum.num_selected=5"),
        ('federation = "none"', "rounds=5"),
        ("privacy = 3", "privacy.targets=5"),
    ],
)
def test_a_change_to_a_broken_suite_is_refused_as_the_suite_is(tmp_path: Path, broken: str, change: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(f'name = "broken"\ntitle = "t"\nseeds = [0]\n{broken}\n')
    assert str(path) in refusal(path, (change,))


@pytest.mark.parametrize(("key", "name", "near"), [("dataset", "digit", "digits"), ("model", "sofmax", "softmax")])
def test_an_unknown_data_set_or_model_is_refused_before_anything_runs(
    small: Path, tmp_path: Path, key: str, name: str, near: str
) -> None:
    with pytest.raises(BadInputError, match=rf"'{name}'.*{near}"):
        jobs.run_suite(str(small), changes=[f"{key}={name}"], results=tmp_path / "out", workers=1, quiet=True)
    assert not (tmp_path / "out").exists()


def test_an_unknown_suite_gets_the_nearest_and_a_hint_at_files() -> None:
    with pytest.raises(BadInputError, match=r"^no suite named 'digit': did you mean digits\?; or .*\.toml file$"):
        suite.load("digit")


@pytest.mark.parametrize(("kind", "reason"), [("missing", "No such file"), ("folder", "Is a directory")])
def test_a_suite_that_cannot_be_read_is_named(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "there.toml"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(BadInputError, match=rf"^cannot read suite {path}: {reason}"):
        suite.load(str(path))
