"""Says that it sends signs, and sends twice the signs."""

import torch
from torch import Tensor

from bench.protocol import Alphabet, Defense, Delivered, LocalRound, ServerRound, Upload
from bench.registry import register


@register("defense", "wrong_alphabet")
class WrongAlphabet(Defense):
    alphabet = Alphabet.TERNARY

    def upload(self, local: LocalRound) -> Upload:
        return Upload((2 * torch.sign(-local.updates)).to(torch.int8))

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        signs = delivered.messages.to(server.global_model.dtype)
        return server.global_model - 0.01 * signs.mean(dim=0)
