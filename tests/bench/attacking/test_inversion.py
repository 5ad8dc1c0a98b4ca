"""What a view reveals, against the true gradients of the targets' samples by autograd on a plain LeNet."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.attacking.inversion import (
    LEAST_FLIP,
    SHARPNESS,
    FastInversion,
    Observation,
    inferred_labels,
    matcher,
    observations,
    whole_counts,
)
from bench.base.rng import generator
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.models import build
from bench.models.lenet import LeNet
from bench.protocol import Defense, Delivered, LocalRound, ServerRound, Upload, clip
from bench.threat import PublicFacts, RoundTranscript, View, server_view
from defenses.dpbfl import DPBFL
from defenses.fedavg import FedAvg
from defenses.ldpbfl import LDPBFL
from defenses.rsa import RSA

TARGETS = torch.tensor([1, 2, 5])


class Clipping(FedAvg):
    """FedAvg whose clients clip and do nothing else: DP-FedAvg without its noise."""

    name: ClassVar[str] = "clipping"
    zeta: float

    def upload(self, local: LocalRound) -> Upload:
        update = local.updates
        return Upload(torch.stack([row * min(1.0, self.zeta / float(row.norm())) for row in update]))

    def clip_norm(self) -> float:
        return self.zeta


class Weighted(FedAvg):
    """FedAvg whose messages carry p_k."""

    name: ClassVar[str] = "weighted"
    weighted: ClassVar[bool] = True

    def upload(self, local: LocalRound) -> Upload:
        return Upload(local.updates * local.weights.unsqueeze(1))

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + delivered.rows.sum(dim=0)


def play(defense: Defense, **changes: Any) -> tuple[Federation, list[RoundTranscript], View]:
    """A tiny federation in float64, one digit a client, and the server's view of three of its clients."""
    given: dict[str, Any] = {
        "dataset": "digits",
        "model": "lenet",
        "clients": 6,
        "samples_per_client": 1,
        "rounds": 2,
        "local_steps": 1,
        "batch_size": 1,
        "lr": 0.1,
        "lr_decay": 2.0,
        "dtype": "float64",
    }
    digits = load("digits")
    federation = Federation(FederationSettings(**{**given, **changes}), defense, digits, seed=4)
    transcripts = list(federation.rounds())
    views = tuple(server_view(transcript, TARGETS) for transcript in transcripts)
    facts = federation.facts(digits.mean, digits.std)
    return federation, transcripts, View(facts, TARGETS, views, digits.shape, digits.train.x.mean(dim=0))


def estimates(view: View) -> list[Tensor]:
    return [seen.estimate for seen in view.rounds]


def match_loss(gradient: Tensor, seen: Observation, rows: Tensor, facts: PublicFacts) -> Tensor:
    """The loss that `matcher` computes with its derivatives, as its docstring defines it, for autograd to follow."""
    target = seen.target[rows]
    if not seen.sign:
        limit = None if facts.clip_norm is None else facts.clip_norm / seen.lr
        squares = (clip(gradient, limit) - target).square()
        return (squares if seen.precision is None else seen.precision[rows] * squares).sum(dim=1)
    assert seen.offset is not None
    u = seen.offset + seen.lr * gradient
    u = u / (SHARPNESS * u.abs().mean(dim=1, keepdim=True))
    gamma = max(facts.random_share, LEAST_FLIP)
    plus = torch.log((1 - gamma) * torch.sigmoid(u) + gamma / 3)
    minus = torch.log((1 - gamma) * torch.sigmoid(-u) + gamma / 3)
    return -((1 + target) / 2 * plus + (1 - target) / 2 * minus).mean(dim=1)


def plain_lenet() -> nn.Module:
    layers: list[nn.Module] = []
    for channels, stride in ((1, 2), (12, 2), (12, 1)):
        layers += [nn.Conv2d(channels, 12, 5, stride, padding=2), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12 * 2 * 2, 10)).double()


def true_gradient(federation: Federation, target: int, params: Tensor) -> Tensor:
    """The gradient `(d,)` of a client's samples at `params (d,)`."""
    train, sample = load("digits").train, federation.shards.indices[target]
    module = plain_lenet()
    nn.utils.vector_to_parameters(params.clone(), module.parameters())
    loss = nn.functional.cross_entropy(module(train.x[sample].double()), train.y[sample])
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(module.parameters()))])


