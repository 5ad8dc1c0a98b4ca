"""A package of somebody else's, installed beside the bench: its entries make a row and a column like all others."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.records import read

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DEFENSE = '''"""A package's rule."""

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound


class Halfway(Defense):
    """Half of the mean: what an outside package brings."""

    share: float = 0.5

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + self.share * delivered.messages.mean(dim=0)
'''
PLACE = "outside_rules.defense:Halfway"
ATTACK = '''"""A package's attack."""

from torch import Tensor

from bench.threat import ByzantineAttack, ByzantineView


class Shout(ByzantineAttack):
    """The honest update, against itself and many times."""

    times: float = 3.0

    def forge(self, view: ByzantineView) -> Tensor:
        return -self.times * view.own
'''
ENTRIES = """[fedsiege.defenses]
halfway = outside_rules.defense:Halfway

[fedsiege.attacks]
shout = outside_rules.attack:Shout

[fedsiege.datasets]
clouds = outside_rules.parts:clouds

[fedsiege.models]
tiny_net = outside_rules.parts:TinyNet
"""
PARTS = '''"""A package's data and model."""

import torch
from torch import nn

from bench.data import Dataset, from_arrays


def clouds() -> Dataset:
    """Three clouds in the plane."""
    y = torch.arange(300) % 3
    x = torch.stack([y.double().sin(), y.double().cos()], dim=1) + torch.linspace(0, 0.1, 300)[:, None]
    return from_arrays("clouds", (x[:200], y[:200]), (x[200:], y[200:]))


class TinyNet(nn.Linear):
    """One layer."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape[0], classes)
'''
ROWS = """
[[defense]]
name = "halfway"
share = 0.25

[[defense]]
name = "median"

[[attack]]
name = "shout"
byzantine = 0.2
"""
RUN = ("run", "--suite", "tiny.toml", "--workers", "1", "--results", "results")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder on the path as pip leaves it: the package, and a `.dist-info` with its entry points."""
    site = tmp_path / "site-packages"
    package, facts = site / "outside_rules", site / "outside_rules-1.0.dist-info"
    package.mkdir(parents=True)
    facts.mkdir()
    (package / "__init__.py").touch()
    (package / "defense.py").write_text(DEFENSE)
    (package / "attack.py").write_text(ATTACK)
    (package / "parts.py").write_text(PARTS)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-rules\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRIES)
    return site


@pytest.fixture(autouse=True)
def _tiny(tmp_path: Path, tiny_suite: Callable[..., str]) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_suite(ROWS, assumed_byzantine=0.2))


@pytest.fixture
def _here(installed: Path, monkeypatch: pytest.MonkeyPatch, _registry: None) -> Iterator[None]:
    """This process finds the package too, and forgets its modules after the test."""
    monkeypatch.syspath_prepend(installed)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "outside_rules"]:
        del sys.modules[name]


def test_a_package_s_row_and_column_run_through_the_command_line(
    installed: Path, tmp_path: Path, shell: Callable[..., Any]
) -> None:
    done = shell(*RUN, PYTHONPATH=os.pathsep.join([str(installed), str(ROOT)]))
    assert (done.code, "Traceback" in done.err) == (0, False), done.err
    paths = sorted((tmp_path / "results" / "tiny").glob("*/*/*.json"))
    assert [str(path.relative_to(tmp_path).parent) for path in paths] == [
        f"results/tiny/{row}/{attack}" for row in ("halfway", "median") for attack in ("clean", "shout")
    ]
    record = read(paths[1])
    assert record.status == "ok"
    assert record.cell.defense.parameters == {"share": 0.25}
    assert record.cell.attack is not None
    assert record.cell.attack.parameters == {"times": 3.0}
    board = (tmp_path / "results" / "tiny" / "leaderboard.md").read_text()
    assert "shout b=0.2" in board
    assert "| halfway" in board


@pytest.mark.slow  # a file of one's own in two workers is tried by test_load
def test_a_package_s_data_and_model_are_played_in_worker_processes(
    installed: Path, tmp_path: Path, shell: Callable[..., Any]
) -> None:
    path = os.pathsep.join([str(installed), str(ROOT)])
    asked = ("--set", "dataset=clouds", "--set", "model=tiny_net", "--attack", "shout", "--defense", "median")
    run = ("run", "--suite", "tiny.toml", "--workers", "2", "--results", "results", *asked)
    done = shell(*run, PYTHONPATH=path)
    assert (done.code, "Traceback" in done.err) == (0, False), done.err
    first = {path.stem: read(path) for path in (tmp_path / "results" / "tiny").glob("*/*/*.json")}
    assert len(first) == 2
    for record in first.values():
        assert (record.status, record.cell.federation.dataset) == ("ok", "clouds")
        assert list(record.cell.loaded) == ["model tiny_net"]  # it has no version that would tell a changed one

    parts = installed / "outside_rules" / "parts.py"
    parts.write_text(parts.read_text().replace("One layer.", "A single layer."))
    assert shell(*run, PYTHONPATH=path).code == 0
    assert len(list((tmp_path / "results" / "tiny").glob("*/*/*.json"))) == 4


@pytest.mark.usefixtures("_here")
def test_a_package_s_classes_are_listed(bench: Callable[..., Any]) -> None:
    listed = json.loads(bench("list", "--json").out)
    assert listed["defenses"]["halfway"] == "Half of the mean: what an outside package brings."
    assert listed["attacks"]["shout"] == "The honest update, against itself and many times."
    assert listed["datasets"]["clouds"] == "Three clouds in the plane."
    assert listed["models"]["tiny_net"] == "One layer."


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(
    ("module", "line"),
    [('"""A package\'s rule."""\n', "A package's rule."), ("", "(no docstring) outside_rules.defense:Halfway")],
)
def test_a_class_without_a_docstring_has_the_line_of_its_module_or_its_place(
    installed: Path, bench: Callable[..., Any], module: str, line: str
) -> None:
    bare = DEFENSE.replace('    """Half of the mean: what an outside package brings."""\n', "").split("\n", 1)[1]
    (installed / "outside_rules" / "defense.py").write_text(module + bare)
    assert f"  halfway             {line}\n" in bench("list", "defenses").out


@pytest.mark.usefixtures("_here")
def test_a_name_that_two_packages_bring_is_one_line(installed: Path, bench: Callable[..., Any]) -> None:
    facts = installed / "another-2.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 2.0\n")
    (facts / "entry_points.txt").write_text("[fedsiege.defenses]\nhalfway = another:Halfway\n")
    done = bench(*RUN)
    assert done.code == 2
    assert "defense 'halfway' is brought by" in done.err
    assert "another:Halfway" in done.err
    assert done.err.strip().count("\n") == 0


@pytest.mark.usefixtures("_here")
def test_an_entry_that_cannot_be_loaded_is_one_line(installed: Path, bench: Callable[..., Any]) -> None:
    (installed / "outside_rules" / "defense.py").write_text("import a_package_that_is_not_there\n")
    done = bench(*RUN)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert done.err.strip().count("\n") == 0
    assert "defense 'halfway' of another package cannot be loaded: ModuleNotFoundError" in done.err
    assert "a_package_that_is_not_there" in done.err

    listed = bench("list", "--json")
    assert listed.code == 0
    assert "cannot be loaded" in json.loads(listed.out)["defenses"]["halfway"]
    assert "krum" in json.loads(listed.out)["defenses"]
