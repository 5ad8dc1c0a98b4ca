"""SPEAR: exact on layers whose dZ and X are known, exact on batches of digits; what it cannot read shows nothing."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from attacks.analytic import Analytic
from attacks.spear import Spear, directions, greedy, silent_share
from bench.attacking.factors import Factors
from bench.base import rng
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.inversion import Watched, watch
from bench.plays.metrics import image_metrics, matched
from bench.protocol import Defense
from bench.threat import PrivacyAttack
from defenses.dp_fedavg import DPFedAvg
from defenses.fedavg import FedAvg
from defenses.norm_clipping import NormClipping
from defenses.rsa import RSA
from defenses.secure_aggregation import SecureAggregation
from defenses.sign_majority import SignMajority

TARGETS = 3
UNITS, INPUTS = 200, 40


def made_up(batch: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """[W | b] `(m, in + 1)`, images [X^T | 1] `(B, in + 1)` and dZ `(m, B)`, 0 where an image leaves a unit silent."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    layer, images = draw(UNITS, INPUTS + 1), torch.cat([draw(batch, INPUTS), torch.ones(batch, 1).double()], dim=1)
    return layer, images, draw(UNITS, batch) * (layer @ images.mT > 0)


def paired(found: Tensor, truth: Tensor) -> Tensor:
    """The rows of `found` in the order of those of `truth`, to which they are nearest."""
    nearest = torch.cdist(truth, found).argmin(dim=1)
    assert len(nearest.unique()) == len(truth)
    return found[nearest]


def play(digits: Dataset, defense: Defense, batch: int, model: str = "mlp", **changes: object) -> Watched:
    given = {"rounds": 1, "local_steps": 1, "lr": 0.1, "dtype": "float64", **changes}
    settings = FederationSettings.model_validate(
        {"dataset": "digits", "model": model, "clients": 6, "samples_per_client": batch, "batch_size": batch, **given}
    )
    return watch(Federation(settings, defense, digits, 0), digits, Spear(), TARGETS)


def psnr(seen: Watched, attack: PrivacyAttack, digits: Dataset) -> Tensor:
    images = attack.infer(seen.view, rng.generator(0, "attack")).images
    return image_metrics(matched(images, seen.truth, digits).flatten(0, 1), seen.truth.flatten(0, 1), digits)["psnr"]


# ---------------------------------------------------------------------------------------------------- the mathematics


@pytest.mark.parametrize("batch", range(1, 9))
def test_a_layer_whose_errors_and_images_are_known_comes_out_exactly(batch: int) -> None:
    layer, images, errors = made_up(batch, seed=batch)
    factors = Factors.of(errors @ images, batch)
    found = Spear().solve(factors, layer, silent_share(UNITS, 1e-5), torch.Generator().manual_seed(0))
    assert found is not None
    assert found.score == 1
    torch.testing.assert_close(paired(found.inputs, images[:, :-1]), images[:, :-1], rtol=0, atol=1e-7)


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_the_true_directions_are_zero_where_images_are_silent_and_give_the_images(seed: int, batch: int) -> None:
    """q_i by least squares from the dZ that the attack does not have: its own zeros and inputs are the true ones."""
    layer, images, errors = made_up(batch, seed)
    factors = Factors.of(errors @ images, batch)
    torch.testing.assert_close(factors.left @ factors.right, errors @ images)
    true = torch.linalg.lstsq(factors.left, errors).solution.mT
    true = true / true.norm(dim=1, keepdim=True)
    assert torch.equal(factors.is_zero(true), errors == 0)
    torch.testing.assert_close(factors.inputs(true), images)
    solution = greedy(factors, layer, true.flip(0))
    assert solution is not None
    assert solution.score == 1


def test_rows_of_one_silent_image_leave_its_direction() -> None:
    """With rows that leave image 0 silent and no other image, each draw is q_0."""
    _, images, errors = made_up(3, seed=0)
    silent = (errors[:, 0] == 0) & (errors[:, 1:] != 0).all(dim=1)
    left = Factors.of(errors @ images, 3).left
    drawn = directions(left[silent], 50, torch.Generator().manual_seed(0))
    assert drawn.shape == (50, 3)
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(len(drawn)).double())
    columns = left @ drawn.mT
    assert float(columns[silent].abs().max()) < 1e-9
    along = columns.mT @ errors[:, 0] / columns.norm(dim=0) / errors[:, 0].norm()
    torch.testing.assert_close(along.abs(), torch.ones(len(drawn)).double())


def test_too_few_rows_that_move_leave_no_direction() -> None:
    assert directions(torch.zeros(10, 3).double(), 5, torch.Generator()).shape == (0, 3)


def test_half_of_the_units_are_silent_but_for_what_may_be_lost() -> None:
    """tau m is the binomial quantile of `rejected`, up to one unit of 200."""
    for rejected in (1e-5, 1e-3, 0.1):
        assert abs(200 * silent_share(200, rejected) - binom.ppf(rejected, 200, 0.5)) <= 1