def true_gradients(federation: Federation, params: Tensor) -> Tensor:
    """Of all targets `(T, d)`, at shared parameters or a row a target."""
    rows = params.expand(len(TARGETS), -1)
    return torch.stack([true_gradient(federation, int(t), row) for t, row in zip(TARGETS, rows, strict=True)])


def kept_by_hand(federation: Federation, broadcasts: Sequence[Tensor], penalty: float) -> list[Tensor]:
    """The targets' models `(T, d)` before each round under RSA's step (eq. 3), from the common start."""
    w_i, found = broadcasts[0].repeat(len(TARGETS), 1), []
    for k, w_0 in enumerate(broadcasts):
        found.append(w_i)
        lr = 0.1 / (1 + k / 2) ** 0.5
        w_i = w_i - lr * (true_gradients(federation, w_i) + penalty * torch.sign(w_i - w_0))
    return found


@pytest.mark.parametrize("defense", [FedAvg(), Weighted()], ids=["plain", "weighted"])
def test_an_update_gives_the_gradient_itself(defense: Defense) -> None:
    federation, transcripts, view = play(defense)
    found = observations(view, estimates(view))
    assert len(found) == 2
    for seen, transcript, lr in zip(found, transcripts, (0.1, 0.1 / 1.5**0.5), strict=True):
        assert torch.equal(seen.params, transcript.broadcast)
        assert seen.lr == pytest.approx(lr)
        assert not seen.sign
        expected = true_gradients(federation, transcript.broadcast)
        torch.testing.assert_close(seen.target, expected, rtol=0, atol=1e-8)
    assert float(found[0].target.abs().max()) > 1e-3
    assert not torch.equal(found[0].params, found[1].params)


def test_momentum_hides_no_gradient() -> None:
    """v_1 = (1 - beta) u_1 and v_2 - beta v_1 = (1 - beta) u_2: two messages in a row give both gradients."""
    federation, transcripts, view = play(FedAvg(), momentum=0.9)
    for seen, transcript in zip(observations(view, estimates(view)), transcripts, strict=True):
        expected = true_gradients(federation, transcript.broadcast)
        torch.testing.assert_close(seen.target, expected, rtol=0, atol=1e-8)


def test_an_update_of_part_of_the_clients_gives_the_gradient_too() -> None:
    """p_k is 1 over the participants, not over the clients."""
    federation, _, _ = play(Weighted())
    federation = Federation(
        federation.settings.model_copy(update={"participation": 0.5}), Weighted(), load("digits"), seed=4
    )
    transcript = federation.play()
    target = transcript.participants[1:2]
    facts = federation.facts(torch.zeros(1), torch.ones(1))
    seen = server_view(transcript, target)
    (found,) = observations(View(facts, target, (seen,), (1, 8, 8), torch.zeros(1, 8, 8)), [seen.estimate])
    expected = true_gradient(federation, int(target), transcript.broadcast)
    torch.testing.assert_close(found.target[0], expected, rtol=0, atol=1e-8)


def test_several_local_steps_give_their_mean_gradient() -> None:
    federation, transcripts, view = play(FedAvg(), local_steps=3)
    seen = observations(view, estimates(view))[0]
    for row, target in enumerate(TARGETS.tolist()):
        w, gradients = transcripts[0].broadcast, []
        for _ in range(3):
            gradients.append(true_gradient(federation, target, w))
            w = w - 0.1 * gradients[-1]
        torch.testing.assert_close(seen.target[row], torch.stack(gradients).mean(dim=0), rtol=0, atol=1e-8)


def test_two_real_messages_of_rsa_give_the_gradient_between_them() -> None:
    """Round 0, where all models are alike, and round 1, where the penalty pulls."""
    defense = RSA(penalty=0.02, weight_decay=0.05)
    federation, transcripts, view = play(defense, rounds=3)
    found = observations(view, estimates(view))
    assert len(found) == 2
    models = kept_by_hand(federation, [transcript.broadcast for transcript in transcripts], defense.penalty)
    for seen, own, lr in zip(found, models, (0.1, 0.1 / 1.5**0.5), strict=False):
        assert seen.lr == pytest.approx(lr)
        torch.testing.assert_close(seen.params, own, rtol=0, atol=1e-10)
        torch.testing.assert_close(seen.target, true_gradients(federation, own), rtol=0, atol=1e-8)
    assert not torch.equal(found[1].params, transcripts[1].broadcast.expand_as(found[1].params))


