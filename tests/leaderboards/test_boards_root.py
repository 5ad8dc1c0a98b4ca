"""Servers with images of their own: told in a flag, and on a board beside each other."""

from collections.abc import Callable
from typing import Any

from leaderboards.boards import Leaderboard

Make = Callable[..., Any]


def test_a_server_with_images_of_its_own_has_a_flag_and_a_board(
    make: Make, make_boards: Callable[..., Leaderboard]
) -> None:
    own = {"derived": {"root_samples": 100.0}}
    records = [make("plain"), make("rooted", **own)]
    found = make_boards(records)
    assert found.flags["rooted"] == ["its server trains on 100 images of its own, which other rows have not"]
    assert "plain" not in found.flags
    (board,) = (board for board in found.boards if board.name == "root images")
    assert list(board.text["defense"]) == ["rooted"]
    assert list(board.text["images"]) == ["100"]


def test_there_is_no_such_board_where_nobody_has(make: Make, make_boards: Callable[..., Leaderboard]) -> None:
    found = make_boards([make("plain")])
    assert [board.name for board in found.boards if board.name == "root images"] == []
