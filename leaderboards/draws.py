"""Whether a rule's random draws hide what forging does: attackers who try messages on it then learn little.

Whoever searches asks a copy of the rule, whose draws are not the server's. So a search sees the sum of two things: what
a forged message moves, and what another draw moves. Both are measured on made-up messages.
"""

from dataclasses import replace

import torch
from torch import Tensor

from bench import models
from bench.base import rng
from bench.base.errors import BadInputError
from bench.federation.roles import setting_of
from bench.plays.findings import build_defense
from bench.protocol import Alphabet, Defense, Delivered, ServerRound, Setting
from bench.suite import Cell

CLASSES, INPUTS = 10, 9
"""Of the softmax regression whose messages are made up."""

DRAWS = 8
"""Other draws, whose distance from the first is measured."""


def hide_forging(cell: Cell) -> bool:
    """Whether another draw moves the model by as much as the best of a few forged messages, of a shipped rule.

    Of other rules nothing is said: boards run nobody's code.
    """
    model = models.build("softmax", (1, 1, INPUTS), CLASSES)
    setting = setting_of(cell.federation, model.dim, cell.federation.assumed_byzantine)
    try:
        defense = build_defense(cell)
        if not type(defense).__module__.startswith("defenses.") or defense.alphabet is not Alphabet.REAL:
            return False
        moved, spread = reactions(defense, setting, model)
    except (BadInputError, ValueError):  # a rule that is not here, or refuses so few clients
        return False
    return spread > 0 and spread >= moved


def reactions(defense: Defense, setting: Setting, model: models.Model) -> tuple[float, float]:
    """How far a rule's aggregate is moved by forged messages, at most, and by other draws, on average.

    Forged are the honest mean, turned round and ten times it, and the mean plus and minus 1.5 deviations.
    """
    m, f = setting.participants, max(1, setting.num_byzantine)
    source = rng.generator(0, "made-up messages", m, model.dim)
    shared, own = (torch.randn(rows, model.dim, generator=source, dtype=torch.float64) for rows in (1, m))
    honest = setting.lr * (shared + own)
    mean, std = honest[f:].mean(dim=0), honest[f:].std(dim=0, correction=0)

    def answer(messages: Tensor, draw: int) -> Tensor:
        weights = torch.full((m,), 1 / m, dtype=torch.float64)
        sent = messages * weights[:, None] if defense.weighted else messages
        broadcast, draws = torch.zeros(model.dim, dtype=torch.float64), rng.generator(0, "draw", draw)
        server = ServerRound(0, setting, broadcast, weights, draws, clients=torch.arange(m), layers=model.layers)
        server = replace(server, model=model, root_update=mean if defense.num_root_samples() else None)
        delivered = defense.deliver(sent, rng.generator(0, "channel", draw))
        return defense.aggregate(delivered if delivered.linked else Delivered(delivered.messages, None), server)

    candidates = (-mean, 10 * mean, mean + 1.5 * std, mean - 1.5 * std)
    forged = [torch.cat([one.expand(f, -1), honest[f:]]) for one in candidates]
    plain = answer(honest, 0)
    moved = max(float((answer(one, 0) - plain).norm()) for one in forged)
    others = torch.stack([answer(honest, draw) for draw in range(1, 1 + DRAWS)])
    return moved, float((others - plain).norm(dim=1).mean())
