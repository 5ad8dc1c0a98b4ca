"""The smoke suite's numbers against the committed ones: exact on one class of machine, close on another."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.perf.accuracy import Check, compare, load
from bench.records import Record, read
from bench.records.comparison import numbers
from bench.runs import runner
from bench.runs.jobs import run_suite

pytestmark = pytest.mark.integration

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke suite's records, as if committed."""
    folder = tmp_path_factory.mktemp("committed")
    run_suite("smoke", results=folder, quiet=True, workers=1)
    return folder


@pytest.fixture(scope="module")
def committed(results: Path) -> dict[str, Record]:
    return load(results)


def place(records: dict[str, Record], row: str, column: str) -> str:
    return next(key for key in records if key.startswith(f"{row}/{column}/"))


def edited(records: dict[str, Record], key: str, **changes: Any) -> dict[str, Record]:
    return {**records, key: records[key].model_copy(update=changes)}


def elsewhere(records: dict[str, Record]) -> dict[str, Record]:
    """The same records from a machine of another class, which computed in an arithmetic of its own."""
    there = {"cpu": "Another", "arithmetic": "native"}
    return {
        key: record.model_copy(update={"environment": record.environment.model_copy(update=there)})
        for key, record in records.items()
    }


def fields(check: Check) -> list[str]:
    return [difference.field for difference in check.differences]


def test_a_record_whose_accuracy_was_edited_by_hand_is_named(
    bench: Command, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "default_workers", lambda: 1)  # no worker process: the records are the same
    for path in results.rglob("*.json"):
        target = tmp_path / "results" / path.relative_to(results)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    forged = next((tmp_path / "results/smoke/krum/sign_flip").glob("*.json"))
    content = json.loads(forged.read_text())
    true = content["metrics"]["accuracy"]
    content["metrics"]["accuracy"] = 0.999
    forged.write_text(json.dumps(content))
    assert read(forged).metrics["accuracy"] == 0.999

    done = bench("perf", "--accuracy", "--json")
    assert done.code == 1
    assert json.loads(done.out)["differences"] == [
        {
            "record": f"krum/sign_flip/{forged.name}",
            "field": "metrics.accuracy",
            "committed": 0.999,
            "found": true,
        }
    ]


def test_submitted_rows_and_attacks_are_no_part_of_the_suite(results: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(results, tmp_path / "results"))
    (folder / "smoke/krum/submission.toml").touch()
    (folder / "smoke/dpbfl/dlg/submission.toml").touch()
    kept, left_out = set(load(folder)), set(load(results)) - set(load(folder))
    assert {place.rpartition("/")[0] for place in left_out} == {
        *(f"krum/{attack}" for attack in ("clean", "collusion", "dlg", "sign_flip")),
        "dpbfl/dlg",
    }
    assert len(kept) + len(left_out) == len(load(results))


def test_the_same_records_do_not_differ(committed: dict[str, Record], capsys: pytest.CaptureFixture[str]) -> None:
    found = compare(committed, committed)
    assert not found.failed
    found.print()
    assert capsys.readouterr().out.startswith(f"no differences over {len(committed)} records of the suite smoke")


def test_on_one_class_of_machine_the_last_bit_counts(committed: dict[str, Record]) -> None:
    key = place(committed, "fedavg", "clean")
    metrics = committed[key].metrics
    found = compare(committed, edited(committed, key, metrics={**metrics, "loss": metrics["loss"] * (1 + 1e-15)}))
    assert fields(found) == ["metrics.loss"]
    assert str(found.differences[0]).startswith(f"{key}: metrics.loss was {metrics['loss']!r}, is ")


def test_every_number_of_the_experiment_counts_and_nothing_else(committed: dict[str, Record]) -> None:
    key = place(committed, "dpbfl", "dlg")
    record = committed[key]
    cost = record.cost.model_copy(update={"upload_bytes": 1, "total_seconds": 99.0, "round_seconds": 99.0})
    environment = record.environment.model_copy(update={"commit": "other"})
    changed = edited(
        committed, key, status="diverged", within_claim=None, derived={}, trace=record.trace[:-1],
        cost=cost, environment=environment,
    )  # fmt: skip
    gone = [f"derived.{name}" for name in record.derived] + [f"trace.{len(record.trace) - 1}"]
    was_claimed = ["within_claim"] if record.within_claim is not None else []
    assert sorted(fields(compare(committed, changed))) == sorted([*gone, *was_claimed, "status", "cost.upload_bytes"])


def test_a_record_too_few_or_too_many_is_a_difference(committed: dict[str, Record]) -> None:
    key = place(committed, "krum", "clean")
    fewer = {name: record for name, record in committed.items() if name != key}
    assert str(compare(committed, fewer).differences[0]) == f"{key}: record was 'there', is None"
    assert str(compare(fewer, committed).differences[0]) == f"{key}: record was None, is 'there'"


@pytest.mark.parametrize(
    ("row", "column", "metric", "change", "differs"),
    [
        ("fedavg", "clean", "accuracy", 0.005, False),
        ("fedavg", "clean", "accuracy", -0.02, True),
        ("fedavg", "clean", "loss", 1e-5, False),
        ("fedavg", "clean", "loss", 0.1, True),
        ("dpbfl", "dlg", "psnr", -0.9, False),
        ("dpbfl", "dlg", "psnr", -1.1, True),
        ("dpbfl", "dlg", "control_psnr", -1.1, True),
        ("dpbfl", "dlg", "blind_ssim", 0.02, False),
    ],
)
def test_another_class_of_machine_has_tolerances(
    committed: dict[str, Record], row: str, column: str, metric: str, change: float, differs: bool
) -> None:
    key = place(committed, row, column)
    metrics = committed[key].metrics
    changed = edited(elsewhere(committed), key, metrics={**metrics, metric: metrics[metric] + change})
    found = compare(committed, changed)
    assert found.same_machine == 0
    assert fields(found) == ([f"metrics.{metric}"] if differs else [])


def test_elsewhere_a_trace_counts_by_its_start_and_its_best(committed: dict[str, Record]) -> None:
    key = place(committed, "dpbfl", "dlg")
    trace = committed[key].trace
    best = trace.index(min(trace))
    wandering = [value * (1 if index in (0, best) else 1.5) for index, value in enumerate(trace)]
    assert not compare(committed, edited(elsewhere(committed), key, trace=wandering)).failed
    worse = [value * 1.1 for value in trace]
    assert fields(compare(committed, edited(elsewhere(committed), key, trace=worse))) == ["trace.best", "trace.first"]


def test_elsewhere_what_is_no_number_must_still_be_the_same(committed: dict[str, Record]) -> None:
    key = place(committed, "fedavg", "clean")
    assert fields(compare(committed, edited(elsewhere(committed), key, status="diverged"))) == ["status"]


def test_a_records_numbers_are_flat(committed: dict[str, Record]) -> None:
    found = numbers(committed[place(committed, "fedavg", "clean")])
    assert found["status"] == "ok"
    assert {"metrics.accuracy", "curve.0.0", "curve.0.1", "cost.upload_bytes", "cost.peer_bytes"} <= set(found)
    assert not any("seconds" in field or "environment" in field for field in found)
