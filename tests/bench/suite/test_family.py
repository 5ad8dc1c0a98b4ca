"""Lists in `[federation]`: a suite of its own for each value, with its own folder and boards."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import notebook, suite
from bench.base.errors import BadInputError
from bench.runs import jobs
from bench.suite import load_family

TEXT = """
name = "mine"
title = "skews"
seeds = [0]

[federation]
dataset = "digits"
partition = "dirichlet"
alpha = [0.1, 1.0]
clients = 6
samples_per_client = 10
rounds = 2
local_steps = 1
batch_size = 5
lr = 0.5

[[defense]]
name = "median"

[[attack]]
name = "sign_flip"
byzantine = [0.34]
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    return path


def test_each_value_is_a_suite_of_its_own(mine: Path) -> None:
    found = load_family(str(mine))
    assert list(found) == [f"{mine}@alpha=0.1", f"{mine}@alpha=1"]
    assert [(one.name, one.title) for one in found.values()] == [
        ("mine@alpha=0.1", "skews (alpha = 0.1)"),
        ("mine@alpha=1", "skews (alpha = 1.0)"),
    ]
    for name, one in found.items():
        assert suite.load(name) == one
        alone = mine.with_name("alone.toml")
        alone.write_text(TEXT.replace("[0.1, 1.0]", str(one.federation.alpha)))
        assert [cell.hash for cell in suite.load(str(alone)).cells()] == [cell.hash for cell in one.cells()]


def test_several_lists_are_all_their_combinations(mine: Path) -> None:
    found = load_family(str(mine), ["participation=[0.5, 1.0]", "local_epochs=[1, 2]"])
    settings = [one.federation for one in found.values()]
    points = {(one.alpha, one.participation, one.local_epochs, one.local_steps) for one in settings}
    assert len(found) == len(points) == 8
    assert (0.1, 0.5, 2, None) in points
    assert f"{mine}@alpha=0.1,participation=0.5,local_epochs=2" in found


def test_a_change_may_end_a_family_or_begin_one(mine: Path) -> None:
    assert suite.load(str(mine), ["alpha=0.3"]).name == "mine"
    assert list(load_family("smoke", ["local_steps=[1, 3]"])) == ["smoke@local_steps=1", "smoke@local_steps=3"]
    assert list(load_family("smoke")) == ["smoke"]


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("", [], "is a family of 2: name one of .*mine.toml@alpha=0.1, .*mine.toml@alpha=1$"),
        ("@alpha=0.2", [], "no setting of suite .*mine.toml named 'alpha=0.2': did you mean alpha=0.1"),
        ("@alpha=0.1", ["alpha=0.1"], "no setting of suite .*mine.toml named 'alpha=0.1'"),
        ("", ["alpha=[]"], r"federation.alpha is \[\], but must be values, each once"),
        ("", ["alpha=[1, 1.0]"], r"federation.alpha is \[1, 1.0\], but must be values, each once"),
        ("", ["alpha=[-1.0, 1.0]"], r"federation.alpha: Input should be greater than 0 \(given -1.0\)"),
        ("", ["alpha=[true]"], "federation.alpha: Input should be a number, not true or false"),
        ("", ["lr=[0.1, 0.2]"], r"federation.lr: Input should be a valid number \(given \[0.1, 0.2\]\)"),
    ],
)
def test_what_is_no_suite_is_refused_in_one_line(mine: Path, name: str, changes: list[str], told: str) -> None:
    with pytest.raises(BadInputError, match=told) as caught:
        suite.load(f"{mine}{name}", changes)
    assert "\n" not in str(caught.value)


def test_a_path_may_hold_an_at_sign(tmp_path: Path) -> None:
    path = tmp_path / "me@home.toml"
    path.write_text(TEXT)
    assert list(load_family(str(path))) == [f"{path}@alpha=0.1", f"{path}@alpha=1"]


# ------------------------------------------------------------------------------------------------------------- played


def test_a_family_is_played_and_shown_suite_by_suite(mine: Path, bench: Callable[..., Any], tmp_path: Path) -> None:
    done = bench("run", "--suite", "mine.toml", "--workers", "1", "--json")
    assert done.code == 0, done.err
    assert [(one["suite"], one["ran"]) for one in json.loads(done.out)] == [("mine@alpha=0.1", 2), ("mine@alpha=1", 2)]
    for member in ("alpha=0.1", "alpha=1"):
        folder = tmp_path / "runs" / f"mine@{member}"
        assert len(list(folder.glob("*/*/*.json"))) == 2
        assert f"mine@{member}" in (folder / "leaderboard.md").read_text()
    again = bench("run", "--suite", "mine.toml", "--workers", "1")
    assert again.out.count("nothing is left to run: 2 of 2 records were there") == 2
    assert again.out.index("mine@alpha=0.1: skews (alpha = 0.1)") < again.out.index("mine@alpha=1: skews (alpha = 1.0)")

    both = jobs.leaderboard_text("mine.toml", None, "md")
    parts = [jobs.leaderboard_text(f"mine.toml@{member}", None, "md") for member in ("alpha=0.1", "alpha=1")]
    assert both == "\n".join(parts)
    assert parts[0] != parts[1]
    refused = bench("leaderboard", "--suite", "mine.toml", "--format", "csv")
    assert refused.code == 2
    assert "is a family of 2" in refused.err
    assert bench("leaderboard", "--suite", "mine.toml@alpha=1", "--format", "csv").code == 0
    frame = notebook.run("mine.toml", workers=1)
    assert list(frame["suite"]) == 2 * ["mine@alpha=0.1"] + 2 * ["mine@alpha=1"]
    assert frame["setting"].nunique() == 2
