"""Flags: what a reader must know about a row before trusting it."""

import math
from collections.abc import Iterator

import pandas as pd

from leaderboards.estimates import MISSING, Estimate, Estimates
from leaderboards.frame import CLEAN

CONTROL_SHARE = 0.5
"""A control has failed when the attack recovers less than this share of the images with no defense at all."""


def find_flags(
    rows: list[str], columns: list[str], frame: pd.DataFrame, accuracy: Estimates, seeds: int
) -> dict[str, list[str]]:
    """The notes on each row that has any, in the order of the rows."""
    found = {row: list(_notes(row, columns, frame[frame["defense"] == row], accuracy, seeds)) for row in rows}
    return {row: notes for row, notes in found.items() if notes}


def _notes(row: str, columns: list[str], records: pd.DataFrame, accuracy: Estimates, seeds: int) -> Iterator[str]:
    for column in columns:
        cells = records[records["column"] == column]
        yield from (f"{column}: {note}" for note in _notes_on_cells(cells, seeds))
    clean = accuracy.get((row, CLEAN), MISSING)
    for column in columns:
        if _beats(accuracy.get((row, column), MISSING), clean):
            yield f"{column}: beats the clean run by more than the interval"
    if records["oracle_f"].any():
        yield "was given the true number of Byzantine clients"


def _notes_on_cells(cells: pd.DataFrame, seeds: int) -> Iterator[str]:
    """On the records of one row and column."""
    for status in ("failed", "diverged"):
        errors = cells.loc[cells["status"] == status, "error"]
        if len(errors):
            yield ": ".join([f"{len(errors)} seed(s) {status}", *errors.dropna().head(1)])
    if len(cells) < seeds:
        yield f"{len(cells)} of {seeds} seeds"
    if "control_recovered" in cells and (cells["control_recovered"] < CONTROL_SHARE).any():
        yield "the control failed, the attack recovers too little without a defense"


def _beats(attacked: Estimate, clean: Estimate) -> bool:
    """By more than the interval of the difference; never where one of them is a single seed."""
    return attacked.mean - clean.mean > math.hypot(attacked.half_width, clean.half_width)
