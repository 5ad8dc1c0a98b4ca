"""FLDetector: against loops in numpy on whole trajectories, on small federations, and what an attacker cannot do."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import Tensor

from attacks.alie import ALIE
from attacks.sign_flip import SignFlip
from bench.federation.engine import Federation
from bench.protocol import Delivered, ServerRound, Setting
from bench.threat import ByzantineView
from defenses.fldetector import REFERENCES, FLDetector, fldetector, hessian_product, higher_cluster
from defenses.nnm import NNM

Array = np.ndarray

# ------------------------------------------------------------------------------------------------ by definition, slowly


def bfgs(steps: list[Array], changes: list[Array]) -> Array:
    """The Hessian `(d, d)` of L-BFGS, updated pair by pair from sigma I."""
    s, y = steps[-1], changes[-1]
    b = np.eye(len(s)) * (y @ s) / (s @ s)
    for s, y in zip(steps, changes, strict=True):
        b = b - np.outer(b @ s, b @ s) / (s @ b @ s) + np.outer(y, y) / (y @ s)
    return b


def clusters(scores: Array, count: int) -> tuple[float, Array]:
    """The inertia of the best of all ways to cluster scores, and the cluster of each."""
    best = (np.inf, np.zeros(0))
    for labels in itertools.product(range(count), repeat=len(scores)):
        groups = [scores[np.array(labels) == k] for k in range(count)]
        inertia = sum(((group - group.mean()) ** 2).sum() for group in groups if len(group))
        best = min(best, (float(inertia), np.array(labels)), key=lambda found: found[0])
    return best


def is_malicious(scores: Array, generator: torch.Generator) -> Array:
    """The authors' `detection1`, of which one cluster or more is all that counts, and their `detection`."""
    nobody = np.zeros(len(scores), dtype=bool)
    if len(scores) < 3:
        return nobody
    scores = (scores - scores.min()) / (scores.max() - scores.min())
    references = torch.rand(REFERENCES, len(scores), generator=generator, dtype=torch.float64).numpy()
    gaps, deviations = [], []
    for k in (1, 2):
        even = [clusters(row, k)[0] for row in references]
        gaps.append(np.log(np.mean(even)) - np.log(clusters(scores, k)[0]))
        deviations.append(np.sqrt((1 + REFERENCES) / REFERENCES) * np.std(np.log(even)))
    if gaps[0] - gaps[1] + deviations[1] >= 0:
        return nobody
    labels = clusters(scores, 2)[1]
    return labels == (scores[labels == 1].mean() > scores[labels == 0].mean())


class Slow:
    """The whole rule, a client at a time."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.last: dict[int, tuple[Array, Array]] = {}
        self.off: dict[int, list[float]] = {}
        self.out: set[int] = set()
        self.steps: list[Array] = []
        self.changes: list[Array] = []
        self.before: tuple[Array, Array] | None = None

    def __call__(self, w: Array, sent: dict[int, Array], generator: torch.Generator) -> Array:
        if len(self.steps) == self.window:
            hessian = bfgs(self.steps, self.changes)
            known = [name for name in sent if name in self.last and name not in self.out]
            away = {}
            for name in known:
                model, update = self.last[name]
                away[name] = float(np.linalg.norm(update + hessian @ (w - model) - sent[name]))
            for name in known:
                self.off.setdefault(name, []).append(away[name] / np.mean(list(away.values())))
        judged = sorted(name for name, off in self.off.items() if len(off) >= self.window and name not in self.out)
        scores = np.array([np.mean(self.off[name][-self.window :]) for name in judged])
        found = {name for name, bad in zip(judged, is_malicious(scores, generator), strict=True) if bad}
        if found:
            self.out |= found
            self.steps, self.changes, self.off, self.before = [], [], {}, None
        left = {name: update for name, update in sent.items() if name not in self.out}
        if not left:
            return w
        mean = np.mean(list(left.values()), axis=0)
        if self.before is not None:
            self.steps = [*self.steps, w - self.before[0]][-self.window :]
            self.changes = [*self.changes, mean - self.before[1]][-self.window :]
        self.before = w, mean
        for name, update in left.items():
            self.last[name] = w, update
        return w + mean


# ------------------------------------------------------------------------------------------------------------ its parts


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_hessian_is_that_of_the_updates_pair_by_pair(seed: int, pairs: int) -> None:
    """Of a gradient, and of updates, which are a negative multiple of it."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((8, 8))
    steps = list(rng.standard_normal((pairs, 8)))
    changes = [(root @ root.T + np.eye(8)) @ s + 0.1 * rng.standard_normal(8) for s in steps]
    vectors = rng.standard_normal((3, 8))
    for sign in (1, -0.1):
        wanted = vectors @ bfgs(steps, [sign * y for y in changes])
        found = hessian_product(
            *(torch.from_numpy(np.array(rows)) for rows in (steps, [sign * y for y in changes], vectors))
        )
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())


