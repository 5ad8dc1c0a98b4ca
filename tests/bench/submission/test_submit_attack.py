"""`submit` of an attack: its column beside the shipped attacks, what the board makes of it, and what `verify` says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import registry, suite
from bench.base.ownfile import OwnFile
from bench.records import Record, Store, protocol_hash, read
from bench.runs import jobs
from bench.submission import folder as folders
from bench.submission import sandbox
from bench.submission.submit import Request, reported, submit
from bench.submission.verify import Row, verify
from leaderboards.board import Leaderboard
from leaderboards.formats import FORMATS

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
PHOCAS = HERE.parents[2] / "docs" / "examples" / "phocas.py"
ROWS = """
[[defense]]
name = "median"

[[defense]]
name = "multi_krum"
label = "krum, many"

[[attack]]
name = "sign_flip"
byzantine = [0.2]

[[attack]]
name = "dlg"
starts = 1
evaluations = 4
"""
GUESS = '''"""Guesses the mean image."""

import torch

from bench.registry import register
from bench.threat import PrivacyAttack, Reconstruction, View


@register("attack", "guess")
class Guess(PrivacyAttack):
    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        targets, batch = len(view.targets), view.facts.batch_size
        images = view.mean_image.expand(targets, batch, *view.image_shape).clone()
        labels = torch.zeros(targets, batch, dtype=torch.long)
        return Reconstruction(images, labels, torch.zeros(targets), [0.0], view.rounds[-1].estimate.clone())
'''
MATCHES = '''"""Looks for images whose gradient is what a client has sent, step by step along the sign of the slope."""

import torch

from bench.attacking.inversion import inferred_labels, matcher, observations
from bench.models.base import one_hot
from bench.registry import register
from bench.threat import PrivacyAttack, Reconstruction, View


@register("attack", "matches")
class Matches(PrivacyAttack):
    steps: int = 40
    length: float = 0.05

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        estimates = self.estimates(view)
        seen = observations(view, estimates)
        labels = inferred_labels(view, seen[-1])
        matches = [matcher(view.facts.model, one, torch.arange(len(labels)), view.facts) for one in seen]
        known = one_hot(labels, view.facts.model.num_classes, torch.float64)
        images = torch.randn(*labels.shape, *view.image_shape, generator=generator, dtype=torch.float64)
        losses, trace = torch.zeros(len(labels), dtype=torch.float64), []
        for _ in range(self.steps):
            found = [match(images, known) for match in matches]
            losses = sum(loss for loss, _ in found)
            images = images - self.length * sum(slope for _, (slope, _) in found).sign()
            trace.append(float(losses.median()))
        return Reconstruction(images, labels, losses, trace, estimates[-1])
'''
SUBMIT = ("submit", "loud.py", "--suite", "tiny.toml", "--workers", "1")
AGAINST = ("--against", "median", "--byzantine", "0.2", "--set", "times=30")

Bench = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, tiny_suite: Callable[..., str], loud: str) -> Path:
    (tmp_path / "tiny.toml").write_text(tiny_suite(ROWS, assumed_byzantine=0.2))
    (tmp_path / "loud.py").write_text(loud)
    (tmp_path / "guess.py").write_text(GUESS)
    (tmp_path / "phocas.py").write_bytes(PHOCAS.read_bytes())
    return tmp_path


def board_of(folder: Path) -> Leaderboard:
    return jobs.make_leaderboard(suite.load(str(folder / "tiny.toml")), Store(folder / "results", "tiny"))


def table(board: Leaderboard, name: str) -> pd.DataFrame:
    return next(one.text for one in board.boards if one.name == name).set_index("defense")


def test_from_file_to_column_beside_the_shipped_attacks(bench: Bench, folder: Path, loud: str) -> None:
    assert bench("run", "--suite", "tiny.toml", "--workers", "1", "--quiet", "--results", "results").code == 0
    board = (folder / "results" / "tiny" / "leaderboard.md").read_bytes()
    (clean,) = (folder / "results" / "tiny" / "median" / "clean").glob("*.json")
    before = clean.read_bytes()
    done = bench(*SUBMIT, *AGAINST)
    assert done.code == 0, done.out + done.err
    assert "attack 'loud' (Loud), sha256" in done.out
    assert "  ok      determinism: " in done.out
    assert "  ok      nothing but its view: " in done.out
    assert clean.read_bytes() == before  # it is the row's own, and not of the attack's world
    row = folder / "results" / "tiny" / "median"
    examination = folders.examination(row / "loud")
    assert examination is not None
    assert examination.broken == []
    assert (row / "loud" / "loud.py").read_text() == loud

    robustness = table(board_of(folder), "robustness")
    assert list(robustness.columns[2:]) == ["clean", "loud b=0.2", "sign_flip b=0.2"]
    assert robustness.loc["krum, many", "loud b=0.2"] == "–"
    assert robustness.loc["krum, many", "worst case"] != "–"
    assert (robustness["rank"].astype(int) > 0).all()
    text = FORMATS["md"](board_of(folder))
    assert "evaluation: attack loud" in text
    assert "of 1 seeds" not in text  # nobody else is asked for that column
    assert (folder / "results" / "tiny" / "leaderboard.md").read_bytes() == board  # published ones are others' to make


@pytest.mark.usefixtures("seen_once")
def test_a_broken_attack_runs_nowhere(bench: Bench, folder: Path, loud: str) -> None:
    (folder / "loud.py").write_text(loud.replace("-self.times * view.own", "-self.times * view.own[0]"))
    for more in ((), ("--anyway",)):
        done = bench(*SUBMIT, *AGAINST, *more)
        assert done.code == 1
        assert "BROKEN  shapes and types: forge" in done.out
        assert "an attack that breaks the contract decides nobody's rank" in done.out
        assert not (folder / "results").exists()


@pytest.mark.slow
def test_an_attack_alone_is_only_checked(bench: Bench, folder: Path) -> None:
    done = bench(*SUBMIT, "--check-only", "--json")
    found = json.loads(done.out)
    assert (done.code, found["kind"], found["ran"]) == (0, "attack", 0)
    assert {finding["verdict"] for finding in found["findings"]} == {"passed"}


@pytest.mark.slow
def test_the_template_is_an_attack_that_keeps_the_contract(bench: Bench, folder: Path) -> None:
    assert bench("new-attack", "louder").code == 0
    done = bench("submit", "louder.py", "--check-only", "--json")
    assert done.code == 0
    assert {finding["verdict"] for finding in json.loads(done.out)["findings"]} == {"passed"}


@pytest.mark.slow
def test_a_submitted_defense_may_be_attacked_too(bench: Bench, folder: Path) -> None:
    assert bench("submit", "phocas.py", "--suite", "tiny.toml", "--workers", "1", "--quiet").code == 0
    done = bench(*SUBMIT, "--against", "phocas", "--byzantine", "0.2", "--quiet")
    assert done.code == 0, done.err
    row = folder / "results" / "tiny" / "phocas"
    assert {path.parent.name for path in row.glob("*/*.json")} == {"clean", "dlg", "loud", "sign_flip"}
    robustness = table(board_of(folder), "robustness")
    assert robustness.loc["phocas", "loud b=0.2"] != "–"
    (found,) = verify(row, sample=8).rows
    assert (found.problems, found.verdict, found.replayed) == ([], "verified", 4)


@pytest.mark.slow
def test_a_label_with_other_signs_than_a_folder_has(bench: Bench, folder: Path) -> None:
    done = bench(*SUBMIT, "--against", "krum, many", "--byzantine", "0.2", "--quiet")
    assert done.code == 0, done.err
    row = folder / "results" / "tiny" / "krum-many"
    submission = reported(row / "loud")
    assert submission is not None
    assert submission.against == ("krum, many",)
    submissions = table(board_of(folder), "submissions")
    assert list(submissions.index) == ["krum, many"]


@pytest.mark.slow
def test_an_inversion_of_somebody_else_s(bench: Bench, folder: Path) -> None:
    done = bench("submit", "guess.py", "--suite", "tiny.toml", "--workers", "1", "--quiet", "--against", "median")
    assert done.code == 0, done.out + done.err
    privacy = table(board_of(folder), "privacy")
    assert privacy.loc["median", "guess"].startswith("0%")


def test_an_inversion_gives_the_same_record_whole_with_the_referee_and_without(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file to its record: submitted, then loaded as a file of one's own, which plays in the engine's process."""
    (folder / "matches.py").write_text(MATCHES)
    done = bench("submit", "matches.py", "--suite", "tiny.toml", "--workers", "1", "--quiet", "--against", "median")
    assert done.code == 0, done.out + done.err
    row = folder / "results" / "tiny" / "median"
    (path,) = (row / "matches").glob("*-s0.json")
    theirs, picture = read(path), path.with_suffix(".png")

    mine = OwnFile(str(folder / "matches.py"), MATCHES.encode())
    monkeypatch.setattr(registry, "loaded_files", lambda: (mine,))
    played = {"do": "replay", "records": [str(path)], "neighbours": [0], "data_root": None, "recovered_psnr": 20.0}
    heard = sandbox.call(played, [], sandbox.Bounds(120, 6144))
    monkeypatch.undo()
    (event,) = heard.all("record")
    here = Record.model_validate(event["record"])
    assert (theirs.status, here.status, event["other_pictures"]) == ("ok", "ok", {})
    assert (theirs.files, picture.is_file()) == ({"png": picture.name}, True)
    assert len(theirs.psnr) == len(theirs.control_psnr) == theirs.metrics["images"]
    assert len(theirs.trace) > 20
    assert theirs.trace[-1] < theirs.trace[0]
    times = {"finished_at": True, "cost": {"round_seconds", "total_seconds"}}
    assert here.model_dump(exclude=times) == theirs.model_dump(exclude=times)

    found = only(row, sample=9)
    assert (found.problems, found.replayed, len(found.same)) == ([], 2, 2)
    assert found.verdict == "verified"


