"""The round: against hand-written loops, alike for all defenses, and fair to all of them where messages are forged."""

import random
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from pydantic import Field
from torch import Tensor

from bench import registry
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.metrics import accuracy_and_loss
from bench.protocol import Alphabet, Defense, Delivered, LocalRound, ServerRound, Setting, Upload
from bench.threat import ByzantineAttack, ByzantineView, RoundTranscript
from defenses.dp_fedavg import DPFedAvg
from defenses.dpbfl import DPBFL
from defenses.fedavg import FedAvg
from defenses.ldpbfl import LDPBFL
from defenses.median import Median
from defenses.rsa import RSA

DEFENSES = ("fedavg", "dp_fedavg", "niss", "krum", "median", "rsa", "dpbfl", "ldpbfl")
every_defense = pytest.mark.parametrize("name", DEFENSES)
DIM = 650  # softmax regression on 8x8 digits


class Constant(ByzantineAttack):
    """Sends one number in all coordinates; keeps what it was shown."""

    name: ClassVar[str] = "constant"
    value: Any = 7.0  # not a float: those must be finite
    seen: list[Any] = Field(default_factory=list)

    def forge(self, view: ByzantineView) -> Tensor:
        self.seen.append(view)
        return torch.full(view.own.shape, self.value, dtype=view.broadcast.dtype)


class Omniscient(Constant):
    name: ClassVar[str] = "omniscient"
    omniscient: ClassVar[bool] = True


class OneRowBroken(ByzantineAttack):
    """Honest rows, but for one number in the first of them."""

    name: ClassVar[str] = "one_row_broken"

    def forge(self, view: ByzantineView) -> Tensor:
        forged = view.own.clone()
        forged[0, 3] = torch.nan
        return forged


class Short(ByzantineAttack):
    name: ClassVar[str] = "short"

    def forge(self, view: ByzantineView) -> Tensor:
        return view.own[1:]


class Truncating(FedAvg):
    name: ClassVar[str] = "truncating"

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return super().aggregate(delivered, server)[:-1]


class Recording(FedAvg):
    """Loses all messages but the first and the third; keeps what each side was shown."""

    name: ClassVar[str] = "recording"
    clients: list[Any] = Field(default_factory=list)
    servers: list[Any] = Field(default_factory=list)

    def __deepcopy__(self, memo: Any = None) -> "Recording":
        """The test looks on, so all sides are this one."""
        return self

    def upload(self, local: LocalRound) -> Upload:
        self.clients.append(local)
        return super().upload(local)

    def deliver(self, messages: Tensor, generator: torch.Generator) -> Delivered:
        return Delivered(messages[[0, 2]], senders=torch.tensor([0, 2]))

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        self.servers.append(server)
        return super().aggregate(delivered, server)


def settings(**changes: Any) -> FederationSettings:
    given: dict[str, Any] = {
        "dataset": "digits",
        "clients": 10,
        "samples_per_client": 12,
        "rounds": 3,
        "local_steps": 2,
        "batch_size": 5,
        "lr": 0.1,
        "assumed_byzantine": 0.2,
    }
    return FederationSettings(**{**given, **changes})


def federation(defense: Defense | str = "fedavg", seed: int = 0, **changes: Any) -> Federation:
    """A federation on the digits; `attack`, `byzantine` or settings as keywords."""
    attack, byzantine = changes.pop("attack", None), changes.pop("byzantine", 0.0)
    built = registry.get("defense", defense)() if isinstance(defense, str) else defense
    return Federation(settings(**changes), built, load("digits"), seed, attack, byzantine)


def played(*arguments: Any, **changes: Any) -> tuple[Federation, list[RoundTranscript]]:
    found = federation(*arguments, **changes)
    return found, list(found.rounds())


def full_batch_gradient(federated: Federation, client: int, params: Tensor) -> Tensor:
    """The gradient `(d,)` of softmax regression on a client's whole shard, by autograd."""
    split, rows = load("digits").train, federated.shards.indices[client]
    w = params.clone().requires_grad_()
    logits = split.x[rows].flatten(1).to(w.dtype) @ w[: 64 * 10].reshape(10, 64).T + w[64 * 10 :]
    loss = torch.nn.functional.cross_entropy(logits, split.y[rows])
    return torch.autograd.grad(loss, w)[0]


