"""An exhibit's table as Markdown, its numbers as CSV."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from leaderboards.formats import markdown_text


def markdown_table(lines: Sequence[Mapping[str, str]], links: Iterable[str] = ()) -> str:
    """The rows under their keys; columns in `links` hold Markdown already."""
    if not lines:
        return "(nothing)"
    kept = set(links)
    rows = [{key: value if key in kept else markdown_text(value) for key, value in line.items()} for line in lines]
    return pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True)


def csv_table(numbers: Sequence[Mapping[str, object]]) -> str:
    """A number a row; floats with eight digits, unless they are given as text."""
    return pd.DataFrame(list(numbers)).to_csv(index=False, float_format="%.8g", lineterminator="\n")
