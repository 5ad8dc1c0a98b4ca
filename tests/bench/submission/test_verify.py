"""`verify`: what really was submitted is verified; what was forged, changed or lost is not, and it is said why."""

import json
import math
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from bench.base.errors import BadInputError
from bench.records import protocol_hash, read, verified
from bench.records.submissions import Examination, Finding
from bench.submission import child, sandbox
from bench.submission import folder as folders
from bench.submission.replay import Row
from bench.submission.submit import Request, submit
from bench.submission.verify import verify

PUBLISHED = Path(__file__).parents[3] / "results" / "smoke" / "fedavg"
PHOCAS = Path(__file__).parents[3] / "docs" / "examples" / "phocas.py"

Bench = Callable[..., Any]


@pytest.fixture(scope="module")
def _submitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder in which phocas was really submitted to the suite smoke."""
    results = tmp_path_factory.mktemp("submitted") / "results"
    report = submit(Request(str(PHOCAS), "smoke", results, quiet=True, workers=1), lambda line: None)
    assert (report.ran, report.unfinished, report.failed) == (4, 0, False)
    return results


@pytest.fixture
def row(_submitted: Path, tmp_path: Path) -> Path:
    """The folder of phocas in a copy of it."""
    return Path(shutil.copytree(_submitted, tmp_path / "results")) / "smoke" / "phocas"


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """The folder of a row that the suite smoke ships, in a copy of what is published."""
    return Path(shutil.copytree(PUBLISHED, tmp_path / "results" / "smoke" / "fedavg"))


def record_of(row: Path, attack: str) -> Path:
    (path,) = (row / attack).glob("*.json")
    return path


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    for name, value in changes.items():
        content[name] = value
    path.write_text(json.dumps(content))


def only(path: Path, **given: Any) -> Row:
    (found,) = verify(path, **given).rows
    return found


@pytest.mark.integration
def test_what_was_submitted_is_verified_bit_for_bit(row: Path) -> None:
    found = only(row, sample=4)
    assert found.problems == []
    assert (found.verdict, found.replayed, len(found.same)) == ("verified", 4, 4)


def test_a_forged_accuracy_is_caught_by_playing_it_anew(bench: Bench, row: Path) -> None:
    """The forger is careful: the curve ends at the new accuracy, and every hash is that of its content."""
    path = record_of(row, "sign_flip")
    record = read(path)
    better = round(record.metrics["accuracy"] + 0.2, 4)
    edit(
        path, metrics={**record.metrics, "accuracy": better}, curve=[*record.curve[:-1], (record.curve[-1][0], better)]
    )
    assert only(row, sample=0).problems == []
    done = bench("verify", str(path))
    assert done.code == 1
    assert f"metrics.accuracy is {better!r}, but playing it anew gives {record.metrics['accuracy']!r}" in done.out
    assert "under the same arithmetic" in done.out
    assert "REFUTED" in done.out


def test_a_picture_that_was_painted_is_caught(row: Path) -> None:
    from PIL import Image

    path = record_of(row, "dlg")
    (picture,) = path.parent.glob("*.png")
    Image.new("RGB", (40, 40)).save(picture)
    found = only(path)
    assert f"{path.name}: its picture {picture.name} is not what its cell gives" in found.problems
    assert found.verdict == "NOT VERIFIED"


def test_a_picture_that_moves_is_caught(row: Path) -> None:
    """Its first frame is what the cell gives; browsers show the others too."""
    from PIL import Image

    path = record_of(row, "dlg")
    (picture,) = path.parent.glob("*.png")
    first = Image.open(picture).convert("RGB")
    first.save(picture, save_all=True, append_images=[Image.new("RGB", first.size)], duration=[10, 10**6])
    assert Image.open(picture).convert("RGB").tobytes() == first.tobytes()
    assert f"{path.name}: its picture {picture.name} is not what its cell gives" in only(path).problems


def test_a_picture_of_another_shape_is_another_one(tmp_path: Path) -> None:
    """As many pixels, all the same: boards cut it into images by its height."""
    from PIL import Image

    high, wide = (tmp_path / name for name in ("high.png", "wide.png"))
    Image.new("RGB", (10, 20), "white").save(high)
    Image.new("RGB", (20, 10), "white").save(wide)
    old: Any = SimpleNamespace(files={"png": wide.name, "npz": high.name})
    found = child._other_pictures(tmp_path / "record.json", old, {".png": high.read_bytes()})
    assert found == {wide.name: math.inf, high.name: math.inf}


def test_scores_image_by_image_that_were_raised_are_caught(row: Path) -> None:
    """Boards draw them; the mean of all stays what it was."""
    path = record_of(row, "dlg")
    record = read(path)
    edit(path, psnr=[round(score + 5, 2) for score in record.psnr])
    (problem,) = only(path, sample=0).problems
    assert f"its psnr is {record.metrics['psnr']:.4f}, but not in the mean of its 4 images" in problem
    order = sorted(record.psnr)
    edit(path, psnr=[order[0] - 5, *order[1:-1], order[-1] + 5])
    assert only(path, sample=0).problems == []
    assert any("psnr.0 is" in problem for problem in only(path).problems)


def test_images_of_another_processor_are_held_to_what_rounding_does(row: Path) -> None:
    """Who names another version is judged in distribution; a picture and its scores are none of chance where it is."""
    from PIL import Image

    path = record_of(row, "dlg")
    record = read(path)
    edit(path, environment={**record.environment.model_dump(), "torch": "9.9"})
    assert only(path).problems == []
    order = sorted(record.psnr)
    edit(path, psnr=[order[0] - 5, *order[1:-1], order[-1] + 5])
    (picture,) = path.parent.glob("*.png")
    Image.new("RGB", Image.open(picture).size).save(picture)
    assert only(path).problems == [
        f"{path.name}: its picture {picture.name} is not what its cell gives",
        f"{path.name}: its psnr, image by image, is not what its cell gives",
    ]


def test_a_time_that_no_machine_takes_is_caught(row: Path) -> None:
    path = record_of(row, "clean")
    content = json.loads(path.read_text())
    assert only(path).problems == []
    edit(path, cost={**content["cost"], "round_seconds": content["cost"]["round_seconds"] / 1e4})
    (problem,) = only(path).problems
    assert problem.startswith("its rounds take ")
    assert problem.endswith(" times as long here as they are said to have taken")


def test_a_record_of_a_gpu_is_not_played_anew_and_so_not_verified(row: Path) -> None:
    path = record_of(row, "sign_flip")
    edit(path, environment={**read(path).environment.model_dump(), "device": "cuda: NVIDIA H200"})
    found = only(path)
    assert (found.problems, found.replayed, found.verdict) == ([], 0, "cannot tell")
    assert found.notes == [f"{path.name}: made on cuda: NVIDIA H200, whose noise a CPU does not draw; not played anew"]


def test_one_record_of_a_gpu_keeps_its_whole_row_from_verified(
    row: Path, played: Callable[..., list[list[int]]]
) -> None:
    """Whatever the others are: nobody has looked at its numbers."""
    played(lambda published, steps: published, as_published=True)
    path = record_of(row, "sign_flip")
    edit(path, environment={**read(path).environment.model_dump(), "device": "cuda: NVIDIA H200"})
    found = only(row, sample=9)
    assert (found.problems, found.replayed, len(found.same), found.verdict) == ([], 3, 3, "cannot tell")
    assert found.notes[0].startswith(f"{path.name}: made on cuda: NVIDIA H200")
    assert found.notes[1] == "made on several devices: 3 on cpu, 1 on cuda: NVIDIA H200"


def of_another_processor(path: Path, **metrics: float) -> None:
    """Make it a record of another machine, of other last digits, with these metrics; its curve ends at its accuracy."""
    record = read(path)
    found = {**record.metrics, "loss": record.metrics["loss"] * (1 + 1e-6), **metrics}
    curve = [*record.curve[:-1], (record.curve[-1][0], round(found["accuracy"], 4))]
    there = {**record.environment.model_dump(), "cpu": "another", "arithmetic": "native"}
    edit(path, environment=there, metrics=found, curve=curve)


def test_a_record_of_another_processor_holds_in_distribution_and_a_forged_one_is_refuted(
    bench: Bench, shipped: Path
) -> None:
    """Really played: two points more, where rounding changes nothing, are refuted; the last digits are not."""
    path = record_of(shipped, "clean")
    accuracy = read(path).metrics["accuracy"]
    of_another_processor(path)
    found = only(path)
    assert (found.problems, found.verdict, found.counts["in_distribution"]) == ([], "in distribution", 1)
    assert found.same == set()
    (note,) = found.notes
    assert note.startswith("1 of its 1 records are of another arithmetic, processor or version than this one (native)")
    of_another_processor(path, accuracy=accuracy + 0.02)
    done = bench("verify", str(path))
    assert done.code == 1
    assert "REFUTED" in done.out
    (told,) = [line for line in done.out.splitlines() if "refuted in distribution: " in line]
    assert "metrics.accuracy is 0." in told  # itself, or how far it is above what was played


@pytest.mark.parametrize("claim", [{"arithmetic": "native", "cpu": "another"}, {"arithmetic": ""}, {"torch": "9.9"}])
def test_a_row_with_one_record_that_nobody_holds_to_its_bits_is_not_verified(
    shipped: Path, played: Callable[..., list[list[int]]], claim: dict[str, str]
) -> None:
    """Who may say of a record that it is another machine's chooses the weaker test for it."""
    played(lambda published, steps: published, as_published=True)
    path = record_of(shipped, "clean")
    whole = only(shipped, sample=9)
    assert (whole.problems, whole.verdict, len(whole.same)) == ([], "verified", len(whole.records))
    edit(path, environment={**read(path).environment.model_dump(), **claim})
    found = only(shipped, sample=1, seed=seed_that_leaves_out(path, whole))
    assert (found.problems, found.replayed, found.verdict) == ([], 1, "in distribution")
    assert f"1 of its {len(whole.records)} records are of another arithmetic, processor or version" in found.notes[0]


