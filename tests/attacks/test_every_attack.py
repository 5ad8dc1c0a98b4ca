"""What all attacks by Byzantine clients have in common: shapes, alphabets, draws, indifference to the honest order."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.protocol import Alphabet
from bench.threat import ByzantineAttack, ByzantineView, sanitize
from defenses.dpbfl import DPBFL
from defenses.krum import Krum
from defenses.median import coordinate_median
from defenses.niss import NISS
from defenses.rsa import RSA

ATTACKS: dict[str, type[ByzantineAttack]] = {
    name: cls for name in registry.names("attack") if issubclass(cls := registry.get("attack", name), ByzantineAttack)
}
H, F, D = 9, 3, 14


def views(alphabet: Alphabet, make: Callable[..., ByzantineView]) -> ByzantineView:
    """A fresh view: its generator has drawn nothing, its memory is empty."""
    generator = torch.Generator().manual_seed(7)
    own, honest = (0.2 + torch.randn(rows, D, generator=generator, dtype=torch.float64) for rows in (F, H))
    broadcast = torch.linspace(-1, 1, D, dtype=torch.float64)
    if alphabet is Alphabet.TERNARY:
        honest, own = torch.sign(honest), torch.sign(own).to(torch.int8)
        return make(honest, own, alphabet, broadcast=broadcast, aggregate=lambda rows: -rows.double().sum(dim=0))
    return make(honest, own, alphabet, broadcast=broadcast, aggregate=coordinate_median)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("alphabet", list(Alphabet))
def test_a_message_a_byzantine_client_in_the_alphabet_and_the_same_again(
    name: str, alphabet: Alphabet, omniscient_view: Callable[..., ByzantineView]
) -> None:
    first, second = (ATTACKS[name]().forge(views(alphabet, omniscient_view)) for _ in range(2))
    assert first.shape == (F, D)
    assert torch.equal(first, second) or name == "crash"
    clean, rejected = sanitize(first, alphabet)
    assert rejected == (F * D if name == "crash" else 0)
    assert clean.dtype == (torch.int8 if alphabet is Alphabet.TERNARY else torch.float64)


SCALES = [2.0**power for power in (-100, -80, -60, 0, 60, 80, 100)]
"""From 1e-30 to 1e30: squares of float32 are none below 1e-23, and infinite beyond 1e19."""

OWN_UNITS = {"gaussian", "free_rider", "same_value", "crash", "poisonedfl", "siege", "oblivious_siege"}
"""What they send does not grow with what the honest send, but with the model's change or in its own units."""

OTHER_DRAWS = {"fang", "mimic"}
"""They draw numbers of the type of the messages: in float64 others."""

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ATTACKS if name not in OWN_UNITS),
    *((name, {"perturbation": one}) for name in ("min_max", "min_sum") for one in ("unit", "sign")),
    *((name, {"sign": "minus"}) for name in ("alie", "min_max", "min_sum")),
    *(("alie_optimal", {"sign": one}) for one in ("plus", "both")),
    ("fang", {"against": "trimmed_mean"}),
    ("fang", {"against": "trimmed_mean", "on": "update"}),
    ("adaptive", {"objective": "deviation"}),
    ("sign_flip", {"on": "model"}),
]


def forged_at(
    scale: float, name: str, parameters: dict[str, Any], make: Callable[..., ByzantineView], dtype: torch.dtype
) -> Tensor:
    """What is sent in two rounds `(2 F, D)` of float32 numbers times `scale`, computed in `dtype`, over `scale`."""
    random = torch.Generator().manual_seed(7)
    attack, memory, sent = ATTACKS[name](**parameters), dict[str, Tensor](), []
    for _ in range(2):
        own, honest = ((scale * (0.2 + torch.randn(rows, D, generator=random))).to(dtype) for rows in (F, H))
        broadcast = (scale * torch.linspace(-1, 1, D)).to(dtype)
        view = make(honest, own, broadcast=broadcast, aggregate=coordinate_median, memory=memory)
        sent.append(attack.forge(replace(view, updates=own)).double() / scale)
    return torch.cat(sent)


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
def test_forged_messages_of_any_size_are_those_of_float64(
    name: str, parameters: dict[str, Any], omniscient_view: Callable[..., ByzantineView]
) -> None:
    """The rules work from 1e-30 to 1e30: so must what attacks them."""
    parameters = parameters | ({"threshold": 1e-40} if name == "fang" else {})
    usual = forged_at(1.0, name, parameters, omniscient_view, torch.float32)
    assert bool((usual != 0).any())
    for scale in SCALES:
        single = forged_at(scale, name, parameters, omniscient_view, torch.float32)
        torch.testing.assert_close(single, usual, rtol=1e-5, atol=1e-5)
        if name not in OTHER_DRAWS:
            exact = forged_at(scale, name, parameters, omniscient_view, torch.float64)
            torch.testing.assert_close(single, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
def test_what_would_be_beyond_float32_is_its_largest_number(
    name: str, parameters: dict[str, Any], omniscient_view: Callable[..., ByzantineView]
) -> None:
    """The engine rejects what is infinite, and the rules take what is not: near 3e38 an attack must not vanish."""
    forged = 2.0**125 * forged_at(2.0**125, name, parameters, omniscient_view, torch.float32)
    assert bool(torch.isfinite(forged.float()).all())
    assert float(forged.abs().max()) > 2.0**120


@pytest.mark.parametrize("name", [name for name, cls in ATTACKS.items() if cls.omniscient])
def test_the_order_of_the_honest_does_not_matter(name: str, omniscient_view: Callable[..., ByzantineView]) -> None:
    view, other = (views(Alphabet.REAL, omniscient_view) for _ in range(2))
    assert other.honest is not None
    assert other.names is not None
    order = torch.randperm(H, generator=torch.Generator().manual_seed(1))
    turned = replace(other, honest=other.honest[order], names=other.names[order])
    torch.testing.assert_close(ATTACKS[name]().forge(view), ATTACKS[name]().forge(turned))


@pytest.mark.parametrize("name", [name for name, cls in ATTACKS.items() if not cls.omniscient])
def test_who_is_oblivious_needs_no_honest_messages(name: str, omniscient_view: Callable[..., ByzantineView]) -> None:
    view, blind = (views(Alphabet.REAL, omniscient_view) for _ in range(2))
    blind = replace(blind, honest=None, names=None, aggregate=None)
    seen, unseen = ATTACKS[name]().forge(view), ATTACKS[name]().forge(blind)
    assert torch.equal(seen, unseen) or name == "crash"


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("defense", [Krum(), RSA(), NISS(num_shares=3), DPBFL()], ids=lambda defense: defense.name)
def test_every_attack_meets_every_kind_of_defense(
    name: str, defense: Krum | RSA | NISS | DPBFL, digits: Dataset
) -> None:
    settings = FederationSettings(
        dataset="digits", clients=12, samples_per_client=10, rounds=2, local_steps=1, lr=0.1, assumed_byzantine=0.25
    )
    played = Federation(settings, defense, digits, 0, ATTACKS[name](), 0.25)
    for _ in range(2):
        played.advance()
    assert bool(torch.isfinite(played.global_model).all())
