"""The contract, rule by rule: each one is tried on fresh instances, and told in one sentence.

The probes are rounds on made-up messages (`probe.py`) and a small federation on the digits. A rule is a function that
returns its sentence, raises `BrokenError` with the sentence of a failure, or `Note` for what a reader should know.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from bench.base import rng
from bench.protocol import SumDefense, plays_in_sums
from bench.records.submissions import Finding
from bench.submission.common import bits, in_order, repeatable, undisturbed
from bench.submission.federated import learns
from bench.submission.growth import growth, prompt
from bench.submission.probe import (
    FRACTIONS,
    Inputs,
    Subject,
    forged_extremes,
    inputs,
    local_round,
    play,
    setting,
    started,
    upload,
)
from bench.submission.problems import BrokenError, StepError

DRAWS = 200
"""Rounds whose outcomes are compared in distribution."""

FALSE_ALARM = 1e-6
"""The chance that a Kolmogorov-Smirnov test takes two samples of one distribution for two; at most ten are made."""

CLOSE = 1e-9
"""Of float64 outcomes that may differ by the order of their sums, relative to the largest entry."""

COMPARING = ("permutation of clients",)
"""Rules that hold one outcome against another, which says something only where nothing but the messages changes it."""

Rule = Callable[[Subject], str]


def examine(subject: Subject, fingerprint: str | None, size: tuple[int, int], lr: float) -> Iterator[Finding]:
    """All findings, in order; where a plain round cannot be played, the rules after it are not tried.

    `fingerprint` is that of another process, `size` the suite's (participants, parameters), `lr` its learning rate.
    """
    rules: dict[str, Rule] = {
        "shapes and types": shapes,
        "promptness": lambda subject: prompt(partial(_round, subject)),
        "inputs left as they are": inputs_kept,
        "determinism": lambda subject: determinism(subject, fingerprint),
        "global random state": global_state,
        "finite output": finite,
        "permutation of clients": permutation,
        "use of the messages": uses_messages,
        "sums": sums,
        "honest behaviour": lambda subject: learns(subject, lr),
        "cost": lambda subject: growth(partial(_round, subject), size),
    }
    on_subject = {name: partial(rule, subject) for name, rule in rules.items()}
    yield from in_order(on_subject, COMPARING, "models", "round", subject.watch)


def fitting(subject: Subject) -> Subject:
    """The subject at the suite's assumed Byzantine fraction, or at a smaller one where it refuses that."""
    for assumed in (subject.assumed, *FRACTIONS):
        result = Subject(subject.cls, subject.parameters, assumed, subject.watch)
        try:
            with result.step("start"):
                result.build().start(setting(result))
        except StepError:
            continue
        return result
    return subject


def fingerprint_of(subject: Subject) -> str:
    """The bits of what rounds give, in hexadecimal; equal in every process of one machine."""
    return _print(subject).hex()


def _print(subject: Subject) -> bytes:
    return bits(*(play(subject, inputs(seed=seed, dtype=torch.float32)).model for seed in (1, 2)))


def _round(subject: Subject, clients: int, dim: int) -> Callable[[], object]:
    """For measuring: a round of that size."""
    given = inputs(clients, dim, torch.float32)
    sides = started(subject, given.size)
    return lambda: play(subject, given, sides=sides)


def shapes(subject: Subject) -> str:
    """Every step gives what its signature says, for float32 and float64 and for two sizes."""
    for dtype in (torch.float32, torch.float64):
        for clients in (20, 16):
            play(subject, inputs(clients, dtype=dtype))
    alphabet = subject.cls.alphabet
    return f"messages (n, d) in the alphabet {alphabet.value!r}, a model (d,), in float32 and float64"


def inputs_kept(subject: Subject) -> str:
    """Every bit of what the steps are given is the same afterwards: `play` looks."""
    for dtype in (torch.float32, torch.float64):
        play(subject, inputs(dtype=dtype, seed=3), look=True)
    return "no bit of what the steps were given has changed"


def determinism(subject: Subject, fingerprint: str | None) -> str:
    """Equal seeds, equal bits: of two fresh instances, and of two processes with different seeds of Python's hashes."""
    return repeatable(partial(_print, subject), fingerprint, "seed and messages", "model")


def global_state(subject: Subject) -> str:
    """No draw from a global generator, and nothing read from one."""
    return undisturbed(lambda: bits(play(subject, inputs(seed=4)).model), "server.generator")


def finite(subject: Subject) -> str:
    """Finite messages give a finite model, whatever Byzantine clients put into them."""
    given = inputs(dtype=torch.float32, seed=5)
    for case, forge in forged_extremes(subject.cls.alphabet).items():
        try:
            model = play(subject, given, forge).model
        except StepError as error:
            raise BrokenError(f"{error}, where {case}") from None
        if not bool(torch.isfinite(model).all()):
            raise BrokenError(f"the model is not finite where {case}")
    return "also for huge, tiny, equal and zero messages"


