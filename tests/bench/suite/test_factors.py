"""Factors of a suite: one thing changed at a time, around a base case that is the suite as it stands."""

from pathlib import Path

import pytest

from bench.base.errors import BadInputError
from bench.records import record_key
from bench.suite import Suite, load
from bench.suite.factors import designs

SUITE = """
name = "designed"
title = "a design"
seeds = [0, 1]

[federation]
dataset = "digits"
partition = "dirichlet"
alpha = 10.0
clients = 20
rounds = 3
local_epochs = 1
lr = 0.5
assumed_byzantine = 0.2

{factors}

[[defense]]
name = "median"

[[defense]]
name = "rsa"
{row}

[[attack]]
name = "sign_flip"
byzantine = 0.2

[[attack]]
name = "ipm"
byzantine = 0.2
{attack}
"""
EPOCHS = '[[factor]]\nname = "E"\nlocal_epochs = [1, 5]\n'
SHARE = '[[factor]]\nname = "b"\nbyzantine = [0.1, 0.2]\nassumed_byzantine = [0.1, 0.2]\n'
ATTACKS_ALONE = '[[factor]]\nname = "b alone"\nbyzantine = [0.1, 0.2]\n'
SKEW = """
[[factor]]
name = "skew"
levels = ["IID", "Dir(1)", "Dir(0.1)"]
partition = ["iid", "dirichlet", "dirichlet"]
alpha = [10, 10, 1]
"""


@pytest.fixture
def made(tmp_path: Path):
    def make(factors: str = "", row: str = "", attack: str = "") -> Suite:
        path = tmp_path / "designed.toml"
        path.write_text(SUITE.format(factors=factors, row=row, attack=attack))
        return load(str(path))

    return make


def columns(suite: Suite, row: str = "median") -> list[str]:
    return [cell.column for cell in suite.cells([row])]


def test_every_level_but_the_base_is_the_suite_once_more(made):
    assert columns(made(EPOCHS + SKEW)) == [
        *("clean", "sign_flip b=0.2", "ipm b=0.2"),
        *("clean [E: 5]", "sign_flip b=0.2 [E: 5]", "ipm b=0.2 [E: 5]"),
        *("clean [skew: IID]", "sign_flip b=0.2 [skew: IID]", "ipm b=0.2 [skew: IID]"),
        *("clean [skew: Dir(0.1)]", "sign_flip b=0.2 [skew: Dir(0.1)]", "ipm b=0.2 [skew: Dir(0.1)]"),
    ]


def test_a_level_changes_one_thing(made):
    base, changed = made(SKEW).cells(["median"], ["clean"])[::2]
    assert changed.level == "skew: Dir(0.1)"
    assert changed.federation == base.federation.model_copy(update={"alpha": 1.0})
    assert (changed.defense, changed.attack, changed.label) == (base.defense, base.attack, base.label)


def test_the_base_case_is_the_suite_without_factors_to_the_hash(made):
    plain, designed = made(), made(EPOCHS + SHARE + SKEW)
    hashes = [cell.hash for cell in plain.cells()]
    assert [cell.hash for cell in designed.cells()][: len(hashes)] == hashes
    assert designed.setting_content() == plain.setting_content()


def test_a_suite_that_went_through_json_has_the_same_cells(made):
    suite = made(EPOCHS + SHARE + SKEW)
    again = Suite.model_validate_json(suite.model_dump_json())
    assert [(cell.hash, cell.column) for cell in again.cells()] == [(cell.hash, cell.column) for cell in suite.cells()]


def test_a_level_is_no_part_of_the_hash_and_no_record_of_old_has_one(made):
    cell = made().cells()[0]
    assert cell.model_copy(update={"level": "E: 5"}).hash == cell.hash
    assert "level" not in cell.model_dump()
    assert made(EPOCHS).cells(["median"])[-1].model_dump()["level"] == "E: 5"


def test_no_two_cells_share_a_record(made):
    cells = made(EPOCHS + SHARE + SKEW).cells()
    assert len({record_key(cell, 0) for cell in cells}) == len(cells)
    assert len({(cell.label, cell.column) for cell in cells}) == len(cells)


def test_the_byzantine_share_is_that_of_every_attack_and_what_it_does_not_change_is_played_once(made):
    assert [(cell.column, cell.byzantine) for cell in made(ATTACKS_ALONE).cells(["median"])] == [
        *(("clean", 0.0), ("sign_flip b=0.2", 0.2), ("ipm b=0.2", 0.2)),
        *(("sign_flip b=0.1 [b alone: 0.1]", 0.1), ("ipm b=0.1 [b alone: 0.1]", 0.1)),
    ]
    assert "clean [b: 0.1]" in columns(made(SHARE))  # rules are told another f there


