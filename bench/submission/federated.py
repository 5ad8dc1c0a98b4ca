"""The rules that need a federation: it learns when everybody is honest, and looks at nothing but the messages."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from bench import data
from bench.base.errors import DivergedError
from bench.data import Dataset
from bench.federation.clients import Shards
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.metrics import accuracy_and_loss
from bench.protocol import LocalRound
from bench.submission.guards import Watch
from bench.submission.probe import Subject
from bench.submission.problems import BrokenError, Note
from bench.threat import RoundTranscript

LEARNT = 0.3
"""Three times what guessing gives on ten digits."""

SMALL = FederationSettings(
    dataset="digits", clients=20, samples_per_client=50, rounds=40, local_steps=1, batch_size=25, lr=0.5, eval_every=40
)

_true_load = data.load


@contextmanager
def loading_noted(watch: Watch) -> Iterator[None]:
    """Who loads a data set during a step is noted, and gets false labels while `watch.falsify` is set."""

    def load(name: str, root: str | None = None) -> Dataset:
        watch.note(f"it loads the data set {name!r}")
        found = _true_load(name, root)
        return false_labels(found) if watch.falsify else found

    vars(data)["load"] = load
    try:
        yield
    finally:
        vars(data)["load"] = _true_load


def learns(subject: Subject, lr: float) -> str:
    """Twenty honest clients, forty rounds on the digits: the model is better than a guess."""
    dataset = _true_load("digits")
    settings = SMALL.model_copy(update={"lr": lr, "assumed_byzantine": subject.assumed})
    with subject.step("a federation without Byzantine clients"):
        federation = Federation(settings, subject.build(), dataset, seed=0)
        for _ in range(settings.rounds):
            federation.advance()
    if not bool(torch.isfinite(federation.global_model).all()):
        raise BrokenError(f"without any Byzantine client the model is not finite after {settings.rounds} rounds")
    accuracy, _ = accuracy_and_loss(federation.model, federation.global_model, dataset.validation)
    told = f"{accuracy:.0%} accuracy after {settings.rounds} rounds of 20 honest clients at lr {lr:g} (a guess: 10%)"
    if accuracy >= LEARNT:
        return told
    if subject.cls.claims_privacy():
        raise Note(f"{told}: noise for so few clients may hide everything")
    raise BrokenError(f"{told}: it does not learn where everybody is honest")


class _Elsewhere(Federation):
    """While the defense works, everything that its callers hold but the messages is of another federation."""

    decoy: Shards

    def _exchange(self, local: LocalRound, keep: bool) -> RoundTranscript:
        true, self.shards = self.shards, self.decoy
        try:
            return super()._exchange(local, keep)
        finally:
            self.shards = true


def beyond_the_messages(subject: Subject) -> str:
    """The same messages under another Byzantine mask, other labels, another test split: the same bits come out."""
    dataset = _true_load("digits")
    decoy = false_labels(dataset)
    models = [
        _model_of(subject, dataset, byzantine=0.0, around=dataset),
        _model_of(subject, dataset, byzantine=0.25, around=dataset),
        _model_of(subject, dataset, byzantine=0.0, around=decoy),
    ]
    if not torch.equal(models[0], models[1]):
        raise BrokenError("the same messages give another model where other clients are Byzantine: it looks at them")
    if not torch.equal(models[0], models[2]):
        raise BrokenError("the same messages give another model where labels are others: it looks at data")
    return "the same messages give the same bits under another Byzantine mask, other labels and other test images"


def _model_of(subject: Subject, dataset: Dataset, byzantine: float, around: Dataset) -> torch.Tensor:
    """The model after three rounds on `dataset`, while the callers, and whoever loads data, hold `around`."""
    settings = SMALL.model_copy(update={"assumed_byzantine": subject.assumed, "messages": "always", "rounds": 3})
    with subject.step("a federation"):
        federation = _Elsewhere(settings, subject.build(), dataset, seed=0, byzantine=byzantine)
        shards = federation.shards
        federation.decoy = Shards(around.train.x, around.train.y, shards.indices, 10, settings.batch_size)
        subject.watch.falsify = around is not dataset
        with contextlib.suppress(DivergedError):  # the bits are compared as they are
            for _ in range(settings.rounds):
                federation.advance()
        subject.watch.falsify = False
    return federation.global_model


def false_labels(dataset: Dataset) -> Dataset:
    """The same images under other labels."""
    train, validation, test = (
        replace(split, y=(split.y + 3) % dataset.num_classes)
        for split in (dataset.train, dataset.validation, dataset.test)
    )
    return replace(dataset, train=train, validation=validation, test=test)
