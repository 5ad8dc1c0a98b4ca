"""The contract of attacks: each kind of broken attack is caught by its rule, in a sentence; the shipped ones pass."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import registry, suite
from bench.base.errors import BadInputError
from bench.protocol import Alphabet
from bench.records.submissions import Finding
from bench.submission import attack_checks, guards
from bench.submission.attack_probe import AttackSubject
from bench.submission.examination import Terms, examined, inspected
from bench.submission.package import read_source
from bench.threat import MembershipAttack, PropertyAttack, RunAudit
from tests.bench.helpers.loads import loads_noted

FILE = Path(__file__).with_name("broken_attacks.py")
SIZE = (20, 650)
REAL, TERNARY = Alphabet.REAL, Alphabet.TERNARY
SMOKE = suite.load("smoke")
ONE_FAULT = {"InPlace", "NotFinite", "FindsTheHonest", "ViewInPlace", "FindsTheTruth", "LongCanary"}
"""These break one rule and no other."""


@pytest.fixture(scope="module")
def broken() -> ModuleType:
    spec = importlib.util.spec_from_file_location("broken_attacks", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def findings(cls: Any, *alphabets: Alphabet, fingerprint: str | None = None, **parameters: Any) -> list[Finding]:
    watch = guards.Watch("")
    with loads_noted(watch):
        subject = AttackSubject(cls, parameters, alphabets or (REAL,), watch)
        return list(attack_checks.examine(subject, fingerprint, SIZE))


def failures(found: list[Finding]) -> dict[str, str]:
    return {finding.rule: finding.sentence for finding in found if finding.verdict == "failed"}


@pytest.mark.parametrize(
    ("name", "rule", "words"),
    [
        ("WrongShape", "shapes and types", "returned shape (50,), not (4, 50)"),
        ("WrongType", "shapes and types", "forge returned torch.float64, not torch.float32"),
        ("WantsTheHonest", "shapes and types", "an attack that sees view.honest says `omniscient = True`"),
        ("TooSlow", "promptness", "more than the 2 that it may"),
        ("InPlace", "inputs left as they are", "forge changed its own in place"),
        ("InPlaceByNumpy", "inputs left as they are", "forge changed its honest in place"),
        ("ByTheClock", "determinism", "same seed and view give different messages"),
        ("GlobalGenerator", "global random state", "torch's global generator: pass generator=view.generator"),
        ("NumpyGenerator", "global random state", "numpy's global generator"),
        ("NotFinite", "finite output", "a forged message is not finite where all messages are 0"),
        ("FindsTheHonest", "nothing but its view", "where other clients' messages are others"),
        ("LoadsTestData", "looking around", "it loads the data set 'digits'"),
        ("PoisonsInPlace", "inputs left as they are", "poison changed its images in place"),
        ("PoisonsBeyondTheClasses", "shapes and types", "poison returned labels outside 0 .. 9"),
        ("OneImage", "shapes and types", "infer's images returned shape (1, 8, 8), not (2, 1, 1, 8, 8)"),
        ("LabelsThatAreNone", "shapes and types", "labels that are not whole numbers in 0 .. 9"),
        ("MoreThanAll", "shapes and types", "collusion returned 1.5, not a fraction between 0 and 1"),
        ("ViewInPlace", "inputs left as they are", "infer changed its estimate of round 0 in place"),
        ("GlobalStart", "global random state", "torch's global generator: pass generator=generator"),
        ("DividesByTheView", "finite output", "the reconstruction is not finite where a message is all zeros"),
        ("FindsTheTruth", "nothing but its view", "where images and labels are others"),
        ("LongCanary", "shapes and types", "canary returned a direction of length 3, not 1"),
        ("OneNumber", "shapes and types", "evidence returned shape (), not (6,)"),
        ("FindsTheInput", "nothing but its view", "where the target holds the other input"),
    ],
)
def test_what_is_broken_is_told_by_its_rule(broken: ModuleType, name: str, rule: str, words: str) -> None:
    found = failures(findings(getattr(broken, name)))
    assert words in found[rule]
    assert len(found) == 1 or name not in ONE_FAULT
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in found.values())


@pytest.mark.parametrize(
    ("name", "alphabets"),
    [
        ("Flip", (REAL, TERNARY)),
        ("RealsForVotes", (REAL,)),
        ("FlipsLabels", (REAL, TERNARY)),
        ("Guess", (REAL, TERNARY)),
        ("FewGames", (REAL, TERNARY)),
    ],
)
def test_what_breaks_nothing_passes(broken: ModuleType, name: str, alphabets: tuple[Alphabet, ...]) -> None:
    assert {finding.verdict for finding in findings(getattr(broken, name), *alphabets)} == {"passed"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("OutsideTheAlphabet", "forge returned -4 to 4, outside the ternary alphabet -1, 0, 1"),
        ("RealsForVotes", "forge returned -1.5 to 1.5, outside the ternary alphabet -1, 0, 1"),
    ],
)
def test_the_alphabet_of_the_rows_is_asked_for_and_no_other(broken: ModuleType, name: str, words: str) -> None:
    cls = getattr(broken, name)
    assert words in failures(findings(cls, TERNARY))["shapes and types"]
    (first, *_) = findings(cls, REAL)
    assert first.verdict == "passed"
    assert "not for ternary rows: forge returned" in first.sentence
    assert words in first.sentence


def test_an_attack_may_say_that_what_it_sends_is_not_finite(broken: ModuleType) -> None:
    found = findings(broken.SaysThatItIsNotFinite, REAL, TERNARY)
    assert failures(found) == {}
    (note,) = [finding for finding in found if finding.verdict == "note"]
    assert (note.rule, "the engine rejects that" in note.sentence) == ("finite output", True)


def test_parameters_of_the_class_are_used_and_bad_ones_told(broken: ModuleType) -> None:
    assert failures(findings(broken.FewGames, REAL, runs=2)) == {}
    assert "ValidationError" in failures(findings(broken.FewGames, REAL, runs=-2))["shapes and types"]


@pytest.mark.slow
def test_another_process_gives_other_messages(broken: ModuleType) -> None:
    subject = AttackSubject(broken.Flip, {}, (REAL,), guards.Watch(""))
    print_here = attack_checks.fingerprint_of(subject)
    assert print_here is not None
    assert failures(findings(broken.Flip, REAL, fingerprint=print_here)) == {}
    found = failures(findings(broken.Flip, REAL, fingerprint=print_here[:-2] + "00"))
    assert "another process gives another message" in found["determinism"]


SHORT = {"starts": 1, "evaluations": 4}
CHEAP: dict[str, dict[str, int]] = {
    **dict.fromkeys(("dlg", "collusion", "subspace", "weighted_collusion", "zero_shares"), SHORT),
    "inverting_gradients": {"starts": 1, "steps": 4},
    "plug_and_play": {"starts": 1, "steps": 4},
    "edge_case": {"source": 2, "target": 1},  # a class that the check's few clients hold
}
"""What is asked of an inversion does not depend on how long it searches, or on a class."""


OPEN = [
    name
    for name in registry.names("attack")
    if not issubclass(registry.get("attack", name), RunAudit | MembershipAttack | PropertyAttack)
]


def test_an_audit_of_a_run_cannot_be_submitted() -> None:
    with pytest.raises(BadInputError, match="OneRunAudit is an attack of no kind"):
        findings(registry.get("attack", "run_audit"), REAL, TERNARY)


@pytest.mark.parametrize("name", OPEN)
def test_shipped_attacks_keep_the_contract(name: str) -> None:
    assert failures(findings(registry.get("attack", name), REAL, TERNARY, **CHEAP.get(name, {}))) == {}


# ------------------------------------------------------------------------------------------ in processes of their own


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ByHash", "another process gives another message for the same seed"),
        ("FindsTheHonest", "it looks around with sys._getframe"),
        ("FindsTheTruth", "it looks around with sys._getframe"),
    ],
)
@pytest.mark.slow
def test_what_only_a_process_of_its_own_shows(name: str, words: str) -> None:
    source, terms = read_source(f"{FILE}:{name}"), Terms(SMOKE, {})
    seen, entry = inspected(source, terms)
    assert (entry.kind, entry.class_name) == ("attack", name)
    found = examined(source, entry, seen, terms, None, lambda line: None)
    assert any(words in finding.sentence for finding in found.broken)


@pytest.mark.usefixtures("inspected_here")
@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("Leaker", {}, "Leaker infers membership: such an attack cannot be submitted yet"),
        ("Census", {}, "Census infers property: such an attack cannot be submitted yet"),
        ("NoKind", {}, "NoKind is an attack of no kind: derive it from one of ByzantineAttack, PrivacyAttack"),
        ("FewGames", {"runs": -1}, "runs: Input should be greater than or equal to"),
    ],
)
def test_what_cannot_be_an_attack_is_one_line(name: str, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError) as told:
        inspected(read_source(f"{FILE}:{name}"), Terms(SMOKE, parameters))
    assert words in str(told.value)
    assert "\n" not in str(told.value)
