"""The soak's own parts: suites that run, comparisons that see a changed digit, a report that tells every count."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.suite import load
from tests.soak.faults import Blow
from tests.soak.report import page
from tests.soak.runs import Ended, group
from tests.soak.soak import TIMES, State
from tests.soak.suites import draw

FACTS: dict[str, Any] = {
    "seed": 7,
    "environment": {"commit": "abc", "cpu": "a CPU", "python": "3.11", "torch": "2", "numpy": "2"},
    "minutes": 1.5,
    "suites": 2,
    "cells": 40,
    "undisturbed": {"ok": 38, "failed": 2},
    "defenses": ["krum", "median"],
    "attacks": ["ipm"],
    "turns": 3,
    "starts": 9,
    "faults": {"driver killed": 4, "Ctrl-C": 5},
    "records": 120,
    "pictures": 6,
    "excused": {},
    "differences": [],
    "wrong": [],
}


def test_suites_are_drawn_from_the_seed_and_can_run(tmp_path: Path) -> None:
    one, again = (draw(3, 30, tmp_path) for _ in range(2))
    assert one == again
    assert sum(suite.records for suite in one) >= 30
    assert [suite.text for suite in draw(4, 30, tmp_path)] != [suite.text for suite in one]
    for suite in one:
        path = tmp_path / "drawn.toml"
        path.write_text(suite.text)
        loaded = load(str(path))
        assert len(loaded.cells()) * len(loaded.seeds) == suite.records


def test_only_times_are_left_out_of_the_comparison() -> None:
    record = json.dumps({"loss": 0.5, "cost": {"round_seconds": 0.1, "upload_bytes": 3}, "finished_at": "a"}, indent=1)
    later = record.replace("0.1", "0.2").replace('"a"', '"b"')
    assert TIMES.sub(b"", record.encode()) == TIMES.sub(b"", later.encode())
    for changed in (record.replace("0.5", "0.50001"), record.replace("3", "4")):
        assert TIMES.sub(b"", record.encode()) != TIMES.sub(b"", changed.encode())


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (Ended(1, "", "", hung=False, orphans=0), "exit code 1"),
        (Ended(0, "", "Traceback (most recent call last)", hung=False, orphans=0), "a traceback"),
        (Ended(0, "", "", hung=True, orphans=0), "did not end"),
        (Ended(0, "", "", hung=False, orphans=2), "2 processes"),
    ],
)
def test_an_end_that_is_not_as_it_should_be_is_told(ended: Ended, told: str) -> None:
    blow = Blow()
    blow.expect_end(ended, 0)
    assert len(blow.wrong) == 1
    assert told in blow.wrong[0]
    fine = Blow()
    fine.expect_end(Ended(0, "", "", hung=False, orphans=0), 0)
    assert fine.wrong == []


def test_a_state_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = State.of(path, 5)
    state.faults["Ctrl-C"] += 2
    state.turns = 4
    path.write_text(json.dumps(state.as_dict()))
    found = State.of(path, 5)
    assert (found.turns, found.faults["Ctrl-C"]) == (4, 2)
    with pytest.raises(SystemExit, match="--seed 5"):
        State.of(path, 6)


def test_the_report_has_every_count() -> None:
    text = page(FACTS)
    for told in (
        "| faults injected | 9 |",
        "| records compared | 120 |",
        "| **differences** | **0** |",
        "| seed | 7 |",
    ):
        assert told in text
    assert "- turn3/soak1/krum" in page({**FACTS, "differences": ["turn3/soak1/krum"]})


def test_a_group_without_processes_is_empty() -> None:
    assert group(2**30) == []