def seed_that_leaves_out(path: Path, row: Row) -> int:
    places = [(row, place) for place in sorted(row.records)]
    return next(seed for seed in range(99) if Random(seed).sample(places, 1)[0][1] != path)


def test_a_submission_has_records_of_the_portable_arithmetic(row: Path) -> None:
    of_another_processor(record_of(row, "clean"))
    found = only(row, sample=0)
    assert found.problems == [
        "1 records are not of the portable arithmetic, and hold on no other machine: make them anew"
    ]
    assert found.verdict == "NOT VERIFIED"


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[int]]]:
    """Play records anew by a rule, `accuracy(published, neighbour)`, instead of really; which neighbours were asked."""

    def by(accuracy: Callable[[float, int], float], as_published: bool = False, loss: float = 1.0) -> list[list[int]]:
        asked: list[list[int]] = []

        real = sandbox.call

        def call(job: dict[str, Any], packages: list[Path], bounds: sandbox.Bounds, **given: Any) -> sandbox.Finished:
            if job["do"] != "replay":
                return real(job, packages, bounds, **given)
            asked.append(job["neighbours"])
            told = []
            for place in job["records"]:
                content = json.loads(Path(place).read_text())
                metrics, published = content["metrics"], content["metrics"].get("accuracy", 0.0)
                for steps in job["neighbours"]:
                    if as_published:
                        here = {**content["environment"], "arithmetic": "portable", "torch": version("torch")}
                        record = {**content, "environment": {**here, "cpu": "this one"}}
                        if "loss" in metrics:
                            record["metrics"] = {**metrics, "loss": metrics["loss"] * loss}
                        told.append({"event": "record", "place": place, "record": record})
                        continue
                    value = accuracy(published, steps)
                    new = {**metrics, "accuracy": value, "loss": metrics["loss"] * (1 + steps / 100)}
                    here = {**content["environment"], "cpu": "this one", "arithmetic": "native"}
                    told.append({"event": "record", "place": place, "record": {**content, "metrics": new}})
                    told[-1]["record"] |= {"environment": here, "curve": [*content["curve"][:-1], [10, value]]}
            return sandbox.Finished(told, None)

        monkeypatch.setattr(sandbox, "call", call)
        return asked

    return by


