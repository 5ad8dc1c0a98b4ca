"""The contract: each kind of broken defense is caught by its rule, in a sentence; the shipped ones pass."""

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import registry
from bench.records.submissions import Finding
from bench.submission import checks, guards
from bench.submission.probe import Subject
from tests.bench.helpers.loads import loads_noted

BROKEN = Path(__file__).parent / "broken"
SIZE, LR = (20, 650), 0.5
ONE_FAULT = {"wrong_sums", "not_finite", "does_not_learn", "order_dependent", "loads_test_data"}
"""These break one rule and no other."""

Load = Callable[[Path], Subject]


def failures(subject: Subject, fingerprint: str | None = None) -> dict[str, str]:
    found: list[Finding] = list(checks.examine(subject, fingerprint, SIZE, LR))
    return {finding.rule: finding.sentence for finding in found if finding.verdict == "failed"}


@pytest.fixture
def _few_objects() -> None:
    """Of the objects that there were before, `gc.get_objects` tells nothing: looking at all takes seconds."""
    gc.freeze()


@pytest.mark.usefixtures("_few_objects")
@pytest.mark.parametrize(
    ("file", "rule", "words"),
    [
        ("wrong_shape", "shapes and types", "returned shape (20,), not (50,)"),
        ("wrong_dtype", "shapes and types", "returned torch.float64, not torch.float32"),
        ("wrong_alphabet", "shapes and types", "outside the ternary alphabet"),
        ("raises_in_round", "shapes and types", "aggregate raised RuntimeError: not written yet"),
        ("too_slow", "promptness", "more than the 2 that it may"),
        ("in_place", "inputs left as they are", "aggregate changed its messages in place"),
        ("in_place_in_float32", "inputs left as they are", "aggregate changed its messages in place"),
        ("in_place_in_float64", "inputs left as they are", "aggregate changed its messages in place"),
        ("in_place_by_numpy", "inputs left as they are", "aggregate changed its messages in place"),
        ("by_the_clock", "determinism", "same seed and messages give different models"),
        ("global_generator", "global random state", "torch's global generator"),
        ("numpy_generator", "global random state", "numpy's global generator"),
        ("not_finite", "finite output", "not finite where all messages are 0"),
        ("order_dependent", "permutation of clients", "depends on the order"),
        ("wrong_sums", "sums", "distributed otherwise"),
        ("brings_its_own", "use of the messages", "whatever the clients send"),
        ("loads_test_data", "looking around", "it loads the data set 'digits'"),
        ("does_not_learn", "honest behaviour", "does not learn where everybody is honest"),
    ],
)
def test_what_is_broken_is_told_by_its_rule(subject_of: Load, file: str, rule: str, words: str) -> None:
    found = failures(subject_of(BROKEN / f"{file}.py"))
    assert words in found[rule]
    assert len(found) == 1 or file not in ONE_FAULT
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in found.values())


def test_another_process_gives_another_model(subject_of: Load) -> None:
    subject = subject_of(BROKEN / "not_finite.py")
    print_here = checks.fingerprint_of(subject)
    assert "determinism" not in failures(subject, print_here)
    assert "another process" in failures(subject, print_here[:-2] + "00")["determinism"]


KNOWN = {"monna": {"permutation of clients"}}
"""MoNNA's pivot is the first client: its file says so, and nothing is claimed for it."""


CHEAP = {"deepsight": {"num_samples": 200}}
"""Parameters of rules whose own defaults take minutes here."""


@pytest.mark.parametrize("name", sorted({*registry.names("defense")} - {"smea"}))
def test_shipped_defenses_keep_the_contract(name: str) -> None:
    watch = guards.Watch("")
    with loads_noted(watch):
        subject = checks.fitting(Subject(registry.get("defense", name), CHEAP.get(name, {}), 0.4, watch))
        assert set(failures(subject)) == KNOWN.get(name, set())


def test_a_rule_that_refuses_the_suites_fraction_is_probed_at_a_smaller_one() -> None:
    subject = Subject(registry.get("defense", "bulyan"), {}, 0.4, guards.Watch(""))
    assert checks.fitting(subject).assumed == 0.2
    assert checks.fitting(Subject(registry.get("defense", "krum"), {}, 0.4, guards.Watch(""))).assumed == 0.4
