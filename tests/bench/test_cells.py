"""One cell: what its record holds, what its picture shows, how noise is measured; the same every time, and fairly."""

import math
import random
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from attacks.sign_flip import SignFlip
from bench import cells, metrics, registry, threat
from bench.cells import Outcome, Task, run_cell
from bench.data import Split, load
from bench.federation import Federation
from bench.models import Model
from bench.privacy import PrivacyClaim
from bench.protocol import Defense, Delivered, LocalRound, ServerRound, Setting, Upload
from bench.records import Record, protocol_hash, read, write_whole
from bench.suite import Cell, Suite
from bench.threat import ByzantineAttack, ByzantineView
from defenses.fedavg import FedAvg

CLIENTS, ROUNDS, TARGETS = 9, 3, 2
SUITE: dict[str, Any] = {
    "name": "tiny",
    "title": "t",
    "seeds": [0],
    "federation": {
        "dataset": "digits",
        "clients": CLIENTS,
        "samples_per_client": 20,
        "rounds": ROUNDS,
        "local_steps": 2,
        "batch_size": 10,
        "lr": 0.5,
        "assumed_byzantine": 0.25,
    },
    "privacy": {
        "targets": TARGETS,
        "model": "lenet",
        "samples_per_client": 1,
        "local_steps": 1,
        "batch_size": 1,
        "rounds": 2,
        "lr": 0.1,
        "dtype": "float64",
    },
}
SIGN_FLIP = {"name": "sign_flip", "byzantine": 2 / 9}
DLG = {"name": "dlg", "starts": 1, "evaluations": 20}
PRIVACY_METRICS = {"gradient_match_loss", "label_recovered"} | {
    f"{prefix}{name}" for prefix in ("", "control_", "blind_") for name in ("mse", "psnr", "ssim", "recovered")
}


def collusion(rho: float) -> dict[str, Any]:
    return {**DLG, "name": "collusion", "rho": rho}


def make_cell(defense: dict[str, Any], attack: dict[str, Any] | None, **federation: Any) -> Cell:
    """The attacked cell of a suite that holds nothing else; the clean one without an attack."""
    content = {**SUITE, "federation": {**SUITE["federation"], **federation}}
    found = Suite(**content, defense=[defense], attack=[attack or SIGN_FLIP]).cells()
    return found[0] if attack is None else found[-1]


def task(cell: Cell, seed: int = 0, recovered_psnr: float = 20.0) -> Task:
    return Task("tiny", "s", cell, seed, threads=1, data_root=None, recovered_psnr=recovered_psnr)


def play(defense: str | dict[str, Any], attack: dict[str, Any] | None = None, seed: int = 0, **given: Any) -> Record:
    named = {"name": defense} if isinstance(defense, str) else defense
    return run_cell(task(make_cell(named, attack, **given), seed)).record


@lru_cache
def privacy_outcome(defense: str) -> Outcome:
    return run_cell(task(make_cell({"name": defense}, DLG)))


