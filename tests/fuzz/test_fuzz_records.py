"""The record reader, with real records changed, cut short or replaced: a record, or one line that names the file."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import registry
from bench.base.errors import BadInputError
from bench.records import NewerRecordError, Record, Store, read
from leaderboards.boards import build
from leaderboards.formats import FORMATS
from leaderboards.frame import select, to_frame
from tests.fuzz.trees import ANYTHING, Tree, damages, mutations

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted(RESULTS.glob("*/*/*/*-s0.json"))
SOME = PUBLISHED[:: max(1, len(PUBLISHED) // 25)]
"""A record from all over the published ones: trainings, inversions and audits."""

TREES: list[Tree] = [json.loads(path.read_text()) for path in SOME]
FILES = [path.read_bytes() for path in SOME]
EXAMPLES, DEEP = 200, 6000

fast = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
deep = settings(max_examples=DEEP, suppress_health_check=list(HealthCheck))

pytestmark = pytest.mark.skipif(not SOME, reason="no published records")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of one suite with one place for a file, which each example overwrites."""
    store = Store(tmp_path_factory.mktemp("results"), "some")
    (store.folder / "row" / "column").mkdir(parents=True)
    return store


@fast
@given(tree=mutations(TREES))
def test_a_changed_record(store: Store, tree: Tree) -> None:
    reading(store, json.dumps(tree).encode())


@fast
@given(content=damages(FILES) | ANYTHING.map(lambda tree: json.dumps(tree).encode()) | st.binary(max_size=40))
def test_a_damaged_file(store: Store, content: bytes) -> None:
    reading(store, content)


@pytest.mark.slow
@deep
@given(tree=mutations(TREES))
def test_many_changed_records(store: Store, tree: Tree) -> None:
    reading(store, json.dumps(tree).encode())


@pytest.mark.slow
@deep
@given(content=damages(FILES) | ANYTHING.map(lambda tree: json.dumps(tree).encode()) | st.binary(max_size=200))
def test_many_damaged_files(store: Store, content: bytes) -> None:
    reading(store, content)


def reading(store: Store, content: bytes) -> None:
    """The store reads the file as a record, of which boards can be made, or says what is wrong with it."""
    path = store.folder / "row" / "column" / "0123456789ab-s0.json"
    path.write_bytes(content)
    damaged: list[str] = []
    records = list(store.records(damaged))
    assert len(records) + len(damaged) == 1
    assert path.read_bytes() == content, "nothing is changed by reading"
    if damaged:
        assert str(path) in damaged[0]
        assert "\n" not in damaged[0].strip()
        assert not damaged[0].startswith("Traceback")
        return
    (record,) = records
    assert Record.model_validate_json(record.model_dump_json()) == record
    found_anew(store, record)
    boards(record)


def found_anew(store: Store, record: Record) -> None:
    """Written where its cell is looked for, it is found, whatever else it holds."""
    if record.cell.attack_name not in ("clean", *registry.names("attack")):
        return  # no cell of a suite has it
    place = Store(store.folder, "anew")
    written = place.write(record)
    assert place.find(record.cell, record.seed, record.protocol) == record
    written.unlink()


def boards(record: Record) -> None:
    """Boards of it alone, in every format that is text."""
    frame = to_frame([record])
    assert len(frame) == 1
    leaderboard = build(record.suite, "title", 1, select([record]))
    for name in ("md", "csv", "json"):
        assert FORMATS[name](leaderboard)


def test_a_newer_schema_is_told(store: Store) -> None:
    path = store.folder / "row" / "column" / "0123456789ab-s0.json"
    path.write_text(json.dumps({**TREES[0], "schema_version": 99}))
    with pytest.raises(NewerRecordError, match="schema version 99"):
        read(path)
    with pytest.raises(BadInputError):
        read(path.with_name("missing.json"))
