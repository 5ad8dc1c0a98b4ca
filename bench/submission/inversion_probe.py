"""Attacks on privacy: what they infer from views of small federations, and what stands behind those views."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from bench import registry
from bench.base import rng
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.inversion import Watched, cleaned, watch
from bench.protocol import Alphabet
from bench.protocol.contract import check_shape
from bench.submission import made_up
from bench.submission.attack_probe import AttackProbe, AttackSubject
from bench.submission.common import bits, untouched
from bench.submission.problems import BrokenError, StepError
from bench.suite import Parameters
from bench.threat import PrivacyAttack, Reconstruction, RoundView, View

ROWS: dict[Alphabet, dict[str, Parameters]] = {
    Alphabet.REAL: {"fedavg": {}, "niss": {"num_shares": 3}},
    Alphabet.TERNARY: {"ldpbfl": {}, "dpbfl": {}},
}
"""The defenses whose views are tried, the plainest first: linked and unlinked, with peer messages and without."""

SMALL = FederationSettings(
    dataset="digits",
    clients=8,
    samples_per_client=1,
    batch_size=1,
    rounds=2,
    local_steps=1,
    lr=0.1,
    dtype="float64",
)

MODELS = ("lenet", "mlp")
"""What the clients train: the first one that an attack does not refuse."""

TARGETS = 2

SECONDS = 60.0
"""What the reconstruction of `TARGETS` digits may take; the slowest shipped attack takes a tenth of it."""

Change = Callable[[RoundView], RoundView]


class InversionProbe(AttackProbe):
    """A `PrivacyAttack`, on views of made-up images."""

    gives, generator = "reconstruction", "generator"

    def play(self, seed: int, *, look: bool = False) -> list[Tensor]:
        results = []
        for alphabet in self.subject.alphabets:
            results += _tensors(_inferred(self.subject, self._plain(alphabet), seed, look))
        return results

    def shapes(self) -> str:
        attack = self._attack()
        with self.subject.step("collusion"):
            rho = attack.collusion()
            if not (isinstance(rho, int | float) and 0 <= rho <= 1):
                raise StepError(f"collusion returned {rho!r}, not a fraction between 0 and 1")
        names = [name for alphabet in self.subject.alphabets for name in ROWS[alphabet]]
        for name in names:
            _inferred(self.subject, _seen(self.subject, name, self._model), 0)
        return f"images, labels and losses of {TARGETS} targets, from views of {', '.join(names)} on {self._model}"

    def prompt(self) -> str:
        seconds = self._seconds(TARGETS)
        if seconds > SECONDS:
            limit = f"more than the {SECONDS:g} that it may"
            raise BrokenError(f"a reconstruction of {TARGETS} digits takes {seconds:.1f} seconds, {limit}")
        return f"a reconstruction of {TARGETS} digits takes {seconds:.2g} seconds"

    def finite(self) -> str:
        for alphabet in self.subject.alphabets:
            watched = self._plain(alphabet)
            for case, change in _extremes(alphabet).items():
                view = replace(watched.view, rounds=tuple(map(change, watched.view.rounds)))
                try:
                    result = _inferred(self.subject, replace(watched, view=view), 5)
                except StepError as error:
                    raise BrokenError(f"{error}, where {case}") from None
                if not all(bool(torch.isfinite(part).all()) for part in _tensors(result)):
                    raise BrokenError(f"the reconstruction is not finite where {case}")
        return f"also where {' or '.join(_extremes(self.subject.alphabets[0]))}"

    def behind_its_view(self) -> str:
        for alphabet in self.subject.alphabets:
            true = _tensors(_inferred(self.subject, self._plain(alphabet), 6))
            other_world = _in_another_world(self._plain(alphabet))
            other = _tensors(_inferred(self.subject, other_world, 6))
            if bits(*true) != bits(*other):
                raise BrokenError("the same view gives another reconstruction where images and labels are others")
        return "the same bits where the targets' images, labels and updates are others"

    def growth(self, size: tuple[int, int]) -> str:
        few, many = self._seconds(1), self._seconds(4)
        power = math.log(many / few) / math.log(4)
        return f"time grows like T^{power:.1f} from 1 target to 4, which take {many:.2g} seconds"

    def _attack(self) -> PrivacyAttack:
        attack = self.subject.build()
        assert isinstance(attack, PrivacyAttack)
        return attack

    @cached_property
    def _model(self) -> str:
        """The first model that the attack does not refuse; the first of all where it refuses each."""
        for model in MODELS:
            try:
                _inferred(self.subject, _seen(self.subject, next(iter(ROWS[self.subject.alphabets[0]])), model), 0)
            except StepError:
                continue
            return model
        return MODELS[0]

    def _plain(self, alphabet: Alphabet, targets: int = TARGETS) -> Watched:
        """What it sees of the plainest defense."""
        return _seen(self.subject, next(iter(ROWS[alphabet])), self._model, targets)

    def _seconds(self, targets: int) -> float:
        watched = self._plain(self.subject.alphabets[0], targets)
        started = time.perf_counter()
        _inferred(self.subject, watched, 0)
        return time.perf_counter() - started


def _seen(subject: AttackSubject, name: str, model: str, targets: int = TARGETS) -> Watched:
    """What the attack sees of a federation of eight clients under this defense, and what it does not."""
    parameters = next(rows[name] for rows in ROWS.values() if name in rows)
    images, defense = (
        made_up.images(),
        registry.get("defense", name)(**parameters),
    )  # outside of steps, which are watched
    federation = Federation(SMALL.model_copy(update={"model": model}), defense, images, 0)
    with subject.step("collusion"):
        return watch(federation, images, subject.build(), targets)


def _in_another_world(watched: Watched) -> Watched:
    """The same view, with false images, labels and updates behind it."""
    last = replace(watched.last, updates=1 - watched.last.updates)
    return replace(watched, truth=-watched.truth.flip(0), labels=(watched.labels + 3) % 10, last=last)


def _inferred(subject: AttackSubject, watched: Watched, seed: int, look: bool = False) -> Reconstruction:
    """As the engine asks: colluders take out what they know, then the server goes on alone; here nothing is kept.

    Raises `StepError` where a step raises, breaks its shapes, or, with `look`, what it was given.
    """
    attack, view = subject.build(), watched.view
    with subject.step("estimates"), untouched(look, "estimates", **_given(view)):
        clean = cleaned(attack, view)
        for seen in clean.rounds:
            check_shape(seen.estimate, "estimates", view.rounds[0].estimate.shape)
            if seen.variance is not None:
                check_shape(seen.variance, "variances", view.rounds[0].estimate.shape)
    with subject.step("infer"), untouched(look, "infer", **_given(clean)):
        result = attack.alone().infer(clean, rng.generator(seed, "attack"))
        _check(result, clean)
    return result  # type: ignore[no-any-return]


def _given(view: View) -> dict[str, Tensor]:
    """Every tensor of a view."""
    results = {"mean image": view.mean_image, "targets": view.targets, "mean": view.facts.mean, "std": view.facts.std}
    for seen in view.rounds:
        parts = {name: value for name, value in vars(seen).items() if isinstance(value, Tensor)}
        results |= {f"{name} of round {seen.index}": value for name, value in parts.items()}
    return results


def _check(found: object, view: View) -> None:
    """Raise `StepError`, or `ValueError`, unless it is a `Reconstruction` of the view's targets."""
    if not isinstance(found, Reconstruction):
        raise StepError(f"infer returned {type(found).__name__}, not a Reconstruction")
    targets, batch = len(view.targets), view.facts.batch_size
    check_shape(found.images, "infer's images", view.answered(found.images))
    check_shape(found.labels, "infer's labels", (targets, batch))
    check_shape(found.loss, "infer's loss", (targets,))
    check_shape(found.estimate, "infer's estimate", view.rounds[-1].estimate.shape)
    if not found.images.is_floating_point():
        raise StepError(f"infer returned images of {found.images.dtype}, not real numbers")
    classes = view.facts.model.num_classes
    if found.labels.is_floating_point() or int(found.labels.min()) < 0 or int(found.labels.max()) >= classes:
        raise StepError(f"infer returned labels that are not whole numbers in 0 .. {classes - 1}")
    if not all(isinstance(loss, float) for loss in found.trace):
        raise StepError("infer returned a trace that is no list of floats")


def _tensors(found: Reconstruction) -> list[Tensor]:
    return [found.images, found.labels, found.loss, found.estimate]


def _extremes(alphabet: Alphabet) -> dict[str, Change]:
    """What an attack may see that gives it nothing, or too much."""

    def nothing(seen: RoundView) -> RoundView:
        return replace(seen, estimate=torch.zeros_like(seen.estimate))

    if alphabet is Alphabet.TERNARY:
        return {"a message is all zeros": nothing}
    return {
        "a message is all zeros": nothing,
        "a message is tiny (1e-30)": lambda seen: replace(seen, estimate=torch.full_like(seen.estimate, 1e-30)),
        "a message is large (1e6)": lambda seen: replace(seen, estimate=torch.full_like(seen.estimate, 1e6)),
    }
