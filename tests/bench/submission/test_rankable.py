"""What may be ranked: attacks whose contract holds, and code that plays where its walls are."""

import json
import shutil
from pathlib import Path

import pytest

from bench.base.errors import BadInputError
from bench.records import World
from bench.records.submissions import Examination, Finding
from bench.runs import jobs
from bench.submission import folder as folders
from bench.submission.submit import Request, submit
from bench.submission.verify import verify

PUBLISHED = Path(__file__).parents[3] / "results" / "smoke" / "fedavg"
LOUD = folders.Submission(
    schema_version=1, kind="attack", name="sign_flip", class_name="F", source="f.py", suite="smoke",
    sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", byzantine=(0.4,),
)  # fmt: skip


@pytest.mark.parametrize("published", ["nothing", "another source", "broken", "kept"])
def test_an_attack_that_breaks_its_contract_is_a_problem_of_the_row(published: str, tmp_path: Path) -> None:
    """Also where its contract.json says so itself: on a defense that is a mark, here it would rank somebody else."""
    row = Path(shutil.copytree(PUBLISHED, tmp_path / "results" / "smoke" / "fedavg"))
    place = row / "sign_flip"
    (place / "f.py").write_text("")
    plain = {**LOUD.model_dump(mode="json", exclude={"paper", "reported"})}
    head = "".join(f"{key} = {json.dumps(value)}\n" for key, value in plain.items() if not isinstance(value, dict))
    (place / folders.FILE).write_text(head)
    finding = Finding(rule="determinism", verdict="failed" if published == "broken" else "passed", sentence="it is")
    digest = "0" * 64 if published == "another source" else LOUD.sha256
    found = Examination(sha256=digest, network="none", findings=[finding])
    if published != "nothing":
        (place / folders.EXAMINATION).write_text(found.model_dump_json())
    problems = verify(row, sample=0).rows[0].problems
    words = {
        "nothing": "attack sign_flip was not examined",
        "another source": "attack sign_flip was not examined",
        "broken": "attack sign_flip breaks the contract (determinism): it decides nobody's rank",
    }
    told = [line for line in problems if "examined" in line or "contract" in line]
    assert [line.startswith(words.get(published, "")) for line in told] == [True] * (published != "kept")


def test_an_attack_has_no_more_attackers_than_the_suite(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text('@register("attack", "mine")\nclass Mine: pass\n')
    request = Request(str(file), "smoke", tmp_path, against=("krum",), byzantine=(0.9,))
    with pytest.raises(BadInputError, match=r"--byzantine is 0\.9, but the suite 'smoke' has 0\.4 at most"):
        submit(request)


def test_submitted_code_goes_to_no_cluster(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="submitted code plays on this machine alone, behind its walls"):
        jobs.run_suite("smoke", results=tmp_path, ray="local", world=World("ab", ("0" * 64,)))
