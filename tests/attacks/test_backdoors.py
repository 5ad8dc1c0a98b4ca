"""DBA, Neurotoxin, model replacement, edge cases and the targeted flip: each does what its paper has it do."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attacks.backdoor import Backdoor
from attacks.dba import DBA, parts
from attacks.edge_case import EdgeCase, edge_of
from attacks.model_replacement import ModelReplacement, model_replacement
from attacks.neurotoxin import Neurotoxin, neurotoxin, quiet
from attacks.targeted_label_flip import TargetedLabelFlip, targeted_label_flip
from bench.attacking.poisoning import DataFacts
from bench.data import Dataset, Split
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.models.base import one_hot
from bench.threat import ByzantineAttack, ByzantineView
from defenses.fedavg import FedAvg, weighted_mean

FACTS = DataFacts(10, torch.tensor([0.5]), torch.tensor([0.25]))
SHAPE: dict[str, Any] = {"dataset": "digits", "clients": 10, "rounds": 4, "local_steps": 3, "batch_size": 8, "lr": 0.2}


def federation(attack: ByzantineAttack, data: Dataset, **changes: Any) -> Federation:
    settings = FederationSettings.model_validate({**SHAPE, "dtype": "float64", **changes})
    return Federation(settings, FedAvg(), data, 0, attack, 0.3)


# ------------------------------------------------------------------------------------------------------------------ DBA


def test_the_parts_are_the_authors_for_mnist_and_tile_the_whole_trigger() -> None:
    """`utils/mnist_params.yaml` of the authors' code: gap 2, size 1*4, base (0, 0)."""
    authors = [
        [(0, 0), (0, 1), (0, 2), (0, 3)],
        [(0, 6), (0, 7), (0, 8), (0, 9)],
        [(3, 0), (3, 1), (3, 2), (3, 3)],
        [(3, 6), (3, 7), (3, 8), (3, 9)],
    ]
    found = parts(torch.Size((28, 28)), 4, 2)
    assert [[tuple(place) for place in part.nonzero().tolist()] for part in found] == authors
    x = torch.zeros(1, 1, 28, 28)
    whole = DBA(width=4).stamped(x, FACTS)[0, 0] != 0
    assert torch.equal(whole, found.any(dim=0))


@given(st.integers(8, 32), st.integers(1, 6), st.integers(1, 6))
def test_parts_are_as_large_as_each_other_and_share_no_pixel(size: int, bar: int, gap: int) -> None:
    shape = torch.Size((size, size))
    if bar > (size - gap) // 2 or gap > size - 2:
        with pytest.raises(ValueError, match="so that two bars and the gap fit"):
            parts(shape, bar, gap)
        return
    found = parts(shape, bar, gap)
    assert found.flatten(1).sum(dim=1).tolist() == [bar] * 4
    assert int(found.sum(dim=0).max()) == 1


def test_each_attacker_trains_on_its_own_part() -> None:
    x, y = torch.zeros(6, 4, 1, 28, 28), torch.full((6, 4), 5)
    changed, labels = DBA(share=0.5, target=2).poison(x, y, FACTS, torch.Generator().manual_seed(0))
    found = parts(torch.Size((28, 28)), 4, 2)
    for attacker in range(6):
        painted = changed[attacker, labels[attacker] == 2, 0] != 0
        assert painted.shape[0] == 2
        assert all(torch.equal(image, found[attacker % 4]) for image in painted)


# ----------------------------------------------------------------------------------------------------------- Neurotoxin


