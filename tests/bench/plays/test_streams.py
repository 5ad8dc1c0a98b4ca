"""Random streams: in a cell no two roles draw from the same one, and every role has its own.

`bench.base.rng.generator` is watched while cells are played: which lines asked for which seed and labels. A stream
that two lines share is one draw in two roles: Byzantine clients who are those with the first classes, or attackers who
see what the server is about to draw.
"""

import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.base import rng
from bench.records import Record

Labels = tuple[str | int, ...]
WRAPPERS = {"watched", "fork", "_generator"}
"""Functions that ask on behalf of the line that called them."""

NISS = {"name": "niss", "num_shares": 3, "tau_squared": 1.0}


class Streams:
    """Who asked for which stream: lines of code, by seed and labels."""

    def __init__(self) -> None:
        self.asked: dict[tuple[int, Labels], set[str]] = defaultdict(set)

    def roles(self, seed: int) -> set[str]:
        """The first labels of the cell's own streams."""
        return {str(labels[0]) for source, labels in self.asked if source == seed}

    def shared(self) -> dict[tuple[int, Labels], set[str]]:
        return {stream: lines for stream, lines in self.asked.items() if len(lines) > 1}


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]) -> Streams:
    found, generator = Streams(), rng.generator
    forget()

    def watched(seed: int, *labels: str | int, device: torch.device | str | None = None) -> torch.Generator:
        frame = sys._getframe()
        while frame.f_code.co_name in WRAPPERS:
            assert frame.f_back is not None
            frame = frame.f_back
        found.asked[seed, labels].add(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return generator(seed, *labels, device=device)

    monkeypatch.setattr(rng, "generator", watched)
    return found


Play = Callable[..., Record]
TRAINED = {"partition", "byzantine", "participants", "initial", "batches", "noise", "channel", "server"}


def test_a_line_that_asks_twice_is_one_role_and_two_lines_are_two(streams: Streams) -> None:
    for _ in range(2):
        rng.generator(0, "a")
    assert not streams.shared()
    rng.fork(rng.generator(0, "b"), 1)
    rng.fork(rng.generator(0, "b", 0), 1)
    assert not streams.shared()
    rng.generator(0, "a")
    assert set(streams.shared()) == {(0, ("a",))}


DRAWING = [{"name": "dpbfl"}, NISS, {"name": "dnc", "subsample": 20}]


@pytest.mark.parametrize("defense", DRAWING, ids=lambda defense: defense["name"])
def test_training_with_sampling_under_an_attacker_that_knows_all(
    defense: dict[str, Any], streams: Streams, play: Play
) -> None:
    """The attackers play the server's rule on draws that it never makes."""
    attack = {"name": "fang", "byzantine": 2 / 9}
    record = play(defense, attack, seed=4, participation=0.8, rounds=2)
    assert (record.status, record.error) == ("ok", None)
    assert not streams.shared()
    assert streams.roles(4) == TRAINED | {"forge", "imagined channel", "imagined server"}
    for role in TRAINED - {"partition", "byzantine", "initial"}:
        assert {labels for _, labels in streams.asked if labels[0] == role} == {(role, 0), (role, 1)}


def test_training_on_poisoned_shards_with_a_server_that_has_its_own_images(streams: Streams, play: Play) -> None:
    attack = {"name": "backdoor", "byzantine": 2 / 9}
    assert play({"name": "fltrust", "root_samples": 20}, attack, rounds=2).status == "ok"
    assert not streams.shared()
    assert streams.roles(0) == (TRAINED - {"participants"}) | {"poison", "root", "root batches", "forge"}


def test_training_in_sums(streams: Streams, play: Play) -> None:
    assert play({"name": "dpbfl"}, {"name": "gaussian", "byzantine": 2 / 9}, rounds=2).status == "ok"
    assert not streams.shared()
    assert streams.roles(0) == (TRAINED - {"participants", "channel"}) | {"forge"}


@pytest.mark.parametrize("name", ["collusion", "zero_shares"])
def test_an_inversion_with_colluders(name: str, streams: Streams, play: Play) -> None:
    attack = {"name": name, "rho": 0.5, "starts": 2, "evaluations": 4}
    assert play(NISS, attack, seed=2).status == "ok"
    assert not streams.shared()
    assert streams.roles(2) == (TRAINED - {"participants"}) | {"targets", "private", "colluders", "attack"}
    attacked = rng.derive_seed(2, "attack")
    assert {labels for source, labels in streams.asked if source == attacked} == {(0,), (1,)}


def test_an_audit(streams: Streams, play: Play) -> None:
    """Each game of each world has streams of its own."""
    attack = {"name": "audit", "runs": 10, "dim": 5, "rho": 0.5}
    assert play(NISS, attack, seed=3).status == "ok"
    assert not streams.shared()
    assert streams.roles(3) == {"canary", "audit", "order of games"}
    games = [(source, labels) for source, labels in streams.asked if source == 3 and labels[0] == "audit"]
    assert {labels for _, labels in games} == {("audit", world, run) for world in (0, 1) for run in range(10)}
    for _, labels in games:
        drawn = rng.derive_seed(3, *labels)
        forked = {labels for source, labels in streams.asked if source == drawn}
        assert forked == {("colluders",), ("noise",), ("channel",)}