@pytest.mark.usefixtures("inspected_here")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "an attack needs --against ROW"),
        (("--against", "absent"), "no row in suite 'tiny' named 'absent'"),
        (("--against", "../median"), "no row in suite 'tiny' named '../median'"),
        (("--against", "median"), "attack 'loud' needs --byzantine B, a fraction of the clients"),
        (("--against", "median", "--byzantine", "1.5"), "--byzantine is 1.5, but must be above 0 and at most 1"),
        (("--against", "median", "--byzantine", "0.2", "--set", "tims=3"), "no parameter to --set named 'tims'"),
        (("--against", "median", "--byzantine", "0.2", "--set", "times=loud"), "times: Input should be a valid number"),
    ],
)
def test_bad_input_is_one_line(bench: Bench, folder: Path, more: tuple[str, ...], words: str) -> None:
    done = bench(*SUBMIT, *more)
    assert done.code == 2
    assert words in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert not (folder / "results").exists()


@pytest.mark.slow
def test_two_attacks_of_one_name_do_not_share_a_column(bench: Bench, folder: Path, loud: str) -> None:
    assert bench(*SUBMIT, *AGAINST, "--quiet").code == 0
    (folder / "loud.py").write_text(loud + "\n# another one\n")
    done = bench(*SUBMIT, "--against", "krum, many", "--byzantine", "0.2")
    assert done.code == 2
    assert "attack name 'loud' is taken by another one in" in done.err


