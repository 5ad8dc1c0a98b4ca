"""A training on features in float16 is one on the same values in float32, to the bit."""

from dataclasses import replace

import torch

from bench import registry
from bench.data import Split, load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings


def test_a_training_on_float16_is_that_on_its_values():
    def narrowed(part: Split, dtype: torch.dtype) -> Split:
        return Split(part.x.half().to(dtype), part.y)

    digits, models = load("digits"), []
    for dtype in (torch.float16, torch.float32):
        parts = {name: narrowed(getattr(digits, name), dtype) for name in ("train", "validation", "test")}
        settings = FederationSettings(dataset="digits", clients=6, rounds=3, local_steps=2, batch_size=8, lr=0.5)
        for attack in (None, registry.get("attack", "label_flip")()):
            defense = registry.get("defense", "fltrust")()
            federation = Federation(settings, defense, replace(digits, **parts), 0, attack, 0.34 if attack else 0.0)
            for _ in federation.rounds():
                pass
            models.append(federation.global_model)
    assert models[0].abs().max() > 0
    assert not torch.equal(models[0], models[1])
    assert torch.equal(models[0], models[2])
    assert torch.equal(models[1], models[3])
