"""Inversion cells: whose images, trained how, seen when; the controls, the noise that is left; the same again."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from attacks.dlg import DLG
from bench import registry
from bench.base import rng
from bench.base.files import write_whole
from bench.data import Dataset
from bench.federation import clients
from bench.federation.engine import Federation
from bench.plays import inversion as leakage
from bench.plays import metrics
from bench.plays.cell import Outcome, run_cell
from bench.plays.findings import build_attack, build_defense
from bench.plays.inversion import Watched, private_images
from bench.records import Record, read
from bench.suite import Cell, Part
from bench.threat import PrivacyAttack, Reconstruction, RoundView, View

CLIENTS, TARGETS = 9, 2  # of the tiny suite
QUICK = {"name": "dlg", "starts": 1, "evaluations": 20}
NISS = {"name": "niss", "num_shares": CLIENTS - 1, "tau_squared": 0.2}
COLLUDING = ("collusion", "subspace", "weighted_collusion", "zero_shares")
SEES = {"gradient_match_loss", "label_recovered", "images"} | {
    f"{prefix}{name}" for prefix in ("", "control_", "blind_") for name in ("mse", "psnr", "ssim", "recovered")
}
Play = Callable[..., Record]
Make = Callable[..., Any]


def quick(name: str = "dlg", rho: float | None = None, **privacy: Any) -> dict[str, Any]:
    """The `[[attack]]` table of an attack with few steps."""
    strength = {} if rho is None else {"rho": rho}
    return {**QUICK, "name": name, **strength, **({"privacy": privacy} if privacy else {})}


@pytest.fixture(scope="session")
def inverted(outcome: Callable[..., Outcome]) -> Callable[[str], Outcome]:
    """DLG on a defense, played once."""
    return functools.cache(lambda defense: outcome(defense, QUICK))


def watch(cell: Cell, dataset: Dataset, seed: int = 0) -> tuple[Federation, Watched]:
    assert cell.attack is not None
    federation, attack = Federation(cell.federation, build_defense(cell), dataset, seed), build_attack(cell.attack)
    assert isinstance(attack, PrivacyAttack)
    return federation, leakage.watch(federation, dataset, attack, cell.targets, cell.trained)


# ----------------------------------------------------------------------------------------------------- private images


@given(st.data(), st.integers(0, 2**32))
def test_no_private_image_is_dealt_twice_before_its_class_is_used_up(data: st.DataObject, seed: int) -> None:
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=30)))
    held = torch.tensor(data.draw(st.lists(st.sampled_from(labels.tolist()), min_size=6, max_size=24)))
    held = held[: len(held) // 3 * 3].view(-1, 3)
    dealt = private_images(labels, held, seed)
    assert torch.equal(labels[dealt], held)
    for label in held.unique().tolist():
        times = torch.bincount(dealt[held == label], minlength=len(labels))[labels == label]
        assert int(times.max() - times.min()) <= 1
    assert torch.equal(dealt, private_images(labels, held, seed))


def test_private_images_are_dealt_at_random() -> None:
    """Any of 50 images may be the first; of 200 seeds one expects 49.1 different ones, and 40 with probability 1e-9."""
    firsts = {int(private_images(torch.zeros(50).long(), torch.zeros(1, 1).long(), seed)) for seed in range(200)}
    assert len(firsts) > 40


def test_a_class_without_test_images_is_told() -> None:
    with pytest.raises(ValueError, match="no image of class 3"):
        private_images(torch.tensor([0, 1]), torch.tensor([[1, 3]]), 0)


@pytest.mark.parametrize("partition", ["iid", "sorted", "dirichlet"])
def test_targets_hold_test_images_of_their_own_classes(make_cell: Make, digits: Dataset, partition: str) -> None:
    privacy = {"samples_per_client": 20, "batch_size": 4, "partition": partition, "targets": 8}
    cell = make_cell({"name": "fedavg"}, quick(**privacy))
    federation, watched = watch(cell, digits, seed=1)
    assert watched.truth.shape == (8, 4, 1, 8, 8)
    pixels = digits.test.x.double().flatten(1)
    places = torch.cdist(watched.truth.flatten(0, 1).flatten(1), pixels).argmin(dim=1)
    assert torch.equal(pixels[places], watched.truth.flatten(0, 1).flatten(1))
    assert torch.equal(digits.test.y[places], watched.labels.flatten())
    assert len(places.unique()) == len(places)  # 32 images, each class has more than that in the test split
    shards = digits.train.y[federation.shards.indices[watched.view.targets]]
    for shard, labels in zip(shards.tolist(), watched.labels.tolist(), strict=True):
        assert all(shard.count(label) >= labels.count(label) for label in labels)


def test_targets_images_and_colluders_do_not_depend_on_the_defense(
    make_cell: Make, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[Tensor] = []
    choose = leakage.choose_colluders
    monkeypatch.setattr(leakage, "choose_colluders", lambda *given: chosen.append(choose(*given)) or chosen[-1])
    seen = []
    for name in ("fedavg", "niss", "dpbfl", "rsa"):
        attack = quick("collusion", 0.5, samples_per_client=2, batch_size=2, trained=1)
        _, watched = watch(make_cell({"name": name}, attack), digits, seed=3)
        seen.append([watched.view.targets, watched.labels, watched.truth, chosen[-1]])
    for other in seen[1:]:
        assert all(torch.equal(*pair) for pair in zip(seen[0], other, strict=True))
    assert chosen[0].sum(dim=1).tolist() == [4, 4]


# ----------------------------------------------------------------------------------------------------- watched windows


def local_sgd(federation: Federation, start: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The update of a client that has these images alone, by autograd of the mean cross-entropy."""
    w = start.clone()
    for _ in range(federation.plan.num_steps(federation.shards.size)):
        params = w.clone().requires_grad_()
        F.cross_entropy(federation.model.logits(params, x), y).backward()
        assert params.grad is not None
        w -= federation.settings.lr * params.grad
    return w - start


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(
    ("batch", "size", "length"),
    [
        (1, 1, {"local_steps": 1}),
        (2, 6, {"local_steps": 3}),
        (4, 4, {"local_steps": 2}),
        (3, 12, {"local_epochs": 2, "local_steps": None}),
    ],
)
def test_every_step_of_a_target_is_one_on_exactly_its_private_images(
    make_cell: Make,
    digits: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    size: int,
    length: dict[str, Any],
    resident: bool,
) -> None:
    if not resident:
        monkeypatch.setattr(clients, "RESIDENT_BYTES", 0)
    privacy = {"samples_per_client": size, "batch_size": batch, **length, "rounds": 3, "trained": 1}
    federation, watched = watch(make_cell({"name": "fedavg"}, quick(**privacy)), digits)
    assert federation.shards._resident == resident
    assert [seen.index for seen in watched.view.rounds] == [1, 2, 3]
    for seen in watched.view.rounds:
        for target in range(TARGETS):
            expected = local_sgd(federation, seen.broadcast, watched.truth[target], watched.labels[target])
            torch.testing.assert_close(seen.estimate[target], expected, rtol=1e-9, atol=1e-12)
    for start in range(size):
        x, _ = federation.shards.window(watched.view.targets, start, batch)
        kept = {str(image.tolist()) for image in watched.truth[0]}
        assert {str(image.tolist()) for image in x[0]} == kept


