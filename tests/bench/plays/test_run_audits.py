"""Audits of whole runs: they find leaks that no single round shows, and leave alone what keeps its promise.

Each bound holds with 95 % confidence. The seeds are fixed, 0 to 2 for what is planted, 0 to 4 for what is right: one of
those five would be flagged with probability 23 % at most if the level were exactly 5 %, and the bounds stay far below.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import PrivateAttr
from torch import Tensor

from attacks.run_audit import OneRunAudit
from bench import registry
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.plays.cell import run_cell
from bench.plays.findings import build_defense
from bench.plays.run_audit import Coins, Samples
from bench.protocol import Defense, Delivered, LocalRound, Upload, clip
from bench.records import Record
from bench.suite import Cell
from bench.threat import RunGame, RunRound
from defenses.dp_fedavg import DPFedAvg
from defenses.dpbfl import DPBFL, shuffle

PLANTED_SEEDS, SEEDS = range(3), range(5)
FEDERATION = {"clients": 300, "samples_per_client": 2, "batch_size": 2, "local_steps": 1, "rounds": 20, "delta": 1e-6}
AUDIT = {"name": "run_audit", "canaries": 300}
NOISY = {"epsilon": 0.2, "zeta": 1.0}
Play = Callable[..., Record]


@pytest.fixture(scope="session")
def audit(play: Play) -> Callable[..., Record]:
    """The record of a run audit of a defense; keywords are the federation's."""

    def record(defense: dict[str, Any], seed: int = 0, attack: dict[str, Any] | None = None, **given: Any) -> Record:
        found = play(defense, {**AUDIT, **(attack or {})}, seed, **{**FEDERATION, **given})
        assert (found.status, found.error) == ("ok", None)
        return found

    return record


def bounds(record: Record) -> tuple[float, float]:
    """(audited, composed) epsilon, in the same unit and at the same delta."""
    audited, composed = record.privacy.audited, record.privacy.composed
    assert audited is not None
    assert composed is not None
    assert (audited.unit, audited.delta) == (composed.unit, composed.delta) == ("per client and run", 1e-6)
    assert audited.epsilon == record.metrics["epsilon_run"]
    assert audited.epsilon is not None
    assert composed.epsilon is not None
    return audited.epsilon, composed.epsilon


# ---------------------------------------------------------------------------------------------------- planted: found


class ReusesNoise(DPFedAvg):
    """The noise of a client's first round serves in all others."""

    def upload(self, local: LocalRound) -> Upload:
        message = self.message(local.updates, local.weights)
        drawn = self.sigma(local.setting) * torch.randn(message.shape, generator=local.generator, dtype=message.dtype)
        local.memory.setdefault("noise", drawn)
        return Upload(message + local.memory["noise"])


class ForgetsToClipLate(DPFedAvg):
    """From the middle of the run on nothing is clipped."""

    def upload(self, local: LocalRound) -> Upload:
        late = 2 * local.index >= local.setting.rounds
        message = local.weights[:, None] * (local.updates if late else clip(local.updates, self.zeta))
        n = self.sigma(local.setting) * torch.randn(message.shape, generator=local.generator, dtype=message.dtype)
        return Upload(message + n)


class KeepsItsOrder(DPBFL):
    """From round `since` on the shuffler puts the clients in the same order, a new one before."""

    since: int = 10
    _rounds: int = PrivateAttr(default=0)

    def deliver(self, messages: Tensor, generator: torch.Generator) -> Delivered:
        self._rounds += 1
        if self._rounds <= self.since:
            return super().deliver(messages, generator)
        order = torch.randperm(len(messages), generator=torch.Generator().manual_seed(5))
        return Delivered(messages, senders=None, mix=lambda rows: rows[order])


PLANTED: dict[str, type[Defense]] = {
    "reuses_noise": ReusesNoise,
    "forgets_to_clip_late": ForgetsToClipLate,
    "keeps_its_order": KeepsItsOrder,
}
CROWD = {"clients": 600}


@pytest.fixture
def _planted(_registry: None) -> None:
    for name, cls in PLANTED.items():
        registry.register("defense", name)(cls)


@pytest.mark.usefixtures("_planted")
@pytest.mark.parametrize("seed", PLANTED_SEEDS)
@pytest.mark.parametrize("name", ["reuses_noise", "forgets_to_clip_late"])
def test_a_leak_over_rounds_is_found_and_one_round_does_not_show_it(
    audit: Play, play: Play, name: str, seed: int
) -> None:
    audited, composed = bounds(audit({"name": name, **NOISY}, seed))
    assert audited > composed
    once = play({"name": name, **NOISY}, {"name": "audit", "runs": 400, "dim": 20}, seed, clients=6)
    assert once.metrics["epsilon_audited"] <= NOISY["epsilon"]


