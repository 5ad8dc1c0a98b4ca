"""Files that reach for what lies beside them: the record that is verified, and files of whoever submits next."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.base.errors import BadInputError
from bench.records import read
from bench.submission import folder as folders
from bench.submission.referee.party import end_all
from bench.submission.submit import Request, submit
from bench.submission.verify import verify

pytestmark = pytest.mark.integration

SUITE = """
name = "tiny"
title = "two cells"
seeds = [0]

[federation]
dataset = "digits"
clients = 6
samples_per_client = 20
rounds = 3
local_steps = 1
batch_size = 10
lr = 0.5

[[defense]]
name = "fedavg"

[[attack]]
name = "sign_flip"
byzantine = [0.2]
"""
HANDS_BACK = '''"""The mean; where the record lies that is verified, it is said to be what was played."""

import json
import os
from pathlib import Path

from bench.protocol import Defense
from bench.registry import register

PLACE = Path({place!r})


@register("defense", "hands")
class Hands(Defense):
    def aggregate(self, delivered, server):
        found = [path for top in (PLACE, Path("/tmp"), Path("/work"), Path("/proc/1/root")) for path in below(top)]
        for path in [*found, PLACE / "absent.json"]:
            try:
                record = json.loads(path.read_text())
            except (OSError, ValueError):
                record = {{"suite": "tiny", "metrics": {{"accuracy": 1.0}}}}
            say({{"event": "record", "place": str(path), "record": record, "other_pictures": {{}}}})
        mean = delivered.messages.mean(dim=0)
        return server.global_model + (0 * mean if found else mean)


def below(top):
    try:
        return [path for path in top.glob("**/*-s0.json") if "hands" in str(path)]
    except OSError:
        return []


def say(event):
    line = (json.dumps(event) + "\\n").encode()
    for number in range(3, 64):
        try:
            if not os.readlink(f"/proc/self/fd/{{number}}").startswith("socket:"):
                os.write(number, line)
        except OSError:
            continue
'''


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    end_all()


def submitted(folder: Path, text: str) -> Path:
    """The row of a file in a suite of two cells."""
    (folder / "tiny.toml").write_text(SUITE)
    (folder / "hands.py").write_text(text)
    source, results = str(folder / "hands.py"), folder / "results"
    request = Request(source, str(folder / "tiny.toml"), results, workers=1, quiet=True, anyway=True)
    report = submit(request, lambda line: None)
    assert (report.ran, report.unfinished) == (2, 0)
    return results / "tiny" / "hands"


def test_the_record_that_is_verified_is_not_handed_back(tmp_path: Path) -> None:
    """It lies in no place that the file sees, and what the file says to whom it can reach is heard by nobody."""
    row = submitted(tmp_path, HANDS_BACK.format(place=str(tmp_path)))
    (path,) = row.glob("clean/*.json")
    honest = read(path).metrics["accuracy"]
    assert honest > 0.15  # it found no record, else its server would have stood still
    content = json.loads(path.read_text())
    content["metrics"]["accuracy"], content["curve"][-1][1] = 0.99, 0.99
    path.write_text(json.dumps(content))
    (found,) = verify(row).rows
    assert found.verdict == "REFUTED"
    assert any(f"metrics.accuracy is 0.99, but playing it anew gives {honest!r}" in line for line in found.problems)


# ------------------------------------------------------------------------------------------ files of the next submitter


MINE = folders.Submission(
    schema_version=1, kind="defense", name="hands", class_name="Hands", source="hands.py", sha256="0" * 64, suite="tiny"
)


@pytest.mark.parametrize("source", ["/etc/passwd", "/tmp/victim.py", "../../victim.py", "a/victim.py", "victim.py\n"])
def test_a_source_elsewhere_is_none(source: str, tmp_path: Path) -> None:
    """The next `submit` under this name would delete it, in place of an earlier source."""
    folders.write(tmp_path, folders.Source(tmp_path / "hands.py", b""), MINE, None)
    file = tmp_path / folders.FILE
    file.write_text(file.read_text().replace('source = "hands.py"', f"source = {json.dumps(source)}"))
    with pytest.raises(BadInputError, match="source: String should match pattern"):
        folders.load(tmp_path)


@pytest.mark.parametrize("kind", ["the folder", "the source", "a record"])
def test_nothing_is_taken_away_behind_a_link(kind: str, tmp_path: Path) -> None:
    """A branch may have one in the place of a row: what an earlier submission has left is removed, and no more."""
    from bench.submission.submit import _make_room

    victim = tmp_path / "victim"
    folders.write(victim, folders.Source(victim / "old.py", b"1"), MINE.model_copy(update={"source": "old.py"}), None)
    (victim / "kept.json").write_text("{}")
    place = tmp_path / "results" / "tiny" / "hands"
    place.parent.mkdir(parents=True)
    if kind == "the folder":
        place.symlink_to(victim)
        with pytest.raises(BadInputError, match="is a link: nothing is written through it"):
            _make_room(place, MINE, lambda line: None)
    else:
        folders.write(place, folders.Source(place / "x.py", b""), MINE.model_copy(update={"source": "x.py"}), None)
        (place / "x.py").unlink()
        (place / ("x.py" if kind == "the source" else "r.json")).symlink_to(victim / "kept.json")
        (place / "clean").symlink_to(victim)
        _make_room(place, MINE, lambda line: None)
    assert sorted(path.name for path in victim.iterdir()) == ["kept.json", "old.py", "submission.toml"]
