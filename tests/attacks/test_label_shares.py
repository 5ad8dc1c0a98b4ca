"""Label shares: proper shares, shrinkage and regression against other solutions, and what each look is made of."""

from typing import Any

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from attacks.label_shares import by_gradients, class_answers, features
from bench import models
from bench.attacking.shares import proper, regressed, shrunk
from bench.models.base import one_hot
from bench.protocol import Alphabet, Setting
from bench.threat import PropertyView, PublicFacts, RoundView

T, C, D = 5, 10, 50
"""Targets, classes, parameters of softmax regression on 2 x 2 images."""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def view(*uploads: RoundView, **changes: Any) -> PropertyView:
    told = {"alphabet": Alphabet.REAL, "clip_norm": None, "keeps_models": False, **changes}
    facts = PublicFacts(
        model=models.build("softmax", (1, 2, 2), C),
        setting=Setting(T, T, D, 3, 0.1, None, 0.0, 1e-6),
        weighted=False,
        local_penalty=0.0,
        random_share=0.0,
        local_steps=1,
        momentum=0.0,
        mean=torch.zeros(1),
        std=torch.ones(1),
        **told,
    )
    x, y = drawn(40, 1, 2, 2, seed=1).float(), torch.arange(40) % C
    population = torch.full((C,), 1 / C, dtype=torch.float64)
    return PropertyView(facts, x, y, population, (torch.zeros(D),), uploads)


# --------------------------------------------------------------------------------------------------------- mathematics


def test_proper_shares_are_the_closest_ones() -> None:
    values = drawn(4, 3)
    found = proper(values)
    for row, given in zip(found, values, strict=True):
        wanted = minimize(
            lambda s, given=given: ((s - given.numpy()) ** 2).sum(),
            [1 / 3] * 3,
            bounds=[(0, 1)] * 3,
            tol=1e-14,
            constraints={"type": "eq", "fun": lambda s: s.sum() - 1},
        )
        assert row.tolist() == pytest.approx(wanted.x.tolist(), abs=1e-5)
    torch.testing.assert_close(proper(found), found)


def test_without_noise_it_is_least_squares_on_deviations_that_add_up_to_0() -> None:
    truth = drawn(T, C)
    truth -= truth.mean(dim=1, keepdim=True)
    design = drawn(4, T, C, C, seed=1)
    seen = torch.einsum("stij,tj->sti", design, truth)
    torch.testing.assert_close(shrunk(design, seen, most=100.0), truth, rtol=1e-6, atol=1e-6)


def test_what_is_known_is_shrunk_as_a_posterior_mean_is() -> None:
    """S looks at deviations of variance v under noise of variance n: the posterior mean is their mean v / (v + n / S).

    Variances are estimated from 400 targets of 9 degrees: factors within 0.02, five standard errors.
    """
    looks, targets, spread, noise = 5, 400, 0.5, 2.0
    truth = drawn(targets, C) * spread**0.5
    truth -= truth.mean(dim=1, keepdim=True)
    seen = truth + drawn(looks, targets, C, seed=1) * noise**0.5
    design = torch.eye(C, dtype=torch.float64).expand(looks, targets, -1, -1)
    mean = seen.mean(dim=0)
    mean = mean - mean.mean(dim=1, keepdim=True)
    found = shrunk(design, seen, most=10.0)
    factor = float((found * mean).sum() / mean.square().sum())
    torch.testing.assert_close(found, factor * mean)
    assert factor == pytest.approx(spread / (spread + noise / looks), abs=0.08)


def test_where_all_is_noise_nothing_is_left() -> None:
    design = torch.eye(C, dtype=torch.float64).expand(6, T, -1, -1)
    assert float(shrunk(design, 1e6 * drawn(6, T, C), most=0.1).abs().max()) < 1e-3