WHOLE_SHARD: dict[str, Any] = {"batch_size": 12, "dtype": "float64", "lr_decay": 1.0}


@pytest.mark.parametrize("epochs", [1, 2])
def test_fedavg_is_the_mean_of_the_clients_descents(epochs: int) -> None:
    found, transcripts = played(local_steps=None, local_epochs=epochs, **WHOLE_SHARD)
    w = torch.zeros(DIM, dtype=torch.float64)
    for k, transcript in enumerate(transcripts):
        torch.testing.assert_close(transcript.broadcast, w, rtol=0, atol=1e-12)
        models = []
        for client in range(10):
            own = w
            for _ in range(epochs):
                own = own - 0.1 / (1 + k) ** 0.5 * full_batch_gradient(found, client, own)
            models.append(own)
        torch.testing.assert_close(transcript.updates, torch.stack(models) - w, rtol=0, atol=1e-12)
        torch.testing.assert_close(transcript.messages, torch.stack(models) - w, rtol=0, atol=1e-12)
        w = torch.stack(models).mean(dim=0)
    torch.testing.assert_close(found.global_model, w, rtol=0, atol=1e-12)


def hand_written_rsa(found: Federation, rounds: int, penalty: float, kappa: float) -> list[tuple[Tensor, Tensor]]:
    """(w_0, all w_i) before each round and after the last: eq. 3 and 4, from a common start."""
    w_0 = torch.zeros(DIM, dtype=torch.float64)
    w = torch.zeros(10, DIM, dtype=torch.float64)
    states = [(w_0, w)]
    for k in range(rounds):
        lr = 0.1 / (1 + k) ** 0.5
        gradients = torch.stack([full_batch_gradient(found, client, own) for client, own in enumerate(w)])
        stepped = w - lr * (gradients + penalty * torch.sign(w - w_0))
        w_0, w = w_0 - kappa * lr / 10 * penalty * torch.sign(w_0 - w).sum(dim=0), stepped
        states.append((w_0, w))
    return states


def test_rsa_is_equations_3_and_4() -> None:
    found, transcripts = played(RSA(penalty=0.03, kappa=2.0), local_steps=1, **WHOLE_SHARD)
    states = hand_written_rsa(found, 3, penalty=0.03, kappa=2.0)
    for transcript, (w_0, w) in zip(transcripts, states, strict=False):
        torch.testing.assert_close(transcript.broadcast, w_0, rtol=0, atol=1e-12)
        torch.testing.assert_close(transcript.messages, w - w_0, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.global_model, states[-1][0], rtol=0, atol=1e-12)
    assert found.kept is not None
    torch.testing.assert_close(found.kept, states[-1][1], rtol=0, atol=1e-12)
    assert float(states[-1][0].abs().max()) > 0


@pytest.mark.parametrize("participation", [1.0, 0.5])
@pytest.mark.parametrize("name", ["fedavg", "rsa", "ldpbfl"])
def test_a_transcript_holds_the_models_that_its_messages_were_made_of(name: str, participation: float) -> None:
    """Read after the last round, as the bench does: later steps must not write into it."""
    defense = LDPBFL(gamma=0.0) if name == "ldpbfl" else name
    _, transcripts = played(defense, participation=participation)
    for transcript in transcripts:
        update = transcript.updates
        expected = torch.sign(-update).to(torch.int8) if name == "ldpbfl" else update
        assert torch.equal(transcript.messages, expected)


@pytest.mark.parametrize("name", ["rsa", "dpbfl", "ldpbfl"])
def test_the_first_uploads_of_rsa_are_zero(name: str) -> None:
    """Errata D18: all start from the same model, and sign(0) = 0."""
    defense = {"rsa": RSA(), "dpbfl": DPBFL(gamma=0.0), "ldpbfl": LDPBFL(gamma=0.0)}[name]
    _, (first, second, _) = played(defense, model="mlp")
    assert not bool(first.messages.any())
    assert torch.equal(first.broadcast, second.broadcast)
    assert bool(second.messages.any(dim=1).all())