def test_two_rounds_of_rsa_give_one_gradient() -> None:
    federation, _, view = play(RSA())
    (seen,) = observations(view, estimates(view))
    torch.testing.assert_close(seen.target, true_gradients(federation, seen.params), rtol=0, atol=1e-8)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("kind", [LDPBFL, DPBFL])
def test_signs_without_noise_are_those_of_the_known_function(kind: type[DPBFL], weight_decay: float) -> None:
    """sign(w_0^1 - w^0 + lr g); the true messages stand for what the shuffler hides."""
    federation, transcripts, view = play(kind(gamma=0.0, weight_decay=weight_decay))
    messages = [transcript.messages[TARGETS].double() for transcript in transcripts]
    if kind is LDPBFL:
        assert all(torch.equal(*pair) for pair in zip(estimates(view), messages, strict=True))
    (seen,) = observations(view, messages)
    assert seen.sign
    assert seen.lr == pytest.approx(0.1)
    assert torch.equal(seen.params, transcripts[0].broadcast)
    assert seen.offset is not None
    assert bool(seen.offset.any()) == (weight_decay > 0)
    u = seen.offset + seen.lr * true_gradients(federation, seen.params)
    clear = (u.abs() > 1e-14) | (u == 0)  # what rounding does not decide; some kernel entries see padding alone
    assert float(clear.double().mean()) > 0.99
    assert torch.equal(torch.sign(u)[clear], messages[1][clear])
    assert torch.equal(seen.target, messages[1])
    assert set(seen.target.unique().tolist()) >= {-1.0, 1.0}


def test_randomized_signs_are_right_as_often_as_gamma_says() -> None:
    """A sign stays with probability 1 - gamma + gamma / 3; here with a global model that noise has moved."""
    federation, _, view = play(LDPBFL(gamma=0.3))
    (seen,) = observations(view, estimates(view))
    assert seen.offset is not None
    assert bool(seen.offset.any())
    u = seen.offset + seen.lr * true_gradients(federation, seen.params)
    agree = (torch.sign(u) == seen.target)[u.abs() > 1e-14].double()
    assert float(agree.mean()) == pytest.approx(0.8, abs=5 * (0.16 / len(agree)) ** 0.5)


@pytest.mark.parametrize("defense", [FedAvg(), Weighted(), RSA()], ids=["fedavg", "weighted", "rsa"])
def test_the_truth_matches_without_loss(defense: Defense) -> None:
    federation, _, view = play(defense)
    rows = torch.arange(len(TARGETS))
    for seen in observations(view, estimates(view)):
        truth = true_gradients(federation, seen.params)
        assert float(match_loss(truth, seen, rows, view.facts).max()) < 1e-16
        assert float(match_loss(truth.roll(1, dims=0), seen, rows, view.facts).min()) > 1e-3


def test_the_loss_of_a_gradient_is_the_squared_distance() -> None:
    _, _, view = play(FedAvg())
    seen = Observation(torch.zeros(2), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), lr=0.1)
    found = match_loss(torch.tensor([[5.0, 5.0], [1.0, 0.0]]), seen, torch.tensor([2, 0]), view.facts)
    assert found.tolist() == [1.0, 4.0]  # rows name the targets


@pytest.mark.parametrize("zeta", [0.01, 0.05, 1e3])
def test_a_clipped_update_is_matched_by_the_clipped_gradient(zeta: float) -> None:
    federation, transcripts, view = play(Clipping(zeta=zeta))
    rows, blind = torch.arange(len(TARGETS)), replace(view.facts, clip_norm=None)
    clipped = bool((transcripts[0].messages.norm(dim=1) > 0.999 * zeta).all())
    assert clipped == (zeta < 1)
    for seen in observations(view, estimates(view)):
        truth = true_gradients(federation, seen.params)
        assert float(match_loss(truth, seen, rows, view.facts).max()) < 1e-16
        assert bool((match_loss(truth, seen, rows, blind) > 1e-8).all()) == clipped


