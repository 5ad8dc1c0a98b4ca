"""`bench.rule`: the rule that is deployed is the one that is benchmarked, bit for bit, with what it remembers."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import bench
from bench import data, registry
from bench.base.errors import BadInputError
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.protocol import Defense
from bench.threat import ByzantineAttack
from defenses.median import coordinate_median
from defenses.trimmed_mean import trimmed_mean
from tests.bench.helpers import deployed
from tests.bench.helpers.deployed import SEED, F, N


def federation(defense: Defense, **changes: Any) -> Federation:
    given: dict[str, Any] = {
        "dataset": "digits", "partition": "dirichlet", "clients": N, "rounds": 4, "local_steps": 1, "batch_size": 8,
        "lr": 0.5, "assumed_byzantine": F / N,
    }  # fmt: skip
    settings = FederationSettings(**{**given, **changes})
    attack: ByzantineAttack = registry.get("attack", "sign_flip")()
    return Federation(settings, defense, data.load("digits"), SEED, attack, F / N)


@pytest.mark.parametrize("name", deployed.rules())
def test_the_deployed_rule_is_the_benchmarked_one_bit_for_bit(name: str) -> None:
    """Every rule that a server plays alone; over rounds, with an attack, with what it remembers and what it draws."""
    parameters, f = deployed.of(name)
    aggregate = bench.rule(name, f=f, seed=SEED, rounds=4, **parameters)
    roots: list[Tensor | None] = []
    played = federation(deployed.watched(name, roots), assumed_byzantine=f / N)
    for _ in range(4):
        seen = played.play()
        sent, model = [layers(row) for row in seen.messages], layers(seen.broadcast)
        root = None if roots[-1] is None else layers(roots[-1])
        found = aggregate(sent, model=model, clients=seen.participants.tolist(), root=root)
        assert torch.equal(torch.cat([found["weight"].flatten(), found["bias"]]), played.global_model)


def layers(vector: Tensor) -> dict[str, Tensor]:
    """Softmax regression's, on the digits: some rules look at each by itself."""
    return {"weight": vector[:640].view(10, 64), "bias": vector[640:]}


def test_most_defenses_are_rules_and_a_protocol_is_none() -> None:
    names = deployed.rules()
    assert len(names) > 20
    assert {"krum", "nnm", "fltrust", "flame"} <= set(names)
    assert not {"dp_fedavg", "rsa", "niss"} & set(names)


@pytest.mark.parametrize("name", ["foolsgold", "fldetector"])
def test_who_takes_part_may_change_where_clients_are_remembered(name: str) -> None:
    parameters = {"memory": True} if name == "foolsgold" else {}
    played = federation(registry.get("defense", name)(**parameters), participation=0.5, assumed_byzantine=0.25)
    aggregate = bench.rule(name, share=0.25, seed=SEED, num_clients=N, **parameters)
    for _ in range(4):
        seen = played.play()
        names = [f"client {one}" for one in seen.participants.tolist()]
        assert torch.equal(aggregate(seen.messages, model=seen.broadcast, clients=names), played.global_model)


@pytest.mark.parametrize("name", deployed.INSIDE)
def test_a_rule_that_looks_into_the_network_says_that_it_has_none(name: str) -> None:
    model = layers(torch.zeros(650))
    with pytest.raises(ValueError, match="looks into the model, but nothing says what model it is"):
        bench.rule(name, f=F)([model] * N, model=model)


def test_without_a_number_of_rounds_none_is_the_last() -> None:
    """CRFL clips without noise after its last round; nobody says here that the first is that."""
    updates = torch.zeros(N, 9)
    assert bool((bench.rule("crfl")(updates, model=torch.zeros(9)) != 0).all())
    assert torch.equal(bench.rule("crfl", rounds=1)(updates, model=torch.zeros(9)), torch.zeros(9))


def test_all_forms_of_the_same_updates_give_the_same_bits() -> None:
    updates = torch.randn(N, 15, generator=torch.Generator().manual_seed(0))
    aggregate = bench.rule("nnm", rule="trimmed_mean", f=F)
    expected = aggregate(updates)
    assert torch.equal(aggregate(list(updates)), expected)
    assert np.array_equal(aggregate(updates.numpy()), expected.numpy())
    layers = aggregate([{"w": row[:12].view(3, 4), "b": row[12:]} for row in updates])
    assert torch.equal(torch.cat([layers["w"].flatten(), layers["b"]]), expected)
    w, b = aggregate([[row[:12].reshape(3, 4), row[12:]] for row in updates.numpy()])
    assert np.array_equal(np.concatenate([w.ravel(), b]), expected.numpy())


def test_bfloat16_is_the_float32_rule_rounded_once() -> None:
    updates = torch.randn(N, 30, generator=torch.Generator().manual_seed(1)).bfloat16()
    aggregate = bench.rule("geometric_median")
    found = aggregate(updates)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, aggregate(updates.float()).bfloat16())


