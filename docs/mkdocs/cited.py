"""Numbers on the pages: each names its place, and is read from the board that is published."""

import csv
import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

REPOSITORY = "https://github.com/fedsiege/fedsiege/blob/main"
CITATION = re.compile(r"\{\{ *(.+?) / (.+?) / (.*?) */ (\w+) *\}\}")
"""`{{ suite / row / column / metric }}`, as in the suite's leaderboard.csv; a row's own number has no column."""


@dataclass(frozen=True)
class Number:
    """A line of a board: the mean over seeds, its 95 % half width, or the ends of a share's interval."""

    line: int
    mean: float
    half_width: float | None
    low: float | None
    high: float | None


Board = dict[tuple[str, str, str], Number]
"""By row, column and metric."""


@cache
def read_board(path: Path) -> Board:
    """The numbers of a leaderboard.csv, with the line that each stands in."""
    found: Board = {}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        for entry in reader:
            known = {name: float(entry[name]) if entry.get(name) else None for name in ("half_width", "low", "high")}
            place = (entry["defense"], entry["column"], entry["metric"])
            if entry["mean"]:
                found.setdefault(place, Number(reader.line_num, float(entry["mean"]), **known))
    return found


def percent(number: Number) -> str:
    width = f" ± {number.half_width:.1%}".removesuffix("%") if number.half_width is not None else ""
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
    "recovered": share,
    "worst_recovered": share,
    "label_recovered": share,
    "residual_noise_ratio": ratio,
}
"""How a metric is written; others as they are."""


def cite(text: str, results: Path, problems: list[str]) -> str:
    """The text with its citations replaced by the numbers, each a link to its line; what is missing is told."""

    def number(found: re.Match[str]) -> str:
        suite, row, column, metric = found.groups()
        path = results / suite / "leaderboard.csv"
        known = read_board(path).get((row, column, metric)) if path.is_file() else None
        if known is None:
            problems.append(f"no {metric} of {row!r} in column {column!r} of {path}")
            return "(not measured)"
        title = html.escape(f"suite {suite}, row {row}, {column or 'whole row'}: {metric}")
        target = f"{REPOSITORY}/results/{quote(suite)}/leaderboard.csv?plain=1#L{known.line}"
        return f'<a href="{target}" title="{title}">{FORMS.get(metric, plain)(known)}</a>'

    return CITATION.sub(number, text)
