"""What a privacy wrapper of another library really gives: a game between two worlds, played on its own code.

One client's update is zero or a canary ten times as long as the wrapper clips; everybody else's is zero. What comes out
is scored along the canary, and the scores of many runs bound epsilon from below (`bench.privacy.audit`), with 99.9%
confidence, since several games are played. Beside it stands what the wrapper's own parameters claim.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.base.errors import BadInputError
from bench.base.rng import derive_seed
from bench.exchange.foreign.entry import Entry
from bench.privacy.analysis.gaussian import gaussian_epsilon
from bench.privacy.audit import judge

RUNS, DIM, CLIENTS = 400, 20, 10
DELTA, CLIP, OVERSIZE = 1e-5, 1.0, 10.0
Z = 1.0
"""The noise multiplier that the wrappers are asked for."""

TINY = 1e-12
"""What stands for nothing in an update: Flower's clipping divides by the length of one."""

CONFIDENCE = 0.999

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
    games = {"flwr": _flower_games, "nvflare": _nvflare_games}.get(entry.library)
    if games is None:
        raise BadInputError(f"no game is written for {entry.library}:{entry.name}")
    return list(games(entry.name))


def play(case: str, game: Game, claimed: float | None, gaussian: bool, canary: np.ndarray, why: str) -> PrivacyFinding:
    """Both worlds, and what they show; `claimed` None where the wrapper claims nothing.

    The wrappers draw from numpy's global generator, which is seeded here so that a table can be made again.
    """
    np.random.seed(derive_seed(0, "exchange", case) % 2**32)  # noqa: NPY002
    scores = [np.array([float(canary @ game(update)) for _ in range(RUNS)]) for update in (0 * canary, canary)]
    if all(len(np.unique(one)) == 1 for one in scores) and scores[0][0] != scores[1][0]:
        told = f"{case}: no noise at all, the two worlds differ in every run: no finite epsilon holds; {why}"
        return PrivacyFinding(case, claimed, math.log(RUNS), math.log(RUNS), told)
    found = judge(scores[0], scores[1], delta=DELTA, confidence=CONFIDENCE, gaussian=gaussian)
    said = "claims nothing" if claimed is None else f"claimed epsilon {claimed:.2f} at delta {DELTA:g}"
    verdict = ""
    if claimed is not None:
        verdict = "; REFUTED" if found.epsilon > claimed else "; not refuted"
    told = f"{case}: {said}, at least {found.epsilon:.2f} measured over {2 * RUNS} runs{verdict}; {why}"
    return PrivacyFinding(case, claimed, found.epsilon, found.limit, told)


def direction(dim: int = DIM) -> np.ndarray:
    """A unit vector."""
    found = np.ones(dim) / math.sqrt(dim)
    return found


# ------------------------------------------------------------------------------------------------------------- Flower


def _flower_games(name: str) -> Iterator[PrivacyFinding]:
    """Clients that hold equally many samples; one that says it holds more; and fewer replies than were sampled."""
    from bench.exchange.foreign import flower

    equal: list[float] = [1.0] * CLIENTS
    if "ServerSide" in name:
        try:
            flower.private_round(name, np.zeros((CLIENTS, DIM)), equal, Z, CLIP, CLIENTS)
        except ZeroDivisionError:
            told = (
                "a client that sends the model back unchanged ends the round: ZeroDivisionError, its update is 0 long"
            )
            yield PrivacyFinding("an update of zeros", None, 0.0, 0.0, told)
    if "Adaptive" in name:
        told = "no game is played: the norm moves with a noisy count, so that what comes out is no Gaussian mechanism"
        yield PrivacyFinding("adaptive clipping", None, 0.0, 0.0, told)
        return
    claimed = gaussian_epsilon(Z, DELTA, 1.0)
    canary = OVERSIZE * CLIP * direction()

    def game(examples: list[float], replied: int, sampled: int) -> Game:
        def played(update: np.ndarray) -> np.ndarray:
            rows = np.full((replied, DIM), TINY)
            rows[0] = TINY + np.minimum(1.0, CLIP / max(1e-12, float(np.linalg.norm(update)))) * update
            if "ServerSide" in name:
                rows[0] = update + TINY
            return flower.private_round(name, rows, examples, Z, CLIP, sampled)

        return played

    more: list[float] = [10.0] + [1.0] * (CLIENTS - 1)
    share = 10 / (10 + CLIENTS - 1)
    kind = "fixed clipping, clip norm 1" + (", by an honest client" if "ClientSide" in name else "")
    yield play(
        f"{kind}, equal num-examples",
        game(equal, CLIENTS, CLIENTS),
        claimed,
        True,
        canary,
        f"noise {Z:g} x clip / {CLIENTS} on a mean to which one client adds clip / {CLIENTS}",
    )
    yield play(
        f"{kind}, the target says that it holds 10 times as many examples",
        game(more, CLIENTS, CLIENTS),
        claimed,
        True,
        canary,
        f"FedAvg weighs it by {share:.2f}, the noise is that of {1 / CLIENTS:g}; with an accountant Flower refuses "
        "unequal weights, without one it does not",
    )
    half = CLIENTS // 2
    yield play(
        f"{kind}, {half} replies where num_sampled_clients = {CLIENTS}",
        game([1.0] * half, half, CLIENTS),
        claimed,
        True,
        canary,
        f"a mean of {half} has noise for {CLIENTS}; Flower warns, and with an accountant refuses",
    )


# ------------------------------------------------------------------------------------------------------------ NVFlare


def _nvflare_games(name: str) -> Iterator[PrivacyFinding]:
    from bench.exchange.foreign import nvflare

    yield from nvflare.games(name)