def test_the_hessian_by_hand() -> None:
    """One pair, s = (1, 0) and y = (2, 1): sigma = 2, so H = 2 I - 2 e1 e1' + y y' / 2, that is ((2, 1), (1, 2.5))."""
    found = hessian_product(torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 1.0]]), torch.eye(2))
    assert found.flatten().tolist() == pytest.approx([2, 1, 1, 2.5])


def test_a_model_that_stood_still_or_overflowed_foretells_no_change() -> None:
    still, huge = torch.zeros(2, 3), torch.full((2, 3), 1e200, dtype=torch.float64)
    assert hessian_product(still, still, torch.ones(1, 3)).tolist() == [[0, 0, 0]]
    assert hessian_product(huge, huge, torch.ones(1, 3)).tolist() == [[0, 0, 0]]
    with pytest.raises(ValueError, match=r"steps is .* but must be of the same shape"):
        hessian_product(torch.ones(2, 3), torch.ones(1, 3), torch.ones(1, 3))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9, unique=True))
def test_two_clusters_are_the_best_of_all(values: list[float]) -> None:
    scores = np.array(values)
    high, inertia = higher_cluster(torch.from_numpy(scores))
    assert float(inertia) == pytest.approx(clusters(scores, 2)[0], abs=1e-9)
    means = [scores[high.numpy() == side].mean() for side in (False, True)]
    assert means[0] < means[1]
    assert sum(((scores[high.numpy() == side] - means[side]) ** 2).sum() for side in (0, 1)) == pytest.approx(
        float(inertia), abs=1e-9
    )