@given(st.integers(0, 2**32))
def test_a_direction_is_better_when_it_is_fit_on_all_its_zeros(seed: int) -> None:
    """Noise of 1e-5 on entries near 1 in B - 1 rows; after the fit it is averaged over about a hundred."""
    _, images, errors = made_up(4, seed)
    gradient = errors @ images
    factors = Factors.of(
        gradient + 1e-5 * torch.randn(gradient.shape, generator=torch.Generator().manual_seed(seed)), 4
    )
    assert factors.noise == pytest.approx(1e-5, rel=0.1)
    rough = torch.linalg.lstsq(factors.left, errors).solution.mT
    rough = rough / rough.norm(dim=1, keepdim=True) + 1e-5 * torch.eye(4).double()
    rough = rough / rough.norm(dim=1, keepdim=True)

    def left_over(found: Tensor) -> float:
        return float(((factors.left @ found.mT) * (errors == 0)).norm())

    assert left_over(factors.refit(rough)) <= left_over(rough)


def test_directions_are_counted_once_and_those_that_others_span_are_left_out() -> None:
    left = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 2]]).double()
    factors = Factors(left, torch.eye(3).double(), 0.0)
    half = math.sqrt(0.5)
    rows = torch.tensor([[half, half, 0], [0, 1, 0], [0, -1, 0], [1, 0, 0], [0, 0, 1]]).double()
    kept = factors.distinct(rows)  # zeros: 2, 3, 3, 3, 2
    assert torch.equal(kept, rows[[1, 3, 0, 4]])
    assert factors.independent(kept).tolist() == [0, 1, 3]


# -------------------------------------------------------------------------------------------------------- on digits


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch", [1, 2, 4, 6, 8])
def test_batches_of_digits_come_out_exactly(batch: int, dtype: str, digits: Dataset) -> None:
    """Every image of every batch at 80 dB or more, which is a pixel to 1e-4."""
    assert float(psnr(play(digits, FedAvg(), batch, dtype=dtype), Spear(), digits).min()) > 80


def test_it_reads_the_images_that_rows_of_one_image_do_not_show(digits: Dataset) -> None:
    seen = play(digits, FedAvg(), 8)
    assert float(psnr(seen, Analytic(), digits).min()) < 20
    assert float(psnr(seen, Spear(), digits).min()) > 80


@pytest.mark.parametrize(
    ("defense", "changes"),
    [(FedAvg(), {"rounds": 2}), (RSA(), {"rounds": 2}), (NormClipping(bound=0.01), {}), (FedAvg(), {"local_steps": 2})],
    ids=["two rounds", "kept models", "clipped", "two steps"],
)
def test_what_scales_or_repeats_a_gradient_hides_nothing(
    defense: Defense, changes: dict[str, int], digits: Dataset
) -> None:
    assert float(psnr(play(digits, defense, 4, **changes), Spear(), digits).min()) > 30


def test_behind_a_sum_it_finds_the_images_of_all_while_they_are_few(digits: Dataset) -> None:
    """Six clients with one image each: a batch of 6, whosever they are."""
    assert float(psnr(play(digits, SecureAggregation(), 1), Spear(), digits).min()) > 80


@pytest.mark.parametrize(
    ("defense", "attack"),
    [
        (FedAvg(), Spear(samples=7)),
        (DPFedAvg(), Spear()),
        (SignMajority(), Spear()),
        (SecureAggregation(), Spear()),
    ],
    ids=["more images than the draws allow", "noise", "signs", "a sum of too many"],
)
def test_where_it_fails_it_says_so_and_shows_the_mean_image(defense: Defense, attack: Spear, digits: Dataset) -> None:
    seen = play(digits, defense, 4)
    found = attack.infer(seen.view, rng.generator(0, "attack"))
    assert torch.equal(found.images, seen.view.mean_image.expand_as(found.images))
    assert torch.equal(found.loss, torch.ones(TARGETS).double())
    assert found.images.shape[1] == seen.view.most_images


def test_a_message_of_zeros_shows_nothing(digits: Dataset) -> None:
    seen = play(digits, FedAvg(), 2)
    zeros = tuple(replace(each, estimate=torch.zeros_like(each.estimate)) for each in seen.view.rounds)
    images = Spear().infer(replace(seen.view, rounds=zeros), torch.Generator()).images
    assert torch.equal(images, seen.view.mean_image.expand_as(images))


def test_its_draws_are_its_generators_alone(digits: Dataset) -> None:
    view, state = play(digits, FedAvg(), 4).view, torch.get_rng_state()
    first, second = (Spear().infer(view, torch.Generator().manual_seed(1)).images for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("model", ["softmax", "lenet"])
def test_a_model_without_such_a_layer_is_refused_in_one_line(model: str, digits: Dataset) -> None:
    view = play(digits, FedAvg(), 1, model).view
    with pytest.raises(ValueError, match=r"^model is '\w+', but must be one that begins with a dense layer and ReLU"):
        Spear().infer(view, torch.Generator())


@pytest.mark.parametrize("given", [{"samples": 0}, {"rejected": 0.0}, {"rejected": 0.5}, {"least": 1.1}])
def test_parameters_out_of_range_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Spear.model_validate(given)
