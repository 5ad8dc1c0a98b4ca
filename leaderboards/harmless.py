"""Columns in which to stand is no merit: attacks that hurt nobody, or not even the mean without any defense.

Khan et al. 2025 call data on which an undefended mean stands an attack intrinsically robust: whoever stands it there
has shown no more than no defense does. The control is FedAvg, as the inversions' control is an upload without one.
"""

from collections.abc import Collection, Mapping, Sequence

from bench.records import Record
from leaderboards.estimates import MISSING, Estimate, Estimates
from leaderboards.frame import CLEAN, Selection, listed
from leaderboards.overall import BACKDOOR_SHARE

CONTROL = "fedavg"
"""The defense that defends against nobody."""
KEPT = 0.9
"""The share of its clean accuracy that the control keeps where the task, not the rule, stands the attack."""
UNHURT = 0.95
"""The share that every row, the control too, keeps under an attack that hurts nobody."""
SIGN = "○"
"""Behind the name of such a column."""
MEANING = f"the control, fedavg, keeps {KEPT:.0%} of its clean accuracy: a rule that does shows no more than no defense"
NO_CONTROL = (
    "no undefended control: FedAvg is not in this suite, so that nothing says which attacks the task itself withstands"
)


def notes_on_columns(
    rows: Sequence[str], columns: Sequence[str], accuracy: Estimates, backdoors: Estimates, records: Sequence[Record]
) -> dict[str, list[str]]:
    """By attacked column of trainings, that the control stands it, and who does not; other columns are not there.

    A backdoor that works on the control is after other things than accuracy, and stands it as little.
    """
    control = control_of(rows, records)
    results: dict[str, list[str]] = {}
    for column in columns if control is not None else ():
        mine = {row: share for row in rows if (share := kept(accuracy, row, column)) is not None}
        tricked = control is not None and backdoors.get((control, column), MISSING).mean >= BACKDOOR_SHARE
        if column == CLEAN or control not in mine or mine[control] < KEPT or tricked:
            continue
        if min(mine.values()) >= UNHURT:
            text = f"harmless: every row keeps {UNHURT:.0%} or more of its clean accuracy, fedavg too"
        else:
            fallen = [row for row, share in mine.items() if share < KEPT]
            others = f"; these rows keep less than {KEPT:.0%}: {listed(fallen)}" if fallen else ""
            text = f"the undefended control, fedavg, keeps {mine[control]:.0%} of its clean accuracy{others}"
        results[column] = [text]
    return results


def saved(
    rows: Sequence[str], notes: Mapping[str, Sequence[str]], accuracy: Estimates, records: Sequence[Record]
) -> dict[str, str]:
    """By row, that the control withstands every attack that it met, if so; `notes` are those on columns."""
    control = control_of(rows, records)
    met = {row: [column for one, column in accuracy if one == row and column != CLEAN] for row in rows}
    text = "saved by the task: the undefended control, fedavg, withstands every attack that it met"
    return {row: text for row, mine in met.items() if row != control and mine and set(mine) <= set(notes)}


def missing_control(rows: Sequence[str], selection: Selection) -> list[str]:
    """One line where rows were attacked and no record of the control says what that does without a defense."""
    attacked = [one for one in selection.records if one.cell.kind == "training" and one.cell.attack is not None]
    return [NO_CONTROL] if attacked and control_of(rows, selection.records) is None else []


def control_of(rows: Sequence[str], records: Sequence[Record]) -> str | None:
    """The first row that is FedAvg."""
    labels = {one.cell.label for one in records if one.cell.defense.name == CONTROL and one.cell.kind == "training"}
    return next((row for row in rows if row in labels), None)


def kept(accuracy: Estimates, row: str, column: str) -> float | None:
    """The share of its clean accuracy that a row keeps under an attack; None where one of them is not known."""
    clean: Estimate = accuracy.get((row, CLEAN), MISSING)
    attacked: Estimate = accuracy.get((row, column), MISSING)
    if not clean.score > 0 or not (attacked.seeds or attacked.failed):
        return None
    return attacked.score / clean.score


def marked(name: str, notes: Collection[str]) -> str:
    """A column's name as a table shows it."""
    return f"{name} {SIGN}" if name in notes else name