def facts_with(view: View, gamma: float) -> PublicFacts:
    return replace(view.facts, random_share=gamma)


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.3, 0.9])
def test_the_loss_of_signs_is_the_mean_negative_log_likelihood(gamma: float) -> None:
    _, _, view = play(LDPBFL(gamma=0.0))
    offset, lr, target = [0.02, -0.01, 0.0, 0.03], 0.1, [1.0, -1.0, 0.0, 0.5]
    gradient = [0.1, 0.4, -0.2, -0.25]
    seen = Observation(
        params=torch.zeros(4),
        target=torch.tensor([target], dtype=torch.float64),
        lr=lr,
        sign=True,
        offset=torch.tensor(offset, dtype=torch.float64),
    )
    dummy = torch.tensor([gradient], dtype=torch.float64)
    found = match_loss(dummy, seen, torch.tensor([0]), facts_with(view, gamma))
    u = [o + lr * g for o, g in zip(offset, gradient, strict=True)]
    width = SHARPNESS * sum(abs(value) for value in u) / 4
    flip = max(gamma, LEAST_FLIP)
    expected = 0.0
    for value, sign in zip(u, target, strict=True):
        positive = 1 / (1 + math.exp(-value / width))
        plus = math.log((1 - flip) * positive + flip / 3)
        minus = math.log((1 - flip) * (1 - positive) + flip / 3)
        expected -= ((1 + sign) / 2 * plus + (1 - sign) / 2 * minus) / 4
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_of_all_gradients_the_true_one_explains_the_signs_best() -> None:
    federation, _, view = play(LDPBFL(gamma=0.0, weight_decay=0.05))
    (seen,) = observations(view, estimates(view))
    rows, truth = torch.arange(len(TARGETS)), true_gradients(federation, seen.params)
    best = match_loss(truth, seen, rows, view.facts)
    noise = torch.randn(truth.shape, generator=generator(0), dtype=torch.float64) * truth.std()
    for other in (truth.roll(1, dims=0), -truth, torch.zeros_like(truth), noise):
        assert bool((match_loss(other, seen, rows, view.facts) > best + 1e-4).all())


def test_the_losses_can_be_differentiated() -> None:
    for defense in (FedAvg(), Clipping(zeta=0.01), LDPBFL(gamma=0.2)):
        federation, _, view = play(defense)
        seen = observations(view, estimates(view))[0]
        start = true_gradients(federation, seen.params)[:1, :40] * 1.5 + 1e-3
        short = replace(
            seen, target=seen.target[:, :40], offset=None if seen.offset is None else seen.offset[:40] + 1e-4
        )

        def loss(gradient: Tensor, short: Observation = short, facts: PublicFacts = view.facts) -> Tensor:
            return match_loss(gradient, short, torch.tensor([0]), facts)

        assert torch.autograd.gradcheck(loss, (start.requires_grad_(),))


@pytest.mark.parametrize("scale", [1.0, 8.0], ids=["random", "saturated"])
@pytest.mark.parametrize("shared", [True, False], ids=["one model", "a model each"])
@pytest.mark.parametrize(
    ("shape", "classes", "batch"),
    [((1, 8, 8), 10, 1), ((3, 32, 32), 100, 1), ((2, 9, 13), 7, 1), ((1, 8, 8), 10, 4), ((2, 9, 13), 7, 3)],
)
def test_lenets_second_derivatives_are_those_of_autograd(
    shape: tuple[int, int, int], classes: int, batch: int, shared: bool, scale: float
) -> None:
    source, model = generator(8), LeNet(shape, classes)
    assert isinstance(model, FastInversion)
    models = scale * torch.stack([model.initial(source, torch.float64) for _ in range(3)])
    params = models[0] if shared else models
    x = torch.randn(3, batch, *shape, generator=source, dtype=torch.float64).requires_grad_()
    y = torch.randn(3, batch, classes, generator=source, dtype=torch.float64).softmax(-1).requires_grad_()
    v = torch.randn(3, model.dim, generator=source, dtype=torch.float64)
    plain = model.gradients(params, x, y)

    gradient, back = model.pullback(params)(x.detach(), y.detach())
    same(gradient, plain.detach())
    for found, expected in zip(back(v), torch.autograd.grad(plain, (x, y), v, retain_graph=True), strict=True):
        same(found, expected)

    distance, derivatives = model.distance(params, v)(x.detach(), y.detach())
    loss = (plain - v).square().sum(dim=1)
    same(distance, loss.detach())
    for found, expected in zip(derivatives, torch.autograd.grad(loss.sum(), (x, y)), strict=True):
        same(found, expected)


