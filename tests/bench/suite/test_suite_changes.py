"""Suites as they are given: what `--set` changes, and one clear line for whatever is wrong."""

from pathlib import Path
from typing import Any

import pytest

from bench import suite
from bench.base.errors import BadInputError
from bench.runs import jobs
from bench.suite import Cell


def found(cells: list[Cell], label: str, column: str) -> Cell:
    """The one cell of a row and column."""
    (cell,) = [cell for cell in cells if (cell.label, cell.column) == (label, column)]
    return cell


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
        ("privacy.trained=4", ("fedavg", "dlg", "trained"), 4),
        ("dlg.privacy={trained = 7}", ("fedavg", "dlg", "trained"), 7),
        ("dlg.privacy={batch_size = [5]}", ("krum", "dlg batch_size=5", "federation.batch_size"), 5),
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
    assert (value["starts"] if change.startswith("dlg.starts") else value) == expected


def test_a_change_may_be_a_sweep(small: Path) -> None:
    found_cells = suite.load(str(small), ["krum.num_selected=[1, 2]"]).cells(["krum"], ["dlg"])
    assert {cell.label for cell in found_cells} == {"krum (num_selected=1)", "krum (num_selected=2)"}


def test_the_last_of_two_changes_counts(small: Path) -> None:
    assert suite.load(str(small), ["rounds=5", "rounds=6"]).federation.rounds == 6


def test_a_suite_that_counts_steps_can_be_set_to_epochs(small: Path) -> None:
    settings = suite.load(str(small), ["local_epochs=2"]).federation
    assert (settings.local_epochs, settings.local_steps) == (2, None)


def test_steps_that_are_set_go_over_the_epochs_of_a_defense(small: Path) -> None:
    small.write_text(small.read_text().replace("batch_size = 9", "local_epochs = 4"))
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
    ],
)
def test_an_unknown_key_gets_the_nearest(small: Path, change: str, named: str, near: str) -> None:
    with pytest.raises(BadInputError, match=rf"^no .* named '{named}.*': .*\b{near}\b"):
        suite.load(str(small), [change])


@pytest.mark.parametrize("change", ["rounds", "=5"])
def test_a_change_without_a_key_or_a_value_is_told_the_form(small: Path, change: str) -> None:
    with pytest.raises(BadInputError, match=rf"^--set '{change}' is not of the form key=value$"):
        suite.load(str(small), [change])


# ------------------------------------------------------------------------------------------------------------- faults


def refusal(path: Path, changes: tuple[str, ...] = ()) -> str:
    """The one line that refuses a suite: when it is loaded, or when its cells are made."""
    with pytest.raises(BadInputError) as told:
        suite.load(str(path), changes).cells()
    message = str(told.value)
    assert "\n" not in message
    assert "pydantic.dev" not in message
    return message


def privacy(line: str, attack: str = "dlg") -> tuple[str, str]:
    """What to write for the last attack, so that it has this line in a privacy table of its own."""
    return 'name = "dlg"', f'name = "{attack}"\n[attack.privacy]\n{line}'


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
    "forging by nobody": ('name = "dlg"', 'name = "dlg"\nforging = [{name = "alie"}]', ("'dlg'", "byzantine", "forg")),
    "a coalition that starts": ('name = "dlg"', 'name = "dlg"\nbyzantine = 0.5\nstart = 2', ("'dlg'", "no start")),
    "no targets": ("targets = 2", "targets = 0", ("privacy.targets", "0", "equal to 1")),
    "no such setting of privacy": ("targets = 2", "targets = 2\nsubjects = 9", ("privacy", "subjects", "9")),
    "setting of privacy out of range": ("rounds = 2", "rounds = 0", ("privacy", "rounds", "0", "equal to 1")),
    "no such setting of a defense": ("batch_size = 9", "batchsize = 9", ("krum", "batchsize", "9")),
    "setting of a defense out of range": ("batch_size = 9", "batch_size = 0", ("krum", "batch_size", "0", "equal")),
    "a word where a table goes": ("[defense.federation]\nlr = 0.3", 'federation = "fast"', ("federation", "'fast'")),
    "no such ranking": ("[privacy]", "[ranking]\nspeed = 1\n[privacy]", ("ranking.speed", "1")),
    "a sweep over nothing": ("num_selected = 2", "num_selected = []", ("krum", "num_selected")),
    "no such setting of an attack's privacy": (*privacy("subjects = 9"), ("'dlg'|fedavg", "subjects", "9")),
    "an attack's privacy out of range": (*privacy("batch_size = 0"), ("fedavg", "batch_size", "0", "equal to 1")),
    "a point of an attack's privacy out of range": (*privacy("batch_size = [1, 0]"), ("batch_size", "0", "equal to 1")),
    "no targets of an attack": (*privacy("targets = 0"), ("privacy of 'dlg'", "targets", "0", "equal to 1")),
    "half a round of training": (*privacy("trained = 0.5"), ("privacy of 'dlg'", "trained", "0.5", "integer")),
    "less than no training": (*privacy("trained = -1"), ("privacy of 'dlg'", "trained", "-1", "equal to 0")),
    "a sweep of an attack's privacy over nothing": (*privacy("trained = []"), ("'dlg'", "trained", "empty")),
    "a number for an attack's privacy": ('name = "dlg"', 'name = "dlg"\nprivacy = 3', ("privacy", "3", "dictionary")),
    "forging and privacy": (
        "s = 3.0",
        "s = 3.0\nprivacy = {targets = 3}",
        ("'gaussian'", "inverts nothing", "privacy"),
    ),
    "audit and privacy": (*privacy("targets = 3", "audit"), ("'audit'", "inverts nothing", "privacy")),
    "audit and Byzantine": ('name = "dlg"', 'name = "audit"\nbyzantine = 0.2', ("'audit'", "forges nothing")),
    "an audit's parameter out of range": ('name = "dlg"', 'name = "audit"\nruns = 3', ("'audit'", "runs", "3", "10")),
    "two privacies of one attack": (
        'name = "dlg"',
        'name = "dlg"\n[[attack]]\nname = "dlg"\nprivacy = {targets = 3}',
        ("dlg", "twice|list"),
    ),
    "a column twice": ('name = "dlg"', 'name = "dlg"\n[[attack]]\nname = "dlg"\nstarts = 9', ("dlg", "twice|list")),
    "a row twice": ('name = "fedavg"', 'name = "krum"', ("krum", "twice|label")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_in_one_line(small: Path, fault: str) -> None:
    right, wrong, told = FAULTS[fault]
    assert small.read_text().count(right) >= 1
    small.write_text(small.read_text().replace(right, wrong, 1))
    message = refusal(small)
    assert all(any(part in message for part in parts.split("|")) for parts in told), message


@pytest.mark.parametrize("kind", ["attack", "defense"])
def test_a_suite_without_attacks_or_defenses_is_refused(small: Path, kind: str) -> None:
    head, *entries = small.read_text().split("[[")
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
    small.write_text(small.read_text().replace(right, wrong))
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