@given(st.integers(0, 10**6), st.integers(1, 40), st.floats(0.01, 1))
def test_the_mask_is_the_smallest_magnitudes(seed: int, dim: int, ratio: float) -> None:
    """Against sorting pairs of (magnitude, place) in plain Python."""
    change = torch.randn(dim, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    ranked = sorted(range(dim), key=lambda at: (abs(float(change[at])), at))
    expected = set(ranked[: int(ratio * dim)]) if any(change.tolist()) else set(range(dim))
    assert set(quiet(change, ratio).nonzero()[:, 0].tolist()) == expected


def test_updates_lie_in_the_coordinates_that_moved_least(digits: Dataset) -> None:
    """Played: from the attackers' second round on, no forged update moves what the last change moved most."""
    fed, before = federation(Neurotoxin(ratio=0.8), digits), None
    for _ in range(4):
        played = fed.play()
        forged = played.messages[fed.is_byzantine]
        if before is not None:
            moved = (played.broadcast - before).abs()
            loud = moved > moved.sort().values[int(0.8 * len(moved)) - 1]
            assert int(loud.sum()) > 0
            assert not bool(forged[:, loud].any())
        assert bool(forged.any())
        before = played.broadcast


def test_without_a_mask_it_is_the_backdoor(digits: Dataset) -> None:
    masked, plain = federation(Neurotoxin(ratio=1.0), digits), federation(Backdoor(), digits)
    for _ in range(3):
        torch.testing.assert_close(masked.play().messages, plain.play().messages)


def test_masking_each_step_is_not_masking_the_sum_of_them(digits: Dataset) -> None:
    """As the paper projects the gradient: the second step starts where the first, masked, has led."""
    fed = federation(Neurotoxin(ratio=0.5), digits, model="mlp")
    first = fed.play()
    last = fed.play()
    late = neurotoxin(last.updates[fed.is_byzantine], last.broadcast - first.broadcast, 0.5)
    assert not torch.allclose(last.messages[fed.is_byzantine], late, rtol=1e-3)


# ---------------------------------------------------------------------------------------------------- model replacement


def test_a_mean_becomes_the_attackers_model() -> None:
    """Bagdasaryan et al., eq. 3: with gamma = n / eta and others that cancel, the next model is X."""
    random = torch.Generator().manual_seed(0)
    g, x = torch.randn(7, generator=random, dtype=torch.float64), torch.randn(7, generator=random, dtype=torch.float64)
    others = torch.randn(9, 7, generator=random, dtype=torch.float64)
    others -= others.mean(dim=0)
    sent = model_replacement((x - g)[None], gamma=10)
    torch.testing.assert_close(g + weighted_mean(torch.cat([others, sent])), x)


def test_in_a_federation_the_next_model_is_that_of_the_attackers_but_for_what_others_add(digits: Dataset) -> None:
    fed = federation(ModelReplacement(passes=2), digits)
    played = fed.play()
    forged, honest = played.messages[fed.is_byzantine], played.messages[~fed.is_byzantine]
    attackers_model = played.broadcast + forged.mean(dim=0) * 3 / 10
    torch.testing.assert_close(fed.global_model, attackers_model + honest.sum(dim=0) / 10)


def test_no_update_is_longer_than_the_bound() -> None:
    sent = model_replacement(torch.tensor([[3.0, 4.0], [0.03, 0.04]]), gamma=10, bound=2.0)
    torch.testing.assert_close(sent, torch.tensor([[1.2, 1.6], [0.3, 0.4]]))


def test_constrain_and_scale_follows_the_loss_that_the_paper_writes(digits: Dataset) -> None:
    """Two steps by autograd on alpha cross-entropy + (1 - alpha) |X - G|; at X = G the second term counts as flat."""
    alpha, fed = 0.3, federation(ModelReplacement(alpha=0.3, boost=1.0, passes=1, step=1.0), digits, local_steps=2)
    clients = fed.is_byzantine.nonzero()[:, 0]
    training = fed._training(clients)
    x = fed.global_model.clone()
    for images, targets in training.batches():
        x = x.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(training.model.logits(x, images[0]), targets[0])
        away = x - fed.global_model
        total = alpha * loss + ((1 - alpha) * away.norm() if bool(away.any()) else 0)
        (slope,) = torch.autograd.grad(total, x)
        x = x - 0.2 * slope
    sent = fed.play()
    torch.testing.assert_close(sent.messages[clients[0]], (x - sent.broadcast).detach())


# ----------------------------------------------------------------------------------------------------------- edge cases


def test_edge_cases_are_turned_or_the_tail() -> None:
    x = torch.arange(4.0).view(1, 1, 2, 2)
    assert edge_of(x).flatten().tolist() == [1, 3, 0, 2]  # a quarter against the clock
    rows = torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 30]).view(11, 1, 1, 1)
    assert edge_of(rows, "tail").flatten().tolist() == [0, 30]  # the mean is 6.8, two are a tenth of eleven rounded up