def test_two_clusters_are_those_of_k_means() -> None:
    scores = torch.rand(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    high, inertia = higher_cluster(scores)
    found = KMeans(n_clusters=2, n_init=20, random_state=0).fit(scores[:, None])
    assert float(inertia) == pytest.approx(found.inertia_)
    assert (found.labels_ == found.labels_[scores.argmax()]).tolist() == high.tolist()


@pytest.mark.parametrize("seed", range(8))
def test_who_is_malicious_is_what_the_gap_statistic_says(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(9, generator=generator, dtype=torch.float64)
    if seed % 2:
        scores[:3] += 5
    draws = [torch.Generator().manual_seed(seed) for _ in range(2)]
    found = fldetector(scores, draws[0])
    assert found.tolist() == is_malicious(scores.numpy(), draws[1]).tolist()
    assert found.tolist() == [bool(seed % 2)] * 3 + [False] * 6


def test_scores_of_which_nothing_can_be_said() -> None:
    draws = torch.Generator()
    assert fldetector(torch.tensor([0.0, 1.0]), draws).tolist() == [False, False]
    assert fldetector(torch.ones(5), draws).tolist() == [False] * 5
    assert fldetector(torch.tensor([1.0, 1.0, 1.0, 9.0, 9.0]), draws).tolist() == [False] * 3 + [True] * 2
    with pytest.raises(ValueError, match="scores is 'not finite'"):
        fldetector(torch.tensor([1.0, torch.nan, 2.0]), draws)
    with pytest.raises(ValueError, match="scores is '1 of them', but must be at least 2"):
        higher_cluster(torch.ones(1))


# -------------------------------------------------------------------------------------------------------- trajectories


@pytest.mark.parametrize(("participants", "seed"), list(itertools.product((9, 6), range(4))))
def test_a_whole_run_is_that_of_the_loops(participants: int, seed: int) -> None:
    """Nine clients descend a quadratic, with noise; two send the opposite. Some miss rounds, and are foretold later."""
    rng, dim, window = np.random.default_rng(seed), 5, 3
    root = rng.standard_normal((dim, dim))
    hessian = root @ root.T / dim + np.eye(dim)
    rule, slow, memory = FLDetector(window=window), Slow(window), {}
    setting = Setting(9, participants, dim, 40, 0.1, None, 0.2, 1e-6)
    w = 3 * rng.standard_normal(dim)
    for index in range(40):
        names = np.sort(rng.choice(9, participants, replace=False))
        rows = np.array([-0.05 * (hessian @ w) + 0.02 * rng.standard_normal(dim) for _ in names])
        rows[names < 2] *= -2
        draws = [torch.Generator().manual_seed(index) for _ in range(2)]
        weights = torch.full((participants,), 1 / participants, dtype=torch.float64)
        server = ServerRound(
            index, setting, torch.from_numpy(w), weights, draws[0], None, memory, torch.from_numpy(names)
        )
        found = rule.aggregate(Delivered(torch.from_numpy(rows), torch.arange(participants)), server)
        w = slow(w, dict(zip(names.tolist(), rows, strict=True)), draws[1])
        np.testing.assert_allclose(found.numpy(), w, rtol=1e-6, atol=1e-8)
        assert set(memory["out"].nonzero()[:, 0].tolist()) == slow.out
        if index == 2 * window - 1:
            assert not slow.out
    assert slow.out >= {0, 1}


# -------------------------------------------------------------------------------------------------------- federations

Make = Callable[..., Federation]
SMALL = {"rounds": 24, "local_steps": 1, "lr": 0.3}


def caught(found: Federation) -> tuple[int, int]:
    """How many Byzantine and how many honest clients are out in the end."""
    for _ in range(found.settings.rounds):
        found.advance()
    out = found._server_memory["out"]
    return int((out & found.is_byzantine).sum()), int((out & ~found.is_byzantine).sum())


def test_sign_flippers_are_found_and_nobody_else(make_federation: Make) -> None:
    runs = [caught(make_federation(FLDetector(), SignFlip(), 0.2, seed=seed, **SMALL)) for seed in range(5)]
    assert [honest for _, honest in runs] == [0] * 5
    assert sum(byzantine == 4 for byzantine, _ in runs) >= 4


def test_where_nobody_attacks_nobody_is_out(make_federation: Make) -> None:
    assert [caught(make_federation(FLDetector(), seed=seed, **SMALL)) for seed in range(5)] == [(0, 0)] * 5


def test_quieter_messages_look_more_honest(make_federation: Make) -> None:
    """ALIE's are one near the mean of all, which has less of the batches' noise: the honest clients are out."""
    runs = [caught(make_federation(FLDetector(), ALIE(), 0.2, seed=seed, **SMALL)) for seed in range(3)]
    assert runs == [(0, 16)] * 3


def test_who_is_out_no_longer_counts(make_federation: Make) -> None:
    found = make_federation(FLDetector(window=3), SignFlip(), 0.2, dtype="float64", **SMALL)
    after = 0
    for transcript in found.rounds():
        out = found._server_memory["out"][transcript.participants]
        after += int(out.any())
        mean = transcript.messages[~out].mean(dim=0)
        torch.testing.assert_close(found.global_model, transcript.broadcast + mean)
    assert 5 < after < 24


def test_an_attackers_imagination_leaves_the_memory_as_it_is(make_federation: Make) -> None:
    class Imagining(SignFlip):
        omniscient: ClassVar[bool] = True

        def forge(self, view: ByzantineView) -> Tensor:
            assert view.aggregate is not None
            assert view.honest is not None
            view.aggregate(torch.cat([view.honest, 100 * torch.ones_like(view.own)]))
            return super().forge(view)

    def memory(attack: SignFlip) -> dict[str, Tensor]:
        found = make_federation(FLDetector(window=3), attack, 0.2, participation=0.5, **SMALL)
        caught(found)
        return found._server_memory

    plain, imagining = memory(SignFlip()), memory(Imagining())
    assert plain.keys() == imagining.keys()
    assert all(torch.equal(tensor, imagining[name]) for name, tensor in plain.items())


@pytest.mark.parametrize("size", [3e38, 1e300])
def test_no_number_is_too_large(
    size: float, server_round: Callable[..., ServerRound], make_setting: Callable[..., Setting]
) -> None:
    dtype = torch.float32 if size < 1e40 else torch.float64
    server = server_round(make_setting(num_clients=6, participants=6), torch.zeros(7, dtype=dtype), 6)
    draws = torch.Generator().manual_seed(0)
    for _ in range(9):
        messages = torch.randn(6, 7, generator=draws, dtype=dtype)
        messages[0] = size / 10
        model = FLDetector(window=2).aggregate(Delivered(messages, torch.arange(6)), server)
        server = replace(server, global_model=model)
    assert all(bool(tensor.isfinite().all()) for tensor in (model, *server.memory.values()))


def test_where_all_of_a_round_are_out_the_model_stays(
    server_round: Callable[..., ServerRound], make_setting: Callable[..., Setting]
) -> None:
    server = server_round(make_setting(), torch.ones(7), 3)
    messages = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    FLDetector().aggregate(Delivered(messages, torch.arange(3)), server)
    server.memory["out"][:3] = True
    assert torch.equal(FLDetector().aggregate(Delivered(messages, torch.arange(3)), server), torch.ones(7))


def test_it_needs_to_know_whose_message_is_whose(
    server_round: Callable[..., ServerRound], make_setting: Callable[..., Setting]
) -> None:
    server = replace(server_round(make_setting(), torch.ones(7), 3), clients=None)
    with pytest.raises(ValueError, match="nothing says whose message is whose"):
        FLDetector().aggregate(Delivered(torch.ones(3, 7), None), server)
    with pytest.raises(ValueError, match="a mixed message is nobody's"):
        NNM(rule="fldetector")