@pytest.fixture
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that a test registers are forgotten after it."""
    for kind in ("defense", "attack"):
        for name in registry.names(kind):
            registry.get(kind, name)  # a module registers once: its class must be there before the copy is made
    kept: dict[Any, Any] = {kind: dict(classes) for kind, classes in registry._registered.items()}
    monkeypatch.setattr(registry, "_registered", kept)


def but_for_times(record: Record) -> dict[str, Any]:
    """All of a record that must not depend on when it was made."""
    content = record.model_dump(exclude={"finished_at"})
    content["cost"] = {name: value for name, value in content["cost"].items() if not name.endswith("seconds")}
    return content


# ----------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(("eval_every", "rounds"), [(1, [1, 2, 3]), (2, [2, 3]), (50, [3])])
def test_the_curve_ends_with_the_last_round_whose_accuracy_is_the_records(eval_every: int, rounds: list[int]) -> None:
    record = play("fedavg", eval_every=eval_every)
    assert (record.status, record.error) == ("ok", None)
    assert [index for index, _ in record.curve] == rounds
    assert record.curve[-1][1] == round(record.metrics["accuracy"], 4)


def test_the_numbers_are_those_of_the_last_model_on_the_test_split() -> None:
    cell, dataset = make_cell({"name": "fedavg"}, SIGN_FLIP), load("digits")
    federation = Federation(cell.federation, FedAvg(), dataset, 5, SignFlip(), cell.byzantine)
    for _ in federation.rounds():
        pass
    accuracy, loss = metrics.accuracy_and_loss(federation.model, federation.global_model, dataset.test)
    record = run_cell(task(cell, seed=5)).record
    assert record.metrics == {"accuracy": accuracy, "loss": loss}


@pytest.mark.usefixtures("_registry")
def test_a_peak_in_the_curve_is_not_the_records_accuracy() -> None:
    @registry.register("defense", "forgetful")
    class Forgetful(FedAvg):
        """Learns, and forgets everything in its last round."""

        def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
            learnt = super().aggregate(delivered, server)
            return learnt if server.index < ROUNDS - 1 else torch.zeros_like(learnt)

    record = play("forgetful")
    assert record.curve[-1][1] < max(accuracy for _, accuracy in record.curve) - 0.1
    assert round(record.metrics["accuracy"], 4) == record.curve[-1][1]


def test_training_looks_at_the_test_split_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Split] = []

    def spy(model: Model, params: Tensor, split: Split) -> tuple[float, float]:
        seen.append(split)
        return metrics.accuracy_and_loss(model, params, split)

    monkeypatch.setattr(cells, "accuracy_and_loss", spy)
    play("fedavg")
    assert len(seen) == ROUNDS
    assert all(split is load("digits").test for split in seen)


def test_a_record_says_what_it_is() -> None:
    cell = make_cell({"name": "niss", "num_shares": 3}, SIGN_FLIP)
    record = run_cell(task(cell, seed=4)).record
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
def test_a_record_says_whether_the_defense_claims_to_stand_the_attack(defense: str, within: bool) -> None:
    assert play(defense, SIGN_FLIP, rounds=1).within_claim is within
    assert play(defense, rounds=1).within_claim is True


@pytest.mark.usefixtures("_registry")
def test_forged_messages_that_nobody_could_send_are_counted() -> None:
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
def _faulty(_registry: None) -> None:
    registry.register("defense", "faulty")(Faulty)


def faulty(fault: str, attack: dict[str, Any] | None = None) -> Record:
    """The record of a fault; it must be one that can be written and read."""
    record = play({"name": "faulty", "fault": fault}, attack)
    assert Record.model_validate_json(record.model_dump_json()) == record
    return record


@pytest.mark.usefixtures("_faulty")
@pytest.mark.parametrize("attack", [None, SIGN_FLIP, DLG], ids=["clean", "byzantine", "privacy"])
@pytest.mark.parametrize("fault", ["start", "upload", "deliver", "aggregate", "claim"])
def test_what_a_defense_raises_is_a_failed_record_with_one_sentence(fault: str, attack: dict[str, Any] | None) -> None:
    record = faulty(fault, attack)
    assert (record.status, record.error) == ("failed", f"RuntimeError: broken in {fault}")
    assert (record.metrics, record.curve, record.files) == ({}, [], {})
    assert record.cost.total_seconds is not None


@pytest.mark.usefixtures("_faulty")
def test_a_model_of_the_wrong_shape_is_a_failed_record() -> None:
    record = faulty("shape")
    assert record.status == "failed"
    assert record.error == "ValueError: faulty.aggregate returned shape (649,), not (650,)"


@pytest.mark.usefixtures("_faulty")
@pytest.mark.parametrize("fault", ["nan", "inf"])
def test_a_model_that_is_not_finite_is_a_diverged_record(fault: str) -> None:
    record = faulty(fault)
    assert (record.status, record.error) == ("diverged", "the global model is not finite after round 2")
    assert record.metrics == {}


@pytest.mark.usefixtures("_faulty")
def test_a_finite_model_whose_loss_is_not_is_a_record_that_can_be_read() -> None:
    """1e37 times the weights still is a float32; the logits and the loss are not."""
    record = faulty("huge")
    assert record.status == "diverged"
    assert record.error


@pytest.mark.usefixtures("_faulty")
def test_a_derived_value_that_is_no_number_is_a_record_that_can_be_read() -> None:
    assert faulty("derived").status == "failed"


@pytest.mark.usefixtures("_registry")
def test_what_an_attack_raises_is_a_failed_record() -> None:
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
def test_a_setting_that_a_cell_cannot_work_in_is_told(defense: str, given: dict[str, Any], told: str) -> None:
    record = play(defense, DLG, **given)
    assert record.status == "failed"
    assert record.error is not None
    assert told in record.error


# -------------------------------------------------------------------------------------------------------------- privacy


@pytest.mark.parametrize("defense", ["fedavg", "dp_fedavg", "rsa", "dpbfl"])
def test_a_privacy_record_has_the_attacks_numbers_and_both_controls(defense: str) -> None:
    record = privacy_outcome(defense).record
    assert record.status == "ok", record.error
    assert set(record.metrics) - {"residual_noise_ratio"} == PRIVACY_METRICS
    for name in ("recovered", "control_recovered", "blind_recovered", "label_recovered"):
        assert record.metrics[name] * TARGETS in range(TARGETS + 1)
    assert record.curve == []
    assert 1 < len(record.trace) <= 60
    assert record.within_claim is True


def test_without_a_defense_the_attack_is_its_own_control() -> None:
    found = privacy_outcome("fedavg").record.metrics
    for name in ("mse", "psnr", "ssim", "recovered"):
        assert found[name] == found[f"control_{name}"]
    assert found["psnr"] > found["blind_psnr"]


def test_the_controls_do_not_depend_on_the_defense() -> None:
    controls = [
        {name: value for name, value in privacy_outcome(defense).record.metrics.items() if "_" in name}
        for defense in ("fedavg", "dp_fedavg", "dpbfl")
    ]
    for name in PRIVACY_METRICS:
        if name.startswith(("control_", "blind_")):
            assert len({control[name] for control in controls}) == 1


def test_the_control_is_the_same_for_the_server_alone_and_with_colluders() -> None:
    alone, together = privacy_outcome("dp_fedavg").record, play("dp_fedavg", collusion(0.5))
    for name in ("control_psnr", "control_recovered", "blind_psnr"):
        assert together.metrics[name] == alone.metrics[name]


def test_the_blind_guess_is_the_mean_training_image() -> None:
    cell, digits = make_cell({"name": "fedavg"}, DLG), load("digits")
    federation = Federation(cell.federation, FedAvg(), digits, 0)
    view, _ = cells._watch(federation, digits, 0.0, TARGETS)
    truth = digits.train.x[federation.shards.indices[view.targets, 0]]
    guess = digits.train.x.mean(dim=0).expand_as(truth)
    expected = metrics.image_metrics(guess, truth, digits)["psnr"].mean()
    assert privacy_outcome("fedavg").record.metrics["blind_psnr"] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize(("threshold", "share"), [(-10.0, 1.0), (101.0, 0.0)])
def test_an_image_is_recovered_from_the_suites_psnr_on(threshold: float, share: float) -> None:
    found = run_cell(task(make_cell({"name": "fedavg"}, DLG), recovered_psnr=threshold)).record.metrics
    assert [found[name] for name in ("recovered", "control_recovered", "blind_recovered")] == [share] * 3


def test_the_picture_shows_the_truth_the_control_and_the_attack(tmp_path: Any) -> None:
    outcome = privacy_outcome("fedavg")
    outcome.write(tmp_path)
    (path,) = tmp_path.iterdir()
    assert outcome.record.files == {"png": path.name}
    assert path.name == f"{outcome.record.key}.png"
    with Image.open(path) as picture:
        picture.load()
        assert (picture.format, picture.size) == ("PNG", (TARGETS * 9 + 1, 3 * 9 + 1))
        pixels = np.asarray(picture.convert("L"), dtype=float) / 255

    def shown(row: int, target: int) -> np.ndarray:
        return pixels[1 + 9 * row : 9 + 9 * row, 1 + 9 * target : 9 + 9 * target]

    digits, cell = load("digits"), outcome.record.cell
    federation = Federation(cell.federation, FedAvg(), digits, 0)
    view, _ = cells._watch(federation, digits, 0.0, TARGETS)
    for place, target in enumerate(view.targets):
        image = digits.denormalise(digits.train.x[federation.shards.indices[target, 0]])[0]
        assert shown(0, place) == pytest.approx(image.numpy(), abs=1 / 255)
        assert np.array_equal(shown(1, place), shown(2, place))  # no defense: the control is the attack itself


def test_a_record_and_its_picture_can_be_read_back(tmp_path: Any) -> None:
    record = privacy_outcome("dpbfl").record
    path = tmp_path / "record.json"
    write_whole(path, record.model_dump_json().encode())
    assert read(path) == record


# ------------------------------------------------------------------------------------------------------ residual noise


@pytest.mark.parametrize(
    ("defense", "attack", "expected"),
    [
        ({"name": "dp_fedavg"}, DLG, 1.0),
        ({"name": "dp_fedavg"}, collusion(1.0), 1.0),
        ({"name": "niss", "num_shares": 5, "tau_squared": 0.2}, collusion(1.0), 0.2),
        ({"name": "niss", "num_shares": 5, "tau_squared": 0.0}, collusion(1.0), 0.0),
        ({"name": "niss", "num_shares": 5, "tau_squared": 0.2}, DLG, 2.2),
        ({"name": "niss", "num_shares": CLIENTS - 1, "tau_squared": 0.2}, collusion(0.5), 0.5 * 0.2 + 0.5 * 2.2),
    ],
    ids=["dp_fedavg dlg", "dp_fedavg 1", "niss 1", "niss bare", "niss dlg", "niss 0.5"],
)
def test_the_noise_that_is_left_is_what_theory_says(
    defense: dict[str, Any], attack: dict[str, Any], expected: float
) -> None:
    ratio = play(defense, attack).metrics["residual_noise_ratio"]
    assert ratio == pytest.approx(expected, rel=0.05, abs=1e-9)


@pytest.mark.parametrize(
    ("attack", "expected"),
    [(DLG, 1.0), (collusion(0.5), 5 / CLIENTS), (collusion(1.0), 1 / CLIENTS)],
    ids=["dlg", "0.5", "1"],
)
def test_a_shuffler_leaves_the_share_of_messages_that_no_colluder_sent(attack: dict[str, Any], expected: float) -> None:
    assert play("dpbfl", attack).metrics["residual_noise_ratio"] == pytest.approx(expected)


def test_linked_signs_keep_all_of_their_noise() -> None:
    assert play("ldpbfl", collusion(1.0)).metrics["residual_noise_ratio"] == 1.0


@pytest.mark.parametrize("defense", ["fedavg", "krum", "rsa"])
def test_where_nothing_is_claimed_no_noise_is_missing(defense: str) -> None:
    assert "residual_noise_ratio" not in play(defense, collusion(1.0)).metrics


# ------------------------------------------------------------------------------------------------ the same every time


@pytest.mark.parametrize(
    ("defense", "attack"),
    [
        ("niss", SIGN_FLIP),
        ("krum", {"name": "gaussian", "byzantine": 2 / 9}),
        ("dpbfl", None),
        ("dpbfl", collusion(0.5)),
    ],
    ids=["niss", "krum", "dpbfl", "dpbfl colluders"],
)
def test_a_cell_gives_the_same_record_again(defense: str, attack: dict[str, Any] | None) -> None:
    first = play(defense, attack)
    cells._control_of.cache_clear()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002  the global generator is what must not matter
    assert but_for_times(play(defense, attack)) == but_for_times(first)
    assert but_for_times(play(defense, attack, seed=1))["metrics"] != first.metrics


@pytest.fixture
def _global_generators() -> Iterator[None]:
    before = (random.getstate(), str(np.random.get_state()), torch.get_rng_state())  # noqa: NPY002
    yield
    assert random.getstate() == before[0]
    assert str(np.random.get_state()) == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.usefixtures("_global_generators")
@pytest.mark.parametrize("defense", registry.names("defense"))
def test_a_cell_draws_from_no_global_generator(defense: str) -> None:
    cells._control_of.cache_clear()
    attacks = ({"name": "gaussian", "byzantine": 2 / 9}, collusion(0.5))
    assert [play(defense, attack).status for attack in attacks] == ["ok", "ok"]


def test_targets_colluders_and_data_do_not_depend_on_the_defense() -> None:
    digits, seen = load("digits"), []
    for name in ("fedavg", "niss", "dpbfl", "rsa"):
        cell = make_cell({"name": name}, collusion(0.5))
        federation = Federation(cell.federation, cells.build_defense(cell), digits, 3)
        view, _ = cells._watch(federation, digits, 0.5, TARGETS)
        seen.append((view.targets.tolist(), cells._truth(federation, digits, view.targets)[1].tolist()))
    assert len({str(found) for found in seen}) == 1


def test_the_colluders_of_a_seed_are_the_same_under_every_defense(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Tensor] = []
    choose = threat.choose_colluders

    def spy(num_clients: int, targets: Tensor, rho: float, generator: torch.Generator) -> Tensor:
        chosen.append(choose(num_clients, targets, rho, generator))
        return chosen[-1]

    monkeypatch.setattr(cells, "choose_colluders", spy)
    for name in ("niss", "dpbfl"):
        play(name, collusion(0.5))
    against = [colluders for colluders in chosen if bool(colluders.any())]
    assert len(against) == 2
    assert torch.equal(*against)
    assert against[0].sum(dim=1).tolist() == [4, 4]


def test_the_byzantine_clients_of_a_seed_are_the_same_under_every_defense(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[tuple[list[bool], Tensor]] = []

    class Spy(Federation):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            chosen.append((self.is_byzantine.tolist(), self.shards.indices))

    monkeypatch.setattr(cells, "Federation", Spy)
    for name in ("fedavg", "krum", "rsa"):
        play(name, SIGN_FLIP, rounds=1)
    assert [sum(byzantine) for byzantine, _ in chosen] == [2, 2, 2]
    assert chosen[0][0] == chosen[1][0] == chosen[2][0]
    assert torch.equal(chosen[0][1], chosen[1][1])
    assert torch.equal(chosen[0][1], chosen[2][1])


# ----------------------------------------------------------------------------------------------------------- validation


@pytest.mark.parametrize(("rounds", "measured"), [(1, 1), (5, 1), (6, 2), (10, 2)])
def test_tuning_measures_the_last_fifth_of_the_rounds_on_the_validation_split(rounds: int, measured: int) -> None:
    cell, dataset = make_cell({"name": "fedavg"}, None, rounds=rounds, lr=0.01), load("digits")
    federation = Federation(cell.federation, FedAvg(), dataset, 2)
    accuracies = [
        metrics.accuracy_and_loss(federation.model, federation.global_model, dataset.validation)[0]
        for _ in federation.rounds()
    ]
    expected = sum(accuracies[-measured:]) / measured
    assert len(set(accuracies)) > 1 or rounds == 1
    assert cells.validation_accuracy(cell, 2, dataset) == pytest.approx(expected, abs=1e-12)


@pytest.mark.usefixtures("_faulty")
def test_tuning_gives_nothing_to_a_run_that_diverges() -> None:
    cell = make_cell({"name": "faulty", "fault": "nan"}, None)
    assert cells.validation_accuracy(cell, 0, load("digits")) == 0.0


def test_a_defense_is_built_with_the_cells_parameters() -> None:
    built: Defense = cells.build_defense(make_cell({"name": "niss", "num_shares": 4, "zeta": 0.7}, None))
    assert built.model_dump()["num_shares"] == 4
    assert built.clip_norm() == 0.7
