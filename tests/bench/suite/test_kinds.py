"""Kinds of cells: each is whole, each attack names one, and what it may take is said in one place."""

import pkgutil
import subprocess
import sys
from typing import Any, get_args

import pytest

from bench import registry
from bench.suite import kinds
from bench.suite.cell import KindName
from bench.suite.entries import AttackEntry
from bench.threat import ByzantineAttack, MembershipAttack, PrivacyAttack, PrivacyAudit, PropertyAttack, RunAudit


def test_every_name_that_a_cell_may_have_is_a_kind_and_can_be_played() -> None:
    assert set(kinds.KINDS) == set(get_args(KindName))
    for kind in kinds.KINDS.values():
        assert callable(pkgutil.resolve_name(kind.play))
    orders = [kind.order for kind in kinds.KINDS.values()]
    assert sorted(orders) == list(range(len(orders)))


@pytest.mark.parametrize("name", registry.names("attack"))
def test_every_attack_makes_cells_of_the_kind_of_its_base(name: str) -> None:
    cls = registry.get("attack", name)
    bases: dict[Any, str] = {
        ByzantineAttack: "training",
        PrivacyAttack: "inversion",
        PrivacyAudit: "audit",
        MembershipAttack: "membership",
        PropertyAttack: "property",
        RunAudit: "run_audit",
    }
    assert kinds.of_attack(cls).name == next(kind for base, kind in bases.items() if issubclass(cls, base))


@pytest.mark.parametrize(
    ("kind", "table", "words"),
    [
        ("training", {}, "needs byzantine"),
        ("training", {"byzantine": 0.2, "privacy": {"targets": 3}}, "inverts nothing"),
        ("training", {"byzantine": 0.2, "forging": [{"name": "alie"}]}, "takes no forging table"),
        ("inversion", {"forging": [{"name": "alie"}]}, "with byzantine"),
        ("inversion", {"byzantine": 0.2, "start": 2}, "takes no start"),
        ("audit", {"byzantine": 0.2}, "forges nothing"),
        ("audit", {"privacy": {"targets": 3}}, "inverts nothing"),
        ("membership", {"forging": [{"name": "alie"}]}, "with byzantine"),
        ("membership", {"byzantine": 0.2, "start": 2}, "takes no start"),
        ("property", {"byzantine": 0.2}, "forges nothing"),
        ("membership", {"privacy": {"targets": 3, "rounds": 2}}, "takes targets, not rounds"),
        ("property", {"privacy": {"targets": 3, "rounds": 2}}, "takes targets, not rounds"),
        ("run_audit", {"byzantine": 0.2}, "forges nothing"),
    ],
)
def test_what_a_kind_cannot_take_is_refused(kind: KindName, table: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kinds.KINDS[kind].check(AttackEntry.model_validate({"name": "some", **table}))


def test_nothing_of_it_imports_torch() -> None:
    code = "import sys, bench.suite.kinds; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