def spread(steps: int) -> float:
    """What rounding adds to an accuracy in a cell that is sensitive to it."""
    return (steps * 7 % 17 - 8) / 100 if steps else 0.011


def test_what_rounding_hides_cannot_be_told_and_is_no_failure(
    bench: Bench, row: Path, played: Callable[..., list[list[int]]]
) -> None:
    """Plays lie ten points around what is published: no answer with four neighbours, nor with sixteen."""
    asked = played(lambda published, steps: published + spread(steps))
    path = record_of(row, "clean")
    done = bench("verify", str(path))
    assert (done.code, asked) == (0, [[0], [0, 1, 2, 3, 4], list(range(5, 17))])
    assert "cannot tell in distribution: metrics.accuracy may be shifted by up to" in done.out
    content = json.loads(bench("verify", str(path), "--json").out)
    assert content["false_alarms"] == 1e-3
    counts = {name: content["rows"][0][name] for name in ("verdict", "replayed", "cannot_tell", "refuted")}
    assert counts == {"verdict": "cannot tell", "replayed": 1, "cannot_tell": 1, "refuted": 0}


def test_what_lies_beyond_all_that_rounding_does_is_refuted(row: Path, played: Callable[..., list[list[int]]]) -> None:
    played(lambda published, steps: published - 0.6 + spread(steps))
    found = only(record_of(row, "clean"))
    assert (found.verdict, found.counts["refuted"]) == ("REFUTED", 1)
    assert "metrics.accuracy is 0.5946 above what was played anew" in found.problems[0]
    assert "p = " in found.problems[0]


