"""What `verified.json` makes of boards: a line on where rows were played anew, a sign and a flag on sensitive cells."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.records import Record, Store, verified
from bench.records.verified import Found, Sensitive
from leaderboards.formats import FORMATS
from leaderboards.html import glossary

FOUND = Found(records=2, replayed=2, bit_for_bit=1, in_distribution=1, cannot_tell=0, refuted=0, answer="verified")


@pytest.fixture
def records(make: Any) -> list[Record]:
    return [make(row, attack, accuracy=0.5) for row in ("a", "b") for attack in (None, "sign_flip")]


def sensitive(record: Record) -> Sensitive:
    return Sensitive(cell=record.cell.hash, row=record.cell.label, column=record.cell.column, seed=0, apart=0.123)


def test_sensitive_cells_have_a_sign_a_legend_and_a_flag(
    records: list[Record], make_boards: Any, tmp_path: Path
) -> None:
    _, attacked, clean, _ = records
    gone = sensitive(attacked).model_copy(update={"cell": "0" * 12, "row": "b"})
    verified.add(tmp_path, attacked.environment, {}, [sensitive(attacked), sensitive(clean), gone])
    board = make_boards(records, verifications=[verified.state(tmp_path)])
    tables = {one.name: one for one in board.boards}
    robust = tables["robustness"].text.set_index("defense")["sign_flip b=0.2"]
    assert (robust["a"], robust["b"]) == ("50.0 ≈", "50.0")
    assert list(tables["utility"].text.set_index("defense")["clean accuracy"][["a", "b"]]) == ["50.0", "50.0 ≈"]
    for name in ("robustness", "utility"):
        assert "≈ sensitive to rounding: one seed under two arithmetics is over 1 % of accuracy apart" in (
            tables[name].caption
        )
    note = "sensitive to rounding, 12.3% of accuracy apart under two arithmetics (seed 0)"
    assert board.flags["a"] == [f"sign_flip b=0.2: {note}"]
    assert f"clean: {note}" in board.flags["b"]
    assert glossary.explained(board.flags["a"][0]).name == "sensitive to rounding"


def test_every_format_says_where_rows_were_verified(records: list[Record], make_boards: Any, tmp_path: Path) -> None:
    store, made = Store(tmp_path, "tiny"), records[0].environment.model_copy(update={"cpu": "a CPU"})
    for record in records:
        store.write(record)
    folder = verified.add(store.folder, made, {"a": FOUND, "b": FOUND}, []).parent
    board = make_boards(records, verifications=[verified.state(folder)])
    (line,) = board.verified
    assert line.startswith("4 record(s) played anew ")
    assert line.endswith("on a CPU, portable arithmetic, torch 2.4.0: 2 bit for bit, 2 in distribution")
    for kind in ("md", "html"):
        assert line in FORMATS[kind](board)
    assert json.loads(FORMATS["json"](board))["verified"] == [line]


def test_a_row_that_has_changed_since_counts_no_longer(records: list[Record], make_boards: Any, tmp_path: Path) -> None:
    store = Store(tmp_path, "tiny")
    for record in records:
        store.write(record)
    verified.add(store.folder, records[0].environment, {"a": FOUND, "b": FOUND}, [])
    store.write(records[0].model_copy(update={"metrics": {"accuracy": 0.9}}))
    board = make_boards(records, verifications=[verified.state(store.folder)])
    assert board.verified[0].startswith("2 record(s) played anew ")
    assert board.verified[0].endswith("1 bit for bit, 1 in distribution; changed since then: a")


def test_of_one_place_the_newest_word_on_a_row_stays_and_other_places_stand_beside_it(
    records: list[Record], tmp_path: Path
) -> None:
    here = records[0].environment
    elsewhere = here.model_copy(update={"arithmetic": "native"})
    refuted = FOUND.model_copy(update={"answer": "REFUTED"})
    for made, rows in ((here, {"a": FOUND, "b": FOUND}), (elsewhere, {"a": FOUND}), (here, {"a": refuted})):
        verified.add(tmp_path, made, rows, [])
    answers = [{row: found.answer for row, found in place.rows.items()} for place in verified.read(tmp_path).places]
    assert answers == [{"a": "verified"}, {"a": "REFUTED", "b": "verified"}]


def test_a_damaged_file_is_told_and_left_out(records: list[Record], make_boards: Any, tmp_path: Path) -> None:
    (tmp_path / verified.FILE).write_text('{"places": 1}')
    board = make_boards(records, verifications=[verified.state(tmp_path)])
    assert list(board.verified) == []
    assert "verified.json is not what `verify --write` writes: places: " in board.left_out[-1]