def permutation(subject: Subject) -> str:
    """The order of the clients says nothing; where the server draws, the distribution is compared."""
    given = inputs(seed=6)
    order = torch.randperm(len(given.updates), generator=rng.generator(6, "order"))
    plain, moved = play(subject, given), play(subject, given, lambda messages: messages[order])
    if _close(plain.model, moved.model):
        return "the same model in every order"
    if not (plain.drew or moved.drew):
        raise BrokenError("the model depends on the order in which the clients' messages stand")
    one = torch.stack([play(subject, given, server_seed=100 + draw).model for draw in range(DRAWS)])
    other = torch.stack(
        [
            play(subject, given, lambda messages: messages[order], server_seed=100 + DRAWS + draw).model
            for draw in range(DRAWS)
        ]
    )
    if (p := _same_distribution(one, other)) < FALSE_ALARM:
        raise BrokenError(f"the distribution of the model depends on the order of the clients (p = {p:.1e})")
    return f"the same distribution in every order, over {DRAWS} draws of the server"


def uses_messages(subject: Subject) -> str:
    """Other messages, another model: a server that brings its own, or trains alone, is no aggregation rule."""
    given = inputs(seed=8)
    plain = play(subject, given).model
    for forge in (torch.neg, lambda messages: messages.flip(1)):
        if not torch.equal(plain, play(subject, given, forge).model):
            return "other messages give another model"
    raise BrokenError("the model is the same whatever the clients send")


def sums(subject: Subject) -> str:
    """A `SumDefense`'s shortcut, sums that are drawn, against the messages that they stand for."""
    defense = subject.build()
    given = inputs(seed=7)
    facts = setting(subject)
    if not isinstance(defense, SumDefense) or not plays_in_sums(defense, facts):
        return "every message is there in every round: there is nothing to compare"
    real = torch.stack([_sum_of_messages(subject, defense, given, draw) for draw in range(DRAWS)])
    drawn = torch.stack([_drawn_sum(subject, defense, given, DRAWS + draw) for draw in range(DRAWS)])
    if float(real.std(dim=0).max()) <= CLOSE * float(real.abs().max()):  # shares that cancel leave rounding
        if not _close(real[0], drawn[0]):
            raise BrokenError("summary and drawn_sum give another total than add_up of the messages")
        return "summary and drawn_sum give the total of the messages"
    if (p := _same_distribution(real, drawn)) < FALSE_ALARM:
        raise BrokenError(f"totals by drawn_sum are distributed otherwise than those of messages (p = {p:.1e})")
    return f"drawn totals are distributed as those of messages, over {DRAWS} rounds"


def _sum_of_messages(subject: Subject, defense: SumDefense, given: Inputs, draw: int) -> Tensor:
    local = local_round(given, setting(subject), draw)
    with subject.step("add_up"):
        return defense.add_up(upload(subject, defense, local), local.weights).double()


def _drawn_sum(subject: Subject, defense: SumDefense, given: Inputs, draw: int) -> Tensor:
    """In two blocks, as the engine does."""
    facts, n = setting(subject), len(given.updates)
    noise = local_round(given, facts, draw)
    with subject.step("summary and drawn_sum"):
        parts = []
        for rows in (slice(0, n // 2), slice(n // 2, n)):
            block = Inputs(given.updates[rows], given.broadcast, given.seed)
            local = local_round(block, facts, draw)
            local = type(local)(**{**vars(local), "weights": noise.weights[rows], "generator": noise.generator})
            parts.append(defense.summary(local))
        return defense.drawn_sum(torch.stack(parts).sum(dim=0), n, facts, noise.generator).double()


def _close(one: Tensor, other: Tensor) -> bool:
    scale = max(float(one.abs().max()), float(other.abs().max()), 1e-30)
    return float((one - other).abs().max()) <= CLOSE * scale


def _same_distribution(one: Tensor, other: Tensor) -> float:
    """The smallest p over Kolmogorov-Smirnov tests of three projections and the distance from the common mean."""
    from scipy import stats  # here, because loading it takes long, and few defenses come this far

    centre = torch.cat([one, other]).mean(dim=0)
    directions = torch.randn(one.shape[1], 3, generator=rng.generator(0, "directions"), dtype=one.dtype)
    directions /= math.sqrt(one.shape[1])
    results = []
    for column in range(3):
        results.append(stats.ks_2samp((one @ directions)[:, column], (other @ directions)[:, column]).pvalue)
    results.append(stats.ks_2samp((one - centre).norm(dim=1), (other - centre).norm(dim=1)).pvalue)
    return float(min(results))
