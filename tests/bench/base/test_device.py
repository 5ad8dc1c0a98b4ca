"""Where a cell computes. What needs a GPU skips without one; the rest is what holds anywhere."""

import pytest
import torch

from bench import registry
from bench.base import device, rng
from bench.base.errors import BadInputError
from bench.data import load
from bench.federation.engine import Federation
from bench.plays import cell as cells
from bench.plays.findings import Task
from bench.suite import Cell
from bench.suite import load as load_suite

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
FIELD = load_suite("field")


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_a_machine_without_a_gpu_computes_on_its_cpu(name: str) -> None:
    assert device.choose(name) == "cpu"
    assert device.describe("cpu") == "cpu"


def test_a_gpu_that_is_not_there_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInputError, match=r"^--device cuda needs a GPU that torch can use.*say cpu$"):
        device.choose("cuda")
    assert device.choose("cuda", here=False) == "cuda"  # the nodes of a cluster may have one


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(BadInputError, match=r"^no device named 'tpu': did you mean cpu\?$"):
        device.choose("tpu")


def test_generators_and_tensors_follow_the_context() -> None:
    with torch.device("meta"):
        assert device.current().type == "meta"
    with device.computing_on("cpu"):
        assert device.current().type == rng.generator(0, "x").device.type == "cpu"


def test_data_that_is_there_already_is_not_copied() -> None:
    dataset = load("digits")
    assert dataset.to(torch.device("cpu")) is dataset


@pytest.mark.parametrize(("kind", "wanted"), [("audit", "cpu"), ("inversion", "cuda"), ("training", "cuda")])
def test_audits_stay_on_the_cpu(kind: str, wanted: str) -> None:
    cell = next(one for one in load_suite("digits").cells() if one.kind == kind)
    assert cells.device_of(Task("x", "x", cell, 0, 1, None, 20.0, "cuda")) == wanted


def task(cell: Cell, place: str) -> Task:
    return Task("field", "x", cell, 0, 1, None, 20.0, place)


def find(defense: str, attack: str | None) -> Cell:
    return next(
        one
        for one in FIELD.cells()
        if one.defense.name == defense and (one.attack.name if one.attack else None) == attack
    )


@on_a_gpu
@pytest.mark.parametrize("defense", sorted(registry.names("defense")))
def test_every_defense_plays_on_a_gpu_twice_the_same(defense: str) -> None:
    cell = find(defense, "sign_flip")
    first, second = (cells.run_cell(task(cell, "cuda")).record for _ in range(2))
    assert first.status != "failed", first.error
    assert (first.metrics, first.curve) == (second.metrics, second.curve)
    assert first.environment.device.startswith("cuda: ")


@on_a_gpu
@pytest.mark.parametrize("attack", sorted({cell.attack.name for cell in FIELD.cells() if cell.attack}))
def test_every_attack_plays_on_a_gpu_twice_the_same(attack: str) -> None:
    first, second = (cells.run_cell(task(find("median", attack), "cuda")).record for _ in range(2))
    assert first.status == "ok", first.error
    assert (first.metrics, first.curve) == (second.metrics, second.curve)


@on_a_gpu
@pytest.mark.parametrize("defense", ["fedavg", "median", "krum", "rsa"])
def test_without_noise_a_round_on_a_gpu_is_the_cpus(defense: str) -> None:
    """The same clients, batches and first model: up to rounding the same model after three rounds."""
    cell = find(defense, None)
    models = []
    for place in ("cpu", "cuda"):
        with device.computing_on(place):
            built = registry.get("defense", defense)(**cell.defense.parameters)
            federation = Federation(cell.federation, built, load("digits"), 0)
            for _ in range(3):
                federation.advance()
            models.append(federation.global_model.cpu())
    torch.testing.assert_close(models[1], models[0], rtol=1e-3, atol=1e-5)


@on_a_gpu
@pytest.mark.parametrize("defense", ["dp_fedavg", "niss", "dpbfl", "ldpbfl", "central_dp_fedavg"])
def test_noise_on_a_gpu_has_the_cpus_distribution(defense: str) -> None:
    """The first round's model over 40 seeds of noise: means within six standard errors, variances within 10 %."""
    moments = []
    for place in ("cpu", "cuda"):
        with device.computing_on(place):
            moments.append(_first_rounds(defense, 40))
    (mean, variance), (gpu_mean, gpu_variance) = moments
    error = ((variance + gpu_variance) / 40).sqrt()
    noisy = error > 0
    assert bool(((gpu_mean - mean).abs()[noisy] < 6 * error[noisy]).all())
    assert float(gpu_variance.sum() / variance.sum()) == pytest.approx(1, abs=0.1)


def _first_rounds(defense: str, seeds: int) -> tuple[torch.Tensor, torch.Tensor]:
    cell, found = find(defense, None), []
    for seed in range(seeds):
        built = registry.get("defense", defense)(**cell.defense.parameters)
        federation = Federation(cell.federation, built, load("digits"), 0)
        federation.seed = seed  # the same clients and data, other noise; the batches differ as well
        federation.advance()
        found.append(federation.global_model.double().cpu())
    stacked = torch.stack(found)
    return stacked.mean(dim=0), stacked.var(dim=0)
