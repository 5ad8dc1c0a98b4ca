"""Attacks on membership: their statistics against closed forms and by hand, and what each of them is shown."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from torch import Tensor

from attacks.membership_gradient import LEAST_VARIANCE, MembershipGradient, beside_others, own_cosines
from attacks.membership_lira import MembershipLiRA, lira, random_half
from attacks.membership_loss import MembershipLoss
from bench import models
from bench.attacking.membership import alignments, confidence, losses
from bench.models.base import one_hot
from bench.protocol import Alphabet, Setting
from bench.threat import MembershipView, PublicFacts, RoundView

T, B, D = 4, 6, 50
"""Targets, candidates of each, parameters of softmax regression on 2 x 2 images of ten classes."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def facts(alphabet: Alphabet = Alphabet.REAL) -> PublicFacts:
    return PublicFacts(
        model=models.build("softmax", (1, 2, 2), 10),
        setting=Setting(T, T, D, 3, 0.1, None, 0.0, 1e-6),
        alphabet=alphabet,
        weighted=False,
        keeps_models=False,
        local_penalty=0.0,
        random_share=0.0,
        clip_norm=None,
        local_steps=1,
        momentum=0.0,
        mean=torch.zeros(1),
        std=torch.ones(1),
    )


def upload(messages: Tensor, hidden: int = 1, **more: Tensor) -> RoundView:
    return RoundView(0, drawn(D, seed=7), messages, torch.full((T,), hidden), **more)


def view(*uploads: RoundView, alphabet: Alphabet = Alphabet.REAL, **more: Any) -> MembershipView:
    y = torch.randint(10, (T, B), generator=seeded(1))
    steps = tuple(drawn(D, seed=10 + step) for step in range(3))
    return MembershipView(facts(alphabet), drawn(T, B, 1, 2, 2, seed=2), y, steps, uploads, **more)


def infer(attack: Any, seen: MembershipView) -> Tensor:
    found: Tensor = attack.infer(seen, seeded())
    return found


# ---------------------------------------------------------------------------------------------------------- statistics


