"""Forging in blocks of clients: no bit changes, for whom it is done and for whom it is not."""

from typing import Any, ClassVar

import pytest
import torch
from pydantic import PrivateAttr
from torch import Tensor

from attacks.sign_flip import SignFlip
from bench import registry
from bench.data import load
from bench.federation import together
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.protocol import SumDefense
from bench.threat import ByzantineAttack, ByzantineView
from defenses.dpbfl import DPBFL
from defenses.fedavg import FedAvg
from defenses.rsa import RSA

OBLIVIOUS: dict[str, type[ByzantineAttack]] = {
    name: cls
    for name in registry.names("attack")
    if issubclass(cls := registry.get("attack", name), ByzantineAttack) and not cls.omniscient
}
APART = [name for name, cls in OBLIVIOUS.items() if cls.forges_apart()]
EXACT = ["rsa", "dpbfl", "ldpbfl", "sign_majority"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [16, 17, 650, 7850])
def test_torch_draws_blocks_as_the_whole_in_order(dtype: torch.dtype, dim: int) -> None:
    """Where they end after a multiple of 16 numbers, and have 16 at least."""
    whole, parts = (torch.Generator().manual_seed(3) for _ in range(2))
    for draw in (torch.randn, torch.rand):
        wanted = draw(100, dim, generator=whole, dtype=dtype)
        sizes = [32, 48, 16, 4]
        found = torch.cat([draw(size, dim, generator=parts, dtype=dtype) for size in sizes])
        assert torch.equal(found, wanted)
    assert torch.equal(torch.rand(3, generator=whole), torch.rand(3, generator=parts))


def played(attack: ByzantineAttack, defense: SumDefense, **changes: Any) -> tuple[list[Tensor], int]:
    settings = {
        "dataset": "digits",
        "clients": 120,
        "samples_per_client": 10,
        "rounds": 3,
        "local_steps": 1,
        "batch_size": 4,
        "lr": 0.5,
        **changes,
    }
    found = Federation(FederationSettings(**settings), defense, load("digits"), 0, attack, 0.4)
    models = []
    for _ in range(3):
        found.advance()
        models.append(found.global_model)
    return models, found.rejected


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("defense", EXACT)
def test_blocks_forge_the_same_bits(name: str, defense: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes in ({}, {"participation": 0.7}, {"dtype": "float64"}):
        both = []
        for size in (together.BLOCK_BYTES, 1):
            monkeypatch.setattr(together, "BLOCK_BYTES", size)
            both.append(played(OBLIVIOUS[name](), registry.get("defense", defense)(), **changes))
        assert both[0][1] == both[1][1]
        for one, other in zip(both[0][0], both[1][0], strict=True):
            assert torch.equal(one, other)


def test_who_forges_in_blocks() -> None:
    assert set(APART) == {"crash", "gaussian", "label_flip", "same_value", "sign_flip", "targeted_label_flip"}
    sums = {
        name
        for name in registry.names("defense")
        if issubclass(cls := registry.get("defense", name), SumDefense) and cls.adds_exactly()
    }
    assert sums == set(EXACT)


class Changed(SignFlip):
    """Another `forge`, and no word about whether its clients forge apart."""

    def forge(self, view: ByzantineView) -> Tensor:
        return -view.own


class Rounded(RSA):
    """Another `add_up`, and no word about whether it is exact."""

    def add_up(self, messages: Tensor, weights: Tensor) -> Tensor:
        return messages.sum(dim=0)


def test_who_changes_a_step_says_anew_that_blocks_do() -> None:
    assert SignFlip.forges_apart()
    assert not Changed.forges_apart()
    assert not ByzantineAttack.forges_apart()
    assert RSA.adds_exactly()
    assert not Rounded.adds_exactly()
    assert not FedAvg.adds_exactly()


@pytest.mark.parametrize(
    ("attack", "defense", "count", "sizes"),
    [
        (SignFlip(), RSA(), 50, [16, 16, 16, 2]),
        (Changed(), RSA(), 50, [50]),
        (SignFlip(), FedAvg(), 4096, [4096]),
        (SignFlip(), FedAvg(), 4100, [4096, 4]),
    ],
)
def test_sizes_of_blocks(
    attack: ByzantineAttack, defense: SumDefense, count: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "BLOCK_BYTES", 1)
    blocks = list(together.forged_together(attack, defense, count, torch.zeros(100)))
    assert [block.stop - block.start for block in blocks] == sizes
    assert [block.start for block in blocks] == [sum(sizes[:index]) for index in range(len(sizes))]
    whole = list(together.forged_together(attack, defense, count, torch.zeros(15)))
    assert whole == [slice(0, count)]


class Watching(ByzantineAttack):
    """Counts who forges together."""

    name: ClassVar[str] = "watching"
    apart = True

    _seen: list[int] = PrivateAttr(default_factory=list)

    def forge(self, view: ByzantineView) -> Tensor:
        self._seen.append(len(view.own))
        return view.own


def test_the_engine_shows_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "BLOCK_BYTES", 1)
    attack = Watching()
    played(attack, DPBFL())
    assert attack._seen == 3 * [16, 16, 16]
