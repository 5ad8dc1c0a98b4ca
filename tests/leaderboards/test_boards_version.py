"""A board says which one it is; records of another version of the protocol never stand on it."""

import json
from datetime import UTC, datetime

import pytest

from bench.records import Store, setting_hash
from bench.records import identity as records
from bench.runs.jobs import make_leaderboard
from bench.suite import load
from leaderboards.formats import FORMATS
from leaderboards.version import dated, version

DATA = "0123456789abcdef"


@pytest.fixture
def boards(monkeypatch, make, tmp_path):
    """The board of records that these versions of the protocol made, seed by seed; the older ones have 25 %."""
    today, suite = records.PROTOCOL_VERSION, load("smoke").with_seeds((0, 1))
    cell = suite.cells(["krum"], ["sign_flip"])[0]
    dates = {False: datetime(2026, 1, 1, tzinfo=UTC), True: datetime(2026, 2, 2, tzinfo=UTC)}

    def build(*versions):
        store = Store(tmp_path, "smoke")
        for seed, number in enumerate(versions):
            monkeypatch.setattr(records, "PROTOCOL_VERSION", number)
            fields = {"data_digest": DATA, "setting": setting_hash(suite, DATA), "suite": "smoke", "seed": seed}
            record = make("krum", accuracy=0.75 if number == today else 0.25, **fields)
            store.write(record.model_copy(update={"cell": cell, "finished_at": dates[seed == len(versions) - 1]}))
        monkeypatch.setattr(records, "PROTOCOL_VERSION", today)
        return make_leaderboard(suite, store)

    return build


def accuracies(board):
    return [record.metrics["accuracy"] for record in board.evidence]


def test_a_change_of_the_protocol_begins_a_new_board(boards):
    now = records.PROTOCOL_VERSION
    board = boards(now - 1, now)
    assert accuracies(board) == [0.75]
    left_out, *_ = board.left_out
    assert left_out.startswith("1 record of another setting (")
    assert version(board)["newest record"] == "2026-02-02 00:00 UTC"
    assert dated(board).startswith(f"board of 2026-02-02, protocol version {now}, setting ")


def test_todays_protocol_is_chosen_also_where_the_older_record_was_made_later(boards):
    now = records.PROTOCOL_VERSION
    assert accuracies(boards(now, now - 1)) == [0.75]


def test_records_of_an_older_protocol_alone_make_a_board_that_says_so(boards):
    board = boards(records.PROTOCOL_VERSION - 1)
    assert accuracies(board) == [0.25]
    assert "not that of this code's suite" in version(board)["protocol"]
    assert board.runnable == frozenset()


def test_every_format_for_people_and_programs_has_its_date(boards):
    board = boards(records.PROTOCOL_VERSION)
    line = dated(board)
    assert f"- {line}\n" in FORMATS["md"](board)
    assert FORMATS["latex"](board).startswith(f"% {line}\n")
    assert json.loads(FORMATS["json"](board))["version"] == version(board)
    assert "2026-02-02 00:00 UTC" in FORMATS["html"](board)
