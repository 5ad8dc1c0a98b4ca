"""Suites: what ships, what a table means, what tells two cells apart, and one clear line for whatever is wrong."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import registry
from bench.base.errors import BadInputError
from bench.federation.settings import FederationSettings, own_settings
from bench.protocol import Setting
from bench.suite import Cell, Part, Suite
from bench.suite import loading as suite

ROOT = Path(__file__).parents[3]
PRIVATE = ("dp_fedavg", "niss", "niss as printed", "dpbfl", "ldpbfl")
ROWS = ("fedavg", *PRIVATE, "rsa", "krum", "median")
COLUMNS = (
    "clean",
    *(f"{attack} b={b}" for attack in ("gaussian", "sign_flip", "sign_flip on=model") for b in ("0.2", "0.4")),
    *("dlg label=joint", "dlg label=inferred", "inverting_gradients", "analytic"),
    *(f"collusion rho={rho}" for rho in ("0.3", "0.6", "1")),
    *("subspace rho=1", "zero_shares rho=1"),
)
AUDITS = ("audit", "audit rho=1", "audit active=True rho=1")


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


def test_a_rows_schedule_takes_the_place_of_the_suites() -> None:
    own = {"name": "median", "federation": {"lr_decay": 4.0}}
    federation = {**content()["federation"], "lr_milestones": [2], "lr_milestone_factor": 0.5}
    loaded = Suite(**content(federation=federation, defense=[{"name": "fedavg"}, own]))
    suites, rows = (found(loaded.cells(), row, "clean").federation for row in ("fedavg", "median"))
    assert (suites.lr_milestones, suites.lr_decay) == ((2,), None)
    assert (rows.lr_milestones, rows.lr_decay) == (None, 4.0)
    assert own_settings(rows, loaded.federation) == {}  # a row's schedule is its own to choose


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


def test_the_full_suite_is_the_whole_matrix() -> None:
    loaded = suite.load("digits")
    matrix = [(cell.label, cell.column) for cell in loaded.cells()]
    expected = [(row, column) for row in ROWS for column in COLUMNS] + [
        (row, game) for row in PRIVATE for game in AUDITS
    ]
    assert sorted(matrix) == sorted(expected)
    seeds = {"training": tuple(range(10)), "inversion": (0, 1, 2), "audit": (0, 1, 2)}
    assert loaded.seeds_by_kind.items() >= seeds.items()


def test_the_mnist_suite_is_a_part_of_that_matrix_without_audits() -> None:
    loaded = suite.load("mnist")
    matrix = [(cell.label, cell.column.replace("dlg", "dlg label=inferred")) for cell in loaded.cells()]
    left_out = {"dlg label=joint", "inverting_gradients", "subspace rho=1"}
    rows, columns = set(ROWS) - {"niss as printed"}, set(COLUMNS) - left_out
    assert sorted(matrix) == sorted((row, column) for row in rows for column in columns)
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


# ------------------------------------------------------------------------------------------------------ privacy, audits


def test_an_attack_may_change_the_privacy_table(small: Path) -> None:
    small.write_text(small.read_text() + "[attack.privacy]\ntargets = 5\ntrained = 4\nrounds = 6\nbatch_size = 3\n")
    for label in ("fedavg", "krum"):
        cell = found(suite.load(str(small)).cells(), label, "dlg")
        assert (cell.targets, cell.trained, cell.federation.rounds, cell.federation.batch_size) == (5, 4, 6, 3)
        assert cell.federation.lr == 0.7  # the suite's privacy table still counts


def test_a_list_in_an_attacks_privacy_table_is_a_sweep() -> None:
    privacy = {"batch_size": [1, 4], "local_steps": [1, 3], "samples_per_client": 4}
    attack = {"name": "collusion", "label": ["joint", "inferred"], "rho": [0.5, 1.0], "privacy": privacy}
    found_cells = cells(attack=[attack])[1:]
    assert [cell.column for cell in found_cells] == [
        f"collusion label={label}, batch_size={batch}, local_steps={steps} rho={rho}"
        for label in ("joint", "inferred")
        for rho in ("0.5", "1")
        for batch in (1, 4)
        for steps in (1, 3)
    ]
    for cell in found_cells:
        settings = cell.federation
        assert f"batch_size={settings.batch_size}, local_steps={settings.local_steps} " in cell.column
        assert settings.samples_per_client == 4
    assert len({cell.hash for cell in found_cells}) == 16


@pytest.mark.parametrize(("key", "values"), [("trained", [0, 20]), ("targets", [1, 2]), ("model", ["mlp", "lenet"])])
def test_whatever_an_inversion_is_about_can_be_swept(key: str, values: list[Any]) -> None:
    found_cells = cells(attack=[{"name": "dlg", "privacy": {key: values}}])[1:]
    assert [cell.column for cell in found_cells] == [f"dlg {key}={value}" for value in values]
    assert [getattr(cell, key, None) or getattr(cell.federation, key, 0) for cell in found_cells] == values


def test_a_sweep_is_a_column_and_no_content() -> None:
    swept = cells(attack=[{"name": "dlg", "privacy": {"batch_size": [4]}}])[-1]
    fixed = cells(attack=[{"name": "dlg", "privacy": {"batch_size": 4}}])[-1]
    assert (swept.column, fixed.column) == ("dlg batch_size=4", "dlg")
    assert swept.hash == fixed.hash


def test_the_attacks_class_decides_what_a_cell_plays() -> None:
    attacks = [{"name": "gaussian", "byzantine": 0.2}, {"name": "dlg"}, {"name": "audit", "rho": [0.0, 0.5]}]
    found_cells = cells(defense=[{"name": "niss"}], attack=attacks, privacy={"targets": 3, "lr": 0.7})
    assert [(cell.column, cell.kind, cell.targets, cell.federation.lr) for cell in found_cells] == [
        ("clean", "training", 0, 0.1),
        ("gaussian b=0.2", "training", 0, 0.1),
        ("dlg", "inversion", 3, 0.7),
        ("audit", "audit", 0, 0.1),
        ("audit rho=0.5", "audit", 0, 0.1),
    ]


@pytest.mark.parametrize("name", registry.names("defense"))
def test_only_defenses_that_claim_privacy_are_audited(name: str) -> None:
    setting = Setting(10, 10, 5, 3, 0.1, None, 0.2, 1e-6)
    claim = registry.get("defense", name)().claim(setting)
    audited = [cell for cell in cells(defense=[{"name": name}], attack=[{"name": "audit"}]) if cell.kind == "audit"]
    sent = name != "central_dp_fedavg"  # its noise is the server's: a curious server sees none of it
    assert len(audited) == (claim is not None and sent)


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
        "from bench.suite import Cell, Part; from bench.federation.settings import FederationSettings as F;"
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
    "similarity": 0.1,
    "model": "mlp",
    "clients": 11,
    "samples_per_client": 5,
    "sizes": "lognormal",
    "size_spread": 0.3,
    "size_alpha": 0.3,
    "participation": 0.5,
    "rounds": 4,
    "local_epochs": 1,
    "local_steps": 2,
    "batch_size": 7,
    "lr": 0.2,
    "lr_decay": 9.0,
    "lr_milestones": [2],
    "lr_milestone_factor": 0.5,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "clip_gradients": 2.0,
    "server_optimizer": "adam",
    "server_lr": 0.5,
    "server_momentum": 0.5,
    "server_beta2": 0.5,
    "server_tau": 0.5,
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
        {"trained": 1},
        {"kind": "audit"},
    ],
    ids=str,
)
def test_every_part_of_a_cell_changes_the_hash(changes: dict[str, Any]) -> None:
    assert whole_cell(**changes).hash != whole_cell().hash


# ----------------------------------------------------------------------------------------------------- names, encodings


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ({"defenses": "krum,fedavg"}, {"defenses": ["krum", "fedavg"]}),
        ({"defenses": ["krum, fedavg"]}, {"defenses": ["krum", "fedavg"]}),
        ({"defenses": "krum"}, {"defenses": ["krum"]}),
        ({"attacks": "gaussian,dlg"}, {"attacks": ["gaussian", "dlg"]}),
        ({"attacks": "clean,dlg"}, {"attacks": ["dlg"]}),
    ],
)
def test_names_come_one_by_one_or_with_commas(small: Path, one: dict[str, Any], another: dict[str, Any]) -> None:
    assert suite.load(str(small)).cells(**one) == suite.load(str(small)).cells(**another)


def test_a_label_may_have_a_comma(small: Path) -> None:
    small.write_text(small.read_text().replace('name = "krum"', 'name = "krum"\nlabel = "fedavg, krum"'))
    assert {cell.label for cell in suite.load(str(small)).cells("fedavg, krum")} == {"fedavg, krum"}


def test_clean_alone_is_the_clean_runs_alone(small: Path) -> None:
    found = suite.load(str(small)).cells(attacks="clean")
    assert [(cell.label, cell.attack) for cell in found] == [("fedavg", None), ("krum", None)]


def test_a_byte_order_mark_is_no_part_of_a_suite(small: Path) -> None:
    before = suite.load(str(small))
    small.write_bytes(b"\xef\xbb\xbf" + small.read_bytes())
    assert suite.load(str(small)) == before


def test_a_truth_value_stays_one_where_it_is_meant(small: Path) -> None:
    assert suite.load(str(small), ["oracle_f=true"]).federation.oracle_f is True


# ------------------------------------------------------------------------------------------------ seeds of each kind


def test_a_kind_of_cells_may_have_seeds_of_its_own() -> None:
    """They change no cell and no setting: records of before stay those of their cells."""
    digits = suite.load("digits")
    alone = digits.model_copy(update={"seeds_of": {}, "seeds": (0, 1, 2)})
    assert digits.setting_content() == alone.setting_content()
    assert [cell.hash for cell in digits.cells()] == [cell.hash for cell in alone.cells()]
    asked = {cell.kind: digits.seeds_for(cell) for cell in digits.cells()}
    assert digits.seeds_by_kind.items() >= asked.items()
    assert asked["training"] == tuple(range(10))
    assert asked["audit"] == (0, 1, 2)


def test_seeds_that_are_asked_for_are_those_of_all_cells() -> None:
    chosen = suite.load("digits").with_seeds([4])
    assert {chosen.seeds_for(cell) for cell in chosen.cells()} == {(4,)}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("inversion = [1, 1]", "seed 1 stands there twice"),
        ("audit = []", "audit has no seed"),
        ("training = [-1]", "seed -1 is not between 0"),
        ("tests = [1]", "seeds_of"),
    ],
)
def test_bad_seeds_of_a_kind_are_refused(tmp_path: Path, given: str, told: str) -> None:
    text = suite.shipped()["digits"].read_text()
    path = tmp_path / "bad.toml"
    path.write_text(text.replace("[seeds_of]\ninversion = [0, 1, 2]\naudit = [0, 1, 2]\n", f"[seeds_of]\n{given}\n"))
    with pytest.raises(BadInputError, match=told):
        suite.load(str(path))
