"""Records: what they hold, what they weigh, what changes their hashes; written whole or not at all, and read warily."""

import json
import math
import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.base.errors import BadInputError
from bench.base.files import digest, write_whole
from bench.federation.settings import FederationSettings
from bench.privacy.claims import PrivacyClaim
from bench.records import Cost, Environment, Privacy, Record, Store, protocol_hash, read, setting_hash
from bench.records import identity as records
from bench.records.record import SCHEMA_VERSION
from bench.suite import Cell, Part, Suite, kinds

MACHINE = Environment(
    fedsiege="0.1.0", python="3.11", torch="2.4", numpy="2.0", machine="x86_64", device="cpu", threads=1, commit=None
)
CLAIM = PrivacyClaim(epsilon=10.0, delta=1e-4, unit="per upload", source="NISS paper, Corollary 1")
FEDERATION: dict[str, Any] = {"dataset": "digits", "clients": 10, "rounds": 3, "local_steps": 1, "lr": 0.1}


def cell(label: str = "krum", **federation: Any) -> Cell:
    return Cell(
        label=label,
        defense=Part(name="krum", version=1, parameters={"num_selected": 1}),
        attack=Part(name="sign_flip", version=1, parameters={"c": 2.0, "on": "update"}),
        federation=FederationSettings(**{**FEDERATION, **federation}),
        byzantine=0.2,
    )