# -------------------------------------------------------------------------------------------------------- verifying


@pytest.fixture(scope="module")
def _attacked(tmp_path_factory: pytest.TempPathFactory, loud: str) -> Path:
    """The published row of smoke with an attack of somebody else's, really submitted."""
    place = tmp_path_factory.mktemp("attacked")
    shutil.copytree(HERE.parents[2] / "results" / "smoke" / "krum", place / "results" / "smoke" / "krum")
    (place / "loud.py").write_text(loud)
    request = Request(
        str(place / "loud.py"), "smoke", place / "results", against=("krum",), byzantine=(0.2,), workers=1, quiet=True
    )
    report = submit(request, lambda line: None)
    assert (report.ran, report.unfinished, report.failed) == (1, 0, False)
    return place / "results" / "smoke" / "krum"


@pytest.fixture
def attacked(_attacked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(_attacked, tmp_path / "results" / "smoke" / "krum"))


def record_of(row: Path) -> Path:
    (path,) = (row / "loud").glob("*-s0.json")
    return path


def only(path: Path, **given: Any) -> Row:
    (found,) = verify(path, **given).rows
    return found


@pytest.mark.slow
def test_an_evaluation_is_verified_with_its_contract(attacked: Path) -> None:
    found = only(attacked, sample=2, contract=True)
    assert found.problems == []
    assert (found.replayed, len(found.same)) == (2, 2)
    assert found.verdict in ("verified", "in distribution")  # the second where tests run under another arithmetic


