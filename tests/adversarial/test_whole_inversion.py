"""A submitted inversion, whole: from its file through the walls to a record of somebody else's row."""

import importlib.util
from pathlib import Path

import pytest

from bench import registry
from bench.plays.cell import run_cell
from bench.plays.findings import Task
from bench.records import World, contents
from bench.records.comparison import differing, everything
from bench.submission import worlds
from bench.submission.referee import walls
from bench.submission.submit import Request, submit

MINE = """
from attacks.dlg import DLG
from bench.registry import register


@register("attack", "mine")
class Mine(DLG):
    starts: int = 1
    evaluations: int = 12
"""


@pytest.mark.slow
@pytest.mark.skipif(not walls.available(), reason="this system has no bubblewrap that may make namespaces")
def test_a_submitted_inversion_gives_the_bits_that_it_gives_in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind walls and without them, in the same salted world: every number of the record, and every picture."""
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    results = tmp_path / "results"
    report = submit(Request(str(file), "smoke", results, against=("krum",), workers=1, quiet=True), lambda line: None)
    assert report.examination is not None
    assert [found.sentence for found in report.examination.broken] == []
    assert (report.ran, report.unfinished) == (1, 0)
    [(place, record)] = contents(results / "smoke" / "krum" / "mine").records.items()
    assert (record.status, record.cell.kind, record.cell.label) == ("ok", "inversion", "krum")
    assert record.salt

    mine = {kind: dict(entries) for kind, entries in registry._registered.items()}
    monkeypatch.setattr(registry, "_registered", mine)
    spec = importlib.util.spec_from_file_location("mine", file)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    task = Task(
        record.suite,
        record.setting,
        record.cell,
        record.seed,
        record.environment.threads,
        None,
        20.0,
        world=World(record.salt, record.sources),
    )
    played = run_cell(task)
    assert list(differing(everything(record), everything(played.record), exact=True)) == []
    assert {name: (place.parent / name).read_bytes() for name in record.files.values()} == dict(played.files)
    public = run_cell(Task(record.suite, record.setting, record.cell, record.seed, 1, None, 20.0)).record
    assert public.trace != record.trace  # it was the world of the salt
    assert worlds.play(record, "5a" * 16, 7, None, 20.0, others=True).from_others == 0.0
