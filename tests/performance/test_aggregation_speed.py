"""The public functions of the defenses, at the size of 1000 clients on MNIST where it stays in milliseconds."""

import pytest
import torch
from torch import Tensor

from bench.base import rng
from bench.perf.tracker import Tracker
from defenses.dpbfl import analyze, randomize, shuffle
from defenses.fedavg import weighted_mean
from defenses.krum import krum
from defenses.median import coordinate_median
from defenses.niss import exchange

pytestmark = [pytest.mark.performance, pytest.mark.quick]

BYZANTINE = 300
GAMMA = 0.283
SIGNS = (300, 7850)
"""Smaller than the messages: a shuffle of all coordinates of all 1000 takes most of a second."""


@pytest.fixture(scope="module")
def signs(messages: Tensor) -> Tensor:
    rows, columns = SIGNS
    return messages[:rows, :columns].sign().to(torch.int8)


def test_weighted_mean(tracked: Tracker, messages: Tensor) -> None:
    weights = torch.ones(len(messages))
    found = tracked(lambda: weighted_mean(messages, weights), memory=True)
    torch.testing.assert_close(found, messages.mean(dim=0))


def test_coordinate_median(tracked: Tracker, messages: Tensor) -> None:
    found = tracked(lambda: coordinate_median(messages), memory=True)
    low, high = messages[:, 0].sort().values[499:501]
    assert float(found[0]) == pytest.approx(float(low + high) / 2)


def test_krum(tracked: Tracker, messages: Tensor) -> None:
    found = tracked(lambda: krum(messages, BYZANTINE), memory=True)
    assert bool((messages == found).all(dim=1).any())


def test_dpbfl_randomize(tracked: Tracker, signs: Tensor) -> None:
    generator = rng.generator(0, "randomize")
    found = tracked(lambda: randomize(signs, GAMMA, generator), memory=True)
    kept = float((found == signs).double().mean())
    assert kept == pytest.approx(1 - GAMMA * 2 / 3, abs=0.01)


def test_dpbfl_shuffle(tracked: Tracker, signs: Tensor) -> None:
    generator = rng.generator(0, "shuffle")
    few = signs[:, :1000].contiguous()
    found = tracked(lambda: shuffle(few, generator), memory=True)
    assert torch.equal(found.sum(dim=0), few.sum(dim=0))


def test_dpbfl_analyze(tracked: Tracker, signs: Tensor) -> None:
    found = tracked(lambda: analyze(signs, GAMMA))
    torch.testing.assert_close(found * (1 - GAMMA), signs.sum(dim=0).to(found.dtype))


def test_niss_exchange(tracked: Tracker) -> None:
    """20 participants, an MLP's tenth, 5 shares each."""
    generator = rng.generator(0, "exchange")
    found = tracked(lambda: exchange(20, 20_000, 1.0, 5, 0.2, generator), memory=True)
    assert float(found.own.double().var()) == pytest.approx(1.0, rel=0.05)