def test_confidence_is_the_logit_of_the_labels_probability() -> None:
    answers, labels = 3 * drawn(5, 4, 10).double(), torch.randint(10, (5, 4), generator=seeded())
    p = answers.softmax(dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(confidence(answers, labels), torch.log(p / (1 - p)))


def test_confidence_does_not_cancel_where_a_model_is_sure() -> None:
    answers = torch.tensor([[60.0, 0.0, 0.0]])
    assert float(confidence(answers, torch.tensor([0]))) == pytest.approx(60 - math.log(2))


def test_losses_are_the_cross_entropy_and_do_not_tie_where_a_model_is_sure() -> None:
    seen = view()
    at, model = seen.models[1], seen.facts.model
    expected = torch.nn.functional.cross_entropy(
        model.logits(at, seen.x.flatten(0, 1)), seen.y.flatten(), reduction="none"
    )
    torch.testing.assert_close(losses(seen, at).flatten(), expected)
    sure = losses(seen, 60 * at)
    assert len(sure.unique()) == sure.numel()


def test_an_alignment_is_the_cosine_with_a_step_down_the_loss() -> None:
    seen = view(upload(drawn(T, D, seed=3)))
    found = alignments(seen, seen.uploads[0])
    assert found.shape == (T, B, T)
    params = seen.uploads[0].broadcast.clone().requires_grad_()
    model = seen.facts.model
    loss = torch.nn.functional.cross_entropy(model.logits(params, seen.x[1, 2:3]), seen.y[1, 2:3])
    (gradient,) = torch.autograd.grad(loss, params)
    expected = torch.cosine_similarity(-gradient, seen.uploads[0].estimate, dim=-1)
    torch.testing.assert_close(found[1, 2], expected)


def test_an_upload_that_is_an_images_own_step_points_exactly_so() -> None:
    empty = view()
    model, at = empty.facts.model, drawn(D, seed=7)
    targets = one_hot(empty.y[:, :1], 10, torch.float32)
    steps = -0.1 * model.gradients(at, empty.x[:, :1], targets)
    seen = view(upload(steps))
    torch.testing.assert_close(own_cosines(alignments(seen, seen.uploads[0]))[:, 0], torch.ones(T))
    votes = view(upload(-steps), alphabet=Alphabet.TERNARY)  # a vote is that of minus the update
    torch.testing.assert_close(alignments(votes, votes.uploads[0]), alignments(seen, seen.uploads[0]))


def test_nothing_is_aligned_with_a_message_of_zeros() -> None:
    seen = view(upload(torch.zeros(T, D)))
    assert float(alignments(seen, seen.uploads[0]).abs().max()) == 0


def test_other_clients_say_what_is_high_as_the_authors_code_has_it() -> None:
    """One minus Phi of the opposite cosines, by scipy, client by client."""
    cosines = drawn(T, B, T, seed=4).double() / 5
    expected = torch.empty(T, B, dtype=torch.float64)
    for t in range(T):
        others = -cosines[t][:, [k for k in range(T) if k != t]].numpy()
        deviation = (others.var(axis=1) + LEAST_VARIANCE) ** 0.5
        expected[t] = torch.from_numpy(1 - norm.cdf(-cosines[t, :, t].numpy(), others.mean(axis=1), deviation))
    torch.testing.assert_close(beside_others(cosines), expected)
    with pytest.raises(ValueError, match="at least 3"):
        beside_others(cosines[:2, :, :2])


def test_a_hidden_message_has_no_others_to_stand_beside() -> None:
    shown, hidden = (view(upload(drawn(T, D, seed=3), hidden=count)) for count in (1, 4))
    alone = infer(MembershipGradient(reference="none"), hidden)
    assert torch.equal(infer(MembershipGradient(), hidden), alone)
    assert not torch.equal(infer(MembershipGradient(), shown), alone)


def test_colluders_take_out_the_noise_that_they_know() -> None:
    clean, sent, got = (drawn(T, D, seed=seed) for seed in (3, 5, 6))
    known = {"shares_sent": sent, "shares_got": got}
    noisy = view(upload(clean - sent + got, **known))
    attack = MembershipGradient(rho=0.5)
    torch.testing.assert_close(infer(attack, noisy), infer(attack, view(upload(clean))), atol=1e-4, rtol=1e-4)


def test_the_loss_is_of_the_last_model_or_of_all_that_were_trained() -> None:
    seen = view()
    each = [losses(seen, model) for model in seen.models]
    torch.testing.assert_close(infer(MembershipLoss(), seen), -each[2])
    torch.testing.assert_close(infer(MembershipLoss(models="all"), seen), -(each[1] + each[2]) / 2)


# ---------------------------------------------------------------------------------------------------------------- LiRA


def test_lira_has_the_auc_of_the_optimal_test_where_scores_are_normal() -> None:
    """Means of each image known from many runs: inside N(m + 1, 1), outside N(m, 1), so AUC = Phi(1 / sqrt 2).

    Images differ by ten deviations, so that a common threshold on the score itself tells nothing. Of 2,000 and 2,000
    scores an AUC near 0.76 has a standard error of 0.0075: four of them, false alarm 6e-5.
    """
    images, runs = 4000, 400
    middle = 10 * drawn(images, seed=1)
    inside = (torch.arange(runs) % 2 == 0).unsqueeze(1).expand(runs, images)
    rehearsed = middle + inside + drawn(runs, images, seed=2)
    member = torch.arange(images) % 2 == 0
    observed = middle + member + drawn(images, seed=3)
    found = lira(observed, rehearsed, inside)
    optimal = float(norm.cdf(1 / math.sqrt(2)))
    assert roc_auc_score(member, found) == pytest.approx(optimal, abs=4 * 0.0075)
    assert roc_auc_score(member, observed) < 0.6


def test_lira_is_the_log_ratio_of_two_normal_densities() -> None:
    rehearsed, observed = drawn(8, 3, seed=1).double(), drawn(3, seed=2).double()
    inside = torch.tensor([[1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0]] * 2).bool()
    density = []
    for some in (inside, ~inside):
        means = [rehearsed[some[:, i], i].mean() for i in range(3)]
        squares = sum(((rehearsed[some[:, i], i] - means[i]) ** 2).sum() for i in range(3))
        pooled = float(squares / (int(some.sum()) - 3)) ** 0.5  # type: ignore[operator]
        density.append([norm.logpdf(float(observed[i]), float(means[i]), pooled) for i in range(3)])
    expected = torch.tensor(density[0]) - torch.tensor(density[1])
    torch.testing.assert_close(lira(observed, rehearsed, inside), expected.double(), rtol=1e-6, atol=1e-6)


def test_lira_refuses_images_that_were_hardly_ever_out() -> None:
    inside = torch.ones(8, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="at least 2 runs with and 2 without"):
        lira(drawn(3), drawn(8, 3), inside)


def test_a_half_is_half_of_each_targets_candidates() -> None:
    halves = [random_half(torch.zeros(T, B), seeded(seed)) for seed in range(300)]
    assert all(half.sum(dim=1).tolist() == [B // 2] * T for half in halves)
    share = torch.stack(halves).double().mean(dim=0)  # 1 / 2, and a standard error of 0.029: five of them
    assert float((share - 0.5).abs().max()) < 5 * 0.029


@pytest.mark.parametrize("on", ["model", "uploads"])
def test_rehearsals_have_each_image_half_of_the_time_and_others_in_the_next_one(on: str) -> None:
    asked: list[tuple[int, Tensor]] = []

    def rehearse(index: int, inside: Tensor) -> MembershipView:
        asked.append((index, inside))
        other = view(upload(drawn(T, D, seed=20 + index)))
        return replace(other, models=tuple(model + index for model in other.models))

    seen = view(upload(drawn(T, D, seed=3)), rehearse=rehearse)
    scores = infer(MembershipLiRA(on=on, rehearsals=6), seen)
    assert scores.shape == (T, B)
    assert [index for index, _ in asked] == list(range(6))
    for (_, first), (_, second) in zip(asked[::2], asked[1::2], strict=True):
        assert torch.equal(first, ~second)
    assert torch.stack([inside for _, inside in asked]).sum(dim=0).tolist() == [[3] * B] * T


def test_an_odd_number_of_rehearsals_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 2"):
        MembershipLiRA(rehearsals=5)


def test_only_a_server_sees_uploads() -> None:
    assert MembershipLoss().sees() == "broadcasts"
    assert MembershipGradient().sees() == "uploads"
    assert [MembershipLiRA(on=on).sees() for on in ("model", "uploads")] == ["broadcasts", "uploads"]
    assert [MembershipLoss().collusion(), MembershipGradient(rho=0.5).collusion()] == [0.0, 0.5]
