"""A package of somebody else's, installed beside the bench: its entries make a row and a column like all others."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.records import read

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
"""
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


@pytest.mark.usefixtures("_here")
def test_a_package_s_classes_are_listed(bench: Callable[..., Any]) -> None:
    listed = json.loads(bench("list", "--json").out)
    assert listed["defenses"]["halfway"] == "Half of the mean: what an outside package brings."
    assert listed["attacks"]["shout"] == "The honest update, against itself and many times."


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
    assert f"  halfway          {line}\n" in bench("list", "defenses").out


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