def test_only_participants_of_rsa_step() -> None:
    found = federation("rsa", participation=0.3)
    assert found.kept is not None
    for _ in range(4):
        before = found.kept.clone()
        transcript = found.play()
        moved = (found.kept != before).any(dim=1)
        assert moved.nonzero()[:, 0].tolist() == transcript.participants.tolist()


def test_fedavg_learns_the_digits() -> None:
    found, _ = played(clients=20, samples_per_client=None, rounds=10, local_steps=5, batch_size=20, lr=0.5)
    accuracy, loss = accuracy_and_loss(found.model, found.global_model, load("digits").test)
    assert accuracy > 0.9
    assert loss < 0.4


@every_defense
def test_a_seed_gives_the_same_model_bit_for_bit(name: str) -> None:
    attack = registry.get("attack", "gaussian")()
    first, second = (played(name, 3, attack=attack, byzantine=0.2, participation=0.9) for _ in range(2))
    assert torch.equal(first[0].global_model, second[0].global_model)
    assert bool(torch.isfinite(first[0].global_model).all())
    for one, other in zip(first[1], second[1], strict=True):
        assert torch.equal(one.messages, other.messages)
        assert torch.equal(one.delivered.messages, other.delivered.messages)


@every_defense
def test_different_seeds_give_different_models(name: str) -> None:
    models = [played(name, seed)[0].global_model for seed in (0, 1, 2)]
    assert not torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])
    assert not torch.equal(models[1], models[2])


def test_seeds_draw_their_own_partition_byzantine_clients_and_participants() -> None:
    one, other = (played("fedavg", seed, attack=Constant(), byzantine=0.3, participation=0.5) for seed in (0, 1))
    assert not torch.equal(one[0].shards.indices, other[0].shards.indices)
    assert not torch.equal(one[0].is_byzantine, other[0].is_byzantine)
    assert any(not torch.equal(a.participants, b.participants) for a, b in zip(one[1], other[1], strict=True))


@every_defense
def test_the_defense_changes_none_of_what_a_seed_draws(name: str) -> None:
    changes: dict[str, Any] = {"attack": Constant(), "byzantine": 0.3, "participation": 0.8, "model": "mlp"}
    start = federation("fedavg", 5, **changes), federation(name, 5, **changes)
    assert torch.equal(start[0].global_model, start[1].global_model)
    assert torch.equal(start[0].shards.indices, start[1].shards.indices)
    assert torch.equal(start[0].is_byzantine, start[1].is_byzantine)
    for mine, other in zip(start[0].rounds(), start[1].rounds(), strict=True):
        assert torch.equal(mine.participants, other.participants)
        if mine.index == 0 and start[1].kept is None:  # the same batches, too
            assert torch.equal(mine.updates, other.updates)


def test_the_attack_changes_none_of_what_a_seed_draws() -> None:
    clean, attacked = federation(), federation(attack=Constant(), byzantine=0.3)
    assert torch.equal(clean.shards.indices, attacked.shards.indices)
    assert torch.equal(clean.play().updates, attacked.play().updates)


@profile(max_examples=30)
@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 5))
def test_the_byzantine_count_is_b_n_rounded(clients: int, byzantine: float, seed: int) -> None:
    make = partial(federation, "fedavg", seed, clients=clients, samples_per_client=1, attack=Constant())
    if byzantine > 0 and not round(byzantine * clients):  # an attack by nobody
        with pytest.raises(ValueError, match="byzantine is"):
            make(byzantine=byzantine)
        return
    found = make(byzantine=byzantine)
    assert found.is_byzantine.shape == (clients,)
    assert int(found.is_byzantine.sum()) == round(byzantine * clients)


def test_every_client_may_be_byzantine() -> None:
    chosen = sum(federation("fedavg", seed, byzantine=0.3).is_byzantine.long() for seed in range(40))
    assert isinstance(chosen, Tensor)
    assert int(chosen.min()) > 0


