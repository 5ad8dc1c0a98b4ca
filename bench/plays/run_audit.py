"""Run audits: one whole training in which many clients are canaries, and what it proves of the composed epsilon.

A canary is a client that holds one of two neighbouring inputs, by a coin of its own: a whole update at the clipping
bound, or one sample among its others. The others train as ever. The adversary sees what the claim is against, every
message of every round or the models alone, and guesses the coins.
"""

import time
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from bench.base import rng
from bench.base.errors import DivergedError, require
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.federation.settings import check_inverted
from bench.plays.audit import CONFIDENCE, OVERSIZE
from bench.plays.findings import Findings, Task, build_attack, build_defense, cost_of, stated
from bench.privacy.claims import PrivacyClaim
from bench.privacy.one_run import RunVerdict, judge_run
from bench.protocol import Alphabet, Defense
from bench.threat import RoundTranscript, RunAudit, RunGame, RunRound, check_canaries


@dataclass(frozen=True)
class Updates:
    """Canaries `clients (k,)` whose update `(k, d)` is given, and changes its sign from round to round.

    Where `included (k,)` it is that update, otherwise minus it (neighbours that replace) or 0 (that add or remove).
    """

    clients: Tensor
    included: Tensor
    updates: Tensor
    replaced: bool

    @classmethod
    def of(cls, defense: Defense, audit: RunAudit, federation: Federation, coins: "Coins", replaced: bool) -> Self:
        """At `OVERSIZE` times the clipping bound, so that a defense that forgets to clip is caught as well."""
        norm = defense.clip_norm()
        draws = rng.generator(federation.seed, "canaries")
        directions = audit.directions(federation.model.dim, defense.alphabet is Alphabet.TERNARY, draws)
        length = 1.0 if norm is None else OVERSIZE * norm
        return cls(coins.clients, coins.included, (directions * length).to(federation.dtype), replaced)

    def of_round(self, index: int, included: Tensor) -> Tensor:
        """The updates `(k, d)` of a round if these canaries `(k,)` held the second input."""
        sign = 1.0 if index % 2 == 0 else -1.0
        coin = torch.where(included, 1.0, -1.0 if self.replaced else 0.0)
        return self.updates * (sign * coin).to(self.updates.dtype).unsqueeze(1)

    def plant(self, federation: Federation) -> None:
        at = _places(self.clients, federation.setting.num_clients)

        def write(participants: Tensor, updates: Tensor) -> None:
            canary = at[participants]
            here = canary >= 0
            updates[here] = self.of_round(federation.round, self.included)[canary[here]]

        federation.planted = write

    def differences(self, federation: Federation, index: int, broadcast: Tensor) -> Tensor:
        """By what each canary's message `(k, d)` without noise is another one with the second input."""
        with_, without = (self.of_round(index, torch.full_like(self.included, one)) for one in (True, False))
        return _messages(federation, with_) - _messages(federation, without)


