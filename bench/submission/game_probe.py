"""Adversaries of audits: what they make of a few games, as the engine plays them."""

import math
import time

import torch
from torch import Tensor

from bench import registry
from bench.base import rng
from bench.federation.roles import setting_of
from bench.federation.rounds import Sides
from bench.plays.audit import Round, inputs, message_of
from bench.protocol import Alphabet
from bench.protocol.contract import check_shape
from bench.submission.attack_probe import AttackProbe
from bench.submission.common import bits, untouched
from bench.submission.growth import SMALL_SECONDS
from bench.submission.inversion_probe import SMALL
from bench.submission.problems import BrokenError, StepError
from bench.threat import Game, PrivacyAudit, RoundView

ROWS = {Alphabet.REAL: ("dp_fedavg", "niss"), Alphabet.TERNARY: ("ldpbfl", "dpbfl")}
"""The defenses whose claims are tried."""


class GameProbe(AttackProbe):
    """A `PrivacyAudit`."""

    gives, generator = "score", "generator"

    def play(self, seed: int, *, look: bool = False) -> list[Tensor]:
        names = [name for alphabet in self.subject.alphabets for name in ROWS[alphabet]]
        return [part for name in names for world in (0, 1) for part in self._judged(name, world, seed, look)]

    def shapes(self) -> str:
        audit = self._audit()
        with self.subject.step("collusion, sabotages and size"):
            rho, (runs, dim) = audit.collusion(), audit.size()
            if not (isinstance(rho, int | float) and 0 <= rho <= 1):
                raise StepError(f"collusion returned {rho!r}, not a fraction between 0 and 1")
            if not (isinstance(runs, int) and isinstance(dim, int) and min(runs, dim) >= 1):
                raise StepError(f"size returned {(runs, dim)!r}, not two whole numbers of at least 1")
            if not isinstance(audit.sabotages(), bool):
                raise StepError("sabotages returned no truth value")
        self.play(0)
        return f"a canary of length 1, evidence and a recovered message ({dim},), of {runs} games in each world"

    def prompt(self) -> str:
        seconds = self._seconds()
        if seconds > SMALL_SECONDS:
            raise BrokenError(f"a game takes {seconds:.1f} seconds, more than the {SMALL_SECONDS:g} that it may")
        return f"a game takes {1e3 * seconds:.1f} ms"

    def finite(self) -> str:
        for seed in (5, 6):
            if not all(bool(torch.isfinite(part).all()) for part in self.play(seed)):
                raise BrokenError("canary, evidence or message are not finite")
        return "in both worlds of every game that was tried"

    def behind_its_view(self) -> str:
        for alphabet in self.subject.alphabets:
            name = ROWS[alphabet][0]
            true, other = (bits(*self._judged(name, 1, 7, held=held)) for held in (1, 0))
            if true != other:
                raise BrokenError("the same view gives another score where the target holds the other input")
        return "the same bits whichever input the target holds, where the view is the same"

    def growth(self, size: tuple[int, int]) -> str:
        runs, seconds = self._audit().size()[0], self._seconds()
        return f"{2 * runs} games of {1e3 * seconds:.1f} ms: about {2 * runs * seconds:.2g} seconds a cell"

    def _audit(self) -> PrivacyAudit:
        audit = self.subject.build()
        assert isinstance(audit, PrivacyAudit)
        return audit

    def _judged(self, name: str, world: int, seed: int, look: bool = False, held: int | None = None) -> list[Tensor]:
        """Canary, evidence and recovered message of one game in a world, `held` being what a look around would find."""
        audit, defense = self._audit(), registry.get("defense", name)()
        dim = audit.size()[1]
        setting = setting_of(SMALL.model_copy(update={"clients": 20}), dim, 0.2)
        defense.start(setting)
        with self.subject.step("canary"):
            canary = audit.canary(rng.generator(seed, "canary"))
            check_shape(canary, "canary", (dim,))
            if not math.isclose(float(canary.double().norm()), 1.0, rel_tol=1e-4):
                raise StepError(f"canary returned a direction of length {float(canary.norm()):.4g}, not 1")
        worlds = inputs(defense, defense.claim(setting), canary)
        without, with_ = (message_of(defense, setting, update) for update in worlds)
        game = Game(without, with_, setting.participants, {**defense.model_dump(), **defense.derived(setting)})
        seen = Round(Sides.of(defense), setting, audit, seed).view(worlds[world], rng.generator(seed, "audit", world))
        evidence, recovered = self._scores(audit, seen, game, look, worlds[world if held is None else held])
        return [canary, evidence, recovered]

    def _scores(
        self, audit: PrivacyAudit, seen: RoundView, game: Game, look: bool, held: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the adversary makes of its view; `held` is there to be found by one that looks around."""
        given = {name: value for name, value in vars(seen).items() if isinstance(value, Tensor)}
        given |= {"inputs without the canary": game.without, "inputs with it": game.with_}
        with self.subject.step("evidence"), untouched(look, "evidence", **given):
            evidence = audit.evidence(seen, game)
            check_shape(evidence, "evidence", held.shape)
        with self.subject.step("recover"), untouched(look, "recover", **given):
            recovered = audit.recover(seen, game)
            check_shape(recovered, "recover", held.shape)
        with self.subject.step("is_gaussian"):
            if not isinstance(audit.is_gaussian(game), bool):
                raise StepError("is_gaussian returned no truth value")
        return evidence, recovered

    def _seconds(self) -> float:
        name = ROWS[self.subject.alphabets[0]][0]
        started = time.perf_counter()
        self._judged(name, 1, 0)
        return time.perf_counter() - started