@pytest.mark.parametrize(("participation", "expected"), [(1.0, 10), (0.5, 5), (0.3, 3), (0.01, 1)])
def test_participants_are_a_fresh_sorted_subset_each_round(participation: float, expected: int) -> None:
    _, transcripts = played(participation=participation, rounds=6)
    drawn = [transcript.participants.tolist() for transcript in transcripts]
    for names, transcript in zip(drawn, transcripts, strict=True):
        assert len(names) == expected
        assert names == sorted(set(names))
        assert set(names) <= set(range(10))
        assert transcript.messages.shape == transcript.updates.shape == (expected, DIM)
    assert (len({tuple(names) for names in drawn}) > 1) == (expected < 10)


@pytest.mark.parametrize(("oracle", "byzantine", "fraction", "count"), [(False, 0.3, 0.2, 2), (True, 0.3, 0.3, 3)])
def test_oracle_f_tells_the_defense_the_true_fraction(
    oracle: bool, byzantine: float, fraction: float, count: int
) -> None:
    found = federation("fedavg", attack=Constant(), byzantine=byzantine, oracle_f=oracle)
    assert found.setting.assumed_byzantine == fraction
    assert found.setting.num_byzantine == count


def test_a_defense_may_refuse_the_setting_before_the_first_round() -> None:
    with pytest.raises(ValueError, match="Krum"):
        federation("krum", assumed_byzantine=0.4)


def test_each_side_is_told_its_round() -> None:
    defense = Recording()
    found = federation(defense, participation=0.4)
    transcripts = list(found.rounds())
    assert [t.index for t in transcripts] == [local.index for local in defense.clients] == [0, 1, 2]
    for transcript, local, server in zip(transcripts, defense.clients, defense.servers, strict=True):
        assert local.weights.tolist() == [0.25] * 4
        assert server.weights.tolist() == [0.25] * 2  # those of the delivered rows
        assert torch.equal(local.clients, transcript.participants)
        assert torch.equal(server.global_model, transcript.broadcast)
        expected = transcript.broadcast + transcript.messages[[0, 2]].mean(dim=0)
        after = transcripts[server.index + 1].broadcast if server.index < 2 else found.global_model
        torch.testing.assert_close(after, expected)


@every_defense
def test_forging_changes_the_byzantine_rows_and_no_others(name: str) -> None:
    clean = federation(name, participation=0.8).play()
    found = federation(name, participation=0.8, attack=Constant(value=1.0), byzantine=0.3)
    attacked = found.play()
    rows = found.is_byzantine[attacked.participants]
    assert 0 < int(rows.sum()) < len(rows)
    assert torch.equal(attacked.messages[~rows], clean.messages[~rows])
    weight = 1 / 8 if found.defense.weighted else 1.0
    assert torch.equal(attacked.messages[rows], torch.full_like(attacked.messages[rows], 1) * weight)
    assert attacked.messages.dtype == clean.messages.dtype
    assert found.rejected == 0


def test_forged_messages_reach_the_aggregate() -> None:
    found = federation(Median(), attack=Constant(), byzantine=0.6)
    found.play()
    assert torch.equal(found.global_model, torch.full((DIM,), 7.0))
    mean, clean = federation(attack=Constant(), byzantine=0.2), federation()
    after, honest = mean.play(), clean.play().messages
    expected = torch.where(mean.is_byzantine.unsqueeze(1), 7.0, honest).mean(dim=0)
    torch.testing.assert_close(mean.global_model, after.broadcast + expected)


def test_a_forged_update_weighs_p_k_where_messages_carry_it() -> None:
    attack, defense = Omniscient(), DPFedAvg(zeta=0.01)
    clean = federation(defense, participation=0.8).play()
    found = federation(defense, participation=0.8, attack=attack, byzantine=0.3)
    attacked = found.play()
    rows = found.is_byzantine[attacked.participants]
    torch.testing.assert_close(attacked.messages[rows], torch.full((int(rows.sum()), DIM), 7 / 8))
    (view,) = attack.seen
    torch.testing.assert_close(view.honest, clean.messages[~rows] * 8)
    torch.testing.assert_close(view.own, clean.updates[rows])  # neither clipped nor noised
    torch.testing.assert_close(found.global_model, clean.broadcast + attacked.messages.sum(dim=0))