def test_what_was_found_is_kept_for_the_boards(bench: Bench, row: Path, played: Callable[..., list[list[int]]]) -> None:
    """`--write`: where, how many, and the cell that one seed under two arithmetics shows to be sensitive."""
    played(lambda published, steps: published + spread(steps))
    assert bench("verify", str(record_of(row, "clean")), "--write", "--quiet").code == 0
    known = verified.read(row.parent)
    (place,) = known.places
    assert set(place.rows) == {"phocas"}
    assert (place.rows["phocas"].answer, place.rows["phocas"].cannot_tell) == ("cannot tell", 1)
    assert place.rows["phocas"].digest == verified.digest_of(row)
    (cell,) = known.sensitive
    assert (cell.row, cell.column, cell.seed, cell.apart) == ("phocas", "clean", 0, 0.011)
    board = bench("leaderboard", "--suite", "smoke", "--results", str(row.parents[1])).out
    assert "1 record(s) played anew" in board
    assert "clean: sensitive to rounding, 1.1% of accuracy apart under two arithmetics (seed 0)" in board
    edit(record_of(row, "clean"), finished_at="2030-01-01T00:00:00Z")
    board = bench("leaderboard", "--suite", "smoke", "--results", str(row.parents[1])).out
    assert "0 record(s) played anew" in board
    assert "changed since then: phocas" in board
    (row.parent / verified.FILE).write_text("{")
    assert "is not what `verify --write` writes" in bench("verify", str(record_of(row, "clean")), "--write").err
    done = bench("verify", str(row), "--sample", "0", "--write")
    assert (done.code, "nothing was played anew" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": "0" * 16}, "its protocol hash is not that of its content"),
        ({"setting": "0" * 16}, "its setting hash is not that of the suite 'smoke'"),
        ({"seed": 1}, "by its content it is smoke/phocas/clean/"),
        ({"data_digest": "0" * 16}, "its protocol hash is not that of its content"),
        ({"metrics": {"accuracy": 0.99, "loss": 0.1}}, "its accuracy is 0.9900, but its curve ends at"),
        ({"files": {"png": "absent.png"}}, "its file absent.png is not there"),
        ({"schema_version": 99}, "has schema version 99"),
        ({"unknown": 1}, "is not a record"),
    ],
)
def test_what_a_record_says_of_itself_is_checked(row: Path, changes: dict[str, Any], words: str) -> None:
    edit(record_of(row, "clean"), **changes)
    found = only(row, sample=0)
    assert any(words in problem for problem in found.problems)
    assert found.verdict == "NOT VERIFIED"


