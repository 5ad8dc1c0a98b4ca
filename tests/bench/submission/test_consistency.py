"""What a record says of itself against its suite and its submission: one lie each, one line each."""

from pathlib import Path
from typing import Any

import pytest

from bench.privacy.claims import PrivacyClaim
from bench.records import Record, protocol_hash, read
from bench.records.submissions import Submission
from bench.submission.consistency import OTHER_PROTOCOL, foreign, problems, row_problems
from bench.suite import Suite, load

PUBLISHED = Path(__file__).parents[3] / "results" / "smoke" / "fedavg"
ATTACK = Submission(
    schema_version=1, kind="attack", name="sign_flip", class_name="F", source="f.py", sha256="0" * 64, suite="smoke",
    byzantine=(0.4,), against=("fedavg",), parameters={"c": 2.0, "on": "update"},
)  # fmt: skip
DEFENSE = Submission(
    schema_version=1, kind="defense", name="fedavg", class_name="F", source="f.py", sha256="0" * 64, suite="smoke"
)


@pytest.fixture(scope="module")
def place() -> Path:
    return next((PUBLISHED / "sign_flip").glob("*.json"))


@pytest.fixture(scope="module")
def record(place: Path) -> Record:
    return read(place)


def told(record: Record, submission: Submission | None = None, evaluation: Submission | None = None) -> list[str]:
    return list(foreign(record, load("smoke"), submission, evaluation))


def changed(record: Record, part: str = "", **changes: Any) -> Record:
    """The record with changes to its cell, or to a part of that."""
    cell = record.cell
    if part:
        changes = {part: getattr(cell, part).model_copy(update=changes)}
    cell = cell.model_copy(update=changes)
    return record.model_copy(update={"cell": cell, "protocol": protocol_hash(cell, record.data_digest)})


def test_an_honest_record_is_nobody_else_s(record: Record) -> None:
    assert told(record) == told(record, DEFENSE) == told(record, None, ATTACK) == told(record, DEFENSE, ATTACK) == []


@pytest.mark.parametrize(
    ("evaluation", "line"),
    [
        ({"against": ("krum",)}, "it is a record of 'fedavg', which submission.toml does not name"),
        ({"byzantine": (0.2,)}, "its Byzantine fraction 0.4 is none of submission.toml"),
        ({"name": "flip"}, "it is a record of 'sign_flip', not of 'flip'"),
        ({"parameters": {"scale": 9.0}}, "its attack's parameters are not those of submission.toml"),
    ],
)
def test_an_evaluation_is_what_its_submission_says(record: Record, evaluation: dict[str, Any], line: str) -> None:
    assert told(record, None, ATTACK.model_copy(update=evaluation)) == [line]


def test_an_evaluation_without_names_is_of_any_row(record: Record) -> None:
    assert told(record, None, ATTACK.model_copy(update={"against": ()})) == []


@pytest.mark.parametrize(
    ("submission", "lines"),
    [
        ({"name": "mine"}, ["it is a record of 'fedavg', not of 'mine'"]),
        ({"parameters": {"strength": 2.0}}, ["its parameters are not those of submission.toml"]),
        (
            {"federation": {"lr": 0.123}},
            ["its lr, lr_decay, momentum are neither the suite's nor those of submission.toml"],
        ),
    ],
)
def test_a_row_is_what_its_submission_says(record: Record, submission: dict[str, Any], lines: list[str]) -> None:
    assert told(record, DEFENSE.model_copy(update=submission)) == lines


def test_a_learning_rate_that_nobody_named_is_told(record: Record) -> None:
    lucky = changed(record, "federation", lr=0.123)
    assert told(lucky) == ["its cell is none of the suite 'smoke' of this version"]
    assert told(lucky, DEFENSE) == ["its lr, lr_decay, momentum are neither the suite's nor those of submission.toml"]
    assert told(lucky, DEFENSE.model_copy(update={"federation": {"lr": 0.123}})) == []


@pytest.mark.parametrize("evaluation", [None, ATTACK])
def test_rounds_are_nobody_s_to_choose(record: Record, evaluation: Submission | None) -> None:
    longer = changed(record, "federation", rounds=400)
    assert len(told(longer, None, evaluation)) == 1
    assert len(told(longer, DEFENSE, evaluation)) == 1


def test_a_record_of_another_protocol_is_told_so_and_nothing_else(place: Path, record: Record) -> None:
    other = record.model_copy(update={"protocol": "0" * 16, "setting": "0" * 16})
    assert list(problems(place, other, load("smoke"), None)) == [OTHER_PROTOCOL]
    assert list(problems(place, record, load("smoke"), None)) == []


def test_a_default_that_nobody_named_is_a_parameter_too(record: Record) -> None:
    """Else a rival's record with another one would pass, and stand in the way of the honest ones."""
    attack = record.cell.attack
    assert attack is not None
    other = attack.model_copy(update={"parameters": {**attack.parameters, "c": 9.0}})
    (line,) = told(changed(record, attack=other), None, ATTACK)
    assert line == "its attack's parameters are not those of submission.toml"
    defense = record.cell.defense.model_copy(update={"parameters": {"f": 3}})
    (line,) = told(changed(record, defense=defense), DEFENSE)
    assert line == "its parameters are not those of submission.toml"


def test_an_evaluation_has_no_more_attackers_than_the_suite(record: Record) -> None:
    (line,) = told(changed(record, byzantine=0.9), None, ATTACK.model_copy(update={"byzantine": (0.9,)}))
    assert line == "its Byzantine fraction 0.9 is above 0.4, the suite's largest"


def row_of(record: Record, *others: Record, submission: Submission = DEFENSE) -> list[str]:
    """What is told of a submitted row that has these records."""
    salted = submission.model_copy(update={"salt": "ab"})
    mine = [one.model_copy(update={"salt": "ab", "sources": ("0" * 64,)}) for one in (record, *others)]
    places = {Path(f"results/smoke/fedavg/sign_flip/{number}.json"): one for number, one in enumerate(mine)}
    folders = {place.parent: None for place in places}
    return list(row_problems(places, load("smoke"), salted, folders, whole=False))


def test_a_row_is_one_rule(record: Record) -> None:
    assert row_of(record) == []
    other = changed(record, defense=record.cell.defense.model_copy(update={"version": 2}))
    assert row_of(record, other) == ["its defense has 2 versions or choices"]


def test_a_row_claims_privacy_everywhere_or_nowhere(record: Record) -> None:
    claim = PrivacyClaim(epsilon=1.0, delta=1e-6, unit="per upload", source="its paper")
    claiming = record.model_copy(update={"privacy": record.privacy.model_copy(update={"claimed": claim})})
    assert row_of(record, claiming) == ["it claims privacy in some of its cells, and none in others"]


def test_what_a_level_of_a_factor_changes_no_row_has_chosen(record: Record) -> None:
    suite = load("smoke")
    points = {"name": "momentum", "momentum": [suite.federation.momentum, 0.5]}
    attacks = [entry.model_dump() for entry in suite.attack if entry.name == "sign_flip"]
    designed = Suite.model_validate({**suite.model_dump(), "attack": attacks, "factor": [points]})
    level = next(cell for cell in designed.cells(["fedavg"]) if cell.level and cell.byzantine == record.cell.byzantine)
    at_the_level = record.model_copy(update={"cell": level})
    assert list(foreign(at_the_level, designed, DEFENSE, None)) == []
    (line,) = foreign(changed(record, "federation", momentum=0.5), designed, DEFENSE, None)
    assert line == "its lr, lr_decay, momentum are neither the suite's nor those of submission.toml"