def same(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-10 of the largest entry."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))


def test_the_distance_from_the_true_gradient_is_zero_up_to_rounding() -> None:
    """The dense layer's part is a difference of large numbers; it must stay below the tolerance of `minimise`."""
    source, model = generator(9), LeNet((3, 32, 32), 100)
    params = model.initial(source, torch.float64)
    x = torch.randn(4, 1, 3, 32, 32, generator=source, dtype=torch.float64)
    y = nn.functional.one_hot(torch.arange(4), 100).double().unsqueeze(1)
    distance, _ = model.distance(params, model.gradients(params, x, y))(x, y)
    assert bool((distance >= 0).all())
    assert float(distance.max()) < 1e-12


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("model", ["lenet", "softmax"])
@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["random", "saturated"])
@pytest.mark.parametrize(
    "defense",
    [FedAvg(), Weighted(), Clipping(zeta=0.02), Clipping(zeta=1e3), RSA(), LDPBFL(gamma=0.2), DPBFL(gamma=0.0)],
    ids=["plain", "weighted", "clipped", "not clipped", "a model each", "signs", "mean signs"],
)
def test_a_matcher_is_the_matching_loss_with_its_derivatives(
    defense: Defense, scale: float, model: str, batch: int
) -> None:
    _, _, view = play(defense, model=model, samples_per_client=batch, batch_size=batch)
    source, rows = generator(10), torch.tensor([2, 0])
    x = (scale * torch.randn(2, batch, 1, 8, 8, generator=source, dtype=torch.float64)).requires_grad_()
    y = torch.randn(2, batch, 10, generator=source, dtype=torch.float64).softmax(-1).requires_grad_()
    for seen in observations(view, estimates(view)):
        params = seen.params if seen.params.dim() == 1 else seen.params[rows]
        loss = match_loss(build(model, (1, 8, 8), 10).gradients(params, x, y), seen, rows, view.facts)
        expected = torch.autograd.grad(loss.sum(), (x, y))
        found, derivatives = matcher(view.facts.model, seen, rows, view.facts)(x.detach(), y.detach())
        same(found, loss.detach())
        for by, plain in zip(derivatives, expected, strict=True):
            same(by, plain)


@pytest.mark.parametrize("model", ["lenet", "softmax"])
@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["random", "saturated"])
@pytest.mark.parametrize(
    "defense",
    [FedAvg(), Weighted(), Clipping(zeta=0.02), Clipping(zeta=1e3)],
    ids=["plain", "weighted", "clipped", "not clipped"],
)
def test_a_weighted_matcher_is_the_weighted_loss_with_its_derivatives(
    defense: Defense, scale: float, model: str
) -> None:
    _, _, view = play(defense, model=model)
    source, rows = generator(10), torch.tensor([2, 0])
    variances = [0.1 + torch.rand(seen.estimate.shape, generator=source, dtype=torch.float64) for seen in view.rounds]
    x = (scale * torch.randn(2, 1, 1, 8, 8, generator=source, dtype=torch.float64)).requires_grad_()
    y = torch.randn(2, 1, 10, generator=source, dtype=torch.float64).softmax(-1).requires_grad_()
    for seen in observations(view, estimates(view), variances):
        assert seen.precision is not None
        loss = match_loss(build(model, (1, 8, 8), 10).gradients(seen.params, x, y), seen, rows, view.facts)
        expected = torch.autograd.grad(loss.sum(), (x, y))
        found, derivatives = matcher(view.facts.model, seen, rows, view.facts)(x.detach(), y.detach())
        same(found, loss.detach())
        for by, plain in zip(derivatives, expected, strict=True):
            same(by, plain)


