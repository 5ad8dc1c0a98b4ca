"""Games against Flower's wrappers for differential privacy, those of `serverapp` and those of before (`server.`).

Clients are honest but for what they hold: where a wrapper leaves clipping to them they clip, and say whether they did.

Adaptive clipping (Andrew et al. 2021) releases two things a round, the noisy mean and, through the next norm, a noisy
count of the clients that clipped; one noise multiplier is claimed for both. The noise on the count is Gaussian, so the
norm alone is scored as a Gaussian mechanism. That on the mean is as large as a norm that is random itself, so mean and
norm together are scored by their likelihood ratio and bounded as any mechanism is.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench.exchange.foreign import flower, flower_server
from bench.exchange.foreign.privacy import (
    CLIENTS,
    CLIP,
    DELTA,
    DIM,
    OVERSIZE,
    TINY,
    PrivacyFinding,
    Z,
    direction,
    play,
    scored,
    told_alone,
)
from bench.privacy.analysis.gaussian import gaussian_epsilon

EQUAL: list[float] = [1.0] * CLIENTS
MORE: list[float] = [10.0] + [1.0] * (CLIENTS - 1)
HALF = CLIENTS // 2

RATE, QUANTILE = 0.2, 0.5
"""Flower's defaults: how fast the norm moves, and the share of clients that is to clip."""

OWN_Z = 0.9
"""A multiplier that Flower takes for ten clients with its own noise on the count, of deviation 10 / 20."""

NORM_RUNS, ANY_RUNS = 1000, 2000
"""Runs of each world: of the norm alone; of no Gaussian mechanism, where 400 could not show as much as is claimed."""

LOOKS = 60
"""Rounds from which the noise's size and the norm's direction are told."""


def games(name: str) -> Iterator[PrivacyFinding]:
    """All games for a wrapper."""
    if "ServerSide" in name:
        try:
            _round(name, np.zeros((CLIENTS, DIM)), EQUAL, Z, CLIENTS)
        except ZeroDivisionError:
            text = (
                "a client that sends the model back unchanged ends the round: ZeroDivisionError, its update is 0 long"
            )
            yield told_alone("an update of zeros", text)
    yield from _adaptive(name) if "Adaptive" in name else _fixed(name)


def _round(
    name: str, rows: np.ndarray, examples: Sequence[float], z: float, sampled: int, stddev: float | None = CLIENTS
) -> tuple[np.ndarray, float]:
    """One round of a wrapper with the clients' own updates `(n, d)`: the model that comes out, and the next norm."""
    clipped = np.linalg.norm(rows, axis=1) > CLIP
    if "ServerSide" not in name:
        lengths = np.maximum(np.linalg.norm(rows, axis=1), TINY)[:, None]
        rows = rows * np.minimum(1.0, CLIP / lengths)
    module = flower_server if name.startswith(flower_server.PREFIX) else flower
    given: dict[str, Any] = {"z": z, "clip": CLIP, "sampled": sampled, "examples": list(examples), "stddev": stddev}
    model, norm = module.private_round(name, rows, clipped.tolist(), given)
    return np.asarray(model), norm


def _rows(update: np.ndarray, replied: int) -> np.ndarray:
    rows = np.full((replied, DIM), TINY)
    rows[0] += update
    return rows


def _fixed(name: str) -> Iterator[PrivacyFinding]:
    """Clients that hold equally many samples; one that says it holds more; and fewer replies than were sampled."""
    claimed, canary = gaussian_epsilon(Z, DELTA, 1.0), OVERSIZE * CLIP * direction()
    kind = "fixed clipping, clip norm 1" + ("" if "ServerSide" in name else ", by an honest client")
    cases = (
        (
            *(EQUAL, f"{kind}, equal num-examples"),
            f"noise {Z:g} x clip / {CLIENTS} on a mean to which one client adds clip / {CLIENTS}",
        ),
        (
            *(MORE, f"{kind}, the target says that it holds 10 times as many examples"),
            f"a weight of {MORE[0] / sum(MORE):.2f} under noise for {1 / CLIENTS:g}, where weights "
            "count; with an accountant Flower refuses unequal weights, without one it does not",
        ),
        (
            *(EQUAL[:HALF], f"{kind}, {HALF} replies where num_sampled_clients = {CLIENTS}"),
            f"a mean of {HALF} has noise for {CLIENTS}; Flower warns, and with an accountant refuses",
        ),
    )
    for examples, case, why in cases:

        def game(update: np.ndarray, examples: list[float] = examples) -> np.ndarray:
            return _round(name, _rows(update, len(examples)), examples, Z, CLIENTS)[0]

        yield play(case, game, claimed, True, canary, why)


