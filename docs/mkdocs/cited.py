"""Numbers on the pages: each is a link to its board whose title names its place, and is read from there.

An author writes `{{ suite / row / column / metric }}`; the command makes of it what the page in the repository shows,
`[95.8 ± 1.3 %](../results/digits/leaderboard.csv "digits / fedavg / clean / accuracy")`, and keeps that up to date.
"""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CITATION = re.compile(r"\{\{ *(.+?) / (.+?) / (.*?) */ (\w+) *\}\}")
"""As an author writes it, as in the suite's leaderboard.csv; a row's own number has no column."""
SHOWN = re.compile(
    r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((\S*/leaderboard\.csv) \"([\w-]+) / ([^\"/]+) / ([^\"/]*?) ?/ (\w+)\"\)"
)
"""As it stands on a page: text, address, suite, row, column, metric."""


@dataclass(frozen=True)
class Number:
    """A line of a board: the mean over seeds, its 95 % half width, or the ends of a share's interval."""

    mean: float
    half_width: float | None
    low: float | None
    high: float | None


Board = dict[tuple[str, str, str], Number]
"""By row, column and metric."""


@cache
def read_board(path: Path) -> Board:
    """The numbers of a leaderboard.csv."""
    results: Board = {}
    with path.open(newline="") as file:
        for entry in csv.DictReader(file):
            known = {name: float(entry[name]) if entry.get(name) else None for name in ("half_width", "low", "high")}
            place = (entry["defense"], entry["column"], entry["metric"])
            if entry["mean"]:
                results.setdefault(place, Number(float(entry["mean"]), **known))
    return results


def percent(number: Number) -> str:
    width = f" ± {number.half_width:.1%}".removesuffix("%") if number.half_width is not None else ""
    if number.low is not None and number.high is not None:
        width = f" [{100 * number.low:.1f}, {100 * number.high:.1f}]"
    return f"{number.mean * 100:.1f}{width} %"


def share(number: Number) -> str:
    interval = f" [{number.low * 100:.0f}, {number.high * 100:.0f}]" if number.low is not None and number.high else ""
    return f"{number.mean * 100:.0f} %{interval}"


def ratio(number: Number) -> str:
    return f"{number.mean:.2f}" + (f" ± {number.half_width:.2f}" if number.half_width is not None else "")


def plain(number: Number) -> str:
    return f"{number.mean:,.0f}" if abs(number.mean) >= 1000 else f"{number.mean:.3g}"


FORMS: dict[str, Callable[[Number], str]] = {
    "accuracy": percent,
    "clean_accuracy": percent,
    "worst_accuracy": percent,
    "backdoor_success": percent,
    "success_at_stop": percent,
    "success_at_end": percent,
    "explained": percent,
    "recovered": share,
    "worst_recovered": share,
    "label_recovered": share,
    "residual_noise_ratio": ratio,
    "membership_auc_looking": ratio,
    "membership_auc_forging": ratio,
    "accuracy_looking": percent,
    "accuracy_forging": percent,
}
"""How a metric is written; others as they are."""


def cite(text: str, results: Path, problems: list[str], way: str) -> str:
    """The text with its citations, new and old, as links with the numbers of today; what is missing is told.

    `way` leads from the page to the folder of the boards.
    """

    def number(suite: str, row: str, column: str, metric: str) -> str:
        path = results / suite / "leaderboard.csv"
        known = read_board(path).get((row, column, metric)) if path.is_file() else None
        if known is None:
            problems.append(f"no {metric} of {row!r} in column {column!r} of {path}")
            return "(not measured)"
        title = " / ".join(filter(None, (suite, row, column))) if column else f"{suite} / {row} /"
        return f'[{FORMS.get(metric, plain)(known)}]({way}/{suite}/leaderboard.csv "{title} / {metric}")'

    renewed = SHOWN.sub(lambda found: number(*found.groups()[2:]), text)
    return CITATION.sub(lambda found: number(*found.groups()), renewed)
