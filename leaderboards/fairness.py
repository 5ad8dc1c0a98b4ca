"""The board of those whom a model serves worst: its worst class, and the worst tenth of the clients."""

from collections.abc import Sequence

import pandas as pd

from leaderboards.board import Board, Line, Number, make_board, numbers
from leaderboards.estimates import MISSING, Estimate, Estimates, estimates
from leaderboards.frame import CLEAN

METRICS = {
    "accuracy": "accuracy",
    "worst class": "worst_class_accuracy",
    "worst tenth of clients": "worst_tenth_accuracy",
}
"""What stands beside the clean run and beside the attacks, and its metric."""
NOT_MEASURED = "not measured"
CAPTION = (
    "Test accuracy in %, mean and 95 % t interval over the seeds; beside it the recall of the worst class, and the "
    "mean accuracy of the tenth of the honest clients with the lowest one, each client's over the test images weighted "
    "by the classes that it holds (as q-FFL reports of devices; Li et al. 2020). Under attack each number is that of "
    "the column in which it is lowest, which may be another column for each. Nothing here ranks. Records from before "
    "these numbers were taken lack them."
)


def fairness_board(rows: Sequence[str], columns: Sequence[str], training: pd.DataFrame) -> Board:
    """Every row's clean run and its lowest numbers under attack; nothing to show where no record has any."""
    results = {metric: estimates(training, metric) for metric in METRICS.values()}
    measured = {place for metric in METRICS.values() if metric != "accuracy" for place in _known(results[metric])}
    attacked = [column for column in columns if column != CLEAN]
    lines: list[Line] = []
    for row in rows if measured else ():
        mine = [column for column in attacked if (row, column) in results["accuracy"]]
        line = {"defense": row}
        line |= {f"clean {name}": _text(results[metric].get((row, CLEAN), MISSING)) for name, metric in METRICS.items()}
        line |= {f"lowest {name}": _text(_lowest(results[metric], row, mine)) for name, metric in METRICS.items()}
        lines.append(line)
    data: list[Number] = []
    for metric in METRICS.values():
        data += numbers(metric, _known(results[metric])) if metric != "accuracy" else []
    return make_board("fairness", "Fairness: the worst class and the worst tenth of clients", CAPTION, lines, data)


def _known(found: Estimates) -> Estimates:
    return {place: value for place, value in found.items() if value.seeds}


def _lowest(found: Estimates, row: str, columns: Sequence[str]) -> Estimate:
    """The estimate with the lowest score; nothing where a column has none."""
    values = [found.get((row, column), MISSING) for column in columns]
    if not values or any(not value.seeds and not value.failed for value in values):
        return MISSING
    return min(values, key=lambda value: value.score)


def _text(value: Estimate) -> str:
    text = value.text()
    return NOT_MEASURED if text == "–" else text.removesuffix(" †")
