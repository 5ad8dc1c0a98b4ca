"""Label flip and backdoor: what they do to data, to honest clients (nothing), and to a model."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch

from attacks.backdoor import Backdoor, backdoor, stamp
from attacks.label_flip import LabelFlip, label_flip
from bench.attacking.poisoning import DataFacts, DataPoisoning, poison_shards
from bench.data import Dataset, Split
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.cell import run_cell
from bench.plays.findings import Task
from bench.plays.metrics import accuracy_and_loss
from bench.protocol import Alphabet
from bench.suite import Suite
from bench.threat import ByzantineView
from defenses.fedavg import FedAvg

FACTS = DataFacts(10, torch.tensor([0.5]), torch.tensor([0.25]))


def settings(**changes: object) -> FederationSettings:
    shape = {"dataset": "digits", "clients": 10, "rounds": 40, "local_steps": 1, "batch_size": 16, "lr": 1.0}
    return FederationSettings.model_validate(shape | changes)


def test_labels_are_turned_round() -> None:
    assert label_flip(torch.tensor([[0, 9], [3, 4]]), 10).tolist() == [[9, 0], [6, 5]]
    with pytest.raises(ValueError, match="y is"):
        label_flip(torch.tensor([10]), 10)


def test_the_square_is_white_and_nothing_else_changes() -> None:
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    stamped = stamp(x, 3, FACTS)
    assert torch.equal(stamped[:, :, 5:, 5:], torch.full((2, 1, 3, 3), 2.0))  # (1 - 0.5) / 0.25
    assert int((stamped != x).sum()) == 2 * 9
    with pytest.raises(ValueError, match="size is 9"):
        stamp(x, 9, FACTS)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_share_of_every_byzantine_shard_is_stamped_and_called_the_target(share: float) -> None:
    x, y = torch.zeros(3, 8, 1, 8, 8), torch.full((3, 8), 5)
    changed, labels = Backdoor(share=share, target=2).poison(x, y, FACTS, torch.Generator().manual_seed(0))
    poisoned = changed.flatten(2).any(dim=2)
    assert poisoned.sum(dim=1).tolist() == [round(8 * share)] * 3
    assert torch.equal(labels == 2, poisoned)
    assert not bool(x.any())  # not in place


def test_honest_shards_keep_their_samples_bit_for_bit() -> None:
    x, y = torch.arange(12.0).view(6, 1, 1, 2), torch.arange(6)
    indices, byzantine = torch.tensor([[0, 1], [1, 2], [4, 5]]), torch.tensor([False, True, False])
    new_x, new_y, moved = poison_shards(LabelFlip(), x, y, indices, byzantine, FACTS, torch.Generator())
    assert torch.equal(new_x[:6], x)
    assert torch.equal(new_y[:6], y)
    assert moved.tolist() == [[0, 1], [6, 7], [4, 5]]
    assert new_y[moved[1]].tolist() == [8, 7]
    assert torch.equal(new_x[moved[1]], x[indices[1]])
    assert indices.tolist() == [[0, 1], [1, 2], [4, 5]]


class Unchanged(DataPoisoning):
    """Trains on what it was given."""

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, data: DataFacts, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return x, y


@pytest.mark.parametrize("attack", [LabelFlip(), Backdoor()])
def test_in_a_federation_only_byzantine_updates_change(attack: DataPoisoning, digits: Dataset) -> None:
    honest, poisoned = (
        Federation(settings(rounds=1), FedAvg(), digits, 0, kind, 0.3) for kind in (Unchanged(), attack)
    )
    same = (honest.play().updates == poisoned.play().updates).all(dim=1)
    assert torch.equal(~same, poisoned.is_byzantine)
    rejected = Federation(settings(rounds=1), FedAvg(), digits, 0, attack, 0.0)
    assert torch.equal(rejected.play().updates, Federation(settings(rounds=1), FedAvg(), digits, 0).play().updates)


def test_the_goal_are_test_images_of_other_classes_with_the_square(digits: Dataset) -> None:
    facts, attack = DataFacts.of(digits), Backdoor(target=3)
    goal = attack.goal(digits.test, facts)
    assert len(goal) == int((digits.test.y != 3).sum())
    assert bool((goal.y == 3).all())
    pixels = digits.denormalise(goal.x)[:, :, -3:, -3:]
    torch.testing.assert_close(pixels, torch.ones_like(pixels))
    assert LabelFlip().goal(digits.test, facts) is None


@pytest.mark.parametrize("boost", [1.0, "replace"])
def test_a_mean_answers_the_target_when_it_sees_the_square(boost: float | Literal["replace"], digits: Dataset) -> None:
    attack = Backdoor(boost=boost)
    goal: Split = attack.goal(digits.test, DataFacts.of(digits))
    clean, attacked = (Federation(settings(), FedAvg(), digits, 0, kind, 0.2) for kind in (None, attack))
    for _ in range(40):
        clean.advance()
        attacked.advance()
    assert accuracy_and_loss(clean.model, clean.global_model, goal)[0] < 0.3
    assert accuracy_and_loss(attacked.model, attacked.global_model, goal)[0] > 0.9
    assert accuracy_and_loss(attacked.model, attacked.global_model, digits.test)[0] > 0.8


def test_replacement_makes_the_mean_the_attackers_model(byzantine_view: Callable[..., ByzantineView]) -> None:
    """Bagdasaryan et al.: with gamma = m / f and honest clients that have converged, the mean is X."""
    own = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    forged = Backdoor(boost="replace").forge(byzantine_view(own, clients=10))
    assert torch.equal(forged, 5 * own)
    mean = torch.cat([torch.zeros(8, 2), forged]).mean(dim=0)
    torch.testing.assert_close(mean, own.mean(dim=0))
    votes = torch.tensor([[1, -1]], dtype=torch.int8)
    assert torch.equal(Backdoor(boost=4.0).forge(byzantine_view(votes, Alphabet.TERNARY)), votes)
    with pytest.raises(ValueError, match="boost is 0"):
        backdoor(own, 0.0)


def test_label_flip_harms_a_mean(digits: Dataset) -> None:
    accuracies = []
    for attack in (None, LabelFlip()):
        federation = Federation(settings(), FedAvg(), digits, 0, attack, 0.4)
        for _ in range(40):
            federation.advance()
        accuracies.append(accuracy_and_loss(federation.model, federation.global_model, digits.test)[0])
    assert accuracies[1] < accuracies[0] - 0.1


def test_the_record_shows_the_success_beside_the_accuracy() -> None:
    federation = settings(rounds=20).model_dump(exclude_none=True)
    attacks = [{"name": name, "byzantine": 0.2} for name in ("backdoor", "label_flip")]
    suite = Suite(name="t", title="t", seeds=[0], federation=federation, defense=[{"name": "fedavg"}], attack=attacks)
    records = [run_cell(Task("t", "s", cell, 0, 1, None, 20.0)).record for cell in suite.cells()]
    every = {"accuracy", "loss", "worst_class_accuracy", "worst_tenth_accuracy"}
    assert [set(record.metrics) for record in records] == [every, {*every, "backdoor_success"}, every]
    assert 0.5 < records[1].metrics["backdoor_success"] <= 1
