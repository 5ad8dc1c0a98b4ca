"""The board of submissions: what the authors report beside what we measured, and which rules a row breaks.

What the authors say comes from `submission.toml` in the row's folder; it is shown, and ranks nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.base.errors import BadInputError
from bench.records import Store
from bench.records.submissions import Reported, Submission
from bench.submission import folder as folders
from leaderboards.board import Board, Leaderboard, Line, Number, make_board

CAPTION = (
    "Reported is what the authors' own paper says, in its own setting; measured is our number in the column that it "
    "may be held against, where there is one. Nothing here ranks. An evaluation is an attack that somebody else "
    "submitted against this row: its column counts for the row's worst case like any other. A row that breaks a rule "
    "of the contract stays, and its flags say which."
)


def add_submissions(leaderboard: Leaderboard, folder: Path) -> None:
    """Add the board and the flags of the submissions below a suite's folder; one that is damaged is left out, told."""
    measured = pd.concat([board.data for board in leaderboard.boards], ignore_index=True)
    labels = _labels(leaderboard, folder)
    lines: list[Line] = []
    numbers: list[Number] = []
    for place in sorted([*folder.glob(f"*/{folders.FILE}"), *folder.glob(f"*/*/{folders.FILE}")]):
        name = place.relative_to(folder).parts[0]
        if (row := labels.get(name, name)) not in set(measured["defense"]):
            continue  # its records are of another setting
        try:
            submission = folders.load(place.parent)
            notes = list(_flags(place.parent, submission))
        except BadInputError as error:
            leaderboard.left_out.append(str(error))
            continue
        assert submission is not None
        if notes:
            leaderboard.flags.setdefault(row, []).extend(notes)
        lines += _lines(row, submission, measured)
        if submission.kind == "defense":
            numbers += [Number(row, one.column, f"reported_{one.metric}", one.value) for one in submission.reported]
    if lines:
        leaderboard.boards.append(_board(lines, numbers))


def _labels(leaderboard: Leaderboard, folder: Path) -> dict[str, str]:
    """The row of each folder that has records on the board: a label may have signs that no folder's name has."""
    store = Store(folder.parent, folder.name)
    found = {}
    for record in leaderboard.evidence:
        found[store.path(record.cell, record.seed).parents[1].name] = record.cell.label
    return found


def _board(lines: list[Line], numbers: list[Number]) -> Board:
    title = "Submissions: the authors' numbers beside ours, evaluations by others"
    return make_board("submissions", title, CAPTION, lines, numbers)


def _flags(folder: Path, submission: Submission | None) -> Iterator[str]:
    """What breaks the contract; raises `BadInputError` where a file is damaged."""
    assert submission is not None
    who = "" if submission.kind == "defense" else f"evaluation {submission.name}: "
    try:
        folders.source_of(folder, submission)
    except BadInputError as error:
        yield f"{who}the source is not what was submitted: {error}"
    found = folders.examination(folder)
    if found is None:
        yield f"{who}its contract was not examined"
    elif found.sha256 != submission.sha256:
        yield f"{who}its contract was examined for another source"
    for broken in found.broken if found is not None else ():
        yield f"{who}breaks the contract ({broken.rule}): {broken.sentence}"


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
    told = f"{reported.metric} {reported.value:.4g}" + (f" ({where})" if where else "")
    return {"reported": told, "measured": _measured(row, reported, measured)}


def _measured(row: str, reported: Reported, measured: pd.DataFrame) -> str:
    """Our number of the same metric in the column that is named."""
    same = (measured["defense"] == row) & (measured["metric"] == reported.metric)
    found = measured[same & (measured["column"] == reported.column)]
    return f"{found['mean'].iloc[0]:.4g} ({reported.column})" if len(found) else "–"
