"""`try` on the command line: a function by its import path, what is not installed, and the peers where they are."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import BadInputError
from bench.exchange.foreign import libraries, table
from bench.exchange.foreign.compare import compared

Command = Callable[..., Any]

RULES = """
import numpy as np


def my_krum(updates, f):
    away = ((updates[:, None] - updates[None]) ** 2).sum(dim=2)
    return updates[away.sort(dim=1).values[:, 1 : len(updates) - f].sum(dim=1).argmin()]


def coordinate_median(arrays):
    return np.median(np.stack(arrays), axis=0)


class TrimmedMean:
    def __init__(self, num_byzantine):
        self.f = num_byzantine

    def __call__(self, updates):
        return updates.sort(dim=0).values[self.f : len(updates) - self.f].mean(dim=0)


not_callable = 3
"""


@pytest.fixture(autouse=True)
def _rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_rules.py").write_text(RULES, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield
    sys.modules.pop("my_rules", None)


def test_a_function_by_its_path_gets_contract_verdict_and_a_row(bench: Command, tmp_path: Path) -> None:
    done = bench("try", "my_rules:my_krum", "--json")
    assert (done.code, done.err) == (0, "")
    report: dict[str, Any] = json.loads(done.out)
    assert report["verdict"]["verdict"] == "variant"
    assert report["verdict"]["told"].startswith("n - f - 1 neighbours")
    verdicts = {one["rule"]: one["verdict"] for one in report["findings"]}
    assert verdicts["shapes and types"] == verdicts["honest behaviour"] == "passed"
    rows = {(row["defense"], row["column"]) for row in report["rows"]}
    assert {("my_rules.my_krum", "clean"), ("krum", "clean")} <= rows
    assert {path.name for path in tmp_path.iterdir()} <= {"my_rules.py", "__pycache__"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["krum"], "'krum' is not LIBRARY:NAME, such as flwr:Krum"),
        (["no_such_module_here:rule"], "cannot import 'no_such_module_here'"),
        (["my_rules:nothing"], "my_rules has no function 'nothing'"),
        (["my_rules:not_callable"], "my_rules has no function 'not_callable'"),
        (["my_rules:my_krum", "--takes", "frames"], "--takes 'frames' must be one of rows, numpy, list, arrays"),
        (["my_rules:my_krum", "--against-ours", "no_rule"], "--against-ours 'no_rule' must be one of"),
        (["my_rules:my_krum", "--set", "f"], "--set 'f' is not of the form key=value"),
        (["my_rules", "--all"], "no library named 'my_rules'"),
        (["my_rules:my_krum", "--format", "pdf"], "--format 'pdf' must be one of text, md, json"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(bench: Command, arguments: list[str], told: str) -> None:
    done = bench("try", *arguments)
    assert done.code == 2
    assert told in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_what_is_not_installed_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, extra in (("flwr", "flower"), ("byzfl", "byzfl"), ("byzpy", "byzpy"), ("nvflare", "nvflare")):
        with pytest.raises(BadInputError, match=rf"{name} is not installed: pip install 'fedsiege\[{extra}\]'"):
            libraries.find(f"{name}:Krum")


@pytest.mark.parametrize(
    ("name", "form", "outcome"), [("coordinate_median", "arrays", "same"), ("TrimmedMean", "rows", "same")]
)
def test_lists_of_arrays_and_classes_are_taken_too(name: str, form: str, outcome: str) -> None:
    assert compared(libraries.find(f"my_rules:{name}", form)).outcome == outcome


def installed(name: str) -> pytest.MarkDecorator:
    there = find_spec(libraries.LIBRARIES[name].module) is not None
    return pytest.mark.skipif(not there, reason=f"{name} is not installed: pip install {libraries.LIBRARIES[name].how}")


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        pytest.param("flwr:Krum", "same but for ties", marks=installed("flwr")),
        pytest.param("flwr:Bulyan", "variant", marks=installed("flwr")),
        pytest.param("flwr:FedMedian", "same", marks=installed("flwr")),
        pytest.param("flwr:server.Bulyan", "variant", marks=installed("flwr")),
        pytest.param("flwr:server.FedTrimmedAvg", "same", marks=installed("flwr")),
        pytest.param("byzfl:Krum", "variant", marks=installed("byzfl")),
        pytest.param("byzfl:TrMean", "same", marks=installed("byzfl")),
        pytest.param("byzpy:CoordinateWiseMedian", "variant", marks=installed("byzpy")),
    ],
)
def test_the_peers_where_they_are_installed(what: str, outcome: str) -> None:
    assert compared(libraries.find(what)).outcome == outcome


@installed("nvflare")
def test_percentile_privacy_has_no_noise() -> None:
    lines = list(table.lines(libraries.LIBRARIES["nvflare"], lambda line: None))
    told = next(line for line in lines if line.name == "PercentilePrivacy").privacy[0].told
    assert "no noise at all" in told
