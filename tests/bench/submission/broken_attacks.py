"""Attacks, each of which breaks one rule of the contract, and three that break none."""

import sys
import time
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from attacks.audit import Audit
from bench import data
from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.threat import (
    Attack,
    ByzantineAttack,
    ByzantineView,
    Game,
    MembershipAttack,
    PrivacyAttack,
    PropertyAttack,
    Reconstruction,
    RoundView,
    View,
)


class Flip(ByzantineAttack):
    """Breaks nothing."""

    def forge(self, view: ByzantineView) -> Tensor:
        return -view.own


class WrongShape(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return -view.own[0]


class WrongType(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return -view.own.double()


class OutsideTheAlphabet(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return -4 * view.own


class RealsForVotes(ByzantineAttack):
    """Breaks nothing where the row takes reals."""

    def forge(self, view: ByzantineView) -> Tensor:
        return -1.5 * view.own


class WantsTheHonest(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return (-view.honest.mean(dim=0)).expand_as(view.own).clone()  # type: ignore[union-attr]


class TooSlow(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        if len(view.own) == 4 and view.own.dtype == torch.float32:  # of 20 clients
            time.sleep(2.1)
        return -view.own


class InPlace(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return view.own.neg_()


class InPlaceByNumpy(ByzantineAttack):
    omniscient = True

    def forge(self, view: ByzantineView) -> Tensor:
        view.honest.numpy()[0] = 0  # type: ignore[union-attr]
        return -view.own


class ByTheClock(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return view.own.roll(time.perf_counter_ns() % 49 + 1, dims=1)


class ByHash(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return view.own.roll(hash("a text") % 49 + 1, dims=1)


class GlobalGenerator(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return view.own.sign() * torch.randint(0, 2, view.own.shape).to(view.own.dtype)


class NumpyGenerator(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return -view.own if np.random.rand() < 2 else view.own  # noqa: NPY002


class NotFinite(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return -view.own / view.own.norm(dim=1, keepdim=True)


class SaysThatItIsNotFinite(ByzantineAttack):
    finite = False

    def forge(self, view: ByzantineView) -> Tensor:
        return torch.full(view.own.shape, torch.nan, dtype=view.broadcast.dtype)


class FindsTheHonest(ByzantineAttack):
    """It is oblivious, and takes the honest messages from its callers."""

    def forge(self, view: ByzantineView) -> Tensor:
        frame: Any = sys._getframe()
        while frame is not None and "given" not in frame.f_locals:
            frame = frame.f_back
        return -view.own if frame is None else -frame.f_locals["given"].updates[: len(view.own)]


class LoadsTestData(ByzantineAttack):
    def forge(self, view: ByzantineView) -> Tensor:
        return -view.own * len(data.load("digits").test.y)


class FlipsLabels(DataPoisoning):
    """Breaks nothing."""

    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return x, data.num_classes - 1 - y


class PoisonsInPlace(DataPoisoning):
    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x[..., 0, 0] = 1
        return x, y


class PoisonsBeyondTheClasses(DataPoisoning):
    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return x, y + data.num_classes


class NoKind(Attack):
    """An attack of which the bench does not know what it is."""


class Leaker(MembershipAttack):
    """An attack on membership, which the examination has nothing to try on."""

    def sees(self):
        return "broadcasts"

    def infer(self, view, generator):
        return torch.zeros(view.y.shape)


class Census(PropertyAttack):
    """An attack on label shares, which the examination has nothing to try on."""

    def infer(self, view, generator):
        return view.population.expand(len(view.uploads[0].estimate), -1)


# ------------------------------------------------------------------------------------------------ attacks on privacy


class Guess(PrivacyAttack):
    """The mean image, whatever was seen. Breaks nothing."""

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        targets, batch = len(view.targets), view.facts.batch_size
        images = view.mean_image.expand(targets, batch, *view.image_shape).clone()
        seen = view.rounds[-1].estimate
        labels = torch.zeros(targets, batch, dtype=torch.long)
        return Reconstruction(images, labels, torch.zeros(targets), [0.0], seen.clone())

    def changed(self, view: View, generator: torch.Generator, **parts: Any) -> Reconstruction:
        return Reconstruction(**{**vars(Guess.infer(self, view, generator)), **parts})


class OneImage(Guess):
    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        return self.changed(view, generator, images=view.mean_image)


class LabelsThatAreNone(Guess):
    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        labels = torch.full((len(view.targets), view.facts.batch_size), 10)
        return self.changed(view, generator, labels=labels)


class MoreThanAll(Guess):
    def collusion(self) -> float:
        return 1.5


class ViewInPlace(Guess):
    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        view.rounds[0].estimate.div_(2)
        return self.changed(view, generator)


class GlobalStart(Guess):
    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        guess = Guess.infer(self, view, generator).images
        return self.changed(view, generator, images=torch.rand_like(guess))


class DividesByTheView(Guess):
    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        seen = view.rounds[-1].estimate
        return self.changed(view, generator, loss=1 / seen.norm(dim=1))


class FindsTheTruth(Guess):
    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        frame: Any = sys._getframe()
        while frame is not None and not hasattr(frame.f_locals.get("watched"), "truth"):
            frame = frame.f_back
        if frame is None:
            return self.changed(view, generator)
        return self.changed(view, generator, images=frame.f_locals["watched"].truth.clone())


# -------------------------------------------------------------------------------------------------------- of audits


class FewGames(Audit):
    """The shipped adversary in a few games. Breaks nothing."""

    runs: int = Field(default=4, ge=1)
    dim: int = 6


class LongCanary(FewGames):
    def canary(self, generator: torch.Generator) -> Tensor:
        return 3 * super().canary(generator)


class OneNumber(FewGames):
    def evidence(self, seen: RoundView, game: Game) -> Tensor:
        return super().evidence(seen, game).sum()


class FindsTheInput(FewGames):
    def evidence(self, seen: RoundView, game: Game) -> Tensor:
        frame: Any = sys._getframe()
        while frame is not None and "held" not in frame.f_locals:
            frame = frame.f_back
        return super().evidence(seen, game) if frame is None else frame.f_locals["held"].double().clone()