def test_a_cell_that_is_none_of_the_suites_is_caught(row: Path) -> None:
    """Forty rounds instead of ten, with the hashes and the name that go with it."""
    path = record_of(row, "clean")
    record = read(path)
    easier = record.cell.federation.model_copy(update={"rounds": 40})
    cell = record.cell.model_copy(update={"federation": easier})
    forged = record.model_copy(
        update={"cell": cell, "protocol": protocol_hash(cell, record.data_digest, world=record.world)}
    )
    path.unlink()
    path.with_name(f"{forged.key}.json").write_text(forged.model_dump_json())
    (problem,) = only(row, sample=0).problems
    assert "its attack or its federation is none of the suite 'smoke'" in problem


def test_a_learning_rate_that_the_submission_does_not_name_is_caught(row: Path) -> None:
    text = (row / folders.FILE).read_text()
    (row / folders.FILE).write_text(text.replace("federation = {}", "federation = { lr = 2.0 }"))
    problems = only(row, sample=0).problems
    assert len(problems) == 2  # the clean run and the attacked one; inversions have a learning rate of their own
    assert all("lr, lr_decay, momentum are neither the suite's nor those" in problem for problem in problems)


def test_a_learning_rate_at_which_no_message_tells_anything_is_caught(row: Path) -> None:
    """An inversion's rate is the suite's: next to 0 the messages are zeros, and its record is played so anew."""
    path = record_of(row, "dlg")
    record = read(path)
    cell = record.cell.model_copy(update={"federation": record.cell.federation.model_copy(update={"lr": 1e-300})})
    protocol = protocol_hash(cell, record.data_digest, world=record.world)
    forged = record.model_copy(update={"cell": cell, "protocol": protocol})
    path.unlink()
    path.with_name(f"{forged.key}.json").write_text(forged.model_dump_json())
    (problem,) = only(row, sample=0).problems
    assert "its lr, lr_decay, momentum are not those of a cell of its kind in the suite 'smoke'" in problem


def test_a_changed_source_is_caught(row: Path) -> None:
    with (row / "phocas.py").open("a") as file:
        file.write("# better now\n")
    (problem,) = only(row).problems
    assert "is not the source that was submitted" in problem


def test_a_source_that_was_changed_with_its_digest_gives_other_numbers(
    row: Path, sign_anew: Callable[[Path], None]
) -> None:
    source = row / "phocas.py"
    source.write_text(source.read_text().replace("num_byzantine)\n\n    def tolerates", "0)\n\n    def tolerates"))
    sign_anew(source)
    problems = only(record_of(row, "sign_flip")).problems
    assert any("metrics.accuracy" in problem for problem in problems)
    assert any("it is no record of the files that submission.toml names" in problem for problem in problems)


@pytest.mark.slow
def test_a_broken_contract_that_was_not_published_is_a_problem(row: Path, sign_anew: Callable[[Path], None]) -> None:
    source = row / "phocas.py"
    source.write_text(source.read_text().replace("return phocas(block", "return 0 * phocas(block"))
    sign_anew(source)
    told: list[str] = []
    found = only(row, sample=0, contract=True, tell=told.append)
    assert any("breaks the contract (use of the messages)" in problem for problem in found.problems)
    assert any(line.startswith("BROKEN") for line in told)