@pytest.mark.usefixtures("_planted")
@pytest.mark.parametrize("seed", PLANTED_SEEDS)
def test_a_shuffler_that_keeps_its_order_is_found(audit: Play, seed: int) -> None:
    defense = {"name": "keeps_its_order", "gamma": 0.94}
    audited, composed = bounds(audit(defense, seed, {"canaries": 600}, **CROWD))
    assert audited > composed


@pytest.mark.slow
@pytest.mark.usefixtures("_planted")
def test_a_shuffler_that_keeps_its_order_from_round_50_on_is_found(audit: Play) -> None:
    defense = {"name": "keeps_its_order", "gamma": 0.973, "since": 50}
    audited, composed = bounds(audit(defense, 0, {"canaries": 600}, rounds=100, **CROWD))
    assert audited > composed


@pytest.mark.usefixtures("_planted")
def test_one_round_says_of_such_a_shuffler_what_it_says_of_a_right_one(play: Play) -> None:
    attack = {"name": "audit", "runs": 100, "dim": 20}
    kept, fresh = (play({"name": name, "gamma": 0.94}, attack, clients=6) for name in ("keeps_its_order", "dpbfl"))
    assert kept.metrics == fresh.metrics


# ------------------------------------------------------------------------------------------- right: nothing is flagged


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "defense",
    [
        {"name": "dp_fedavg", **NOISY},
        {"name": "dp_fedavg", "epsilon": 0.5, "zeta": 1.0, "neighbours": "add_remove"},
        {"name": "central_dp_fedavg", "z": 3.0},
        {"name": "niss", **NOISY, "num_shares": 3, "tau_squared": 1.0},
        {"name": "dpbfl", "gamma": 0.9},
        {"name": "ldpbfl", "epsilon": 0.02},
    ],
    ids=lambda defense: defense["name"],
)
def test_what_keeps_its_promise_is_not_flagged(audit: Play, defense: dict[str, Any], seed: int) -> None:
    audited, composed = bounds(audit(defense, seed, rounds=8))
    assert audited <= composed


