"""The suites of the field: everything that is registered is in one of them, and all rows had the same search."""

import pytest

from bench import registry
from bench.federation.roles import check_fits, setting_of
from bench.plays.findings import build_defense
from bench.protocol import Setting
from bench.suite import Suite, load, shipped
from bench.threat import ByzantineAttack, Ensemble

ENSEMBLES = {name for name in registry.names("attack") if issubclass(registry.get("attack", name), Ensemble)}
"""They play whole runs with other attacks, and have a suite of their own."""


@pytest.fixture(scope="module", params=["field", "field-mnist"])
def suite(request: pytest.FixtureRequest) -> Suite:
    return load(request.param)


OTHERS = ("backdoors", "robust-dp")
"""Suites of what is made for backdoors, and of rules behind noise."""
FORGED_IN = "membership"
"""The suite in which forging attacks serve another purpose than harm."""

UNPLAYED = {
    "deepsight": "made for backdoors, and four minutes a cell: what its models answer to noise takes nearly all of it",
    "foundation_fl": "the text and the authors' code were not at hand: the algorithm is others'",
    "demoa": "with all clients in every round it is its rule",
}


def test_every_defense_and_every_byzantine_attack_meet_in_field_or_in_a_suite_of_their_own() -> None:
    suite = load("field")
    others = [load(name) for name in OTHERS]
    elsewhere = {entry.name for one in others for entry in (*one.defense, *one.attack)} | set(UNPLAYED)
    elsewhere |= {table["name"] for entry in load(FORGED_IN).attack for table in entry.forging}
    attacks = {name for name in registry.names("attack") if issubclass(registry.get("attack", name), ByzantineAttack)}
    rules, mine = set(registry.names("defense")), {entry.name for entry in suite.defense}
    assert rules - elsewhere <= mine <= rules
    forged = {entry.name for entry in suite.attack}
    assert attacks - ENSEMBLES - elsewhere <= forged <= attacks - ENSEMBLES
    rows, columns = ({getattr(cell, part) for cell in suite.cells()} for part in ("label", "column"))
    assert len(suite.cells()) == len(rows) * len(columns)


def test_every_row_had_as_many_trials(suite: Suite) -> None:
    rows = {cell.label for cell in suite.cells()}
    assert set(suite.tune) == rows
    assert {len(next(iter(grid.values()))) for grid in suite.tune.values()} == {5 if suite.name == "field" else 4}
    for cell in suite.cells():
        ((key, grid),) = suite.tune[cell.label].items()
        chosen = cell.federation.lr if key == "lr" else cell.defense.parameters[key]
        assert chosen in grid


def test_both_signs_of_the_deviation_are_columns(suite: Suite) -> None:
    """So that a row's worst is over both; a column that says no sign has that of the authors' code."""
    along = {entry.name for entry in suite.attack} & {"alie", "alie_optimal", "min_max", "min_sum"}
    for name in along:
        cells = [cell for cell in suite.cells(["krum"], [name]) if cell.attack is not None]
        authors = "minus" if name == "alie_optimal" else "plus"
        signs = {cell.column: cell.attack.parameters.get("sign", "plus") for cell in cells if cell.attack}
        other = {"plus": "minus", "minus": "plus"}[authors]
        assert signs == {f"{name} b=0.2": authors, f"{name} sign={other} b=0.2": other}


def test_rules_that_remember_do_so_as_their_authors_have_them(suite: Suite) -> None:
    clean = {cell.label: cell for cell in suite.cells() if cell.attack is None}
    for row in {"centered_clipping", "foolsgold"} & set(clean):
        assert clean[row].defense.parameters["memory"] is True
    row = clean["centered_clipping"].federation
    assert (row.momentum, row.lr) == (0.9, clean["fedavg"].federation.lr)


def test_every_rule_takes_the_federation(suite: Suite) -> None:
    shared = suite.federation
    for cell in suite.cells():
        if cell.attack is None:
            lr = cell.federation.lr
            build_defense(cell).start(
                Setting(
                    shared.clients, shared.participants, 7850, shared.rounds, lr, None, shared.assumed_byzantine, 1e-6
                )
            )
    assert {cell.byzantine for cell in suite.cells()} == {0.0, shared.assumed_byzantine}


def test_the_siege_has_the_rows_of_the_field_and_all_ensembles() -> None:
    siege, field = load("siege"), load("field")
    assert siege.federation == field.federation
    assert siege.defense == field.defense
    assert {entry.name for entry in siege.attack} == ENSEMBLES
    assert f"{len(siege.cells())} cells a seed" in shipped()["siege"].read_text()


NEWER = ("field-fashion", "field-cifar10", "field-cifar10-features")
KEEP_MODELS = {"rsa", "dpbfl"}


@pytest.mark.parametrize("name", NEWER)
def test_clients_of_the_newer_suites_send_momentum_and_train_for_more_than_a_step(name: str) -> None:
    for cell in load(name).cells():
        assert cell.federation.momentum == (0.0 if cell.label in KEEP_MODELS else 0.9)
        assert (cell.federation.local_steps or 0) > 1
        assert cell.byzantine in (0.0, cell.federation.assumed_byzantine)


@pytest.mark.parametrize("name", [*NEWER, "factors"])
def test_every_rule_of_the_newer_suites_takes_its_federation(name: str) -> None:
    for cell in load(name).cells():
        settings, defense = cell.federation, build_defense(cell)
        check_fits(settings, defense)
        defense.start(setting_of(settings, 7850, settings.assumed_byzantine))


@pytest.mark.parametrize("name", [*NEWER, "factors"])
def test_the_file_of_a_newer_suite_says_how_long_it_takes(name: str) -> None:
    suite, words = load(name), shipped()[name].read_text()
    assert f"{len(suite.cells())} cells a seed" in " ".join(
        line.removeprefix("#").strip() for line in words.splitlines()
    )