def test_edge_cases_replace_a_share_and_come_from_what_the_attackers_hold() -> None:
    x = torch.randn(3, 10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(10).expand(3, 10)
    changed, labels = EdgeCase(share=0.4).poison(x, y, FACTS, torch.Generator().manual_seed(1))
    new = (changed != x).flatten(2).any(dim=2)
    assert new.sum(dim=1).tolist() == [4, 4, 4]
    assert bool((labels[new] == 1).all())
    assert torch.equal(labels[~new], y[~new])
    pool = edge_of(x[y == 7])
    assert all(any(torch.equal(image, held) for held in pool) for image in changed[new])
    with pytest.raises(ValueError, match="source is 3, but must be a class of which the attackers hold an image"):
        EdgeCase(source=3).poison(x, torch.zeros_like(y), FACTS, torch.Generator())


def test_the_ball_holds_what_is_trained(digits: Dataset) -> None:
    fed = federation(EdgeCase(radius=0.05), digits)
    lengths = fed.play().messages.norm(dim=1)
    torch.testing.assert_close(lengths[fed.is_byzantine], torch.full((3,), 0.05, dtype=torch.float64))
    assert float(lengths[~fed.is_byzantine].min()) > 0.05


# -------------------------------------------------------------------------------------------------- targeted label flip


def test_one_class_takes_the_name_of_another_and_nothing_else_changes() -> None:
    assert targeted_label_flip(torch.tensor([7, 1, 3]), 7, 1).tolist() == [1, 1, 3]
    x, y = torch.randn(2, 3, 1, 8, 8), torch.tensor([[7, 1, 3], [7, 7, 0]])
    changed, labels = TargetedLabelFlip().poison(x, y, FACTS, torch.Generator())
    assert torch.equal(changed, x)
    assert labels.tolist() == [[1, 1, 3], [1, 1, 0]]
    shown = TargetedLabelFlip().goal(Split(x[:, 0], y[:, 0]), FACTS)
    assert torch.equal(shown.x, x[:, 0])
    assert shown.y.tolist() == [1, 1]


# --------------------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("attack", [DBA(target=10), EdgeCase(target=10), TargetedLabelFlip(target=10)])
def test_a_class_that_is_not_there_is_refused(attack: Any) -> None:
    with pytest.raises(ValueError, match="target is 10, but must be below 10, the classes"):
        attack.poison(torch.zeros(1, 2, 1, 8, 8), torch.tensor([[7, 1]]), FACTS, torch.Generator())


@pytest.mark.parametrize(
    "attack",
    [DBA(boost="replace", gap=1), Neurotoxin(), ModelReplacement(), EdgeCase(), Backdoor()],
    ids=lambda a: a.name,
)
def test_a_mean_gives_the_answer_that_they_want(attack: Any, digits: Dataset) -> None:
    """And does not without them: the first evaluation is before they begin."""
    settings = FederationSettings.model_validate({**SHAPE, "rounds": 40, "local_steps": 2, "batch_size": 16})
    fed = Federation(settings, FedAvg(), digits, 0, attack, 0.4, range(10, 40))
    found = []
    for rounds in (10, 30):
        for _ in range(rounds):
            fed.advance()
        goal = fed.goal(digits.test)
        assert goal is not None
        answers = fed.model.logits(fed.global_model, goal.x.to(fed.dtype)).argmax(dim=1)
        found.append(float((answers == goal.y).double().mean()))
    assert found[0] < 0.35
    assert found[1] > 0.6


def test_own_training_is_the_protocols(digits: Dataset) -> None:
    """What an attacker gets of its shard: the batches in which the engine has it train, with one-hot targets."""

    class Watching(Backdoor):
        trains = True
        seen: Any = None

        def forge(self, view: ByzantineView) -> Tensor:
            assert view.training is not None
            batches.extend(view.training.batches())
            return view.own

    batches: list[tuple[Tensor, Tensor]] = []
    fed = federation(Watching(), digits)
    fed.play()
    assert [tuple(x.shape) for x, _ in batches] == [(3, 8, 1, 8, 8)] * 3
    rows = fed.shards.indices[fed.is_byzantine]
    assert all(torch.equal(targets, one_hot(targets.argmax(dim=2), 10, torch.float64)) for _, targets in batches)
    assert rows.shape[0] == 3


def test_success_is_written_by_round_where_an_attack_ends(digits: Dataset) -> None:
    from bench.plays.cell import run_cell
    from bench.plays.findings import Task
    from bench.suite import Suite

    shape: Mapping[str, Any] = {**SHAPE, "rounds": 12, "eval_every": 4}
    window = [{"name": "backdoor", "byzantine": 0.3, "start": 2, "stop": 6}, {"name": "backdoor", "byzantine": 0.3}]
    suite = Suite(name="t", title="t", seeds=[0], federation=shape, defense=[{"name": "fedavg"}], attack=window)
    ended, whole = (run_cell(Task("t", "s", cell, 0, 1, None, 20.0)).record for cell in suite.cells()[1:])
    assert [at for at, _ in ended.success] == [4, 6, 8, 12]
    assert [at for at, _ in ended.curve] == [4, 8, 12]
    assert ended.success[-1][1] == round(ended.metrics["backdoor_success"], 4)
    assert whole.success == []
    assert "success" not in whole.model_dump()
