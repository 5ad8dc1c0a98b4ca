"""The history: what is appended is read again, damage is told by line, and a base is found or refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.base.errors import BadInputError
from bench.perf.history import Entry, append, choose, read
from bench.records import environment
from bench.records.comparison import same_bits

Make = Callable[..., Entry]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "perf" / "history.jsonl"


def test_entries_are_read_as_they_were_appended_one_a_line(file: Path, make_entry: Make) -> None:
    entries = [make_entry(0), make_entry(1, mean=(2.0, 1.0, 3.0), krum=4.5)]
    for entry in entries:
        append(file, entry)
    damaged: list[str] = []
    assert read(file, damaged) == entries
    assert damaged == []
    assert len(file.read_text().splitlines()) == 2


def test_no_file_is_an_empty_history(file: Path) -> None:
    assert read(file, []) == []


def test_damaged_lines_are_told_by_number_and_the_rest_is_read(file: Path, make_entry: Make) -> None:
    append(file, make_entry(0))
    with file.open("ab") as handle:
        handle.write(b'{"date": "2026-01-01T00:00:00Z"}\n\n\xff\xfe\nnot json\n[1]\n')
    append(file, make_entry(1))
    damaged: list[str] = []
    assert [entry.date.day for entry in read(file, damaged)] == [1, 2]
    assert [line.split(" of ")[0] for line in damaged] == ["line 2", "line 4", "line 5", "line 6"]
    assert "environment: Field required" in damaged[0]
    assert all("\n" not in line for line in damaged)


def test_after_a_torn_line_a_new_one_begins(file: Path, make_entry: Make) -> None:
    append(file, make_entry(0))
    file.write_bytes(file.read_bytes()[:-20])
    append(file, make_entry(1))
    damaged: list[str] = []
    assert [entry.date.day for entry in read(file, damaged)] == [2]
    assert len(damaged) == 1


def test_a_history_that_cannot_be_written_or_read_is_refused_in_one_line(tmp_path: Path, make_entry: Make) -> None:
    with pytest.raises(BadInputError, match="cannot write the history"):
        append(tmp_path, make_entry())
    with pytest.raises(BadInputError, match="cannot read the history"):
        read(tmp_path, [])


def test_newest_is_the_newest_of_the_same_machine_class(file: Path, make_entry: Make) -> None:
    for entry in (make_entry(3), make_entry(1), make_entry(5, cpu="Another")):
        append(file, entry)
    assert choose("newest", file, make_entry(9), []) == make_entry(3)


def test_without_one_of_its_class_it_is_the_newest_of_all(file: Path, make_entry: Make) -> None:
    append(file, make_entry(1))
    append(file, make_entry(2))
    assert choose("newest", file, make_entry(9, cpu="Another"), []) == make_entry(2)


def test_an_entry_without_a_shared_benchmark_does_not_compare(file: Path, make_entry: Make) -> None:
    append(file, make_entry(1, krum=1.0))
    append(file, make_entry(2).model_copy(update={"kernel_version": 0}))
    by_stream = make_entry().benchmarks["mean"].model_copy(update={"normaliser": "stream"})
    append(file, make_entry(3, mean=by_stream))
    assert choose("newest", file, make_entry(9), []) is None


def test_a_base_may_be_the_beginning_of_a_commit(file: Path, make_entry: Make) -> None:
    for entry in (make_entry(1, "abc123"), make_entry(2, "abd456"), make_entry(3, None)):
        append(file, entry)
    assert choose("abc", file, make_entry(9), []) == make_entry(1, "abc123")
    assert choose("ab", file, make_entry(9), []) == make_entry(2, "abd456")


def test_a_base_may_be_another_history(file: Path, tmp_path: Path, make_entry: Make) -> None:
    other = tmp_path / "other.jsonl"
    append(other, make_entry(4))
    assert choose(str(other), file, make_entry(9), []) == make_entry(4)


def test_an_unknown_base_is_refused_with_the_commits_there_are(file: Path, make_entry: Make) -> None:
    append(file, make_entry(1, "abc123"))
    with pytest.raises(BadInputError, match=r"--compare xyz: neither a file nor a commit in .*: it has abc123"):
        choose("xyz", file, make_entry(9), [])


def test_an_unknown_base_of_an_empty_history_is_refused(file: Path, make_entry: Make) -> None:
    with pytest.raises(BadInputError, match="it has no entries"):
        choose("xyz", file, make_entry(9), [])


def test_a_named_base_without_a_shared_benchmark_is_refused(file: Path, make_entry: Make) -> None:
    append(file, make_entry(1, "abc123", krum=1.0))
    for base in ("abc", str(file)):
        with pytest.raises(BadInputError, match="has a benchmark of this run"):
            choose(base, file, make_entry(9), [])


def test_the_same_bits_are_asked_for_under_one_arithmetic_alone() -> None:
    """The portable one on any CPU, a CPU's own on that alone; a record from before says nothing, and had its CPU's."""
    old = environment("cpu", 1).model_copy(update={"cpu": "a CPU", "arithmetic": ""})
    native, portable = (old.model_copy(update={"arithmetic": name}) for name in ("native", "portable"))
    elsewhere = {"cpu": "another"}
    assert same_bits(old, native)
    assert not same_bits(old, native.model_copy(update=elsewhere))
    assert not same_bits(native, portable)
    assert same_bits(portable, portable.model_copy(update=elsewhere))
    for change in ({"torch": "1"}, {"numpy": "1"}, {"machine": "aarch64"}, {"device": "cuda: a GPU"}):
        assert not same_bits(portable, portable.model_copy(update=change))