@pytest.mark.parametrize("defense", [FedAvg(), Weighted(), Clipping(zeta=0.02)], ids=["plain", "weighted", "clipped"])
def test_precisions_are_one_over_the_variances_at_a_mean_of_1(defense: Defense) -> None:
    """Over both rounds, as the learning rate takes them: g is the message over lr, so that its variance is by lr^2."""
    _, _, view = play(defense)
    source = generator(3)
    variances = [0.1 + torch.rand(seen.estimate.shape, generator=source, dtype=torch.float64) for seen in view.rounds]
    seen = observations(view, estimates(view), variances)
    rates = [0.1, 0.1 / math.sqrt(1.5)]
    inverse = [rate**2 / variance for rate, variance in zip(rates, variances, strict=True)]
    mean = (inverse[0].mean(dim=1) + inverse[1].mean(dim=1)) / 2
    for one, own in zip(seen, inverse, strict=True):
        assert one.precision is not None
        torch.testing.assert_close(one.precision, own / mean.unsqueeze(1), rtol=1e-12, atol=0)


def test_variances_of_two_messages_add_up_where_momentum_takes_their_difference() -> None:
    """Message k less beta times the one before: var_k + beta^2 var_(k-1)."""
    _, _, view = play(FedAvg(), momentum=0.5, lr_decay=None)
    first, second = (torch.full_like(seen.estimate, value) for seen, value in zip(view.rounds, (4.0, 3.0), strict=True))
    seen = observations(view, estimates(view), [first, second])
    inverse = [1 / 4, 1 / (3 + 0.25 * 4)]
    for one, own in zip(seen, inverse, strict=True):
        assert one.precision is not None
        torch.testing.assert_close(one.precision, torch.full_like(first, own / (sum(inverse) / 2)))


@pytest.mark.parametrize("defense", [FedAvg(), RSA(), LDPBFL(gamma=0.2)], ids=["one unknown", "kept models", "signs"])
def test_what_is_not_known_of_all_rounds_is_not_weighed(defense: Defense) -> None:
    _, _, view = play(defense)
    variances = [torch.ones_like(view.rounds[0].estimate), None]
    if not isinstance(defense, FedAvg):
        variances = [variances[0]] * 2
    for one, plain in zip(
        observations(view, estimates(view), variances), observations(view, estimates(view)), strict=True
    ):
        assert one.precision is None
        assert torch.equal(one.target, plain.target)


@pytest.mark.parametrize("model", ["lenet", "mlp"])
@pytest.mark.parametrize(
    ("defense", "momentum"),
    [(FedAvg(), 0.0), (Weighted(), 0.0), (Clipping(zeta=0.02), 0.0), (FedAvg(), 0.9)],
    ids=["plain", "weighted", "clipped", "momentum"],
)
def test_several_local_steps_of_a_batch_are_simulated(defense: Defense, momentum: float, model: str) -> None:
    """The truth matches what the federation's own training sent; by finite differences, the derivatives are right."""
    given: dict[str, Any] = {"local_steps": 3, "samples_per_client": 2, "batch_size": 2, "momentum": momentum}
    federation, _, view = play(defense, model=model, **given)
    x, y = federation.shards.window(TARGETS, 0, 2)
    rows, source = torch.arange(len(TARGETS)), generator(11)
    for seen in observations(view, estimates(view)):
        assert seen.steps == 3
        match = matcher(view.facts.model, seen, rows, view.facts)
        assert float(match(x, y)[0].max()) < 1e-16
        one_step = matcher(view.facts.model, replace(seen, steps=1), rows, view.facts)
        assert float(one_step(x, y)[0].min()) > 1e-7

        guess, soft = torch.randn(x.shape, generator=source).double(), torch.rand(y.shape, generator=source).double()
        _, derivatives = match(guess, soft)
        for index, by in enumerate(derivatives):
            step = [torch.zeros_like(guess), torch.zeros_like(soft)]
            step[index] = 1e-6 * torch.randn(by.shape, generator=source, dtype=torch.float64)
            up, down = (match(guess + sign * step[0], soft + sign * step[1])[0] for sign in (1, -1))
            torch.testing.assert_close((by * step[index]).flatten(1).sum(1), (up - down) / 2, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("model", ["lenet", "softmax", "mlp"])
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (4, 1), (4, 2), (12, 1)])
def test_a_gradient_tells_how_often_each_class_occurs(batch: int, steps: int, model: str) -> None:
    """12 digits of 10 classes: some twice."""
    federation, _, view = play(
        FedAvg(), model=model, samples_per_client=batch, batch_size=batch, local_steps=steps, rounds=1
    )
    found = inferred_labels(view, observations(view, estimates(view))[0])
    truth = load("digits").train.y[federation.shards.indices[TARGETS]]
    assert torch.equal(found.sort(dim=1).values, truth.sort(dim=1).values)