def test_an_oblivious_attack_sees_its_own_messages_alone() -> None:
    attack = Constant()
    found = federation(attack=attack, byzantine=0.3)
    clean = federation().play()
    found.play()
    (view,) = attack.seen
    assert view.honest is None
    assert view.alphabet is Alphabet.REAL
    assert torch.equal(view.own, clean.messages[found.is_byzantine])
    assert torch.equal(view.broadcast, clean.broadcast)


def test_byzantine_clients_bypass_the_randomizer() -> None:
    """Errata D12, D14: what they would send honestly are signs without noise; the others' messages have it."""
    attack, defense = Omniscient(value=0.0), LDPBFL(gamma=0.9)
    found = federation(defense, attack=attack, byzantine=0.3)
    first, second = found.play(), found.play()
    views, rows = attack.seen, found.is_byzantine
    assert not bool(views[0].own.any())
    assert bool(first.messages[~rows].any())
    again = federation(defense, attack=Omniscient(value=0.0), byzantine=0.3)
    again.play()
    assert again.kept is not None
    own = again.kept[rows]
    assert torch.equal(views[1].own, torch.sign(second.broadcast - own).to(torch.int8))
    assert torch.equal(views[1].honest, second.messages[~rows].to(views[1].honest.dtype))
    assert views[1].alphabet is Alphabet.TERNARY


@pytest.mark.parametrize(
    ("value", "sent", "rejected"),
    [(1.0, 1, 0), (0.0, 0, 0), (-1.0, -1, 0), (5.0, 1, 1), (-0.7, -1, 1), (0.2, 0, 1), (float("nan"), 0, 1)],
)
def test_forged_signs_are_rounded_into_the_alphabet_and_counted(value: float, sent: int, rejected: int) -> None:
    found = federation(LDPBFL(), attack=Constant(value=value), byzantine=0.3)
    transcript = found.play()
    assert transcript.messages.dtype == torch.int8
    assert transcript.messages[found.is_byzantine].unique().tolist() == [sent]
    assert found.rejected == rejected * 3 * DIM


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["fedavg", "median", "rsa", "niss"])
def test_forged_rows_that_are_not_finite_are_rejected_and_counted(name: str, value: float) -> None:
    found, transcripts = played(name, attack=Constant(value=value), byzantine=0.3)
    for transcript in transcripts:
        assert not bool(transcript.messages[found.is_byzantine].any())
    assert found.rejected == 3 * DIM * 3  # three clients, three rounds
    assert bool(torch.isfinite(found.global_model).all())


def test_one_number_that_is_not_finite_costs_its_own_row() -> None:
    found, clean = federation(attack=OneRowBroken(), byzantine=0.3), federation()
    attacked, honest = found.play().messages, clean.play().messages
    first, *others = found.is_byzantine.nonzero()[:, 0].tolist()
    assert not bool(attacked[first].any())
    assert torch.equal(attacked[others], honest[others])
    assert found.rejected == DIM


def test_a_wrong_shape_from_an_attack_is_told_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^short\.forge returned shape \(2, 650\), not \(3, 650\)$"):
        federation(attack=Short(), byzantine=0.3).play()


def test_a_wrong_shape_from_a_defense_is_told_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^truncating\.aggregate returned shape \(649,\), not \(650,\)$"):
        federation(Truncating()).play()


@every_defense
def test_no_global_random_state_is_used(name: str) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    played(name, attack=registry.get("attack", "gaussian")(), byzantine=0.2, participation=0.9, partition="dirichlet")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002


def setting(**changes: Any) -> Setting:
    given: dict[str, Any] = {"num_clients": 20, "participants": 10, "dim": 5, "rounds": 8, "lr": 0.6, "lr_decay": None}
    return Setting(**{**given, "assumed_byzantine": 0.25, "delta": 1e-5, **changes})


@pytest.mark.parametrize(
    ("decay", "index", "expected"),
    [(None, 0, 0.6), (None, 99, 0.6), (1.0, 0, 0.6), (1.0, 3, 0.3), (4.0, 12, 0.3), (0.125, 1, 0.2)],
)
def test_the_learning_rate_decays_with_the_root_of_the_round(decay: float | None, index: int, expected: float) -> None:
    assert setting(lr_decay=decay).learning_rate(index) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("milestones", [(), (1,), (2, 3), (1, 4, 5)])