@pytest.mark.parametrize(
    ("defense", "least"),
    [
        ({"name": "dp_fedavg", "epsilon": 1.0, "zeta": 1.0}, 0.3),
        ({"name": "central_dp_fedavg", "z": 3.0}, 0.3),
        ({"name": "ldpbfl", "epsilon": 0.02}, 0.15),
        ({"name": "dpbfl", "gamma": 0.9}, 0.1),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_most_of_what_one_run_can_show_is_shown(audit: Play, defense: dict[str, Any], least: float) -> None:
    """`least`: which share of the composed epsilon is proved."""
    audited, composed = bounds(audit(defense))
    assert least * composed < audited <= composed


def test_shares_that_cancel_in_the_sum_hide_nothing_over_a_run(audit: Play) -> None:
    """NISS at tau = 0: its composed epsilon is of uploads that are seen alone, as its source says."""
    record = audit({"name": "niss", **NOISY, "num_shares": 3, "tau_squared": 0.0}, rounds=4)
    audited, composed = bounds(record)
    assert audited > composed
    assert record.privacy.composed is not None
    assert record.privacy.composed.source.endswith("each upload seen alone")


def test_canary_samples_show_less_than_canary_updates(audit: Play) -> None:
    defense = {"name": "dp_fedavg", "epsilon": 2.0, "zeta": 0.1}
    samples, updates = (audit(defense, 0, {"canary": canary}, lr=1.0) for canary in ("sample", "update"))
    assert 0 < bounds(samples)[0] < bounds(updates)[0] <= bounds(updates)[1]
    assert "300 canary samples" in str(samples.privacy.audited)


def test_of_a_sample_whose_client_is_not_there_nothing_comes(
    make_cell: Callable[..., Cell], digits: Dataset, audit: Play
) -> None:
    defense = {"name": "central_dp_fedavg", "z": 0.5, "zeta": 1.0}
    cell = make_cell(defense, AUDIT, **FEDERATION)
    federation = Federation(cell.federation, build_defense(cell), digits, seed=0)
    coins = Coins.toss(300, 50, seed=0)
    planted = Samples.of(federation, digits, coins, replaced=False)
    planted.plant(federation)
    updates = federation.play().updates[coins.clients]
    assert updates.any(dim=1).tolist() == coins.included.tolist()
    differences = planted.differences(federation, 0, torch.zeros(federation.model.dim))
    assert bool(differences.any(dim=1).all())
    audited, composed = bounds(audit(defense, 0, {"canary": "sample", "canaries": 50}))
    assert audited <= composed


def test_the_canary_takes_the_place_of_one_sample(make_cell: Callable[..., Cell], digits: Dataset) -> None:
    cell = make_cell({"name": "dp_fedavg"}, AUDIT, **FEDERATION)
    federation = Federation(cell.federation, build_defense(cell), digits, seed=0)
    coins = Coins.toss(300, 50, seed=0)
    shards = federation.shards
    before, _ = (part.clone() for part in shards.window(shards.place[coins.clients], 0, 2))
    planted = Samples.of(federation, digits, coins, replaced=True)
    planted.plant(federation)
    after, targets = shards.window(shards.place[coins.clients], 0, 2)
    expected = torch.where(coins.included.view(-1, 1, 1, 1), planted.images, before[:, 0])
    assert torch.equal(after[:, 0], expected)
    assert torch.equal(after[:, 1], before[:, 1])
    assert torch.equal(targets[coins.included, 0], planted.targets[coins.included])


def test_few_clients_a_round_are_watched_in_their_rounds(audit: Play) -> None:
    record = audit({"name": "dp_fedavg", "epsilon": 1.0, "zeta": 1.0}, participation=0.5)
    audited, composed = bounds(record)
    assert 0 < audited <= composed


def test_the_same_cell_and_seed_give_the_same_record(audit: Play, but_for_times: Callable[[Record], Any]) -> None:
    first, again = (audit({"name": "dpbfl", "gamma": 0.9}, rounds=4) for _ in range(2))
    other = audit({"name": "dpbfl", "gamma": 0.9}, 1, rounds=4)
    assert but_for_times(first) == but_for_times(again)
    assert first.metrics != other.metrics


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("defense", "attack", "words"),
    [
        ({"name": "dp_fedavg"}, {"canaries": 301}, "canaries is 301, but must be at most 300, the clients"),
        ({"name": "dpbfl"}, {"canary": "sample"}, "canary is 'sample', but must be 'update' under dpbfl"),
    ],
)
def test_what_cannot_be_played_says_why(
    make_cell: Callable[..., Cell],
    make_task: Callable[..., Any],
    defense: dict[str, Any],
    attack: dict[str, Any],
    words: str,
) -> None:
    record = run_cell(make_task(make_cell(defense, {**AUDIT, **attack}, **FEDERATION))).record
    assert record.status == "failed"
    assert words in str(record.error)


def test_only_rows_with_a_claim_over_a_run_have_cells(make_cell: Callable[..., Cell]) -> None:
    assert make_cell({"name": "central_dp_fedavg"}, AUDIT).kind == "run_audit"
    assert make_cell({"name": "median"}, AUDIT).attack is None  # the clean run alone


# ------------------------------------------------------------------------------------------------ the adversary's parts


def test_the_first_directions_are_orthogonal() -> None:
    rows = OneRunAudit(canaries=40).directions(50, False, torch.Generator().manual_seed(0))
    assert torch.allclose(rows @ rows.mT, torch.eye(40, dtype=torch.float64), atol=1e-12)
    signs = OneRunAudit(canaries=40).directions(50, True, torch.Generator().manual_seed(0))
    assert torch.allclose(signs.abs(), torch.tensor(50, dtype=torch.float64) ** -0.5)


def test_the_sum_tells_canaries_apart_whose_directions_are_not_orthogonal() -> None:
    """Without noise least squares gives the coins themselves, in whatever basis."""
    draws = torch.Generator().manual_seed(1)
    attack, coins = OneRunAudit(canaries=5), torch.tensor([1.0, -1, 1, 1, -1], dtype=torch.float64)
    game, memory = RunGame(torch.arange(5), 5, 2, 0.0, {}), dict[str, Tensor]()
    for index in range(2):
        differences = torch.randn(5, 9, generator=draws, dtype=torch.float64)
        attack.watch(RunRound(index, differences, (coins / 2) @ differences), game, memory)
    assert torch.allclose(attack.scores(game, memory), coins / 2, atol=1e-6)


def test_an_order_that_is_not_kept_is_not_believed() -> None:
    """Rows that are shuffled anew, coordinate by coordinate, are no louder than chance allows."""
    draws = torch.Generator().manual_seed(2)
    attack = OneRunAudit(canaries=60)
    game = RunGame(torch.arange(60), 60, 10, 0.5, {})
    directions = attack.directions(80, True, draws)
    coins = torch.randint(2, (60, 1), generator=draws) * 2.0 - 1
    heard = {}
    for kept in (False, True):
        memory: dict[str, Tensor] = {}
        order = torch.randperm(60, generator=draws)
        for index in range(10):
            sign = 1 - 2 * (index % 2)
            votes = sign * coins * directions.sign()
            rows = votes[order] if kept else shuffle(votes, draws)
            differences = 2 * sign * directions.sign()
            attack.watch(RunRound(index, differences, rows.sum(dim=0), rows), game, memory)
        heard[kept] = attack.scores(game, memory)
    assert bool((heard[True].sign() == coins[:, 0]).all())
    assert float(heard[True].abs().min()) > 5  # in standard deviations of an answer
    assert float(heard[False].abs().max()) < 2  # least squares, in units of a coin
