"""The worst class and the worst tenth of clients: by hand, and in the record of a training."""

from collections.abc import Callable, Sequence

import pytest
import torch

from bench.data import Dataset
from bench.federation.engine import Federation
from bench.plays.metrics import accuracy_and_loss, right_by_class, worst_class, worst_tenth
from bench.records import Record
from bench.suite import Cell
from defenses.fedavg import FedAvg


def test_by_hand() -> None:
    """Recalls 0.5, 1 and none: clients with (1, 1), (0, 3), (4, 0) and (0, 0, 5) of each class."""
    right, images = [2, 6, 0], [4, 6, 0]
    assert worst_class(right, images) == 0.5
    held = [[1, 1, 0], [0, 3, 0], [4, 0, 0], [0, 0, 5]]
    assert worst_tenth(right, images, held) == 0.5
    many = [[1, 0, 0]] + [[1, 3, 9]] + [[0, 1, 0]] * 9  # the tenth of eleven clients, rounded up, are two
    assert worst_tenth(right, images, many) == pytest.approx((0.5 + (0.5 + 3) / 4) / 2)


@pytest.mark.parametrize("sizes", ["equal", "lognormal"])
def test_the_engine_counts_the_true_labels_that_each_client_holds(digits: Dataset, make_cell, sizes: str) -> None:
    settings = make_cell({"name": "fedavg"}, sizes=sizes, local_steps=1).federation
    federation = Federation(settings, FedAvg(), digits, seed=3)
    counts = federation.label_counts()
    assert counts.shape == (9, 10)
    for client, row in enumerate(federation.shards.indices.tolist()):
        held = len(row) if federation._sizes is None else int(federation._sizes[client])
        labels = digits.train.y[torch.tensor(row[:held])].tolist()
        assert counts[client].tolist() == [labels.count(one) for one in range(10)]


def test_answers_by_class_add_up_to_the_accuracy(digits: Dataset, make_cell: Callable[..., Cell]) -> None:
    federation = Federation(make_cell({"name": "fedavg"}).federation, FedAvg(), digits, seed=0)
    federation.advance()
    right, images = right_by_class(federation.model, federation.global_model, digits.test, 10)
    assert images == [int((digits.test.y == one).sum()) for one in range(10)]
    found = accuracy_and_loss(federation.model, federation.global_model, digits.test)[0]
    assert sum(right) / sum(images) == pytest.approx(found)


@pytest.mark.parametrize("attack", [None, {"name": "label_flip", "byzantine": 0.2}])
def test_a_training_record_has_both(play: Callable[..., Record], attack: dict[str, object] | None) -> None:
    metrics = play("fedavg", attack).metrics
    assert 0 <= metrics["worst_class_accuracy"] <= metrics["accuracy"]
    assert 0 <= metrics["worst_tenth_accuracy"] <= 1


def named(seeds: Sequence[int], records: Sequence[Record]) -> dict[int, int]:
    return {seed: record.singled_out["pivot"].client for seed, record in zip(seeds, records, strict=True)}


def test_the_record_says_who_monnas_pivot_was(play: Callable[..., Record]) -> None:
    """It is drawn anew for each seed, whoever attacks, and the record alone knows whether it was Byzantine."""
    attack = {"name": "sign_flip", "byzantine": 0.2}
    seeds = range(6)
    records = [play("monna", attack, seed) for seed in seeds]
    assert len(set(named(seeds, records).values())) > 1
    for record in records:
        told = record.singled_out["pivot"]
        assert told.byzantine_rounds == (3 if told.byzantine else 0)
    assert any(one.singled_out["pivot"].byzantine for one in records)
    clean = [play("monna", None, seed) for seed in seeds]
    assert named(seeds, clean) == named(seeds, records)
    assert not any(one.singled_out["pivot"].byzantine for one in clean)


def test_other_rules_single_nobody_out_and_their_records_do_not_say_so(play: Callable[..., Record]) -> None:
    record = play("krum", {"name": "sign_flip", "byzantine": 0.2})
    assert record.singled_out == {}
    assert "singled_out" not in record.model_dump(mode="json")