@pytest.mark.parametrize("defense", [LDPBFL(gamma=0.0), Clipping(zeta=0.02)], ids=["signs", "clipped"])
def test_labels_without_the_gradients_length(defense: Defense) -> None:
    """Of 4 digits at least 3 by their class: the part of what is negative counts, not its size."""
    federation, _, view = play(defense, samples_per_client=4, batch_size=4)
    found = inferred_labels(view, observations(view, estimates(view))[-1])
    truth = load("digits").train.y[federation.shards.indices[TARGETS]]
    for labels, expected in zip(found, truth, strict=True):
        both = torch.minimum(labels.bincount(minlength=10), expected.bincount(minlength=10))
        assert int(both.sum()) >= 3


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any), st.integers(1, 10))
def test_whole_counts_are_those_of_largest_remainders(votes: list[int], total: int) -> None:
    shares = [Fraction(total * vote, sum(votes)) for vote in votes]
    quotas = torch.tensor([[float(share) for share in shares]], dtype=torch.float64)
    counts = whole_counts(quotas, total)[0].bincount(minlength=len(votes)).tolist()
    assert sum(counts) == total
    rest = total - sum(int(share) for share in shares)
    above = [count - int(share) for count, share in zip(counts, shares, strict=True)]
    assert sorted(above) == [0] * (len(votes) - rest) + [1] * rest
    remainders = [share - int(share) for share in shares]
    assert all(
        remainders[i] >= remainders[j] - Fraction(1, 10**9)
        for i, a in enumerate(above)
        if a
        for j, b in enumerate(above)
        if not b
    )


def test_any_quotas_give_whole_counts() -> None:
    quotas = torch.randn(50, 10, generator=generator(12)) * 1e3
    assert whole_counts(quotas, 7).shape == (50, 7)
    assert whole_counts(torch.zeros(1, 3), 2).tolist() == [[0, 1]]


def test_a_view_of_signs_that_starts_later_takes_its_last_two_rounds() -> None:
    """With w_i for w_0, the signs of offset + lr g are still most of what was sent."""
    federation, transcripts, view = play(LDPBFL(gamma=0.0), rounds=5)
    later = replace(view, rounds=view.rounds[2:])
    messages = estimates(later)
    (seen,) = observations(later, messages)
    assert torch.equal(seen.params, transcripts[3].broadcast)
    assert torch.equal(seen.target, messages[-1])
    assert seen.lr == pytest.approx(0.1 / (1 + 3 / 2) ** 0.5)
    assert seen.offset is not None
    assert torch.equal(seen.offset, transcripts[4].broadcast - transcripts[3].broadcast)
    u = seen.offset + seen.lr * true_gradients(federation, seen.params)
    assert float((torch.sign(u) == seen.target).double().mean()) > 0.7

    (first,) = observations(view, estimates(view))
    assert torch.equal(first.params, transcripts[0].broadcast)


def test_a_view_of_momentum_that_starts_later_gives_all_gradients_but_the_first() -> None:
    federation, transcripts, view = play(FedAvg(), momentum=0.9, rounds=4)
    later = replace(view, rounds=view.rounds[1:])
    found = observations(later, estimates(later))
    assert len(found) == 2
    for seen, transcript in zip(found, transcripts[2:], strict=True):
        torch.testing.assert_close(seen.target, true_gradients(federation, transcript.broadcast), rtol=0, atol=1e-8)
    with pytest.raises(ValueError, match="rounds"):
        observations(replace(view, rounds=view.rounds[3:]), estimates(view)[3:])
