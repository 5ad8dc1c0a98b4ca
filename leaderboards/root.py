"""Servers that train on images of their own: a privilege that other rows have not, said in a flag and on a board."""

from collections.abc import Iterable

from bench.records import Record
from leaderboards.board import Board, Line, Number, make_board

ROOT_IMAGES = "root_samples"
"""Under which name a record's `derived` says how many."""

CAPTION = (
    "These servers train on images that no client holds, which the other rows have not: compare them with each other, "
    "and read their ranks above with that in mind. Images: how many, of the validation split."
)


def root_images(records: Iterable[Record]) -> dict[str, int]:
    """How many images the server of each row trains on, of rows where it does."""
    results: dict[str, int] = {}
    for record in records:
        if count := int(record.derived.get(ROOT_IMAGES, 0)):
            results[record.cell.label] = max(count, results.get(record.cell.label, 0))
    return results


def note(count: int) -> str:
    return f"its server trains on {count} images of its own, which other rows have not"


def root_board(images: dict[str, int], rows: Iterable[str], ranked: Iterable[Board]) -> Board:
    """The rows of `images`, with their scores on the ranked boards; without lines where there is none."""
    boards = [board for board in ranked if board.standing.texts]
    lines: list[Line] = [
        {
            "defense": row,
            "images": str(images[row]),
            **{board.name: board.standing.texts.get(row, "–") for board in boards},
        }
        for row in rows
        if row in images
    ]
    numbers = [Number(row, None, "root_images", count) for row, count in images.items()]
    return make_board("root images", "Servers with images of their own", CAPTION, lines, numbers)