@pytest.mark.slow
def test_a_forged_evaluation_is_caught_by_playing_it_anew(attacked: Path) -> None:
    """Somebody wants a rival's row to rank last: the accuracy under his attack is lowered by hand."""
    path = record_of(attacked)
    content = json.loads(path.read_text())
    content["metrics"]["accuracy"] = 0.01
    content["curve"][-1][1] = 0.01
    path.write_text(json.dumps(content))
    assert only(attacked, sample=0).problems == []
    (problem,) = only(path).problems
    assert "metrics.accuracy is 0.01, but playing it anew gives" in problem


def forge(path: Path, **cell: Any) -> None:
    """Another cell, with the hashes and the name that go with it."""
    record = read(path)
    changed = record.cell.model_copy(update=cell)
    protocol = protocol_hash(changed, record.data_digest, world=record.world)
    forged = record.model_copy(update={"cell": changed, "protocol": protocol})
    path.unlink()
    path.with_name(f"{forged.key}.json").write_text(forged.model_dump_json())


@pytest.mark.slow
def test_an_evaluation_in_another_federation_is_caught(attacked: Path) -> None:
    path = record_of(attacked)
    forge(path, federation=read(path).cell.federation.model_copy(update={"rounds": 1}))
    (problem,) = only(attacked, sample=0).problems
    assert "its defense or its federation is none of the suite 'smoke'" in problem


@pytest.mark.slow
def test_an_evaluation_of_other_parameters_or_fractions_is_caught(attacked: Path) -> None:
    path = record_of(attacked)
    forge(path, byzantine=0.45)
    problems = only(attacked, sample=0).problems
    assert any("its Byzantine fraction 0.45 is none of submission.toml" in problem for problem in problems), problems


@pytest.mark.slow
def test_an_attack_that_was_changed_is_caught(attacked: Path) -> None:
    with (attacked / "loud" / "loud.py").open("a") as file:
        file.write("# louder\n")
    (problem,) = only(attacked, sample=0).problems
    assert "is not the source that was submitted" in problem


@pytest.mark.slow
def test_an_attack_that_breaks_the_contract_is_a_problem_of_the_row_that_it_is_run_against(
    attacked: Path, loud: str, sign_anew: Callable[[Path], None]
) -> None:
    place = attacked / "loud"
    source = place / "loud.py"
    source.write_text(loud.replace("-self.times * view.own", "-self.times * view.own[0]"))
    sign_anew(source)
    problems = only(attacked, sample=0, contract=True).problems
    assert any("attack loud breaks the contract" in problem for problem in problems), problems
