"""The suite of backdoors: its numbers follow the rule that it states, from clean runs; its attacks come and go."""

from statistics import fmean, median

import pytest

from bench import suite
from bench.data import load
from bench.federation.engine import Federation
from defenses.fedavg import FedAvg


def test_every_attack_starts_after_a_control_and_stops_before_the_end() -> None:
    loaded = suite.load("backdoors")
    settings = loaded.federation
    for cell in loaded.cells():
        if cell.attack is not None:
            assert cell.start is not None
            assert cell.stop is not None
            assert settings.eval_every < cell.start < cell.stop < settings.rounds
            assert cell.stop % settings.eval_every == 0


@pytest.mark.slow
def test_the_bounds_are_those_of_clean_runs() -> None:
    """The median norm of fedavg's updates, and the norms of its first and last models, over the suite's seeds."""
    loaded = suite.load("backdoors")
    settings, norms, first, last = loaded.federation, [], [], []
    for seed in loaded.seeds:
        federation = Federation(settings, FedAvg(), load("digits"), seed)
        first.append(float(federation.global_model.norm()))
        for played in federation.rounds():
            norms += played.updates.norm(dim=1).tolist()
        last.append(float(federation.global_model.norm()))
    given = {cell.label: cell.defense.parameters for cell in loaded.cells()}
    assert given["norm_clipping"]["bound"] == given["weak_dp"]["bound"] == pytest.approx(median(norms), abs=0.006)
    crfl = given["crfl"]
    assert crfl["first"] == pytest.approx(fmean(first), abs=0.06)
    assert crfl["rho"] == pytest.approx(fmean(last), abs=0.06)
    assert crfl["first"] + crfl["growth"] * settings.rounds == pytest.approx(crfl["rho"], abs=0.06)
