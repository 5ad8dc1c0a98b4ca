"""The rule that needs a federation: it learns when everybody is honest."""

import torch

from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.metrics import accuracy_and_loss
from bench.submission.probe import Subject
from bench.submission.problems import BrokenError, Note

LEARNT = 0.3
"""Three times what guessing gives on ten digits."""

SMALL = FederationSettings(
    dataset="digits", clients=20, samples_per_client=50, rounds=40, local_steps=1, batch_size=25, lr=0.5, eval_every=40
)


def learns(subject: Subject, lr: float) -> str:
    """Twenty honest clients, forty rounds on the digits: the model is better than a guess."""
    dataset = load("digits")
    settings = SMALL.model_copy(update={"lr": lr, "assumed_byzantine": subject.assumed})
    with subject.step("a federation without Byzantine clients"):
        federation = Federation(settings, subject.build(), dataset, seed=0)
        for _ in range(settings.rounds):
            federation.advance()
    if not bool(torch.isfinite(federation.global_model).all()):
        raise BrokenError(f"without any Byzantine client the model is not finite after {settings.rounds} rounds")
    accuracy, _ = accuracy_and_loss(federation.model, federation.global_model, dataset.validation)
    text = f"{accuracy:.0%} accuracy after {settings.rounds} rounds of 20 honest clients at lr {lr:g} (a guess: 10%)"
    if accuracy >= LEARNT:
        return text
    if subject.cls.claims_privacy():
        raise Note(f"{text}: noise for so few clients may hide everything")
    raise BrokenError(f"{text}: it does not learn where everybody is honest")
