"""Audit cells: the distinguishing game, played on the defense's own upload and channel, and what it proves of epsilon.

One client of a round holds one of two neighbouring inputs; everybody else's are known, as differential privacy
assumes, and say nothing. The adversary scores its view of each game, and the scores of the two worlds bound epsilon
from below. Every game is a round of its own with fresh randomness.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench import models
from bench.base import rng
from bench.data import Dataset
from bench.federation.roles import check_fits, setting_of
from bench.federation.rounds import Sides, exchange
from bench.plays.findings import Findings, Task, build_attack, build_defense, stated
from bench.privacy.audit import Verdict, judge
from bench.privacy.claims import PrivacyClaim
from bench.protocol import Alphabet, Defense, LocalRound, Setting
from bench.records import Cost
from bench.threat import (
    Game,
    PrivacyAudit,
    RoundTranscript,
    RoundView,
    Saboteurs,
    check_collusion,
    choose_colluders,
    server_view,
)

OVERSIZE = 10.0
"""Times the clipping bound: the canary's length, so that a defense that forgets to clip is caught as well."""

CONFIDENCE = 0.95

TARGET = torch.tensor([0])


@dataclass(frozen=True)
class Round:
    """Everything about a game but its world and its randomness."""

    sides: Sides
    setting: Setting
    audit: PrivacyAudit
    seed: int

    def view(self, update: Tensor, generator: torch.Generator) -> RoundView:
        """The adversary's view of a round in which its target has this update `(d,)`, and everybody else none."""
        m, d = self.setting.participants, len(update)
        clients, broadcast = torch.arange(m), update.new_zeros(d)
        updates = update.new_zeros(m, d)
        updates[TARGET] = update
        colluders = choose_colluders(m, TARGET, self.audit.collusion(), rng.fork(generator, "colluders"))
        mute = Saboteurs(TARGET, colluders).mute(clients) if self.audit.sabotages() else None
        weights = update.new_full((m,), 1 / m)
        local = LocalRound(0, clients, self.setting, broadcast, updates, weights, rng.fork(generator, "noise"), mute)
        sent = exchange(self.sides, local, rng.fork(generator, "channel"))
        transcript = RoundTranscript(0, broadcast, clients, sent.messages, sent.delivered, sent.peers, updates, mute)
        return server_view(transcript, TARGET, colluders, single_shares=True)


@dataclass(frozen=True)
class Played:
    """What one world's games gave: the evidence of each coordinate `(runs, d)`, and the mean error of the recovery."""

    evidence: Tensor
    error: float


def play(task: Task, dataset: Dataset) -> Findings:
    """Play both worlds, and bound epsilon; the inputs are the audit's own, and of the data only the shape is used."""
    cell = task.cell
    assert cell.attack is not None
    audit, defense = build_attack(cell.attack), build_defense(cell)
    assert isinstance(audit, PrivacyAudit)
    settings = cell.federation
    setting = setting_of(settings, audit.size()[1], settings.assumed_byzantine)
    check_fits(settings, defense)
    sides = Sides.of(defense)
    sides.start(setting)
    check_collusion(audit.collusion(), setting.participants)
    claim = defense.claim(setting)
    if claim is None:
        raise ValueError(f"{defense.name} claims no privacy: there is nothing to audit")
    model = models.build(settings.model, dataset.shape, dataset.num_classes)
    whole = setting_of(settings, model.dim, settings.assumed_byzantine)
    check_same_claim(defense, setting, whole)
    worlds = inputs(defense, claim, audit.canary(rng.generator(task.seed, "canary")))
    sent, sent_with = (message_of(defense, setting, update) for update in worlds)
    game = Game(sent, sent_with, setting.participants, {**defense.model_dump(), **defense.derived(setting)})
    match = Round(sides, setting, audit, task.seed)
    without, with_ = _games(match, game, worlds)

    by_coordinate = claim.unit.startswith("per coordinate")
    fit = defense.gaussian and audit.is_gaussian(game)
    assess = partial(judge, delta=claim.delta or 0.0, confidence=CONFIDENCE)
    upload = assess(without.evidence.sum(dim=1), with_.evidence.sum(dim=1), gaussian=fit)
    result = assess(without.evidence.flatten(), with_.evidence.flatten()) if by_coordinate else upload
    metrics = {
        "epsilon_audited": result.epsilon,
        "epsilon_audited_upload": upload.epsilon,
        "epsilon_provable": result.limit,
        "epsilon_provable_upload": upload.limit,
        "audit_runs": float(len(without.evidence) * (audit.size()[1] if by_coordinate else 1)),
        "true_positive_rate": result.true_positive_rate,
        "false_positive_rate": result.false_positive_rate,
    }
    if defense.alphabet is Alphabet.REAL:
        metrics["estimate_error"] = (without.error + with_.error) / 2
    findings = stated(defense, whole)
    privacy = findings.pop("privacy").model_copy(update={"audited": _audited(claim, result, audit, metrics, fit)})
    cost = Cost(upload_bytes=defense.upload_bytes(whole), peer_bytes=defense.peer_bytes(whole))
    return Findings(metrics=metrics, privacy=privacy, cost=cost, **findings)


