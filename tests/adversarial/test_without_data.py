"""Attacks are probed where no data set is: behind walls a first process looks at them, and theirs are made up."""

from pathlib import Path
from typing import Any

import pytest

from bench import data, registry
from bench import suite as suites
from bench.protocol import Alphabet
from bench.submission import attack_checks, guards, made_up
from bench.submission.attack_probe import AttackSubject
from bench.submission.examination import Terms, inspected
from bench.submission.package import read_source
from bench.submission.referee import walls


def refuse(dataset: Any) -> Any:
    raise AssertionError(f"{dataset.name} was loaded")


@pytest.mark.parametrize(
    ("name", "given"), [("label_flip", {}), ("analytic", {}), ("dlg", {"iterations": 2}), ("audit", {"dim": 6})]
)
def test_a_first_look_at_an_attack_loads_no_data(name: str, given: dict[str, Any]) -> None:
    cls = registry.get("attack", name)
    given = {key: value for key, value in given.items() if key in cls.model_fields}  # type: ignore[attr-defined]
    subject = AttackSubject(cls, given, (Alphabet.REAL,), guards.Watch(""))  # type: ignore[arg-type]
    with data.changed(refuse):
        assert attack_checks.fingerprint_of(subject)


def test_made_up_images_are_like_the_digits_and_none_of_them() -> None:
    mine, digits = made_up.images(), data.load("digits")
    assert (mine.shape, mine.num_classes, mine.images) == (digits.shape, digits.num_classes, True)
    theirs = {one.numpy().tobytes() for one in digits.train.x}
    assert not theirs & {one.numpy().tobytes() for one in mine.train.x}


@pytest.mark.slow
@pytest.mark.skipif(not walls.available(), reason="this system has no bubblewrap that may make namespaces")
@pytest.mark.parametrize(("name", "base"), [("label_flip", "LabelFlip"), ("analytic", "Analytic"), ("audit", "Audit")])
def test_attacks_of_every_kind_are_inspected_behind_walls(name: str, base: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        f"from attacks.{name} import {base}\nfrom bench.registry import register\n\n"
        f'@register("attack", "mine")\nclass Mine({base}):\n    pass\n'
    )
    seen, entry = inspected(read_source(str(file)), Terms(suites.load("smoke"), {}))
    assert (seen.broken, entry.class_name) == (None, "Mine")
    assert seen.last("facts") is not None
