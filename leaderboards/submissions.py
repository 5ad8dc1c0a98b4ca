"""The board of submissions: what the authors report beside what we measured.

What the authors say comes from `submission.toml` in the row's folder; it is shown, and ranks nothing.
"""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from bench.records.submissions import Reported, Submission, Submitted
from leaderboards.board import Board, Line, Number, make_board

CAPTION = (
    "Reported is what the authors' own paper says, in its own setting; measured is our number in the column that it "
    "may be held against, where there is one. Nothing here ranks. An evaluation is an attack that somebody else "
    "submitted against this row: its column counts for the row's worst case like any other. A row that breaks a rule "
    "of the contract stays, and its flags say which."
)


def of_rows(submissions: Sequence[Submitted], labels: Mapping[str, str]) -> list[tuple[str, Submitted]]:
    """Those of rows that are on the board, each with its row; `labels` has the row of each folder with records there.

    A label may have signs that no folder's name has; the records of the others are of another setting.
    """
    return [(labels[one.row], one) for one in submissions if one.row in labels]


def submission_boards(found: Sequence[tuple[str, Submitted]], boards: Sequence[Board]) -> list[Board]:
    """What the authors report of each row, beside the numbers of the other boards; no board where nobody does."""
    measured = pd.concat([board.data for board in boards], ignore_index=True)
    lines: list[Line] = []
    numbers: list[Number] = []
    for row, one in found:
        if one.submission is None:
            continue
        lines += _lines(row, one.submission, measured)
        if one.submission.kind == "defense":
            said = one.submission.reported
            numbers += [Number(row, own.column, f"reported_{own.metric}", own.value) for own in said]
    title = "Submissions: the authors' numbers beside ours, evaluations by others"
    return [make_board("submissions", title, CAPTION, lines, numbers)] if lines else []


def _lines(row: str, submission: Submission, measured: pd.DataFrame) -> Iterator[Line]:
    """One line a reported number, or one without."""
    what = submission.kind if submission.kind == "defense" else f"evaluation: attack {submission.name}"
    head = {"defense": row, "what": what, "paper": submission.paper.text}
    claim = submission.paper.privacy_claim or "–"
    for one in submission.reported or (None,):
        yield {**head, **_compared(row, one, measured), "privacy claim": claim}


def _compared(row: str, reported: Reported | None, measured: pd.DataFrame) -> Line:
    if reported is None:
        return {"reported": "nothing", "measured": "–"}
    where = ", ".join(filter(None, [reported.setting, reported.where]))
    text = f"{reported.metric} {reported.value:.4g}" + (f" ({where})" if where else "")
    return {"reported": text, "measured": _measured(row, reported, measured)}


def _measured(row: str, reported: Reported, measured: pd.DataFrame) -> str:
    """Our number of the same metric in the column that is named."""
    same = (measured["defense"] == row) & (measured["metric"] == reported.metric)
    result = measured[same & (measured["column"] == reported.column)]
    return f"{result['mean'].iloc[0]:.4g} ({reported.column})" if len(result) else "–"
