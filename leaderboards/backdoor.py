"""The board of backdoors: how often the model answers what the attackers want, beside how often it is right."""

from leaderboards.board import Board, make_board, numbers
from leaderboards.estimates import MISSING, Estimates
from leaderboards.gaps import Gaps

METRIC = "backdoor_success"
CAPTION = (
    "Share of the test images of other classes that get the attackers' answer once they carry the trigger, in %, mean "
    "and 95 % t interval over the seeds; then the accuracy on test images without it. The lowest success leads. † "
    "beyond what the defense itself claims to stand."
)


def backdoor_boards(
    rows: list[str], columns: list[str], tried: Estimates, accuracy: Estimates, lacking: Gaps
) -> list[Board]:
    """Every row's success and accuracy, in every column that has a success; no board where none has.

    The rows that are `lacking` records of one of these columns come last.
    """
    results = {place: value for place, value in tried.items() if value.seeds}
    planted = [column for column in columns if any((row, column) in results for row in rows)]
    if not planted:
        return []
    lines = [{"defense": row} for row in sorted(rows, key=lambda row: _worst(row, planted, tried, lacking))]
    for line in lines:
        for column in planted:
            place = (line["defense"], column)
            beside = accuracy.get(place, MISSING).text().removesuffix(" †")
            line[column] = f"{tried.get(place, MISSING).text()} (accuracy {beside})"
    return [make_board("backdoor", "Backdoors: success of the trigger", CAPTION, lines, numbers(METRIC, results))]


def _worst(row: str, planted: list[str], tried: Estimates, lacking: Gaps) -> tuple[bool, float]:
    """The highest success of any column; rows without any, or with a column that failed or is missing, come last."""
    mine = [tried[row, column] for column in planted if (row, column) in tried]
    shares = [value.mean for value in mine if value.seeds]
    last = not shares or len(shares) < len(mine) or bool(set(planted) & set(lacking.get(row, ())))
    return last, max(shares, default=0.0)
