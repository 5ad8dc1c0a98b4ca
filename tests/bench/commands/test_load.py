"""`--load FILE.py`: a rule, an attack, a data set and a model of one's own, without a package and without a fork."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench import registry
from bench.base.errors import BadInputError
from bench.records import read
from tests.bench.helpers.own import OWN, SUITE

Command = Callable[..., Any]
RUN = ("run", "--suite", "own.toml", "--load", "mine.py", "--workers", "1", "--quiet")

pytestmark = pytest.mark.usefixtures("_registry")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "own.toml").write_text(SUITE)
    return tmp_path


def records(folder: Path) -> dict[str, Any]:
    return {path.stem: read(path) for path in folder.glob("runs/own/*/*/*.json")}


def the_line(done: Any) -> str:
    assert (done.code, done.out) == (2, ""), done
    (line,) = done.err.splitlines()
    return str(line)


@pytest.mark.integration
def test_a_suite_of_one_s_own_runs_in_two_worker_processes(shell: Command, bench: Command, folder: Path) -> None:
    done = shell(*RUN[:-2], "2", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["failed_or_diverged"] == []
    found = records(folder)
    assert len(found) == 12
    assert {record.cell.label for record in found.values()} >= {"my_rule (share=0.5)", "my_rule (share=1.0)", "nnm"}
    assert all(record.metrics["accuracy"] > 0.8 for record in found.values() if record.cell.attack is None)
    again = json.loads(bench(*RUN[:-2], "2", "--json").out)
    assert (again["ran"], again["already_there"]) == (0, 12)


def test_it_is_listed_with_its_line(bench: Command) -> None:
    listed = json.loads(bench("list", "--load", "mine.py", "--json").out)
    assert listed["defenses"]["my_rule"] == "A share of the mean."
    assert listed["attacks"]["my_attack"] == "Its own update, against itself."
    assert listed["datasets"]["my_data"] == "Two clouds of points in five dimensions."
    assert listed["models"]["my_model"] == "A hidden layer of eight."
    assert {"krum", "digits", "softmax"} <= {*listed["defenses"], *listed["datasets"], *listed["models"]}


@pytest.mark.integration
def test_every_command_that_takes_names_knows_them(bench: Command, folder: Path) -> None:
    assert bench(*RUN, "--defense", "median").code == 0
    board = bench("leaderboard", "--suite", "own.toml", "--load", "mine.py")
    assert (board.code, "my_attack b=0.2" in board.out) == (0, True)
    trials = bench("tune", "--suite", "own.toml", "--load", "mine.py", "--defense", "my_rule", "--json")
    assert len(json.loads(trials.out)) == 2
    verified = bench("verify", "runs/own/median", "--sample", "1", "--load", "mine.py", "--json")
    assert verified.code == 0, verified.out
    path = next(folder.glob("runs/own/median/my_attack/*.json"))
    assert "file of attack my_attack" in bench("show", str(path)).out


def test_two_files_with_the_same_names_share_no_record_and_no_board(bench: Command, folder: Path) -> None:
    assert bench(*RUN).code == 0
    first = records(folder)
    (folder / "mine.py").write_text(OWN.replace("-self.times * view.own", "-2 * self.times * view.own"))
    assert json.loads(bench(*RUN[:-1], "--json").out)["ran"] == 12
    both = records(folder)
    assert len(both) == 24
    assert first.items() <= both.items()
    board = json.loads(bench("leaderboard", "--suite", "own.toml", "--load", "mine.py", "--format", "json").out)
    assert "12 records whose cell was run again or with other parameters" in " ".join(board["left_out"])


def test_what_a_cell_names_is_what_it_tells_the_file_of(bench: Command, folder: Path) -> None:
    suite = SUITE.replace('"my_data"', '"digits"').replace('"my_model"', '"softmax"')
    (folder / "own.toml").write_text(suite)
    assert bench(*RUN).code == 0
    digest = registry.source_of("defense", "my_rule")
    assert re.fullmatch("[0-9a-f]{16}", digest)
    for record in records(folder).values():
        own = {"defense my_rule"} if record.cell.label != "median" else set()
        own |= {"attack my_attack"} if record.cell.attack_name == "my_attack" else set()
        assert record.cell.loaded == dict.fromkeys(own, digest)
        assert ("loaded" in record.cell.content) == bool(own)


def test_a_notebook_loads_it_and_takes_it_anew_when_it_has_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    asked: dict[str, Any] = {"defenses": "my_rule", "attacks": "clean", "load": ["mine.py"]}
    first = bench.run("own.toml", **asked)
    assert set(first["status"]) == {"ok"}
    assert set(bench.run("own.toml", **asked)["key"]) == set(first["key"])
    (folder / "mine.py").write_text(OWN.replace("share: float = 0.5", "share: float = 0.25"))
    changed = bench.run("own.toml", **{**asked, "load": "mine.py"})
    assert not set(changed["key"]) & set(first["key"])
    assert registry.get("defense", "my_rule")().share == 0.25  # type: ignore[attr-defined]


def test_what_the_suite_names_and_no_file_brings_is_told(bench: Command) -> None:
    line = the_line(bench("run", "--suite", "own.toml"))
    assert "named 'my_rule'" in line
    assert line.endswith("--load FILE.py brings one of your own")
    suggested = the_line(bench("run", "--suite", "own.toml", "--load", "mine.py", "--set", "model=my_modle"))
    assert suggested == "fedsiege: no model named 'my_modle': did you mean my_model?"


REGISTER = "from bench.registry import register\n"
FAULTS = {
    "nothing in it": ("x = 1\n", r'mine\.py registers nothing: put @register\("defense", "my_rule"\) above a class'),
    "no Python": ("def f(:\n", r"mine\.py cannot be loaded: invalid syntax in line 1"),
    "bytes that are no text": ("é = '\udcff'", r"mine\.py cannot be loaded: .*"),
    "an import that is not there": (
        "\nimport nothere\n",
        r"cannot be loaded: ModuleNotFoundError: .*nothere' in line 2",
    ),
    "an end": ("raise SystemExit(3)\n", r"cannot be loaded: SystemExit: 3 in line 1"),
    "a name that is taken": (
        f'{REGISTER}@register("model", "mlp")\ndef f(shape, classes): pass\n',
        r"ValueError: model name 'mlp' is taken by bench\.models.*MLP: give f another in line 2",
    ),
    "a name that is none": (
        f'{REGISTER}register("dataset", "a/b")\n',
        r"data set name 'a/b' will not do: take letters",
    ),
    "a defense that is none": (
        f'{REGISTER}@register("defense", "mine")\nclass Mine: pass\n',
        r"mine\.py: defense 'mine' is no subclass of bench\.protocol\.Defense",
    ),
    "an attack that is a function": (
        f'{REGISTER}@register("attack", "mine")\ndef mine(): pass\n',
        r"mine\.py: attack 'mine' is no subclass of bench\.threat\.Attack",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_cannot_be_loaded_is_one_line_and_leaves_nothing(bench: Command, folder: Path, name: str) -> None:
    text, told = FAULTS[name]
    (folder / "mine.py").write_bytes(text.encode(errors="surrogateescape"))
    before = {kind: registry.names(kind) for kind in registry.KINDS}
    line = the_line(bench("list", "--load", "mine.py"))
    assert re.search(told, line), line
    assert {kind: registry.names(kind) for kind in registry.KINDS} == before


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("nosuch.py", "--load nosuch.py cannot be read: No such file or directory"),
        ("own.toml", "--load own.toml is not a Python file: give FILE.py"),
        (".", "--load . is not a Python file: give FILE.py"),
        ("twin.py", "'my_rule' is taken by {folder}/mine.py: give MyRule another"),
    ],
)
def test_what_is_no_file_of_one_s_own_is_one_line(bench: Command, folder: Path, given: str, told: str) -> None:
    (folder / "twin.py").write_text(OWN + "\n# another file\n")
    line = the_line(bench("list", "--load", "mine.py", "--load", given))
    assert told.format(folder=folder) in line


PARTS = {  # what of the file becomes what, and what a run then says
    "a data set that is none": ("return from_arrays(", "return str(", r"data set 'my_data' cannot be made: TypeError"),
    "a data set of another type": (
        'return from_arrays("my_data", (x[:300], y[:300]), (x[300:], y[300:]))',
        "return x",
        r"data set 'my_data' is ndarray, but its function must return a bench\.data\.Dataset",
    ),
    "a model that does not fit": (
        "nn.Linear(shape[0], 8)",
        "nn.Linear(7, 8)",
        r"model 'my_model', for samples of shape \(5,\) and 2 classes, cannot be built: RuntimeError",
    ),
    "a model with too many answers": (
        "nn.Linear(8, classes)",
        "nn.Linear(8, 3)",
        r"model 'my_model', .*, answers two of them in shape \(2, 3\), not \(2, 2\)",
    ),
    "a model that is none": (
        "return nn.Sequential(nn.Linear(shape[0], 8), nn.Tanh(), nn.Linear(8, classes))",
        "return shape",
        r"model 'my_model' is tuple, but must be a torch\.nn\.Module",
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_cannot_be_played_is_one_line_before_anything_runs(bench: Command, folder: Path, name: str) -> None:
    old, new, told = PARTS[name]
    assert old in OWN
    (folder / "mine.py").write_text(OWN.replace(old, new))
    line = the_line(bench(*RUN))
    assert re.search(told, line), line
    assert not (folder / "runs").exists()


@pytest.mark.integration
def test_data_that_differ_from_process_to_process_are_told(shell: Command, folder: Path) -> None:
    (folder / "mine.py").write_text(OWN.replace("default_rng(0)", "default_rng()"))
    line = the_line(shell(*RUN[:-2], "2", "--quiet"))
    assert "data set 'my_data' is another one in each process" in line
    assert line.endswith("give its random draws a fixed seed)")


def test_an_inversion_of_samples_that_are_no_images_is_one_line(bench: Command, folder: Path) -> None:
    inverts = SUITE.replace('name = "sign_flip"\nbyzantine = 0.2', 'name = "dlg"')
    (folder / "own.toml").write_text(inverts.replace("[[defense]]", "[privacy]\ntargets = 2\n\n[[defense]]", 1))
    line = the_line(bench(*RUN))
    assert "dlg: an inversion takes images (C, H, W) with pixels in [0, 1], and data set 'my_data' has others" in line


def test_a_file_that_imports_what_ships_does_not_bring_it(folder: Path) -> None:
    text = OWN.replace("class MyRule(Defense)", "class MyRule(FedAvg)").replace(
        "import numpy as np\n", "import numpy as np\nfrom defenses.fedavg import FedAvg\n"
    )
    (folder / "mine.py").write_text(text)
    registry.load_files([folder / "mine.py"])
    assert registry.source_of("defense", "fedavg") == ""
    assert registry.source_of("defense", "my_rule") != ""


def test_a_file_that_fails_in_place_of_one_leaves_that_one(folder: Path) -> None:
    registry.load_files([folder / "mine.py"])
    known = registry.get("defense", "my_rule")
    (folder / "mine.py").write_text(OWN + "\nraise ValueError('half way')\n")
    with pytest.raises(BadInputError, match="half way"):
        registry.load_files([folder / "mine.py"])
    assert registry.get("defense", "my_rule") is known