def test_what_ends_the_process_is_told_of_one_record_and_the_rest_is_played_all_the_same(
    row: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four records that share their code the second kills the process: the other three need one more."""
    asked: list[list[str]] = []

    real = sandbox.call

    def call(job: dict[str, Any], packages: list[Path], bounds: sandbox.Bounds, **given: Any) -> sandbox.Finished:
        if job["do"] != "replay":
            return real(job, packages, bounds, **given)
        asked.append(job["records"])
        played = job["records"] if len(asked) > 1 else job["records"][:1]
        told = [{"event": "record", "place": one, "record": json.loads(Path(one).read_text())} for one in played]
        return sandbox.Finished(told, None if len(asked) > 1 else "its process was killed by SIGKILL")

    monkeypatch.setattr(sandbox, "call", call)
    found = only(row, sample=4)
    assert asked == [asked[0], asked[0][2:]]
    name = Path(asked[0][1]).name
    assert found.problems == [f"{name}: it could not be played anew: its process was killed by SIGKILL"]
    assert (len(asked[0]), found.replayed) == (4, 3)


@pytest.mark.slow
def test_the_sample_follows_from_its_seed(bench: Bench, row: Path) -> None:
    first, again, other = (
        json.loads(bench("verify", str(row), "--sample", "1", "--seed", s, "--json").out) for s in "114"
    )
    assert first == again
    assert (first["seed"], other["seed"]) == (1, 4)
    assert first["rows"][0]["replayed"] == 1
    unseeded = bench("verify", str(row), "--sample", "0")
    assert unseeded.code == 0
    assert "consistent" in unseeded.out
    assert "the sample was drawn" not in unseeded.out  # there is none
    assert "the sample was drawn with --seed " in bench("verify", str(row), "--sample", "1").out


def test_what_cannot_be_verified_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="no records in"):
        verify(tmp_path / "empty")
    with pytest.raises(BadInputError, match="there is no"):
        verify(tmp_path / "absent")


# ------------------------------------------------------------------------------------ what is drawn, without playing it


def names(found: Row) -> set[str]:
    return {place.name for place in found.same}


def test_the_sample_is_drawn_with_its_seed_and_from_all_records(
    shipped: Path, played: Callable[..., list[list[int]]]
) -> None:
    """A front that is always drawn is a front that a forger leaves honest."""
    played(lambda published, steps: published, as_published=True)
    drawn = {seed: frozenset(names(only(shipped, sample=1, seed=seed))) for seed in range(12)}
    assert drawn == {seed: frozenset(names(only(shipped, sample=1, seed=seed))) for seed in range(12)}
    assert frozenset().union(*drawn.values()) == {place.name for place in shipped.glob("*/*.json")}


def test_a_record_of_another_protocol_is_a_problem_and_not_drawn(
    shipped: Path, played: Callable[..., list[list[int]]]
) -> None:
    played(lambda published, steps: published, as_published=True)
    path = record_of(shipped, "clean")
    edit(path, protocol="0" * 16)
    found = only(shipped, sample=99)
    assert [path.name in problem for problem in found.problems] == [True]
    assert names(found) == {place.name for place in shipped.glob("*/*.json")} - {path.name}


def test_under_one_arithmetic_the_last_bit_refutes(shipped: Path, played: Callable[..., list[list[int]]]) -> None:
    """What tolerances of another machine would let through."""
    played(lambda published, steps: published, as_published=True, loss=1 + 1e-12)
    found = only(record_of(shipped, "clean"))
    assert (found.verdict, len(found.refuted)) == ("REFUTED", 1)
    assert "(under the same arithmetic)" in found.problems[0]


def test_what_a_whole_row_lacks_is_asked_of_the_row_and_of_all_above_it_alone(shipped: Path) -> None:
    shutil.rmtree(shipped / "sign_flip")
    told = "no records of sign_flip b=0.4, which 'fedavg' has in the suite 'smoke'"
    for path in (shipped, shipped.parent, shipped.parents[1]):
        assert only(path, sample=0).problems == [told]
    for path in (shipped / "clean", record_of(shipped, "clean")):
        assert only(path, sample=0).problems == []


def test_a_problem_alone_fails_the_call(bench: Bench, shipped: Path) -> None:
    edit(record_of(shipped, "clean"), setting="0" * 16)
    done = bench("verify", str(shipped), "--sample", "0")
    assert (done.code, "NOT VERIFIED" in done.out) == (1, True)


def test_the_papers_records_are_no_rows_that_could_lack_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their suites share cells, and are played as far as the report says."""
    published = PUBLISHED.parents[1] / "papers" / "records" / "rsa" / "gaussian"
    path = tmp_path / "results" / "papers" / "records" / "rsa" / "gaussian" / next(published.glob("*.json")).name
    path.parent.mkdir(parents=True)
    shutil.copy(published / path.name, path)
    digest = read(path).data_digest
    monkeypatch.setattr("bench.submission.consistency.load_data", lambda *given: SimpleNamespace(digest=digest))
    told = only(tmp_path / "results", sample=0).problems
    assert [line for line in told if "missing" in line or "no records of" in line] == []


def test_a_contract_that_is_broken_and_not_published_so_is_a_problem_where_it_is_asked_for(
    row: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an examination finds is tested with the contract; here, that it is looked at."""
    submission = folders.load(row)
    assert submission is not None
    broken = Examination(
        sha256=submission.sha256,
        network="none",
        findings=[Finding(rule="determinism", verdict="failed", sentence="other bits")],
    )
    module = "bench.submission.verify"
    monkeypatch.setattr(f"{module}.inspected", lambda *given: (None, folders.entry_of(submission)))
    monkeypatch.setattr(f"{module}.facts_of", lambda seen: {})
    monkeypatch.setattr(f"{module}.examined", lambda *given: broken)
    assert only(row, sample=0).problems == []
    assert only(row, sample=0, contract=True).problems == ["breaks the contract (determinism): other bits"]
    (row / folders.EXAMINATION).write_text(broken.model_dump_json())
    found = only(row, sample=0, contract=True)
    assert (found.problems, found.notes) == ([], ["breaks the contract (determinism): other bits"])


# ----------------------------------------------------------------------------------------------------- in secret worlds


@pytest.fixture
def in_worlds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Cells are played in secret worlds by a rule, `value(published)`; how many worlds were asked for, cell by cell."""

    def by(value: Callable[[float], float], from_others: float | None = None) -> list[int]:
        asked: list[int] = []

        def call(job: dict[str, Any], packages: list[Path], bounds: sandbox.Bounds, **given: Any) -> sandbox.Finished:
            assert job["do"] == "worlds"
            ((place, salts),) = job["records"].items()
            assert len({salt for salt, _ in salts}) == len(salts)
            asked.append(len(salts))
            metrics = read(Path(place)).metrics
            here = value(metrics.get("accuracy", metrics.get("recovered", 0.0)))
            told = [{"event": "world", "place": place, "value": here, "from_others": from_others} for _ in salts]
            return sandbox.Finished(told, None)

        monkeypatch.setattr(sandbox, "call", call)
        monkeypatch.setattr("bench.submission.replay.published_stand_in", lambda *given: nullcontext(Path()))
        return asked

    return by


def test_a_row_that_is_as_good_in_secret_worlds_is_let_through(row: Path, in_worlds: Callable[..., list[int]]) -> None:
    asked = in_worlds(lambda published: published - 0.01)
    found = only(row, sample=0, worlds=4)
    assert (found.problems, asked, found.worlds) == ([], [4, 4, 4, 4], 16)


def test_a_row_that_is_worse_in_secret_worlds_is_refused_once_many_say_so(
    row: Path, in_worlds: Callable[..., list[int]]
) -> None:
    """Of a defense accuracy counts upwards, and what an inversion recovers downwards."""
    asked = in_worlds(lambda published: 0.05 if published < 1 else 1.0)
    found = only(row, sample=0, worlds=4)
    assert sorted(asked) == [4, 4, 4, 4, 16, 16]
    words = "in 20 secret worlds: what it knows of this world does not hold elsewhere"
    assert all(words in problem for problem in found.problems)
    assert (len(found.problems), found.verdict) == (2, "NOT VERIFIED")


@pytest.mark.slow
def test_an_honest_row_is_let_through_in_real_secret_worlds(row: Path) -> None:
    found = only(row, sample=0, worlds=4)
    assert found.problems == []
    assert found.worlds >= 16