def record(seed: int = 0, label: str = "krum", **changes: Any) -> Record:
    given: dict[str, Any] = {
        "suite": "tiny",
        "protocol": "0123456789abcdef",
        "data_digest": "d",
        "setting": "s",
        "cell": cell(label),
        "seed": seed,
        "status": "ok",
        "metrics": {"accuracy": 1 / 3, "loss": 1e-17},
        "curve": [(1, 0.25), (3, 0.3333)],
        "privacy": Privacy(claimed=CLAIM),
        "derived": {"sigma_k": 0.1},
        "within_claim": True,
        "cost": Cost(round_seconds=0.001, upload_bytes=2600, peer_bytes=0, total_seconds=1.5),
        "environment": MACHINE,
        "finished_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return Record(**{**given, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "tiny")


def files(folder: Path) -> dict[Path, bytes]:
    """Everything below a folder, hidden files too."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ----------------------------------------------------------------------------------------------------------- the file


def test_a_record_is_read_as_it_was_written(store: Store) -> None:
    written = record()
    path = store.write(written)
    assert read(path) == written
    assert list(store.records([])) == [written]
    assert store.find(written.cell, 0, written.protocol) == written


def test_the_key_is_the_cells_hash_and_the_seed(store: Store) -> None:
    written = record(seed=7)
    assert written.key == f"{cell().hash}-s7"
    assert store.write(written) == store.folder / "krum" / "sign_flip" / f"{cell().hash}-s7.json"


def test_a_cell_without_an_attack_lies_under_clean(store: Store) -> None:
    clean = cell().model_copy(update={"attack": None, "byzantine": 0.0})
    assert store.path(clean, 0).parent == store.folder / "krum" / "clean"


def test_the_file_is_json_that_others_can_read(store: Store) -> None:
    path = store.write(record())
    content = json.loads(path.read_text())
    assert content["schema_version"] == SCHEMA_VERSION
    assert content["finished_at"] == "2026-01-02T03:04:05Z"
    assert content["curve"] == [[1, 0.25], [3, 0.3333]]
    assert path.stat().st_mode & 0o777 == 0o644


def test_seeds_and_cells_have_files_of_their_own(store: Store) -> None:
    for seed in (0, 1):
        store.write(record(seed))
    store.write(record(cell=cell(rounds=4)))
    assert len(list(store.records([]))) == 3


@pytest.mark.parametrize(
    "label", ["..", ".", "../..", "a/b", "/", "---", " ", "krum (num_selected=2)", "krüm", "x" * 400]
)
def test_a_record_lies_in_its_store_whatever_its_row_is_called(store: Store, label: str) -> None:
    written = record(label=label)
    path = store.write(written)
    assert store.folder.resolve() in path.resolve().parents
    assert list(store.records([])) == [written]


def test_a_record_with_everything_in_it_is_under_ten_kilobytes(store: Store) -> None:
    long = PrivacyClaim(epsilon=123.456789012345, delta=1e-6, unit="per client and run", source="x" * 100)
    names = ("gradient_match_loss", "mse", "psnr", "ssim", "label_recovered", "recovered", "residual_noise_ratio")
    metrics = {f"{prefix}{name}": 0.1234567890123456 for prefix in ("", "control_", "blind_") for name in names}
    path = store.write(
        record(
            label="ldpbfl (gamma=0.283, penalty=0.1, kappa=2.0)",
            metrics=metrics,
            curve=[(round_index, 0.1234) for round_index in range(1, 101)],
            trace=[1.234e-05] * 60,
            privacy=Privacy(claimed=long, composed=long, audited=long),
            error="e" * 500,
            files={"png": "0123456789ab-s0.png", "npz": "0123456789ab-s0.npz"},
        )
    )
    assert path.stat().st_size < 10_000


# ------------------------------------------------------------------------------------------------- what a record holds


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["metrics", "derived", "curve", "trace", "cost"])
def test_numbers_must_be_finite(field: str, value: float) -> None:
    content: dict[str, Any] = {
        "metrics": {"accuracy": value},
        "derived": {"sigma_k": value},
        "curve": [(1, value)],
        "trace": [value],
        "cost": {"round_seconds": value},
    }
    with pytest.raises(ValidationError, match="finite number"):
        record(**{field: content[field]})


@pytest.mark.parametrize(
    "changes", [{"status": "fine"}, {"seed": "one"}, {"notes": "x"}, {"metrics": {"accuracy": "high"}}, {"cell": None}]
)
def test_a_record_holds_what_the_schema_says(changes: dict[str, Any]) -> None:
    (field,) = changes
    with pytest.raises(ValidationError) as told:
        record(**changes)
    assert {error["loc"][0] for error in told.value.errors()} == {field}


# ------------------------------------------------------------------------------------------------------ whole or not


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "stop"])
@pytest.mark.parametrize("old", [None, b"old content"])
def test_a_write_that_breaks_off_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: BaseException, old: bytes | None
) -> None:
    path = tmp_path / "folder" / "file.json"
    if old is not None:
        write_whole(path, old)

    def break_off(*arguments: object, **options: object) -> None:
        raise fault

    monkeypatch.setattr(os, step, break_off)
    with pytest.raises(type(fault)):
        write_whole(path, b"new content that is longer than the old one")
    assert files(tmp_path) == ({} if old is None else {path: old})


def test_a_write_replaces_the_old_content_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "file.bin"
    for content in (b"long old content", b"new", b""):
        write_whole(path, content)
        assert files(tmp_path) == {path: content}


def test_nothing_is_under_the_name_before_all_of_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "file.json", []

    def look(handle: int) -> None:
        what = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else os.fstat(handle).st_size
        seen.append((path.exists(), what))

    monkeypatch.setattr(os, "fsync", look)
    write_whole(path, b"12345")
    assert seen == [(False, 5), (True, "folder")]  # and when the call is over, the name is on disk as well


# ---------------------------------------------------------------------------------------------------- what is no record


def as_json(**changes: Any) -> bytes:
    return json.dumps({**record().model_dump(mode="json"), **changes}).encode()


WHOLE = record().model_dump_json().encode()
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "invalid JSON"),
    "truncated": (WHOLE[: len(WHOLE) // 2], "invalid JSON"),
    "binary": (b"\x89PNG\r\n\x1a\n\xff\xfe", "cannot read"),
    "text": (b"not a record", "invalid JSON"),
    "list": (b"[1, 2]", "valid dictionary|dictionary or"),
    "null": (b"null", "valid dictionary|dictionary or"),
    "foreign": (b'{"name": "something else"}', "required"),
    "one field missing": (as_json().replace(b'"seed"', b'"need"'), "seed"),
    "one field wrong": (as_json(status="fine"), "status"),
    "not a number": (as_json().replace(b"1e-17", b"NaN"), "metrics.loss.*finite"),
    "no number": (as_json(metrics={"accuracy": None}), "metrics.accuracy"),
    "infinite": (as_json().replace(b"1e-17", b"Infinity"), "metrics.loss.*finite"),
    "newer": (as_json(schema_version=2, novelty=1), r"schema version 2.*reads up to 1.*upgrade"),
    "newer by a number that is not whole": (as_json(schema_version=2.0), r"schema version 2.0.*reads up to 1.*upgrade"),
    "much newer": (b'{"schema_version": 99}', r"schema version 99.*reads up to 1.*upgrade"),
    "deep": (b"[" * 100_000, "not a record"),
    "long number": (b'{"seed": ' + b"1" * 5_000 + b"}", "not a record"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_record_is_told_by_name_in_one_line_and_left_alone(store: Store, kind: str) -> None:
    content, told = BROKEN[kind]
    good = store.write(record())
    bad = good.with_name("bad.json")
    bad.write_bytes(content)
    damaged: list[str] = []
    assert list(store.records(damaged)) == [record()]
    (line,) = damaged
    assert str(bad) in line
    assert "\n" not in line
    with pytest.raises(BadInputError, match=told):
        read(bad)
    assert bad.read_bytes() == content


def test_a_folder_or_a_missing_file_is_no_record(store: Store) -> None:
    folder = store.write(record()).with_name("folder.json")
    folder.mkdir()
    damaged: list[str] = []
    assert len(list(store.records(damaged))) == 1
    assert [str(folder) in line for line in damaged] == [True]
    with pytest.raises(BadInputError, match=r"cannot read record .*none\.json"):
        read(store.folder / "none.json")


def test_files_beside_the_records_are_no_records(store: Store) -> None:
    path = store.write(record())
    for name in ("picture.png", ".half-written.json.tmp"):
        path.with_name(name).write_bytes(b"x")
    (store.folder / "leaderboard.json").write_text("{}")
    damaged: list[str] = []
    assert list(store.records(damaged)) == [record()]
    assert damaged == []


def test_a_store_without_a_folder_is_empty(store: Store) -> None:
    assert list(store.records([])) == []


# --------------------------------------------------------------------------------------------------------------- hashes


def test_the_protocol_is_the_cell_the_data_and_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = protocol_hash(cell(), "data")
    assert protocol_hash(cell(), "data") == before
    assert protocol_hash(cell(rounds=4), "data") != before
    assert protocol_hash(cell("other"), "data") != before
    assert protocol_hash(cell(), "other data") != before
    monkeypatch.setattr(records, "PROTOCOL_VERSION", records.PROTOCOL_VERSION + 1)
    assert protocol_hash(cell(), "data") != before


def test_the_version_of_the_metrics_is_in_the_protocol_of_inversions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training's and an audit's hash is that of before there was one."""
    cells = {kind: cell().model_copy(update={"kind": kind}) for kind in ("training", "audit", "inversion")}
    before = {kind: protocol_hash(one, "data") for kind, one in cells.items()}
    plain = {kind: digest(one.content, "data", records.PROTOCOL_VERSION) for kind, one in cells.items()}
    assert {kind for kind in cells if before[kind] != plain[kind]} == {"inversion"}
    monkeypatch.setattr(kinds.Inversion, "metrics_version", 3)
    assert {kind for kind, one in cells.items() if protocol_hash(one, "data") != before[kind]} == {"inversion"}


def suite(**changes: Any) -> Suite:
    attack = [{"name": "gaussian", "byzantine": 0.2}]
    content = {"name": "tiny", "title": "t", "seeds": [0], "federation": FEDERATION, "defense": [{"name": "fedavg"}]}
    return Suite(**{**content, "attack": attack, **changes})


def test_a_setting_is_what_all_cells_of_a_board_share(monkeypatch: pytest.MonkeyPatch) -> None:
    before = setting_hash(suite(), "data")
    assert setting_hash(suite(seeds=[5], title="u", defense=[{"name": "krum"}]), "data") == before
    assert setting_hash(suite(federation={**FEDERATION, "rounds": 4}), "data") != before
    assert setting_hash(suite(privacy={"targets": 3}), "data") != before
    assert setting_hash(suite(privacy={"rounds": 2}), "data") != before
    assert setting_hash(suite(), "other data") != before
    monkeypatch.setattr(records, "PROTOCOL_VERSION", records.PROTOCOL_VERSION + 1)
    assert setting_hash(suite(), "data") != before


def test_a_record_of_another_protocol_is_not_found(store: Store) -> None:
    store.write(record())
    assert store.find(cell(), 0, "another protocol") is None
    assert store.find(cell(), 1, record().protocol) is None
    assert store.find(cell(rounds=4), 0, record().protocol) is None


def test_a_damaged_record_is_not_found(store: Store) -> None:
    path = store.write(record())
    path.write_bytes(path.read_bytes()[:-40])
    assert store.find(cell(), 0, record().protocol) is None


def test_a_newer_record_is_not_written_over(store: Store) -> None:
    """An old version of the program on the folder of a new one."""
    path = store.write(record())
    path.write_bytes(as_json(schema_version=2))
    with pytest.raises(BadInputError, match=r"schema version 2; .* upgrade it$"):
        store.find(cell(), 0, record().protocol)


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_record_is_kept_under_another_name_where_one_is_written(store: Store, kind: str) -> None:
    path = store.write(record())
    content = BROKEN[kind][0]
    for count in (1, 2):
        path.write_bytes(content)
        store.write(record())
        assert path.with_name(f"{path.name}.damaged-{count}").read_bytes() == content
    damaged: list[str] = []
    assert list(store.records(damaged)) == [record()]
    assert [f"{path.name}.damaged-{count} is not a record" in line for count, line in enumerate(damaged, 1)] == [
        True
    ] * 2


def test_a_folder_in_the_place_of_a_record_is_kept(store: Store) -> None:
    path = store.path(cell(), 0)
    path.mkdir(parents=True)
    (path / "mine.txt").write_text("x")
    assert store.write(record()) == path
    assert read(path) == record()
    assert (path.with_name(f"{path.name}.damaged-1") / "mine.txt").read_text() == "x"


def test_pipes_and_huge_files_are_no_records(store: Store) -> None:
    """Neither waited for nor read."""
    path = store.write(record())
    os.mkfifo(path.with_name("pipe.json"))
    with path.with_name("huge.json").open("wb") as huge:
        huge.truncate(10**12)
    damaged: list[str] = []
    assert list(store.records(damaged)) == [record()]
    assert [re.sub(r"\S*/", "", line) for line in damaged] == [
        "huge.json is not a record: it has 1,000,000,000,000 bytes, and a record less than 10,000,000",
        "cannot read record pipe.json: not a regular file",
    ]


def test_leftovers_of_a_cell_are_cleared_and_nothing_else(store: Store) -> None:
    path, lock = store.write(record()), store.lock_path(cell(), 0)
    lock.touch()
    key = record().key
    left = [path.with_name(f".{key}.json.ab12"), path.with_name(f".{key}.png.cd34")]
    others = [path.with_name(name) for name in (f".{key}1.json.ab12", f"{key}.png", ".hidden", f"{key}.json.mine")]
    for file in (*left, *others):
        file.write_bytes(b"x")
    assert store.lock_files() == [lock]
    store.clear_leftovers(lock)
    assert set(files(store.folder)) == {path, lock, *others}


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_failed_record_is_found(store: Store, status: str) -> None:
    failed = record(status=status, error="ValueError: no", metrics={}, curve=[])
    store.write(failed)
    assert store.find(failed.cell, 0, failed.protocol) == failed