@pytest.mark.parametrize(
    ("privacy", "told"),
    [
        ({"batch_size": 2, "samples_per_client": 5}, "samples_per_client is 5, but must be a multiple of the 2 images"),
        ({"batch_size": 4, "samples_per_client": 1}, "samples_per_client is 1, but must be at least the 4 images"),
        ({"targets": 10}, "privacy.targets is 10, but there are 9 clients"),
        ({"trained": 1, "momentum": 0.5}, "privacy.trained is 1, but must be 0 with momentum"),
    ],
)
def test_a_setting_that_cannot_be_watched_is_told(play: Play, privacy: dict[str, Any], told: str) -> None:
    record = play("fedavg", quick(**privacy))
    assert record.status == "failed"
    assert told in str(record.error)


# ------------------------------------------------------------------------------------------------------------- trained


@pytest.mark.parametrize("defense", ["fedavg", "dp_fedavg", "rsa", "dpbfl", "median"])
def test_trained_rounds_train_the_watched_model(make_cell: Make, digits: Dataset, defense: str) -> None:
    cell = make_cell({"name": defense}, quick(trained=2, samples_per_client=20))
    _, watched = watch(cell, digits, seed=5)
    plain = Federation(cell.federation, build_defense(cell), digits, 5)
    initial = plain.global_model
    for _ in range(2):
        plain.advance()
    assert torch.equal(watched.view.rounds[0].broadcast, plain.global_model)
    assert not torch.equal(plain.global_model, initial)
    assert [seen.index for seen in watched.view.rounds] == [2, 3]


