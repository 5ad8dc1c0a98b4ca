"""DeMoA: the rule itself where all take part, loops where few do, a round full of attackers, refusals."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound, Setting
from defenses.demoa import DeMoA, kept
from defenses.krum import krum
from defenses.median import Median, coordinate_median

N, D = 10, 4


def rows(count: int, seed: int) -> Tensor:
    return torch.randn(count, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def setting(make_setting: Callable[..., Setting]) -> Setting:
    return make_setting(num_clients=N, participants=3, dim=D)


def played(defense: Defense, setting: Setting, rounds: list[tuple[list[int], Tensor]]) -> list[Tensor]:
    """The changes of the model, round by round, of these clients' messages."""
    memory: dict[str, Tensor] = {}
    changes = []
    for index, (clients, messages) in enumerate(rounds):
        weights = torch.full((len(messages),), 1 / len(messages), dtype=torch.float64)
        names, draws = torch.tensor(clients), torch.Generator().manual_seed(index)
        model = torch.zeros(D, dtype=torch.float64)
        server = ServerRound(index, setting, model, weights, draws, memory=memory, clients=names)
        changes.append(defense.aggregate(Delivered(messages, torch.arange(len(messages))), server))
    return changes


def test_where_all_take_part_it_is_the_rule(setting: Setting) -> None:
    everybody = replace(setting, participants=N)
    rounds = [(list(range(N)), rows(N, seed)) for seed in range(3)]
    for one, other in zip(played(DeMoA(), everybody, rounds), played(Median(), everybody, rounds), strict=True):
        assert torch.equal(one, other)
    (found,) = played(DeMoA(rule="krum"), everybody, rounds[:1])
    assert torch.equal(found, krum(rounds[0][1], 2))


def test_who_is_absent_counts_with_the_last_message(setting: Setting) -> None:
    rounds = [([0, 5, 9], rows(3, 1)), ([5, 2, 0], rows(3, 2)), ([7, 2, 1], rows(3, 3))]
    last: dict[int, Tensor] = {}
    expected = []
    for clients, messages in rounds:
        last |= dict(zip(clients, messages, strict=True))
        expected.append(coordinate_median(torch.stack([last[name] for name in sorted(last)])))
    for one, other in zip(played(DeMoA(), setting, rounds), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_round_full_of_attackers_does_not_move_the_median_of_all(setting: Setting) -> None:
    """Clients 3 to 8 of ten have sent 1 before; then 0, 1 and 2 are drawn, who send 100."""
    honest = [([3, 4, 5], torch.ones(3, D)), ([6, 7, 8], torch.ones(3, D))]
    rounds = [(clients, messages.double()) for clients, messages in honest] + [
        ([0, 1, 2], 100 * torch.ones(3, D).double())
    ]
    assert played(DeMoA(), setting, rounds)[-1].tolist() == [1.0] * D
    assert played(Median(), setting, rounds)[-1].tolist() == [100.0] * D


def test_what_is_claimed_is_of_all_clients(setting: Setting) -> None:
    assert DeMoA(rule="trimmed_mean").tolerates(0.2, setting)
    assert not DeMoA(rule="trimmed_mean").tolerates(0.3, setting)
    assert not DeMoA().tolerates(0.5, setting)


def test_refusals(setting: Setting) -> None:
    with pytest.raises(ValidationError, match="rule is 'dpbfl', but must be an aggregation rule"):
        DeMoA(rule="dpbfl")
    with pytest.raises(ValueError, match="for Krum, which needs"):
        DeMoA(rule="krum").start(replace(setting, participants=2))
    with pytest.raises(ValueError, match="clients is"):
        kept(rows(3, 0), torch.arange(2), {}, N)
    server = ServerRound(0, setting, torch.zeros(D), torch.full((3,), 1 / 3), torch.Generator())
    with pytest.raises(ValueError, match="nothing says whose message is whose"):
        DeMoA().aggregate(Delivered(rows(3, 0), None), server)