def test_a_regression_finds_a_line_and_leaves_noise_alone() -> None:
    slope, groups = drawn(4, C), [drawn(30, 4, seed=seed) for seed in range(1, 7)]
    wanted = drawn(T, 4, seed=9)
    found = regressed(groups, [0.1 + group @ slope for group in groups], wanted)
    torch.testing.assert_close(found, 0.1 + wanted @ slope, rtol=1e-2, atol=1e-2)
    answers = [drawn(30, C, seed=20 + seed) for seed in range(6)]
    aside = regressed(groups, answers, wanted)
    mean = torch.cat(answers).mean(dim=0)
    assert float((aside - mean).abs().max()) < 0.15  # standard error of a mean of 180: 0.07
    constant = regressed([torch.ones(3, 2).double()] * 2, [answers[0][:3]] * 2, torch.ones(T, 2).double())
    torch.testing.assert_close(constant, answers[0][:3].mean(dim=0).expand(T, -1))


# --------------------------------------------------------------------------------------------------------------- looks


def steps(at: Tensor, labels: Tensor, x: Tensor) -> Tensor:
    """Updates `(T, d)` of one step of length 0.1 on images x `(T, B, ...)` with labels `(T, B)`."""
    model = models.build("softmax", (1, 2, 2), C)
    return -0.1 * model.gradients(at, x, one_hot(labels, C, torch.float32))


def upload(messages: Tensor, at: Tensor | None = None) -> RoundView:
    return RoundView(0, torch.zeros(D) if at is None else at, messages, torch.ones(T).long())


def test_a_step_at_zero_tells_shares_whatever_the_images() -> None:
    labels = torch.tensor([[0, 0, 0, 1], [2, 2, 3, 3], [4, 5, 6, 7], [8, 8, 8, 8], [9, 0, 9, 0]])
    sent = steps(torch.zeros(D), labels, drawn(T, 4, 1, 2, 2, seed=2).float())
    expected = torch.nn.functional.one_hot(labels, C).double().mean(dim=1)
    torch.testing.assert_close(by_gradients(view(upload(sent))), expected, rtol=1e-5, atol=1e-5)


def test_elsewhere_the_answers_to_images_of_a_class_stand_for_its_own() -> None:
    """Images of a target that are the attacker's own of their class: all four of them, so the answers are exact."""
    empty, at = view(), drawn(D, seed=3).float()
    picked = torch.tensor([[0, 1], [2, 3], [4, 4], [5, 6], [7, 9]])
    x = torch.stack([torch.cat([empty.x[empty.y == label] for label in row.tolist()]) for row in picked])
    labels = picked.repeat_interleave(4, dim=1)
    expected = torch.nn.functional.one_hot(picked, C).double().mean(dim=1)
    found = by_gradients(view(upload(steps(at, labels, x), at)))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_of_a_sign_or_a_clipped_update_what_is_negative_counts() -> None:
    labels = torch.tensor([[0, 0], [2, 3], [4, 4], [5, 5], [9, 8]])
    sent = steps(torch.zeros(D), labels, drawn(T, 2, 1, 2, 2, seed=2).float())
    expected = torch.nn.functional.one_hot(labels, C).double().mean(dim=1)
    clipped = by_gradients(view(upload(0.01 * sent), clip_norm=0.1))
    torch.testing.assert_close(clipped, expected, rtol=1e-5, atol=1e-5)
    votes = by_gradients(view(upload(-sent.sign()), alphabet=Alphabet.TERNARY))
    torch.testing.assert_close(votes, expected, rtol=1e-5, atol=1e-5)


def test_answers_are_means_over_a_class_of_the_attackers_images() -> None:
    seen, params = view(), drawn(2, D, seed=3).float()
    found = class_answers(seen, params)
    expected = seen.facts.model.logits(params[1], seen.x[seen.y == 7]).softmax(dim=1).mean(dim=0)
    torch.testing.assert_close(found[1, 7], expected.double(), rtol=1e-5, atol=1e-6)


def test_a_feature_is_how_an_upload_points_down_a_class() -> None:
    sent, at = drawn(T, D, seed=4).float(), drawn(D, seed=3).float()
    seen = view(upload(sent, at))
    found = features(seen)
    assert found.shape == (T, 2 * C)
    params = at.clone().requires_grad_()
    chosen = seen.y == 3
    loss = torch.nn.functional.cross_entropy(seen.facts.model.logits(params, seen.x[chosen]), seen.y[chosen])
    (gradient,) = torch.autograd.grad(loss, params)
    torch.testing.assert_close(found[:, C + 3], -(sent @ gradient).double(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[:, :C], sent[:, -C:].double())