def test_the_accuracy_of_the_trained_model_is_in_the_record(make_cell: Make, digits: Dataset, play: Play) -> None:
    attack = quick(trained=20, samples_per_client=50, model="softmax", batch_size=10, local_steps=5, lr=0.5)
    record = play("fedavg", attack)
    plain = Federation(record.cell.federation, build_defense(record.cell), digits, 0)
    for _ in range(20):
        plain.advance()
    expected, _ = metrics.accuracy_and_loss(plain.model, plain.global_model, digits.test)
    assert record.metrics["model_accuracy"] == pytest.approx(expected, abs=1e-12)
    assert expected > 0.7
    assert set(record.metrics) == SEES | {"model_accuracy"}


def test_training_that_diverges_is_a_diverged_record(play: Play) -> None:
    record = play("fedavg", quick(trained=3, lr=1e300, model="mlp"))
    assert (record.status, record.error) == ("diverged", "the global model is not finite after round 2")


# ------------------------------------------------------------------------------------------------- record and controls


@pytest.mark.parametrize("defense", ["fedavg", "dp_fedavg", "rsa", "dpbfl"])
def test_a_record_has_the_attacks_numbers_and_both_controls(inverted: Make, defense: str) -> None:
    record = inverted(defense).record
    assert record.status == "ok", record.error
    assert set(record.metrics) - {"residual_noise_ratio"} == SEES
    for name in ("recovered", "control_recovered", "blind_recovered", "label_recovered"):
        assert record.metrics[name] * TARGETS in range(TARGETS + 1)
    assert record.curve == []
    assert 1 < len(record.trace) <= 60
    assert record.within_claim is True
    assert record.metrics["images"] == len(record.psnr) == len(record.control_psnr) == TARGETS
    for name, values in (("psnr", record.psnr), ("control_psnr", record.control_psnr)):
        assert sum(values) / TARGETS == pytest.approx(record.metrics[name], abs=0.01)


def test_of_several_images_each_counts(play: Play) -> None:
    record = play("fedavg", quick(samples_per_client=3, batch_size=3))
    assert record.status == "ok", record.error
    assert record.metrics["images"] == len(record.psnr) == len(record.control_psnr) == 3 * TARGETS
    for name in ("recovered", "label_recovered"):
        assert record.metrics[name] * 3 * TARGETS == pytest.approx(round(record.metrics[name] * 3 * TARGETS))


def test_without_a_defense_the_attack_is_its_own_control(inverted: Make) -> None:
    found = inverted("fedavg").record
    for name in ("mse", "psnr", "ssim", "recovered"):
        assert found.metrics[name] == found.metrics[f"control_{name}"]
    assert found.psnr == found.control_psnr
    assert found.metrics["psnr"] > found.metrics["blind_psnr"]


@pytest.mark.parametrize("privacy", [{}, {"trained": 2, "samples_per_client": 4, "batch_size": 2}], ids=["1", "2"])
def test_the_controls_do_not_depend_on_the_defense(play: Play, privacy: dict[str, Any]) -> None:
    """So they are found once for all."""
    leakage._control.cache_clear()
    records = [play(defense, quick(**privacy)) for defense in ("fedavg", "dp_fedavg", "dpbfl")]
    for name in SEES:
        if name.startswith(("control_", "blind_")):
            assert len({record.metrics[name] for record in records}) == 1, name
    assert records[0].control_psnr == records[1].control_psnr == records[2].control_psnr
    assert records[0].psnr != records[1].psnr
    assert leakage._control.cache_info().misses == 1