def check_same_claim(defense: Defense, audited: Setting, trained: Setting) -> None:
    """Raise `ValueError` where less is claimed, or more noise is said, of the audit's vectors than of training's.

    The two settings differ in the length of messages alone; the audit's answer stands beside the claim of training.
    """
    one, other = defense.claim(audited), defense.claim(trained)
    if one is None or other is None or (one.unit, one.neighbours) != (other.unit, other.neighbours):
        raise ValueError(f"{defense.name} claims something else of {audited.dim} numbers than of {trained.dim}")
    if (one.delta or 0.0) > (other.delta or 0.0) or _weaker(one.epsilon, other.epsilon):
        raise ValueError(f"{defense.name} claims less of {audited.dim} numbers, which are audited, than of training's")
    noise, needed = (defense.noise_variance(where) or 0.0 for where in (trained, audited))
    if noise < needed * (1 - 1e-9):
        raise ValueError(
            f"{defense.name} says noise of variance {needed:.4g} where it is audited, and {noise:.4g} where it trains"
        )


def _weaker(audited: float | None, trained: float | None) -> bool:
    """Whether an epsilon is a weaker promise than that of training; one that is not there promises nothing."""
    return trained is not None and (audited is None or audited > trained * (1 + 1e-9))


def inputs(defense: Defense, claim: PrivacyClaim, direction: Tensor) -> tuple[Tensor, Tensor]:
    """The two neighbouring updates `(d,)`: without and with the canary.

    Of a defense on signs they are -1 and 1 in every coordinate (DPBFL paper: neighbours differ in a worker's sign;
    errata D8); the vote is that of minus the update.
    """
    if defense.alphabet is Alphabet.TERNARY:
        votes = torch.ones_like(direction)
        return votes, -votes
    norm = defense.clip_norm()
    canary = direction * (1.0 if norm is None else OVERSIZE * norm)
    return (-canary if claim.neighbours == "replace" else torch.zeros_like(canary)), canary


def message_of(defense: Defense, setting: Setting, update: Tensor) -> Tensor:
    """What a client with this update `(d,)` sends before any noise, in the update's precision."""
    weights = update.new_full((1,), 1 / setting.participants)
    return defense.message(update.unsqueeze(0), weights)[0].to(update.dtype)


def _games(match: Round, game: Game, worlds: tuple[Tensor, Tensor]) -> tuple[Played, Played]:
    """Both worlds' games, in an order that no adversary knows: one that counts its games would know the world else."""
    runs, dim = match.audit.size()
    evidence, errors = (torch.empty(2, runs, *shape, dtype=torch.float64) for shape in ((dim,), ()))
    for place in rng.shuffled(2 * runs, rng.generator(match.seed, "order of games", device="cpu")).tolist():
        world, run = divmod(place, runs)
        sent = (game.without, game.with_)[world]
        seen = match.view(worlds[world], rng.generator(match.seed, "audit", world, run))
        evidence[world, run] = match.audit.evidence(seen, game)
        errors[world, run] = (match.audit.recover(seen, game) - sent).norm()
    played = [Played(evidence[world], float(errors[world].mean() / game.with_.norm())) for world in (0, 1)]
    return played[0], played[1]


def _audited(
    claim: PrivacyClaim, found: Verdict, audit: PrivacyAudit, metrics: dict[str, float], fit: bool
) -> PrivacyClaim:
    """The lower bound in the claim's own unit, and how it was found."""
    by = "fit of a Gaussian mechanism" if fit else "Clopper-Pearson"
    source = f"audit: {metrics['audit_runs']:,.0f} games a world, {by}, {CONFIDENCE:.0%} confidence"
    changes = {"epsilon": found.epsilon, "reason": None, "source": source, "colluders": audit.collusion()}
    return claim.model_copy(update=changes)