def test_a_row_may_be_left_out_of_a_factor(made):
    suite = made('[[factor]]\nname = "momentum"\nmomentum = [0, 0.9]\nwithout = ["rsa"]\n')
    assert "clean [momentum: 0.9]" in columns(suite)
    assert all("[" not in column for column in columns(suite, "rsa"))


def test_a_length_of_training_takes_the_place_of_the_other(made):
    _, level = made(EPOCHS).cells(["rsa"], ["clean"])
    assert (level.federation.local_epochs, level.federation.local_steps) == (5, None)


def test_chosen_attacks_are_chosen_at_all_levels(made):
    cells = made(EPOCHS).cells(["median"], ["ipm"])
    assert [cell.column for cell in cells] == ["clean", "ipm b=0.2", "clean [E: 5]", "ipm b=0.2 [E: 5]"]


def test_the_base_may_stand_anywhere(made):
    (design,) = designs(made(SHARE))
    assert (design.base.name, [level.name for level in design.levels]) == ("0.2", ["0.1", "0.2"])
    assert design.changes == {"assumed_byzantine"}


@pytest.mark.parametrize(
    ("factors", "told"),
    [
        ('[[factor]]\nname = "E"\n', "give a setting and the list of its values"),
        ('[[factor]]\nname = "E"\nlocal_epoch = [1, 5]\n', "no setting that a factor may change named 'local_epoch'"),
        ('[[factor]]\nname = "E"\nlocal_epochs = 5\n', "local_epochs is 5, but must be a list of two values or more"),
        ('[[factor]]\nname = "E"\nlocal_epochs = [1]\n', "must be a list of two values or more"),
        ('[[factor]]\nname = "E"\nlocal_epochs = [1, 1]\n', "each must have a name of its own"),
        ('[[factor]]\nname = "E"\nlocal_epochs = [1, 5]\nlr = [0.5]\n', "lr is [0.5], but must be a list"),
        (
            '[[factor]]\nname = "E"\nlocal_epochs = [1, 5]\nlr = [0.5, 1, 2]\n',
            "local_epochs has 2, lr has 3: all lists must be as long as one another",
        ),
        (
            '[[factor]]\nname = "E"\nlocal_epochs = [2, 5]\n',
            "factor 'E': one of its levels, and no more, must be the suite as it stands, local_epochs = 1",
        ),
        (
            '[[factor]]\nname = "E"\nlevels = ["a", "b"]\nlocal_epochs = [1, 1]\n',
            "one of its levels, and no more, must be the suite as it stands",
        ),
        ('[[factor]]\nname = "b"\nbyzantine = [0.1, 0.3]\n', "byzantine = [[0.2], [0.2]]"),
        (EPOCHS + EPOCHS, "factor 'E' stands there twice"),
        (EPOCHS + EPOCHS.replace('"E"', '"F"'), "factor 'F': 5 is the same as E: 5"),
        (EPOCHS + 'without = ["krum"]\n', "factor 'E': no row named 'krum'"),
        ('[[factor]]\nname = "lr"\nlr = [0.5, -1]\n', "factor 'lr' at -1"),
    ],
)
def test_what_is_no_design_is_one_line(made, factors, told):
    with pytest.raises(BadInputError) as caught:
        made(factors).cells()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_has_no_value_of_its_own_of_what_a_factor_changes(made):
    with pytest.raises(BadInputError, match="row 'rsa' has a local_epochs of its own"):
        made(EPOCHS, row="[defense.federation]\nlocal_epochs = 2")


def test_factors_are_of_trainings(made):
    with pytest.raises(BadInputError, match="factor 'E' at 5: factors are of trainings, but attack 'dlg' is of the"):
        made(EPOCHS, attack='[[attack]]\nname = "dlg"').cells()


def test_the_shipped_design_is_as_its_file_says():
    suite = load("factors")
    cells = suite.cells()
    levels = {cell.level for cell in cells if cell.level}
    assert len(levels) == 11
    assert len(cells) == 11 * 6 * 12 - 2 * 6  # rsa and dpbfl without momentum
    assert {cell.num_byzantine for cell in cells} == {0, 5, 10, 20, 30}