@pytest.mark.parametrize("name", COLLUDING)
def test_the_control_is_the_same_for_the_server_alone_and_with_colluders(inverted: Make, play: Play, name: str) -> None:
    alone, together = inverted("dp_fedavg").record, play("dp_fedavg", quick(name, 0.5))
    for metric in ("control_psnr", "control_recovered", "blind_psnr"):
        assert together.metrics[metric] == alone.metrics[metric]


def test_the_blind_guess_is_the_mean_training_image(make_cell: Make, digits: Dataset, inverted: Make) -> None:
    _, watched = watch(make_cell({"name": "fedavg"}, QUICK), digits)
    truth = watched.truth.flatten(0, 1)
    expected = metrics.image_metrics(digits.train.x.mean(dim=0).expand_as(truth), truth, digits)["psnr"].mean()
    assert inverted("fedavg").record.metrics["blind_psnr"] == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("name", ["dlg", *COLLUDING])
def test_a_reconstruction_is_what_the_attack_makes_of_its_own_view(
    make_cell: Make, digits: Dataset, forget: Make, name: str
) -> None:
    """Whatever the bench keeps of earlier ones: views of other seeds, attacks and defenses are not taken for it."""
    cells = [make_cell({**NISS, "zeta": zeta}, quick(name, None if name == "dlg" else 0.5)) for zeta in (1.0, 50.0)]
    forget()
    for cell, seed in itertools.product(cells, (0, 1)):
        assert cell.attack is not None
        attack, (_, watched) = build_attack(cell.attack), watch(cell, digits, seed)
        assert isinstance(attack, PrivacyAttack)
        expected = attack.infer(watched.view, rng.generator(seed, "attack"))
        for _ in range(2):
            found = leakage.reconstruct(attack, watched.view, seed)
            assert torch.equal(found.images, expected.images)
            assert torch.equal(found.estimate, expected.estimate)


@pytest.mark.parametrize(("threshold", "share"), [(-10.0, 1.0), (101.0, 0.0)])
def test_an_image_is_recovered_from_the_suites_psnr_on(
    make_cell: Make, make_task: Make, threshold: float, share: float
) -> None:
    found = run_cell(make_task(make_cell({"name": "fedavg"}, QUICK), recovered_psnr=threshold)).record.metrics
    assert [found[name] for name in ("recovered", "control_recovered", "blind_recovered")] == [share] * 3


@pytest.mark.usefixtures("_registry")
def test_images_in_another_order_are_found_again(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Watched] = []
    original = leakage.watch
    monkeypatch.setattr(leakage, "watch", lambda *given: seen.append(original(*given)) or seen[-1])

    @registry.register("attack", "knows_all")
    class KnowsAll(DLG):
        """Gives the truth in reverse."""

        def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
            found = super().infer(view, generator)
            return replace(found, images=seen[-1].truth.flip(1), labels=seen[-1].labels.flip(1))

    record = play("dp_fedavg", quick("knows_all", samples_per_client=4, batch_size=4))
    assert record.psnr == [100.0] * 4 * TARGETS == record.control_psnr
    assert (record.metrics["label_recovered"], record.metrics["recovered"]) == (1.0, 1.0)


@pytest.mark.usefixtures("_registry")
@pytest.mark.parametrize("batch", [1, 2])
def test_images_that_are_no_numbers_are_a_diverged_record(play: Play, batch: int) -> None:
    @registry.register("attack", "lost")
    class Lost(DLG):
        """Finds nothing."""

        def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
            found = super().infer(view, generator)
            return replace(found, images=found.images * torch.nan)

    record = play("dp_fedavg", quick("lost", samples_per_client=batch, batch_size=batch))
    assert (record.status, record.error) == ("diverged", "the attack's result is not finite")