# --------------------------------------------------------------------------------------------------- adaptive clipping


def _adaptive(name: str) -> Iterator[PrivacyFinding]:
    """How the norm moves and how large the noise is; then games on the norm alone, and on norm and mean together."""
    yield from _seen(name)
    canary = OVERSIZE * CLIP * direction()
    kind = "adaptive clipping, first norm 1" + ("" if "ServerSide" in name else ", by an honest client")
    yield scored(
        f"{kind}, Flower's own noise on the count, the next norm alone",
        lambda update: math.log(_round(name, _rows(update, CLIENTS), EQUAL, OWN_Z, CLIENTS, None)[1]),
        gaussian_epsilon(OWN_Z, DELTA, 1.0),
        True,
        canary,
        f"noise multiplier {OWN_Z:g}; the count's noise is reckoned for bits of 1/2 and -1/2, those that are counted "
        "are 1 and 0",
        NORM_RUNS,
    )
    yield scored(
        f"{kind}, noise of deviation {CLIENTS} on the count, norm and mean, the target says that it holds 10 times as "
        "many examples",
        lambda update: _likelier(name, update, MORE),
        gaussian_epsilon(Z, DELTA, 1.0),
        False,
        canary,
        "a bound for any mechanism, since the noise's size is random itself",
        ANY_RUNS,
    )


def _likelier(name: str, update: np.ndarray, examples: list[float]) -> float:
    """The log likelihood ratio of what comes out, for a canary over zero, up to what does not depend on the draws."""
    model, norm = _round(name, _rows(update, CLIENTS), examples, Z, CLIENTS)
    fewer = "DPFedAvg" in name  # there a bit says that a client did not clip
    size: float = (1.0 if fewer else norm) * (Z**-2 - (2 * CLIENTS) ** -2) ** -0.5 / CLIENTS
    share = 1 / CLIENTS if fewer else examples[0] / sum(examples)
    along = float(direction() @ model) / CLIP
    count = CLIENTS * (QUANTILE - math.log(norm / CLIP) / RATE)
    moved = -1.0 if fewer else 1.0
    others = float(CLIENTS - 1) if fewer else 0.0
    middle = others + 0.5
    return float(share * (along - share / 2) / size**2) + moved * (count - middle) / CLIENTS**2


def _seen(name: str) -> Iterator[PrivacyFinding]:
    """Whether the norm goes to the quantile, and the norm that the noise belongs to, where every client clips."""
    rows = np.tile(OVERSIZE * CLIP * direction(), (CLIENTS, 1))
    np.random.seed(0)  # noqa: NPY002  the wrappers' generator
    rounds = [_round(name, rows, EQUAL, OWN_Z, CLIENTS, None) for _ in range(LOOKS)]
    grown = float(np.mean([math.log(norm / CLIP) for _, norm in rounds]))
    if grown < 0:
        yield told_alone(
            "where the norm goes",
            f"all clients clip, half of them should, and the norm falls, to {math.exp(grown):.2f} of what it was in "
            "a round: it goes away from the quantile, where Andrew et al.'s goes to it",
        )
    unit = OWN_Z**-2 - (2 * CLIENTS / 20) ** -2
    noise = np.concatenate([model - CLIP * direction() for model, _ in rounds])
    size = float(noise.std()) * CLIENTS * math.sqrt(unit) / CLIP
    if abs(size - math.exp(grown)) < abs(size - 1):
        yield told_alone(
            "the noise's size",
            f"the noise is as large as the next norm asks for, not the one that was clipped to: {size:.2f} of it where "
            "all clients clip",
        )
