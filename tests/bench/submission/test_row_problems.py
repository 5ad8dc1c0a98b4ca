"""What a row's records are together: of the suite's seeds, and where submitted of all of them and of all cells."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import BadInputError
from bench.privacy.claims import PrivacyClaim
from bench.records import Record, read, record_key
from bench.submission import folder as folders
from bench.submission.consistency import row_problems
from bench.submission.folder import Submission
from bench.submission.verify import verify
from bench.suite import Cell, Suite, load

PUBLISHED = Path(__file__).parents[3] / "results" / "smoke" / "fedavg"
SUBMITTED = Submission(
    schema_version=1,
    kind="defense",
    name="fedavg",
    class_name="F",
    source="f.py",
    sha256="0" * 64,
    suite="smoke",
    salt="ab" * 16,
)


def suite(*seeds: int) -> Suite:
    return load("smoke").with_seeds(seeds)


def cells() -> list[Cell]:
    """Of the row fedavg: the clean run, the attacked one, two inversions."""
    return load("smoke").cells(defenses=["fedavg"])


@pytest.fixture(scope="module")
def template() -> Record:
    return read(next(PUBLISHED.glob("clean/*.json")))


def stored(folder: Path, template: Record, cells: Iterable[Cell], seeds: Iterable[int]) -> dict[Path, Record]:
    """Files of these records below the folder, and the records."""
    found = {}
    for cell in cells:
        for seed in seeds:
            path = folder / cell.attack_name / f"{record_key(cell, seed)}.json"
            found[path] = template.model_copy(update={"cell": cell, "seed": seed})
    return found


def found(
    records: dict[Path, Record], *seeds: int, submission: Submission | None = None, whole: bool = True
) -> list[str]:
    if submission is not None:
        records = {path: played(record, submission) for path, record in records.items()}
    return list(row_problems(records, suite(*seeds), submission, {}, whole))


def played(record: Record, *submissions: Submission) -> Record:
    """The record as a run of these submissions makes it."""
    sources = tuple(sorted(one.sha256 for one in submissions))
    return record.model_copy(update={"salt": submissions[-1].salt, "sources": sources})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sources": ()}, "it is no record of the files that submission.toml names"),
        ({"sources": ("1" * 64,)}, "it is no record of the files that submission.toml names"),
        ({"salt": ""}, "its salt is not that of submission.toml"),
        ({"salt": "cd" * 16}, "its salt is not that of submission.toml"),
    ],
)
def test_a_record_of_another_source_or_world_is_a_problem(
    tmp_path: Path, template: Record, changes: dict[str, object], words: str
) -> None:
    records = stored(tmp_path, template, cells()[:1], (0,))
    other = {path: played(record, SUBMITTED).model_copy(update=changes) for path, record in records.items()}
    (problem,) = row_problems(other, suite(0), SUBMITTED, {}, False)
    assert words in problem


def test_a_shipped_rows_records_are_of_the_public_world(tmp_path: Path, template: Record) -> None:
    records = stored(tmp_path, template, cells()[:1], (0,))
    salted = {path: record.model_copy(update={"salt": "ab"}) for path, record in records.items()}
    (problem,) = row_problems(salted, suite(0), None, {}, False)
    assert "nothing was submitted here" in problem


def test_a_row_of_the_suites_seeds_is_as_it_should_be(tmp_path: Path, template: Record) -> None:
    records = stored(tmp_path, template, cells(), (0, 1))
    assert found(records, 0, 1) == found(records, 0, 1, submission=SUBMITTED) == []


@pytest.mark.parametrize("submission", [None, SUBMITTED])
def test_extra_seeds_are_a_problem_of_every_row(
    tmp_path: Path, template: Record, submission: Submission | None
) -> None:
    records = stored(tmp_path, template, cells(), (0, 1)) | stored(tmp_path, template, cells()[:1], (4, 12))
    key = cells()[0].hash
    assert found(records, 0, 1, submission=submission) == [
        f"clean/{key}: seeds 4, 12, but the suite 'smoke' has seeds 0, 1 alone"
    ]


@pytest.mark.parametrize("submission", [None, SUBMITTED])
def test_missing_seeds_are_a_problem_of_every_row(
    tmp_path: Path, template: Record, submission: Submission | None
) -> None:
    records = stored(tmp_path, template, cells()[1:], (0, 1)) | stored(tmp_path, template, cells()[:1], (1,))
    told = [f"clean/{cells()[0].hash}: seed 0 of the suite 'smoke' missing"]
    assert found(records, 0, 1, submission=submission) == told


def test_a_shipped_row_without_the_attack_that_breaks_it_is_told(tmp_path: Path, template: Record) -> None:
    records = stored(tmp_path, template, [cell for cell in cells() if cell.attack_name != "sign_flip"], (0,))
    told = ["no records of sign_flip b=0.4, which 'fedavg' has in the suite 'smoke'"]
    assert found(records, 0) == told


def test_a_submission_without_the_attack_that_breaks_it_is_told(tmp_path: Path, template: Record) -> None:
    records = stored(tmp_path, template, [cell for cell in cells() if cell.attack_name != "sign_flip"], (0,))
    told = ["sign_flip: 0 of the 1 cells that a row of the suite 'smoke' has"]
    assert found(records, 0, submission=SUBMITTED) == told


@pytest.mark.parametrize("claims", [True, False])
def test_a_submission_that_claims_privacy_without_its_audits_is_told(
    claims: bool, tmp_path: Path, template: Record
) -> None:
    """A claim that nobody audits is one that nothing can break."""
    stated = PrivacyClaim(epsilon=0.1, delta=1e-6, unit="per upload", source="its paper") if claims else None
    claiming = template.model_copy(update={"privacy": template.privacy.model_copy(update={"claimed": stated})})
    told = ["audit: 0 of the 1 cells that a row of the suite 'smoke' has"] if claims else []
    assert found(stored(tmp_path, claiming, cells(), (0,)), 0, submission=SUBMITTED) == told
    audit = next(cell for cell in load("smoke").cells() if cell.kind == "audit")
    audit = audit.model_copy(update={"label": "fedavg", "defense": cells()[0].defense})
    assert found(stored(tmp_path, claiming, [*cells(), audit], (0,)), 0, submission=SUBMITTED) == []


def test_one_record_alone_is_not_asked_for_the_others(tmp_path: Path, template: Record) -> None:
    records = stored(tmp_path, template, cells(), (0, 1))
    (first, record), *_ = records.items()
    assert found({first: record}, 0, 1, 2, submission=SUBMITTED, whole=False) == []


def test_an_attack_of_somebody_elses_has_all_seeds_as_well(tmp_path: Path, template: Record) -> None:
    records = stored(tmp_path, template, cells()[:-1], (0, 1)) | {
        path: played(record, SUBMITTED) for path, record in stored(tmp_path, template, cells()[-1:], (0,)).items()
    }
    evaluation = {tmp_path / cells()[-1].attack_name: SUBMITTED}
    (problem,) = row_problems(records, suite(0, 1), None, evaluation)
    assert problem.endswith("seed 1 of the suite 'smoke' missing")


@pytest.mark.parametrize(
    ("federation", "told"),
    [({"lr": 1.0, "momentum": 0.5}, []), ({"lr": 1.0, "rounds": 500, "batch_size": 1}, ["batch_size, rounds"])],
)
def test_a_submission_chooses_no_more_of_the_federation_than_a_row_may(
    tmp_path: Path, template: Record, federation: dict[str, Any], told: list[str]
) -> None:
    records = stored(tmp_path, template, cells(), (0,))
    mine = SUBMITTED.model_copy(update={"federation": federation})
    expected = [
        f"submission.toml changes {names} of the federation; a row may choose lr, lr_decay, momentum alone"
        for names in told
    ]
    assert found(records, 0, submission=mine) == expected


def test_verify_refuses_a_row_with_a_seed_that_the_suite_does_not_name(tmp_path: Path) -> None:
    row = Path(shutil.copytree(PUBLISHED, tmp_path / "results" / "smoke" / "fedavg"))
    (path,) = (row / "clean").glob("*.json")
    content = json.loads(path.read_text())
    lucky = path.with_name(path.name.replace("-s0", "-s4"))
    lucky.write_text(json.dumps({**content, "seed": 4}))
    (checked,) = verify(row, sample=0).rows
    assert any("seed 4, but the suite 'smoke' has seed 0 alone" in problem for problem in checked.problems)
    assert checked.verdict == "NOT VERIFIED"


@pytest.mark.parametrize("name", ["![x](http://e)", "=1+1", "Krum", "a b", "../up", ""])
def test_a_submission_has_a_name_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    text = SUBMITTED.model_copy(update={"name": "krum_2"}).model_dump(mode="json", exclude={"paper", "reported"})
    lines = [f"{key} = {folders.toml(value)}" for key, value in text.items() if value not in ({}, [])]
    (tmp_path / folders.FILE).write_text("\n".join(lines))
    loaded = folders.load(tmp_path)
    assert loaded is not None
    assert loaded.name == "krum_2"
    (tmp_path / folders.FILE).write_text("\n".join(lines).replace('"krum_2"', folders.toml(name)))
    with pytest.raises(BadInputError, match="name: String should match pattern"):
        folders.load(tmp_path)