def test_models_are_updates_from_the_broadcast() -> None:
    generator = torch.Generator().manual_seed(2)
    model, updates = torch.randn(9, generator=generator), torch.randn(N, 9, generator=generator)
    models = model + updates
    before = models.clone()
    found = bench.rule("trimmed_mean", f=F).of_models(models, model)
    assert torch.equal(found, model + trimmed_mean(models - model, F))
    assert torch.equal(models, before)
    named = bench.rule("trimmed_mean", f=F).of_models([{"all": one} for one in models], {"all": model})
    assert torch.equal(named["all"], found)
    assert torch.equal(models, before)


def test_without_a_model_the_change_is_given() -> None:
    updates = torch.randn(N, 9, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.equal(bench.rule("median")(updates), coordinate_median(updates))


def test_an_update_that_is_not_finite_counts_as_zero_and_is_told() -> None:
    updates = torch.randn(N, 9, generator=torch.Generator().manual_seed(5))
    broken = updates.clone()
    broken[3, 4] = float("nan")
    zero = updates.clone()
    zero[3] = 0
    aggregate = bench.rule("median")
    assert torch.equal(aggregate(broken), aggregate(zero))
    assert aggregate.rejected == 9


def test_memory_stays_with_the_object_and_travels_with_it() -> None:
    updates = torch.randn(N, 9, generator=torch.Generator().manual_seed(6))
    aggregate = bench.rule("centered_clipping", memory=True, tau=0.5)
    first = aggregate(updates)
    kept, copied = pickle.loads(pickle.dumps(aggregate)), copy.deepcopy(aggregate)
    second = aggregate(updates)
    assert not torch.equal(first, second)
    assert torch.equal(kept(updates), second)
    assert torch.equal(copied(updates), second)
    assert torch.equal(bench.rule("centered_clipping", memory=True, tau=0.5)(updates), first)


def test_a_row_of_a_suite_has_the_row_s_parameters() -> None:
    row = bench.rule("krum", suite="smoke", f=F)
    assert row.defense == bench.rule("krum", f=F).defense
    with pytest.raises(BadInputError, match="no row in suite 'smoke' named 'krun': did you mean krum"):
        bench.rule("krun", suite="smoke", f=F)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "krmu", "f": 1}, "no defense named 'krmu': did you mean krum"),
        ({"name": "krum"}, "krum withstands as many attackers as assumed: give f"),
        ({"name": "nnm", "rule": "median"}, "nnm withstands as many attackers as assumed"),
        ({"name": "krum", "f": 1, "share": 0.1}, "and not both"),
        ({"name": "krum", "f": -1}, "f is -1"),
        ({"name": "krum", "share": 1.5}, "share is 1.5"),
        ({"name": "krum", "f": 1, "num_selected": 0}, "rule 'krum': num_selected"),
        ({"name": "median", "num_clients": 0}, "num_clients is 0"),
        ({"name": "median", "rounds": 0}, "rounds is 0"),
        ({"name": "dp_fedavg"}, "dp_fedavg is a protocol with its own message and upload"),
        ({"name": "rsa"}, "rsa keeps a model at each client"),
        ({"name": "sign_majority"}, "sign_majority is a protocol with its own message"),
    ],
)
def test_what_is_no_rule_is_told_in_one_sentence(given: dict[str, Any], told: str) -> None:
    name = given.pop("name")
    with pytest.raises(BadInputError, match=told):
        bench.rule(name, **given)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("flame", {}, "flame looks at the model, not at updates alone: give model="),
        ("fltrust", {}, "fltrust weighs by an update of the server's own: give root="),
        ("foolsgold", {}, "foolsgold remembers clients: give clients="),
        ("krum", {"f": 6}, "Krum, which needs n >= 2 f"),
        ("median", {"call": {"clients": [1, 2]}}, "clients is 2 names, but must be 12"),
        ("fedavg", {"call": {"weights": [1.0] * 11 + [-1.0]}}, "none negative"),
        ("median", {"call": {"model": torch.ones(4)}}, r"model has shape \(4,\)"),
    ],
)
def test_what_a_rule_needs_is_told_in_one_sentence(name: str, options: dict[str, Any], told: str) -> None:
    call = options.pop("call", {})
    if name == "foolsgold":
        options["memory"] = True
    aggregate = bench.rule(name, **options)
    with pytest.raises(ValueError, match=told):
        aggregate(torch.randn(N, 9, generator=torch.Generator().manual_seed(7)), **call)


def test_weights_are_what_each_client_holds() -> None:
    updates: Tensor = torch.tensor([[1.0], [4.0]])
    assert bench.rule("fedavg")(updates, weights=[2, 1]).item() == pytest.approx(2.0)
    assert bench.rule("fedavg")(updates).item() == pytest.approx(2.5)


def test_fltrust_takes_the_server_s_own_update() -> None:
    updates = [{"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([-5.0, -5.0])}]
    found = bench.rule("fltrust")(updates, root={"w": torch.tensor([2.0, 2.0])})
    assert found["w"].tolist() == pytest.approx([2.0, 2.0])
