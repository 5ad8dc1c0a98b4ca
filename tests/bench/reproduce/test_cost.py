"""What a form would cost: small probes, multiplied by what a round of the full cell is more."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.federation.settings import FederationSettings
from bench.reproduce import cost
from bench.reproduce.item import Form
from bench.reproduce.items import choose
from bench.suite import Cell

STEP, ROUND = 3.0, 2.0
"""Seconds of a client's step, and of what else a client costs in a round."""


@pytest.fixture
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(
        cell: Cell, settings: FederationSettings, dataset: Any, lengths: Sequence[int]
    ) -> tuple[float, list[float]]:
        return 7.0, [settings.participants * (ROUND + STEP * steps) for steps in lengths]

    monkeypatch.setattr(cost, "_time_probe", timed)
    monkeypatch.setattr(cost, "_time_evaluation", lambda cell, dataset: 11.0)


@pytest.mark.usefixtures("_clock", "_small_suites")
@pytest.mark.parametrize("probe", [{"clients": 2, "local_steps": 1}, {"clients": 5, "local_steps": 4}, {}])
def test_a_round_is_multiplied_by_clients_and_its_steps_alone_by_steps(probe: dict[str, int]) -> None:
    """20 clients of 20 local steps: what a client costs once a round is not paid 20 times."""
    form = Form("in full", ("dpbfl-fig11",), probe=probe)
    clean = next(point for point in cost.probes(form).points() if point["defense"] == "rsa")
    steps = clean["federation"]["local_steps"]
    found = cost.time_a_round(clean, 0, None)
    assert found["round_seconds"] == pytest.approx(20 * (ROUND + STEP * steps))
    assert (found["setup_seconds"], found["evaluation_seconds"]) == (7.0, 11.0)


@pytest.mark.usefixtures("_clock", "_small_suites")
def test_a_form_s_cost_counts_what_is_missing(tmp_path: Path) -> None:
    (item,) = choose(only=["fig11"])
    form = item.forms[1]
    untimed = cost.estimate(item, form, tmp_path)
    assert untimed is not None
    assert (untimed.missing, untimed.wanted, untimed.hours) == (9, 9, None)
    assert untimed.text() == "9 of 9 cells are missing, not timed"
    store = cost.Measurements(tmp_path / cost.MEASUREMENTS)
    experiment = cost.probes(form)
    for point in experiment.points():
        store.make(experiment, point, None)
    timed = cost.estimate(item, form, tmp_path)
    assert timed is not None
    assert timed.hours is not None
    steps = experiment.points()[0]["federation"]["local_steps"]
    a_cell = 7.0 + 4 * 20 * (ROUND + STEP * steps) + 2 * 11.0  # 4 rounds, looked at every second one
    assert 3600 * timed.hours == pytest.approx(9 * a_cell)


def test_inversions_of_another_noise_are_timed_apart() -> None:
    (item,) = choose(only=["niss-fig4"])
    points = cost.probes(item.forms[0]).points()
    assert len(points) == 9  # FedAvg, and four noises of DP-FedAvg and of NISS
    assert len({point["federation"]["dtype"] for point in points}) == 1


def test_a_form_says_what_else_it_needs() -> None:
    (item,) = choose(only=["fig11"])
    told = cost.Cost(item, item.forms[0], 9, 9, 120.0).text()
    assert told.startswith("9 of 9 cells are missing, about 120 h (5 days) of one core, and ")
    assert "GB of memory" in told


@pytest.mark.parametrize(
    ("value", "told"), [(0.001, "1 min"), (0.5, "30 min"), (1.44, "1.4 h"), (47.0, "47 h"), (291.0, "290 h (12 days)")]
)
def test_hours_are_told_in_two_digits(value: float, told: str) -> None:
    assert cost.hours(value) == told
