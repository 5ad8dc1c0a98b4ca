"""One cell: what its record holds, what becomes of faults; the same every time, and fairly."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from attacks.sign_flip import SignFlip
from bench import registry
from bench.data import Split, load
from bench.federation.engine import Federation
from bench.models.base import Model
from bench.plays import metrics, training
from bench.plays.cell import run_cell
from bench.plays.findings import build_defense
from bench.privacy.claims import PrivacyClaim
from bench.protocol import Defense, Delivered, LocalRound, ServerRound, Setting, Upload
from bench.records import Record, protocol_hash
from bench.threat import ByzantineAttack, ByzantineView
from defenses.fedavg import FedAvg

ROUNDS = 3  # of the tiny suite
SIGN_FLIP = {"name": "sign_flip", "byzantine": 2 / 9}
DLG = {"name": "dlg", "starts": 1, "evaluations": 20}
COLLUSION = {**DLG, "name": "collusion", "rho": 0.5}
Play = Callable[..., Record]
Make = Callable[..., Any]


# ----------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(("eval_every", "rounds"), [(1, [1, 2, 3]), (2, [2, 3]), (50, [3])])
def test_the_curve_ends_with_the_last_round_whose_accuracy_is_the_records(
    eval_every: int, rounds: list[int], play: Play
) -> None:
    record = play("fedavg", eval_every=eval_every)
    assert (record.status, record.error) == ("ok", None)
    assert [index for index, _ in record.curve] == rounds
    assert record.curve[-1][1] == round(record.metrics["accuracy"], 4)


def test_the_numbers_are_those_of_the_last_model_on_the_test_split(make_cell: Make, make_task: Make) -> None:
    cell, dataset = make_cell({"name": "fedavg"}, SIGN_FLIP), load("digits")
    federation = Federation(cell.federation, FedAvg(), dataset, 5, SignFlip(), cell.byzantine)
    for _ in range(cell.federation.rounds):
        federation.advance()  # as a cell does: in sums, whose order of adding is not that of messages
    accuracy, loss = metrics.accuracy_and_loss(federation.model, federation.global_model, dataset.test)
    record = run_cell(make_task(cell, seed=5)).record
    assert record.metrics.items() >= {"accuracy": accuracy, "loss": loss}.items()


@pytest.mark.usefixtures("_registry")
def test_a_peak_in_the_curve_is_not_the_records_accuracy(play: Play) -> None:
    @registry.register("defense", "forgetful")
    class Forgetful(FedAvg):
        """Learns, and forgets everything in its last round."""

        def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
            learnt = super().aggregate(delivered, server)
            return learnt if server.index < ROUNDS - 1 else torch.zeros_like(learnt)

    record = play("forgetful")
    assert record.curve[-1][1] < max(accuracy for _, accuracy in record.curve) - 0.1
    assert round(record.metrics["accuracy"], 4) == record.curve[-1][1]


def test_training_looks_at_the_test_split_alone(monkeypatch: pytest.MonkeyPatch, play: Play) -> None:
    seen: list[Split] = []

    def spy(model: Model, params: Tensor, split: Split) -> tuple[float, float]:
        seen.append(split)
        return metrics.accuracy_and_loss(model, params, split)

    monkeypatch.setattr(training, "accuracy_and_loss", spy)
    play("fedavg")
    assert len(seen) == ROUNDS
    assert all(split is load("digits").test for split in seen)


def test_a_record_says_what_it_is(make_cell: Make, make_task: Make) -> None:
    cell = make_cell({"name": "niss", "num_shares": 3}, SIGN_FLIP)
    record = run_cell(make_task(cell, seed=4)).record
    digest = load("digits").digest
    assert (record.suite, record.setting, record.cell, record.seed) == ("tiny", "s", cell, 4)
    assert (record.protocol, record.data_digest) == (protocol_hash(cell, digest), digest)
    assert (record.environment.device, record.environment.threads) == ("cpu", 1)
    assert record.within_claim is False
    assert record.derived["num_shares"] == 3
    assert record.privacy.claimed is not None
    assert record.privacy.claimed.epsilon == 10.0
    assert record.privacy.composed is not None
    assert (record.cost.upload_bytes, record.cost.peer_bytes) == (650 * 4, 3 * 650 * 4)
    assert (record.cost.total_seconds or 0) >= (record.cost.round_seconds or 0) * ROUNDS > 0


@pytest.mark.parametrize(("defense", "within"), [("fedavg", False), ("krum", True), ("median", True), ("rsa", True)])
def test_a_record_says_whether_the_defense_claims_to_stand_the_attack(defense: str, within: bool, play: Play) -> None:
    assert play(defense, SIGN_FLIP, rounds=1).within_claim is within
    assert play(defense, rounds=1).within_claim is True


@pytest.mark.usefixtures("_registry")
def test_forged_messages_that_nobody_could_send_are_counted(play: Play, faulty: Play) -> None:
    @registry.register("attack", "not_a_number")
    class NotANumber(ByzantineAttack):
        def forge(self, view: ByzantineView) -> Tensor:
            return torch.full_like(view.own, math.nan)

    record = play("median", {"name": "not_a_number", "byzantine": 2 / 9})
    assert record.status == "ok"
    assert record.metrics["rejected_entries"] == 2 * 650 * ROUNDS
    assert "rejected_entries" not in play("median", SIGN_FLIP).metrics


# ------------------------------------------------------------------------------------------------ failed and diverged


class Faulty(FedAvg):
    """Goes wrong where `fault` says."""

    name: ClassVar[str] = "faulty"
    fault: str = ""

    def _raise_at(self, step: str) -> None:
        if self.fault == step:
            raise RuntimeError(f"broken in {step}\nwith a second line")

    def start(self, setting: Setting) -> None:
        self._raise_at("start")

    def upload(self, local: LocalRound) -> Upload:
        self._raise_at("upload")
        return super().upload(local)

    def deliver(self, messages: Tensor, generator: torch.Generator) -> Delivered:
        self._raise_at("deliver")
        return super().deliver(messages, generator)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        self._raise_at("aggregate")
        whole = super().aggregate(delivered, server)
        if server.index < (ROUNDS - 1 if self.fault == "huge" else 1):
            return whole
        faulty = {"shape": whole[:-1], "nan": whole * math.nan, "inf": whole / 0.0, "huge": whole * 1e37}
        return faulty.get(self.fault, whole)

    def claim(self, setting: Setting) -> PrivacyClaim | None:
        self._raise_at("claim")
        return None

    def derived(self, setting: Setting) -> dict[str, float]:
        return {"odd": math.nan} if self.fault == "derived" else {}


@pytest.fixture
def faulty(_registry: None, play: Play) -> Play:
    """The record of a fault; it must be one that can be written and read."""
    registry.register("defense", "faulty")(Faulty)

    def record(fault: str, attack: dict[str, Any] | None = None) -> Record:
        found = play({"name": "faulty", "fault": fault}, attack)
        assert Record.model_validate_json(found.model_dump_json()) == found
        return found

    return record


@pytest.mark.parametrize("attack", [None, SIGN_FLIP, DLG], ids=["clean", "byzantine", "privacy"])
@pytest.mark.parametrize("fault", ["start", "upload", "deliver", "aggregate", "claim"])
def test_what_a_defense_raises_is_a_failed_record_with_one_sentence(
    fault: str, attack: dict[str, Any] | None, faulty: Play
) -> None:
    record = faulty(fault, attack)
    assert (record.status, record.error) == ("failed", f"RuntimeError: broken in {fault}")
    assert (record.metrics, record.curve, record.files) == ({}, [], {})
    assert record.cost.total_seconds is not None


def test_a_model_of_the_wrong_shape_is_a_failed_record(faulty: Play) -> None:
    record = faulty("shape")
    assert record.status == "failed"
    assert record.error == "ValueError: faulty.aggregate returned shape (649,), not (650,)"


@pytest.mark.parametrize("fault", ["nan", "inf"])
def test_a_model_that_is_not_finite_is_a_diverged_record(fault: str, faulty: Play) -> None:
    record = faulty(fault)
    assert (record.status, record.error) == ("diverged", "the global model is not finite after round 2")
    assert record.metrics == {}


def test_a_finite_model_whose_loss_is_not_is_a_record_that_can_be_read(faulty: Play) -> None:
    """1e37 times the weights still is a float32; the logits and the loss are not."""
    record = faulty("huge")
    assert record.status == "diverged"
    assert record.error


def test_a_derived_value_that_is_no_number_is_a_record_that_can_be_read(faulty: Play) -> None:
    assert faulty("derived").status == "failed"


@pytest.mark.usefixtures("_registry")
def test_what_an_attack_raises_is_a_failed_record(play: Play) -> None:
    @registry.register("attack", "hopeless")
    class Hopeless(ByzantineAttack):
        def forge(self, view: ByzantineView) -> Tensor:
            raise KeyError("no idea " + "x" * 1000)

    record = play("fedavg", {"name": "hopeless", "byzantine": 2 / 9})
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.startswith("KeyError: 'no idea x")
    assert len(record.error) == 500


@pytest.mark.parametrize(
    ("defense", "given", "told"),
    [
        ("krum", {"assumed_byzantine": 0.5}, "assumed Byzantine clients is 4"),
        ("fedavg", {"clients": 1}, "privacy.targets is 2, but there are 1 clients"),
    ],
)
def test_a_setting_that_a_cell_cannot_work_in_is_told(
    defense: str, given: dict[str, Any], told: str, play: Play
) -> None:
    record = play(defense, DLG, **given)
    assert record.status == "failed"
    assert record.error is not None
    assert told in record.error


# ------------------------------------------------------------------------------------------------ the same every time


@pytest.mark.parametrize(
    ("defense", "attack"),
    [
        ("niss", SIGN_FLIP),
        ("krum", {"name": "gaussian", "byzantine": 2 / 9}),
        ("dpbfl", None),
        ("dpbfl", COLLUSION),
    ],
    ids=["niss", "krum", "dpbfl", "dpbfl colluders"],
)
def test_a_cell_gives_the_same_record_again(
    defense: str, attack: dict[str, Any] | None, play: Play, but_for_times: Make, forget: Make
) -> None:
    first = play(defense, attack)
    forget()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002  the global generator is what must not matter
    assert but_for_times(play(defense, attack)) == but_for_times(first)
    assert but_for_times(play(defense, attack, seed=1))["metrics"] != first.metrics


@pytest.mark.usefixtures("_global_generators")
@pytest.mark.parametrize("defense", registry.names("defense"))
def test_a_cell_draws_from_no_global_generator(defense: str, play: Play, forget: Make) -> None:
    forget()
    attacks = ({"name": "gaussian", "byzantine": 2 / 9}, COLLUSION)
    row = {"name": defense, **({"num_samples": 200} if defense == "deepsight" else {})}  # by default it takes a minute
    records = [play(row, attack, assumed_byzantine=1 / 9) for attack in attacks]  # Bulyan needs n >= 4 f + 3
    assert [(record.status, record.error) for record in records] == [("ok", None)] * 2


def test_the_byzantine_clients_of_a_seed_are_the_same_under_every_defense(
    monkeypatch: pytest.MonkeyPatch, play: Play
) -> None:
    chosen: list[tuple[list[bool], Tensor]] = []

    class Spy(Federation):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            chosen.append((self.is_byzantine.tolist(), self.shards.indices))

    monkeypatch.setattr(training, "Federation", Spy)
    for name in ("fedavg", "krum", "rsa"):
        play(name, SIGN_FLIP, rounds=1)
    assert [sum(byzantine) for byzantine, _ in chosen] == [2, 2, 2]
    assert chosen[0][0] == chosen[1][0] == chosen[2][0]
    assert torch.equal(chosen[0][1], chosen[1][1])
    assert torch.equal(chosen[0][1], chosen[2][1])


# ----------------------------------------------------------------------------------------------------------- validation


@pytest.mark.parametrize(("rounds", "measured"), [(1, 1), (5, 1), (6, 2), (10, 2)])
def test_tuning_measures_the_last_fifth_of_the_rounds_on_the_validation_split(
    rounds: int, measured: int, make_cell: Make
) -> None:
    cell, dataset = make_cell({"name": "fedavg"}, None, rounds=rounds, lr=0.01), load("digits")
    federation = Federation(cell.federation, FedAvg(), dataset, 2)
    accuracies = [
        metrics.accuracy_and_loss(federation.model, federation.global_model, dataset.validation)[0]
        for _ in federation.rounds()
    ]
    expected = sum(accuracies[-measured:]) / measured
    assert len(set(accuracies)) > 1 or rounds == 1
    assert training.validation_accuracy(cell, 2, dataset) == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("faulty")
def test_tuning_gives_nothing_to_a_run_that_diverges(make_cell: Make) -> None:
    cell = make_cell({"name": "faulty", "fault": "nan"}, None)
    assert training.validation_accuracy(cell, 0, load("digits")) == 0.0


def test_a_defense_is_built_with_the_cells_parameters(make_cell: Make) -> None:
    built: Defense = build_defense(make_cell({"name": "niss", "num_shares": 4, "zeta": 0.7}, None))
    assert built.model_dump()["num_shares"] == 4
    assert built.clip_norm() == 0.7
