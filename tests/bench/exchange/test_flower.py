"""A Flower app with a rule from here: the same messages through Flower's path and through the bench, bit for bit."""

import contextlib
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import bench
from bench import data, registry
from bench.base.errors import BadInputError
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from tests.bench.helpers import deployed
from tests.bench.helpers.deployed import SEED, F, N

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedsiege[flower]'")

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays

from bench.flower import FitStrategy, Strategy

CUT = 640


def reply(layers: dict[str, np.ndarray], node: int, examples: float = 1) -> Message:
    metadata = Metadata(
        run_id=1, message_id="", src_node_id=node, dst_node_id=1, reply_to_message_id="", group_id="",
        created_at=time.time(), ttl=3600.0, message_type="train",
    )  # fmt: skip
    arrays = ArrayRecord({name: Array(layer) for name, layer in layers.items()})
    return Message(
        content=RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": examples})}), metadata=metadata
    )


def layers(vector: torch.Tensor) -> dict[str, np.ndarray]:
    row = vector.numpy()
    return {"weight": row[:CUT].reshape(10, 64), "bias": row[CUT:]}


class Grid:
    """What a strategy asks of Flower's grid."""

    def get_node_ids(self) -> list[int]:
        return list(range(1, N + 1))


def broadcast(strategy: Strategy, model: torch.Tensor, server_round: int) -> None:
    record = ArrayRecord({name: Array(layer) for name, layer in layers(model).items()})
    with contextlib.suppress(RuntimeError):  # messages to clients are made inside a run alone
        list(strategy.configure_train(server_round, record, ConfigRecord(), Grid()))


def played(name: str) -> Federation:
    parameters, f = deployed.of(name)
    settings = FederationSettings(
        dataset="digits", clients=N, rounds=3, local_steps=1, batch_size=8, lr=0.5, assumed_byzantine=f / N
    )
    defense = registry.get("defense", name)(**parameters)
    return Federation(settings, defense, data.load("digits"), SEED, registry.get("attack", "sign_flip")(), F / N)


ROOTED = ("fltrust",)
"""Needs an update that the server trained, which a strategy has not: it is refused, below."""


@pytest.mark.parametrize("name", sorted(set(deployed.rules()) - set(ROOTED)))
def test_messages_give_the_same_bits_through_flower_and_through_the_bench(name: str) -> None:
    """Every rule, through messages and through `FitRes`, in other orders than the bench's."""
    federation, (parameters, f) = played(name), deployed.of(name)
    given: dict[str, Any] = {"f": f, "seed": SEED, "replies": "updates", "num_clients": N, "rounds": 3, **parameters}
    strategy, fit = Strategy(name, **given), FitStrategy(name, **given)
    for index in range(3):
        seen = federation.play()
        broadcast(strategy, seen.broadcast, index + 1)
        messages = [reply(layers(row), node + 1) for node, row in enumerate(seen.messages)]
        record, _ = strategy.aggregate_train(index + 1, messages[::-1])
        assert record is not None
        found = torch.cat([torch.from_numpy(array.numpy().copy()).flatten() for array in record.values()])
        assert torch.equal(found, federation.global_model)
        assert torch.equal(through_fit(fit, seen.broadcast, seen.messages, index + 1), federation.global_model)


def through_fit(fit: FitStrategy, model: torch.Tensor, rows: torch.Tensor, server_round: int) -> torch.Tensor:
    manager = SimpleNamespace(num_available=lambda: 0, sample=lambda **options: [])
    fit.configure_fit(server_round, ndarrays_to_parameters(list(layers(model).values())), manager)
    fine = Status(code=Code.OK, message="")
    results = [
        (SimpleNamespace(cid=f"{node:04d}"), FitRes(fine, ndarrays_to_parameters(list(layers(row).values())), 1, {}))
        for node, row in enumerate(rows)
    ]
    parameters, _ = fit.aggregate_fit(server_round, results[::-1], [])
    assert parameters is not None
    return torch.cat([torch.from_numpy(layer).flatten() for layer in parameters_to_ndarrays(parameters)])


def test_models_are_taken_as_updates_from_the_broadcast() -> None:
    draws = torch.Generator().manual_seed(0)
    model, updates = torch.randn(650, generator=draws), torch.randn(N, 650, generator=draws)
    models = model + updates
    strategy = Strategy("trimmed_mean", f=F)
    broadcast(strategy, model, 1)
    record, _ = strategy.aggregate_train(1, [reply(layers(row), node + 1) for node, row in enumerate(models)])
    assert record is not None
    expected = bench.rule("trimmed_mean", f=F)(models - model, model=model)
    found = torch.cat([torch.from_numpy(array.numpy().copy()).flatten() for array in record.values()])
    assert torch.equal(found, expected)


def test_what_an_attacker_sends_does_not_stop_a_round() -> None:
    model = torch.zeros(650)
    rows = torch.randn(6, 650, generator=torch.Generator().manual_seed(1))
    honest = [reply(layers(row), node + 1) for node, row in enumerate(rows)]
    strange = [
        reply({"other": np.zeros(3, dtype=np.float32)}, 90),
        reply({"weight": np.zeros((2, 2), dtype=np.float32), "bias": np.zeros(10, dtype=np.float32)}, 91),
        reply({name: layer.astype(np.float64) for name, layer in layers(rows[0]).items()}, 92),
    ]
    strategy, alone = Strategy("median"), Strategy("median")
    for one, replies in ((strategy, [*strange, *honest]), (alone, honest)):
        broadcast(one, model, 1)
        record, _ = one.aggregate_train(1, replies)
        assert record is not None
        one.found = np.concatenate([array.numpy().ravel() for array in record.values()])
    assert np.array_equal(strategy.found, alone.found)
    broken = {name: np.full_like(layer, np.nan) for name, layer in layers(rows[0]).items()}
    record, _ = strategy.aggregate_train(2, [*honest[1:], reply(broken, 1)])
    assert record is not None
    assert all(np.isfinite(array.numpy()).all() for array in record.values())
    assert strategy.deployed.rule.rejected == 650


def test_where_too_few_answer_the_model_stays_and_the_reason_is_kept() -> None:
    strategy = Strategy("krum", f=2)
    broadcast(strategy, torch.zeros(650), 1)
    assert strategy.aggregate_train(1, [reply(layers(torch.ones(650)), node) for node in (1, 2, 3)]) == (None, None)
    assert "Krum" in strategy.deployed.refused[1]
    assert strategy.aggregate_train(2, []) == (None, None)
    assert strategy.deployed.refused[2] == "no reply holds the model's layers"


def test_num_examples_weigh_in_fedavg_and_not_where_they_are_told_not_to() -> None:
    rows = torch.tensor([1.0, 4.0])[:, None].expand(2, 650)
    for weigh, expected in ((True, 2.0), (False, 2.5)):
        strategy = Strategy("fedavg", weigh=weigh)
        broadcast(strategy, torch.zeros(650), 1)
        record, _ = strategy.aggregate_train(1, [reply(layers(rows[0]), 1, 2), reply(layers(rows[1]), 2, 1)])
        assert record is not None
        assert record["bias"].numpy()[0] == pytest.approx(expected)


def test_what_is_no_rule_is_told_before_a_round() -> None:
    with pytest.raises(BadInputError, match="replies is 'gradients'"):
        Strategy("median", replies="gradients")  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="fltrust needs an update that the server trained"):
        Strategy("fltrust")
    with pytest.raises(BadInputError, match="krum withstands as many attackers as assumed"):
        FitStrategy("krum")