def test_the_picture_shows_the_truth_the_control_and_the_attack(
    tmp_path: Path, make_cell: Make, digits: Dataset, inverted: Make
) -> None:
    outcome = inverted("fedavg")
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

    _, watched = watch(make_cell({"name": "fedavg"}, QUICK), digits)
    for place, image in enumerate(digits.denormalise(watched.truth[:, 0])[:, 0]):
        assert shown(0, place) == pytest.approx(image.numpy(), abs=1 / 255)
        assert np.array_equal(shown(1, place), shown(2, place))  # no defense: the control is the attack itself


def test_a_record_can_be_read_back(tmp_path: Path, inverted: Make) -> None:
    record = inverted("dpbfl").record
    path = tmp_path / "record.json"
    write_whole(path, record.model_dump_json().encode())
    assert read(path) == record


# ------------------------------------------------------------------------------------------------------ residual noise


@pytest.mark.parametrize(
    ("defense", "attack", "expected"),
    [
        ({"name": "dp_fedavg"}, quick(), 1.0),
        ({"name": "dp_fedavg"}, quick("collusion", 1.0), 1.0),
        ({**NISS, "num_shares": 5}, quick("collusion", 1.0), 0.2),
        ({**NISS, "num_shares": 5, "tau_squared": 0.0}, quick("collusion", 1.0), 0.0),
        ({**NISS, "num_shares": 5}, quick(), 2.2),
        (NISS, quick("collusion", 0.5), 0.5 * 0.2 + 0.5 * 2.2),
        (NISS, quick("zero_shares", 0.5), 0.5 * 2.2),
        ({**NISS, "num_shares": 5, "tau_squared": 3.0}, quick("zero_shares", 1.0), 0.0),
        ({**NISS, "num_shares": 5, "tau_squared": 3.0, "scale": "share"}, quick("zero_shares", 1.0), 0.0),
        ({"name": "dp_fedavg"}, quick("zero_shares", 1.0), 1.0),
        (NISS, quick("subspace", 1.0), 0.2),
        (NISS, quick("weighted_collusion", 1.0), 0.2),
        ({"name": "dp_fedavg"}, quick("subspace", 1.0), 1.0),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_the_noise_that_is_left_is_what_theory_says(
    play: Play, defense: dict[str, Any], attack: dict[str, Any], expected: float
) -> None:
    ratio = play(defense, attack).metrics["residual_noise_ratio"]
    assert ratio == pytest.approx(expected, rel=0.05, abs=1e-9)


@pytest.mark.parametrize("scale", ["coordinate", "share"])
def test_colluders_that_send_zeros_recover_what_no_defense_shows(play: Play, scale: str) -> None:
    """With factors of either kind; the printed form (a factor a share) falls to a projection too."""
    defense = {**NISS, "num_shares": 3, "tau_squared": 2.0, "scale": scale, "zeta": 1000.0}
    attack = {"name": "zero_shares", "rho": 1.0, "starts": 1, "privacy": {"model": "softmax"}}
    bare, hidden = play(defense, attack), play(defense, {**attack, "name": "collusion"})
    projected = play(defense, {**attack, "name": "subspace"}).metrics
    assert (projected["residual_noise_ratio"] < 1e-3) is (scale == "share")
    assert (projected["psnr"] > 10) is (scale == "share")
    assert bare.metrics["control_recovered"] == bare.metrics["recovered"] == 1.0
    assert bare.psnr == pytest.approx(bare.control_psnr, abs=1.0)
    assert (hidden.metrics["recovered"], hidden.control_psnr) == (0.0, bare.control_psnr)


@pytest.mark.parametrize(
    ("attack", "expected"),
    [(quick(), 1.0), (quick("collusion", 0.5), 5 / CLIENTS), (quick("collusion", 1.0), 1 / CLIENTS)],
    ids=["dlg", "0.5", "1"],
)
def test_a_shuffler_leaves_the_share_of_messages_that_no_colluder_sent(
    play: Play, attack: dict[str, Any], expected: float
) -> None:
    assert play("dpbfl", attack).metrics["residual_noise_ratio"] == pytest.approx(expected)


def test_linked_signs_keep_all_of_their_noise(play: Play) -> None:
    assert play("ldpbfl", quick("collusion", 1.0)).metrics["residual_noise_ratio"] == 1.0


@pytest.mark.parametrize("defense", ["fedavg", "krum", "rsa"])
def test_where_nothing_is_claimed_no_noise_is_missing(play: Play, defense: str) -> None:
    assert "residual_noise_ratio" not in play(defense, quick("collusion", 1.0)).metrics


# ------------------------------------------------------------------------------------- noise, here more than there

HALF_HIDDEN = {"name": "niss", "num_shares": 3, "tau_squared": 1.0, "epsilon": 1e5, "zeta": 1.0}
"""As in the suite `digits-collusion`, with few shares: at rho = 1 pictures are half there."""


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_bring_pictures_back_that_equal_weights_do_not(play: Play, seed: int) -> None:
    """v = 3 shares: v / (v - 2) = 3 is 4.8 dB. Of it 2 dB are asked for, as a picture's PSNR is not linear in noise."""
    given: dict[str, Any] = {"rho": 1.0, "starts": 1, "evaluations": 100, "privacy": {"targets": 6}}
    equal, weighted = (play(HALF_HIDDEN, {"name": name, **given}, seed) for name in ("collusion", "weighted_collusion"))
    assert weighted.metrics["psnr"] > equal.metrics["psnr"] + 2
    assert weighted.metrics["recovered"] > equal.metrics["recovered"]
    assert weighted.metrics["residual_noise_ratio"] == equal.metrics["residual_noise_ratio"]
    assert weighted.metrics["control_psnr"] == equal.metrics["control_psnr"]


@pytest.mark.parametrize(
    ("defense", "other"),
    [
        ({"name": "fedavg"}, "collusion"),
        ({"name": "dp_fedavg"}, "collusion"),
        ({"name": "secure_aggregation"}, "collusion"),
        ({"name": "dpbfl"}, "collusion"),
        ({"name": "ldpbfl"}, "collusion"),
        ({"name": "rsa"}, "collusion"),
        ({**NISS, "scale": "share"}, "subspace"),
    ],
    ids=lambda value: str(value.get("scale", value["name"])) if isinstance(value, dict) else value,
)
def test_where_no_coordinate_is_known_to_be_noisier_nothing_changes(
    play: Play, forget: Make, defense: dict[str, Any], other: str
) -> None:
    """Not a bit: of rules without shares, and of the printed form, where the shares' span is all that is known."""
    found = play(defense, quick("weighted_collusion", 0.5))
    forget()
    expected = play(defense, quick(other, 0.5))
    assert (found.status, found.metrics, found.psnr) == ("ok", expected.metrics, expected.psnr)


def test_views_of_another_noise_are_not_taken_for_each_other(make_cell: Make, digits: Dataset) -> None:
    """The same messages with other variances, or with none, are another sight; copies are the same one."""
    _, watched = watch(make_cell(NISS, quick("weighted_collusion", 1.0)), digits)
    attack = build_attack(Part(name="weighted_collusion", version=1, parameters={"rho": 1.0}))
    assert isinstance(attack, PrivacyAttack)
    clean = leakage.cleaned(attack, watched.view)
    bare = replace(clean, rounds=tuple(replace(seen, variance=None) for seen in clean.rounds))
    twice = replace(clean, rounds=tuple(replace(seen, variance=2 * _known(seen)) for seen in clean.rounds))
    again = replace(clean, rounds=tuple(replace(seen, variance=_known(seen).clone()) for seen in clean.rounds))
    sights = [leakage.Sight.of(view) for view in (clean, bare, twice, again)]
    assert len(set(sights)) == 3
    assert sights[0] == sights[3]


def _known(seen: RoundView) -> Tensor:
    assert seen.variance is not None
    return seen.variance


# ------------------------------------------------------------------------------------------------ the same every time


@pytest.mark.usefixtures("_global_generators")
@pytest.mark.parametrize("name", COLLUDING)
def test_a_cell_gives_the_same_record_again(play: Play, but_for_times: Make, forget: Make, name: str) -> None:
    attack = quick(name, 0.5, samples_per_client=2, batch_size=2, trained=1)
    first = play("niss", attack)
    forget()
    assert but_for_times(play("niss", attack)) == but_for_times(first)
    assert play("niss", attack, seed=1).metrics != first.metrics