@dataclass(frozen=True)
class Samples:
    """Canaries `clients (k,)` of which one sample, where `included`, is a false one: a test image, a wrong label.

    Where it is not, that sample is the client's own (neighbours that replace), or nothing comes of the client at all
    (that add or remove). images, own `(k, C, H, W)`; targets, own_targets `(k, C)`, one-hot.
    """

    clients: Tensor
    included: Tensor
    images: Tensor
    targets: Tensor
    own: Tensor
    own_targets: Tensor
    replaced: bool

    @classmethod
    def of(cls, federation: Federation, dataset: Dataset, coins: "Coins", replaced: bool) -> Self:
        """Raises `ValueError` under rules whose updates are no gradients, and with fewer test images than canaries."""
        check_inverted(federation.settings)
        if federation.defense.keeps_models:
            raise ValueError(
                f"canary is 'sample', but must be 'update' under {federation.defense.name}: its clients keep models"
            )
        k, classes = len(coins.clients), dataset.num_classes
        require(k <= len(dataset.test.y), "canaries", k, f"at most {len(dataset.test.y)}, the images of the test split")
        chosen = rng.shuffled(len(dataset.test.y), rng.generator(federation.seed, "canaries"))[:k]
        wrong = (dataset.test.y[chosen] + classes // 2) % classes
        own, own_targets = federation.shards.window(federation.shards.place[coins.clients], 0, 1)
        return cls(
            coins.clients,
            coins.included,
            dataset.test.x[chosen].to(federation.dtype),
            torch.nn.functional.one_hot(wrong.long(), classes).to(federation.dtype),
            own[:, 0].clone(),
            own_targets[:, 0].clone(),
            replaced,
        )

    def plant(self, federation: Federation) -> None:
        """The first sample of the shards of those included becomes the canary; the rest stays."""
        shards, chosen = federation.shards, self.clients[self.included]
        x, targets = (part.clone() for part in shards.window(shards.place[chosen], 0, shards.size))
        x[:, 0], targets[:, 0] = self.images[self.included], self.targets[self.included]
        shards.hold(chosen, x, targets.argmax(dim=-1))
        if self.replaced:
            return
        gone = torch.zeros(federation.setting.num_clients, dtype=torch.bool)
        gone[self.clients[~self.included]] = True

        def write(participants: Tensor, updates: Tensor) -> None:
            updates[gone[participants]] = 0

        federation.planted = write

    def differences(self, federation: Federation, index: int, broadcast: Tensor) -> Tensor:
        """What one step on the canary, and on the sample in whose place it stands, would make of the message."""
        step = federation.setting.learning_rate(index) / min(federation.settings.batch_size, federation.shards.size)

        def update(x: Tensor, targets: Tensor) -> Tensor:
            gradients = federation.model.gradients(broadcast, x.unsqueeze(1), targets.unsqueeze(1))
            return _messages(federation, -step * gradients)

        with_ = update(self.images, self.targets)
        return with_ - update(self.own, self.own_targets) if self.replaced else with_


@dataclass(frozen=True)
class Coins:
    """Who the canaries are, `clients (k,)` in order, and how each one's coin fell, `included (k,)`."""

    clients: Tensor
    included: Tensor

    @classmethod
    def toss(cls, num_clients: int, count: int, seed: int) -> Self:
        check_canaries(count, num_clients)
        chosen = rng.shuffled(num_clients, rng.generator(seed, "canary clients"))[:count].sort().values
        return cls(chosen, torch.randint(2, (count,), generator=rng.generator(seed, "coins")).bool())


def play(task: Task, dataset: Dataset) -> Findings:
    """Train to the end with canaries planted, score them, and bound epsilon over the run."""
    cell = task.cell
    assert cell.attack is not None
    audit, defense = build_attack(cell.attack), build_defense(cell)
    assert isinstance(audit, RunAudit)
    federation = Federation(cell.federation, defense, dataset, task.seed)
    composed = defense.composed(federation.setting)
    if composed is None:
        raise ValueError(f"{defense.name} states no claim over a run: there is nothing to audit")
    coins = Coins.toss(cell.federation.clients, audit.count(), task.seed)
    replaced = composed.neighbours == "replace"
    planted: Updates | Samples
    if audit.samples():
        planted = Samples.of(federation, dataset, coins, replaced)
    else:
        planted = Updates.of(defense, audit, federation, coins, replaced)
    planted.plant(federation)
    parameters = {**defense.model_dump(), **defense.derived(federation.setting)}
    participants, rounds = federation.setting.participants, federation.setting.rounds
    game = RunGame(coins.clients, participants, rounds, defense.random_share(), parameters)
    memory: dict[str, Tensor] = {}
    before = time.perf_counter()
    for _ in range(rounds):
        audit.watch(_seen(federation, planted, federation.play()), game, memory)
        if not bool(torch.isfinite(federation.global_model).all()):
            raise DivergedError(f"the global model is not finite after round {federation.round}")
    seconds = time.perf_counter() - before
    fit = defense.gaussian and audit.is_gaussian(game)
    delta = composed.delta or 0.0
    result = judge_run(audit.scores(game, memory).numpy(), coins.included.numpy(), delta, CONFIDENCE, fit)
    findings = stated(defense, federation.setting)
    privacy = findings.pop("privacy").model_copy(update={"audited": _audited(composed, result, audit, fit)})
    metrics = {
        "epsilon_run": result.epsilon,
        "epsilon_run_provable": result.limit,
        "canaries": float(audit.count()),
        "guesses": float(result.guesses),
        "right_guesses": float(result.correct),
        "canary_accuracy": result.accuracy,
    }
    return Findings(metrics=metrics, privacy=privacy, cost=cost_of(federation, seconds), **findings)


def _seen(federation: Federation, planted: Updates | Samples, transcript: RoundTranscript) -> RunRound:
    """The adversary's view of the round that was just played."""
    index, broadcast, delivered = transcript.index, transcript.broadcast, transcript.delivered
    differences = planted.differences(federation, index, broadcast)
    if federation.defense.against == "models":
        scale = 1 if federation.defense.weighted else len(transcript.participants)
        return RunRound(index, differences, (federation.global_model - broadcast) * scale)
    absent = ~torch.isin(planted.clients, transcript.participants)
    differences[absent] = 0
    rows, names = delivered.messages, delivered.senders
    senders = None if names is None else transcript.participants[names]
    return RunRound(index, differences, rows.sum(dim=0, dtype=torch.float64), rows, senders)


def _messages(federation: Federation, updates: Tensor) -> Tensor:
    """What clients with these updates `(k, d)` send before any noise, as numbers."""
    weights = updates.new_full((len(updates),), 1 / federation.setting.participants)
    return federation.defense.message(updates, weights).to(updates.dtype)


def _places(clients: Tensor, num_clients: int) -> Tensor:
    """`(n,)`: which canary each client is; -1 where it is none."""
    at = torch.full((num_clients,), -1)
    at[clients] = torch.arange(len(clients))
    return at


def _audited(claim: PrivacyClaim, found: RunVerdict, audit: RunAudit, fit: bool) -> PrivacyClaim:
    """The lower bound in the composed claim's own unit, and how it was found."""
    by = "Mahloujifar et al. 2024 for a Gaussian mechanism" if fit else "Steinke et al. 2023"
    of = "canary samples" if audit.samples() else "canary updates"
    source = f"audit: one run, {audit.count():,} {of}, {by}, {CONFIDENCE:.0%} confidence"
    changes = {"epsilon": found.epsilon, "reason": None, "source": source, "colluders": 0.0}
    return claim.model_copy(update=changes)
