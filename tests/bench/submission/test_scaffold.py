"""`new-defense` and `new-attack`: what they write runs as it is; bad and taken names, and files that are there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import registry
from bench.protocol import Alphabet
from bench.submission import checks
from bench.submission.probe import Subject
from bench.submission.scaffold import write_new

with pytest.MonkeyPatch.context() as _patch:
    # The templates register themselves: in a copy of the registry, so that no other test meets their names.
    _patch.setattr(registry, "_registered", {kind: dict(known) for kind, known in registry._registered.items()})
    from bench.submission.templates.attack import NewAttack, new_attack
    from bench.submission.templates.defense import new_rule

Bench = Callable[..., Any]


def test_a_new_defense_keeps_the_contract_as_it_is(
    bench: Bench, tmp_path: Path, subject_of: Callable[[Path], Subject]
) -> None:
    done = bench("new-defense", "my_rule")
    assert (done.code, done.err) == (0, "")
    assert "wrote my_rule.py; next: python -m bench submit my_rule.py" in done.out
    text = (tmp_path / "my_rule.py").read_text()
    assert '@register("defense", "my_rule")\nclass MyRule(RowRule):' in text
    assert text.startswith('"""My rule (AUTHORS YEAR')
    assert "new_rule" not in text.lower().replace(" ", "_")
    subject = subject_of(tmp_path / "my_rule.py")
    assert subject.cls.name == "my_rule"
    found = list(checks.examine(subject, None, (20, 650), 0.5))
    assert {finding.verdict for finding in found} == {"passed"}


def test_a_new_attack_is_written(bench: Bench, tmp_path: Path) -> None:
    written = bench("new-attack", "louder")
    assert written.code == 0
    assert written.out.endswith("submit louder.py --against ROW --byzantine 0.2\n")
    text = (tmp_path / "louder.py").read_text()
    assert '@register("attack", "louder")\nclass Louder(ByzantineAttack):' in text
    compile(text, "louder.py", "exec")


def test_the_template_rule_is_what_it_says() -> None:
    """The n - f most central messages of a line: 0, 1, 2, 3 and far away 100; f = 2 leaves 1, 2 and 3 (or 0)."""
    messages = torch.tensor([[0.0], [1.0], [2.0], [3.0], [100.0]], dtype=torch.float64)
    sums = (messages - messages.T).abs().sum(dim=1)
    expected = messages[sums.argsort()[:3]].mean()
    assert torch.allclose(new_rule(messages, 2), expected)


def test_the_template_attack_is_what_it_says() -> None:
    own = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(new_attack(own, 2.0), torch.tensor([[-4.0, -6.0], [-4.0, -6.0]]))
    assert NewAttack.name == "new_attack"


def test_the_template_attack_stays_in_a_ternary_alphabet() -> None:
    from bench.protocol import Setting
    from bench.threat import ByzantineView

    own = torch.tensor([[1, -1, 0], [1, 1, 0]], dtype=torch.int8)
    setting = Setting(4, 4, 3, 1, 0.1, None, 0.4, 1e-6)
    view = ByzantineView(own, None, torch.zeros(3), Alphabet.TERNARY, torch.Generator(), setting, {})
    assert torch.equal(NewAttack().forge(view), torch.tensor([[-1, 0, 0], [-1, 0, 0]], dtype=torch.int8))


@pytest.mark.parametrize("name", ["", "Krum", "1st", "my-rule", "../x", "class", "clean", "x" * 41, "ünder"])
def test_bad_names_are_one_line_and_nothing_is_written(bench: Bench, tmp_path: Path, name: str) -> None:
    done = bench("new-defense", name)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "will not do" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "name"), [("new-defense", "krum"), ("new-attack", "sign_flip")])
def test_taken_names_are_refused(bench: Bench, tmp_path: Path, command: str, name: str) -> None:
    done = bench(command, name)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"{name!r} is taken" in done.err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("precious")
    done = bench("new-defense", "mine")
    assert done.code == 2
    assert "is there already" in done.err
    assert (tmp_path / "mine.py").read_text() == "precious"


def test_a_defense_may_be_named_like_an_attack(tmp_path: Path) -> None:
    assert write_new("defense", "sign_flip", tmp_path).name == "sign_flip.py"
