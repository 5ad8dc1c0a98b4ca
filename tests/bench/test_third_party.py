"""A package of somebody else's, installed beside the bench: its entries make a row and a column like all others."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
SUITE = """
name = "outside"
title = "a row and a column that the bench does not ship"
seeds = [0]

[federation]
dataset = "digits"
clients = 6
samples_per_client = 20
rounds = 2
local_steps = 1
batch_size = 10
lr = 0.5
assumed_byzantine = 0.2

[[defense]]
name = "halfway"
share = 0.25

[[defense]]
name = "median"

[[attack]]
name = "shout"
byzantine = 0.2
"""


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


def run(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)])}
    command = [sys.executable, "-m", "bench", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)


def test_a_package_s_row_and_column_run_through_the_command_line(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.toml").write_text(SUITE)
    done = run(installed, tmp_path, "run", "--suite", "outside.toml", "--workers", "2", "--results", "results")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    paths = sorted((tmp_path / "results" / "outside").glob("*/*/*.json"))
    assert [str(path.relative_to(tmp_path).parent) for path in paths] == [
        f"results/outside/{row}/{attack}" for row in ("halfway", "median") for attack in ("clean", "shout")
    ]
    record = read(paths[1])
    assert record.status == "ok"
    assert record.cell.defense.parameters == {"share": 0.25}
    assert record.cell.attack is not None
    assert record.cell.attack.parameters == {"times": 3.0}
    board = (tmp_path / "results" / "outside" / "leaderboard.md").read_text()
    assert "shout b=0.2" in board
    assert "| halfway" in board

    listed = json.loads(run(installed, tmp_path, "list", "--json").stdout)
    assert listed["defenses"]["halfway"] == "Half of the mean: what an outside package brings."
    assert listed["attacks"]["shout"] == "The honest update, against itself and many times."


def test_a_name_that_two_packages_bring_is_one_line(installed: Path, tmp_path: Path) -> None:
    facts = installed / "another-2.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 2.0\n")
    (facts / "entry_points.txt").write_text("[fedsiege.defenses]\nhalfway = another:Halfway\n")
    (tmp_path / "outside.toml").write_text(SUITE)
    done = run(installed, tmp_path, "run", "--suite", "outside.toml", "--results", "results")
    assert done.returncode == 2
    assert "defense 'halfway' is brought by" in done.stderr
    assert "another:Halfway" in done.stderr
    assert done.stderr.strip().count("\n") == 0


def test_an_entry_that_cannot_be_loaded_is_one_line(installed: Path, tmp_path: Path) -> None:
    (installed / "outside_rules" / "defense.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "outside.toml").write_text(SUITE)
    done = run(installed, tmp_path, "run", "--suite", "outside.toml", "--results", "results")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert "defense 'halfway' of another package cannot be loaded: ModuleNotFoundError" in done.stderr
    assert "a_package_that_is_not_there" in done.stderr

    listed = run(installed, tmp_path, "list", "--json")
    assert listed.returncode == 0
    assert "cannot be loaded" in json.loads(listed.stdout)["defenses"]["halfway"]
    assert "krum" in json.loads(listed.stdout)["defenses"]
