"""Mimic: copies of one honest row, that of the client furthest along the direction of largest variance."""

from collections.abc import Callable

import pytest
import torch

from attacks.mimic import Mimic, mimic, oja
from bench.protocol import Alphabet
from bench.threat import ByzantineView


def rounds(count: int, h: int = 8, d: int = 6) -> list[torch.Tensor]:
    """Honest messages that vary most along the first coordinate, client by client and in every round alike."""
    generator = torch.Generator().manual_seed(0)
    bias = torch.zeros(h, d, dtype=torch.float64)
    bias[:, 0] = torch.linspace(-3, 3, h, dtype=torch.float64)
    return [bias + 0.2 * torch.randn(h, d, generator=generator, dtype=torch.float64) for _ in range(count)]


def test_the_row_furthest_along_the_direction_is_copied() -> None:
    honest = torch.tensor([[1.0, 0.0], [3.0, -9.0], [2.0, 5.0]])
    assert mimic(honest, 2, torch.tensor([1.0, 0.0])).tolist() == [[3.0, -9.0]] * 2
    assert mimic(honest, 2, torch.tensor([0.0, 1.0])).tolist() == [[2.0, 5.0]] * 2


def test_a_direction_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"direction is torch\.float64, but must be torch\.float32, as honest is"):
        mimic(torch.ones(3, 2), 1, torch.ones(2, dtype=torch.float64))


def test_oja_finds_the_direction_of_largest_variance() -> None:
    """Against the leading eigenvector of the covariance of all rounds."""
    played = rounds(20)
    mean = torch.zeros(6, dtype=torch.float64)
    direction = torch.randn(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for index, honest in enumerate(played):
        mean, direction = oja(honest, mean, direction, index)
    torch.testing.assert_close(mean, torch.cat(played).mean(dim=0))
    leading = torch.linalg.eigh(torch.cov(torch.cat(played).T)).eigenvectors[:, -1]
    assert abs(float(direction @ leading)) > 0.99
    assert float(direction.norm()) == 1.0 or abs(float(direction.norm()) - 1) < 1e-12


def test_rows_that_agree_leave_the_direction_as_it_is() -> None:
    direction = torch.tensor([0.6, 0.8])
    assert torch.equal(oja(torch.ones(3, 2), torch.ones(2), direction, 1)[1], direction)


def test_after_the_warmup_it_stays_with_one_client(omniscient_view: Callable[..., ByzantineView]) -> None:
    played, memory, attack = rounds(10), {}, Mimic(warmup=4)
    chosen = []
    for honest in played:
        forged = attack.forge(omniscient_view(honest, torch.zeros(2, 6, dtype=torch.float64), memory=memory))
        row = int((honest == forged[0]).all(dim=1).nonzero())  # a copy, bit by bit
        assert torch.equal(forged, honest[row].expand(2, -1))
        chosen.append(row)
    assert len(set(chosen[3:])) == 1
    assert chosen[-1] in (0, 7)  # one end of the bias
    assert int(memory["rounds"]) == 10


def test_a_client_that_sits_out_is_replaced(omniscient_view: Callable[..., ByzantineView]) -> None:
    honest = torch.tensor([[0.0, 1.0], [5.0, 0.0], [-1.0, 2.0]])
    memory = {"rounds": torch.tensor(9), "direction": torch.tensor([1.0, 0.0]), "mean": torch.zeros(2)}
    memory["client"] = torch.tensor(40)
    view = omniscient_view(honest, torch.zeros(1, 2), memory=memory)
    assert Mimic(warmup=2).forge(view).tolist() == [[5.0, 0.0]]


def test_a_vote_is_copied_as_it_is(omniscient_view: Callable[..., ByzantineView]) -> None:
    votes = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])
    forged = Mimic().forge(omniscient_view(votes, torch.zeros(2, 3, dtype=torch.int8), Alphabet.TERNARY))
    assert forged.dtype == torch.int8
    assert forged[0].tolist() in votes.tolist()
