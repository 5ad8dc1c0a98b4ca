"""What a privacy wrapper of another library really gives: a game between two worlds, played on its own code.

One client's update is zero or a canary ten times as long as the wrapper clips; everybody else's is zero. What comes out
is scored along the canary, and the scores of many runs bound epsilon from below (`bench.privacy.audit`), with 99.9%
confidence, since several games are played. Beside it stands what the wrapper's own parameters claim.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.base.errors import BadInputError
from bench.base.rng import derive_seed
from bench.exchange.foreign.entry import Entry
from bench.privacy.audit import judge

RUNS, DIM, CLIENTS = 400, 20, 10
DELTA, CLIP, OVERSIZE = 1e-5, 1.0, 10.0
Z = 1.0
"""The noise multiplier that the wrappers are asked for."""

TINY = 1e-12
"""What stands for nothing in an update: Flower's clipping divides by the length of one."""

CONFIDENCE = 0.999

GAMES = {"flwr": "bench.exchange.foreign.flower_games", "nvflare": "bench.exchange.foreign.nvflare"}
"""The modules that play them, which are imported only where the library is there."""

Game = Callable[[np.ndarray], np.ndarray]
"""What comes out `(d,)` where the target's update is this `(d,)` and all others' are zero."""


@dataclass(frozen=True)
class PrivacyFinding:
    """One game: what it was, what is claimed, what was measured, and the most that so many runs can show."""

    case: str
    claimed: float | None
    measured: float
    most: float
    told: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON, where infinity is no number."""
        claimed = self.claimed if self.claimed is None or math.isfinite(self.claimed) else None
        return {"case": self.case, "claimed": claimed, "measured": self.measured, "most": self.most, "told": self.told}


def audited(entry: Entry) -> list[PrivacyFinding]:
    """All games for a wrapper; raises `BadInputError` for one that no game is written for."""
    module = GAMES.get(entry.library)
    if module is None:
        raise BadInputError(f"no game is written for {entry.library}:{entry.name}")
    return list(importlib.import_module(module).games(entry.name))


def play(case: str, game: Game, claimed: float | None, gaussian: bool, canary: np.ndarray, why: str) -> PrivacyFinding:
    """Both worlds, scored along the canary, and what they show; `claimed` None where the wrapper claims nothing."""
    return scored(case, lambda update: float(canary @ game(update)), claimed, gaussian, canary, why)


def scored(
    case: str,
    score: Callable[[np.ndarray], float],
    claimed: float | None,
    gaussian: bool,
    canary: np.ndarray,
    why: str,
    runs: int = RUNS,
) -> PrivacyFinding:
    """The same with a score of the game's own, of what comes out where the target's update is this `(d,)`.

    `gaussian` is for a score that is a Gaussian mechanism; any other is bounded without that, which needs more `runs`.
    The wrappers draw from numpy's global generator, which is seeded here so that a table can be made again.
    """
    np.random.seed(derive_seed(0, "exchange", case) % 2**32)  # noqa: NPY002
    scores = [np.array([score(update) for _ in range(runs)]) for update in (0 * canary, canary)]
    if all(len(np.unique(one)) == 1 for one in scores) and scores[0][0] != scores[1][0]:
        text = f"{case}: no noise at all, the two worlds differ in every run: no finite epsilon holds; {why}"
        return PrivacyFinding(case, claimed, math.log(runs), math.log(runs), text)
    result = judge(scores[0], scores[1], delta=DELTA, confidence=CONFIDENCE, gaussian=gaussian)
    said = "claims nothing" if claimed is None else f"claimed epsilon {claimed:.2f} at delta {DELTA:g}"
    verdict = ""
    if claimed is not None:
        verdict = "; REFUTED" if result.epsilon > claimed else "; not refuted"
    text = f"{case}: {said}, at least {result.epsilon:.2f} measured over {2 * runs} runs{verdict}; {why}"
    return PrivacyFinding(case, claimed, result.epsilon, result.limit, text)


def told_alone(case: str, told: str) -> PrivacyFinding:
    """What is seen without a game."""
    return PrivacyFinding(case, None, 0.0, 0.0, told)


def direction(dim: int = DIM) -> np.ndarray:
    """A unit vector."""
    result = np.ones(dim) / math.sqrt(dim)
    return result