def test_milestones_are_those_of_torch(milestones: tuple[int, ...]) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.6)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=list(milestones), gamma=0.3)
    own = setting(lr_milestones=milestones, lr_milestone_factor=0.3)
    for index in range(8):
        assert own.learning_rate(index) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("name", ["fedavg", "rsa"])
def test_the_engine_takes_smaller_steps_from_a_milestone_on(name: str) -> None:
    given: dict[str, Any] = {"rounds": 3, "lr": 0.2, "dtype": "float64"}
    found = federation(name, lr_milestones=(2,), lr_milestone_factor=0.5, **given)
    large, small = federation(name, **given), federation(name, **{**given, "lr": 0.1})
    for index in range(3):
        for other in (large, small):
            other.global_model = found.global_model
            if found._placed is not None:
                everybody = torch.arange(found.settings.clients)
                assert other._placed is not None
                other._placed.put(everybody, found._placed.take(everybody))
        for one in (found, large, small):
            one.play()
        same = small if index == 2 else large
        other = large if index == 2 else small
        torch.testing.assert_close(found.global_model, same.global_model, rtol=0, atol=1e-12)
        if name == "fedavg":
            assert not torch.allclose(found.global_model, other.global_model, atol=1e-6)
        else:
            assert found.kept is not None
            assert other.kept is not None
            assert not torch.allclose(found.kept, other.kept, atol=1e-6)


def test_the_engine_decays_and_clips_as_its_settings_say() -> None:
    """Of one step on whole shards: the mean of clipped gradients, and the model itself, are taken off."""
    given = {**WHOLE_SHARD, "local_steps": 1, "lr_decay": None}
    found = federation(weight_decay=0.5, clip_gradients=0.7, **given)
    found.global_model = 0.1 * torch.ones_like(found.global_model)
    before = found.global_model.clone()
    transcript = found.play()
    gradients = torch.stack([full_batch_gradient(found, client, before) for client in range(10)])
    norms = gradients.norm(dim=1, keepdim=True)
    clipped = gradients * (0.7 / (norms + 1e-6)).clamp(max=1)
    assert float(norms.max()) > 0.7
    torch.testing.assert_close(transcript.updates, -0.1 * (clipped + 0.5 * before), rtol=0, atol=1e-12)


def test_the_server_trains_on_its_images_as_the_clients_do() -> None:
    """FLTrust's own update is cut to the norm that a client's step cannot exceed."""
    found, plain = (federation("fltrust", clip_gradients=clip, local_steps=1) for clip in (1e-3, 0.0))
    assert found._root is not None
    assert plain._root is not None
    short, long = (one._root.update(0, one.global_model, 0.1).norm() for one in (found, plain) if one._root)
    assert float(short) == pytest.approx(1e-4, rel=1e-3)
    assert float(long) > 1e-2


def test_what_a_setting_says_of_a_round() -> None:
    assert setting().num_byzantine == 2  # 2.5, half to even
    assert setting(assumed_byzantine=0.4).num_byzantine == 4


def test_the_public_facts_are_those_of_the_federation() -> None:
    digits = load("digits")
    mean, std = digits.mean, digits.std
    signs = federation(DPBFL(gamma=0.4, penalty=0.07), local_steps=None, local_epochs=2).facts(mean, std)
    assert (signs.random_share, signs.local_penalty, signs.keeps_models) == (0.4, 0.07, True)
    assert (signs.alphabet, signs.weighted, signs.clip_norm) == (Alphabet.TERNARY, False, None)
    assert signs.local_steps == 6  # 12 samples in batches of 5, twice
    noisy = federation(DPFedAvg(zeta=2.5)).facts(mean, std)
    assert (noisy.random_share, noisy.local_penalty, noisy.keeps_models) == (0.0, 0.0, False)
    assert (noisy.alphabet, noisy.weighted, noisy.clip_norm) == (Alphabet.REAL, True, 2.5)
    assert noisy.local_steps == 2
    assert noisy.mean is mean
    assert noisy.std is std
