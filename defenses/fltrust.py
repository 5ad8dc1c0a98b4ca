"""FLTrust (Cao et al. 2021): the server trains on a few images of its own, and trusts what points alike."""

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, Setting, all_finite, check_messages
from bench.registry import register
from bench.rules import apply_weights
from bench.rules.gram import norms_of


def fltrust(messages: Tensor, root_update: Tensor) -> Tensor:
    """The mean `(d,)` of the updates `(n, d)`, brought to the length of the server's `root_update (d,)`.

    Each counts by its trust score, ReLU(cosine with the root update); 0 where nobody is trusted.
    Raises `ValueError` where anything is not finite.
    """
    check_messages(messages)
    require(root_update.is_floating_point(), "root_update", root_update.dtype, "float32 or float64")
    fits = root_update.shape == messages.shape[1:] and all_finite(root_update)
    require(fits, "root_update", tuple(root_update.shape), f"{messages.shape[1]} finite numbers")
    norms, length = norms_of(messages), float(torch.linalg.vector_norm(root_update, dtype=torch.float64))
    unit = root_update.double() / max(length, torch.finfo(torch.float64).tiny)
    cosines = torch.where(norms > 0, (messages @ unit.to(messages.dtype)).double() / norms, 0.0)
    trust = cosines.clamp(0, 1)
    if not bool(trust.any()):
        return torch.zeros_like(messages[0])
    weights = torch.where(trust > 0, trust / trust.sum() * length / norms, 0.0)
    return apply_weights(weights, messages)


@register("defense", "fltrust")
class FLTrust(Defense):
    """FLTrust with the server's learning rate 1; its images are drawn from the validation split."""

    breakdown = 1.0  # any number of malicious clients

    root_samples: int = Field(default=100, ge=1)

    def num_root_samples(self) -> int:
        return self.root_samples

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        require(server.root_update is not None, "root_update", None, "an update that the server trained itself")
        assert server.root_update is not None
        return server.global_model + fltrust(delivered.messages, server.root_update)

    def derived(self, setting: Setting) -> dict[str, float]:
        return {"root_samples": float(self.root_samples)}
