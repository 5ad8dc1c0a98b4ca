"""Flags: what a reader must know about a row before trusting it."""

import math
from collections.abc import Iterator, Mapping

import pandas as pd

from bench.federation.settings import FederationSettings, own_settings
from leaderboards.audits import Audit, Audits
from leaderboards.estimates import MISSING, Estimate, Estimates
from leaderboards.frame import CLEAN, Selection, columns
from leaderboards.origin import notes_on_origin

CONTROL_SHARE = 0.5
"""A control has failed when the attack recovers less than this share of the images with no defense at all."""

MANY = 3
"""Columns that lack as many seeds as others are told one by one up to so many."""


def find_flags(
    rows: list[str],
    selection: Selection,
    accuracy: Estimates,
    audits: Audits,
    seeds: Mapping[str, int],
    federation: FederationSettings | None = None,
) -> dict[str, list[str]]:
    """The notes on each row that has any, in the order of the rows; `federation` is the suite's.

    `seeds` says how many each kind of cells should have.
    """
    results = {
        row: [
            *_notes(row, selection, accuracy, audits, seeds),
            *_notes_on_federation(row, selection, federation),
            *notes_on_origin(row, selection.records),
        ]
        for row in rows
    }
    return {row: notes for row, notes in results.items() if notes}


def _notes(
    row: str, selection: Selection, accuracy: Estimates, audits: Audits, seeds: Mapping[str, int]
) -> Iterator[str]:
    frame = selection.frame
    records, places = frame[frame["defense"] == row], columns(frame)
    short: dict[str, list[str]] = {}
    for column in places:
        cells = records[records["column"] == column]
        yield from (f"{column}: {note}" for note in _notes_on_cells(cells))
        asked = seeds[frame.loc[frame["column"] == column, "kind"].iloc[0]]
        if len(cells) < asked and selection.expects(row, column):
            short.setdefault(f"{len(cells)} of {asked} seeds", []).append(column)
        if "control_recovered" in cells and (cells["control_recovered"] < CONTROL_SHARE).any():
            yield f"{column}: the control failed, the attack recovers too little without a defense"
    for told, lacking in short.items():
        yield from [f"{len(lacking)} columns: {told}"] if len(lacking) > MANY else (f"{one}: {told}" for one in lacking)
    clean = accuracy.get((row, CLEAN), MISSING)
    for column in places:
        if _beats(accuracy.get((row, column), MISSING), clean):
            yield f"{column}: beats the clean run by more than the interval"
    for column in places:
        if (row, column) in audits and audits[row, column].exceeds:
            yield f"{column}: {_evidence(audits[row, column])}"
    if records["oracle_f"].any():
        yield "was given the true number of Byzantine clients"


def _notes_on_federation(row: str, selection: Selection, federation: FederationSettings | None) -> Iterator[str]:
    """What a row's training has of its own that no row may choose, and samples that nobody attacked."""
    mine = [record for record in selection.records if record.cell.label == row and record.cell.kind == "training"]
    if mine and federation is not None:
        own = own_settings(mine[0].cell.federation, federation)
        told = [f"{key} = {value} ({getattr(federation, key)})" for key, value in own.items()]
        if told:
            yield f"plays in a federation of its own, behind it the suite's: {', '.join(told)}"
    for record in mine:
        if record.byzantine is not None and record.byzantine.absent == record.cell.federation.rounds:
            yield f"{record.cell.column}: seed {record.seed} has no Byzantine client in the sample of any round"


def _notes_on_cells(cells: pd.DataFrame) -> Iterator[str]:
    """On what did not finish of one row and column."""
    for status in ("failed", "diverged"):
        errors = cells.loc[cells["status"] == status, "error"]
        if len(errors):
            yield ": ".join([f"{len(errors)} seed(s) {status}", *errors.dropna().head(1)])


def _evidence(audit: Audit) -> str:
    """What an audit that exceeds the claim proves, on which evidence; softer where the claim is not meant to hold."""
    metrics, claim = audit.record.metrics, audit.claimed
    assert claim is not None
    known = {kind: metrics[f"{kind}_positive_rate"] for kind in ("true", "false") if f"{kind}_positive_rate" in metrics}
    evidence = [audit.proved.source, *(f"{kind} positives {rate:.1%}" for kind, rate in known.items())]
    verdict = (
        f"beyond what the claim is meant for (curious colluders up to rho = {claim.colluders:.3g}) an audit proves"
        if audit.beyond
        else "the privacy claim is broken: an audit proves"
    )
    promised = "composed" if audit.record.cell.kind == "run_audit" else "claimed"
    bound = f"epsilon of at least {audit.epsilon:.3g} {claim.unit}, where {claim.epsilon:.3g} is {promised}"
    return f"{verdict} {bound} ({', '.join(evidence)}; record {audit.record.key})"


def _beats(attacked: Estimate, clean: Estimate) -> bool:
    """By more than the interval of the difference; never where one of them is a single seed."""
    return attacked.mean - clean.mean > math.hypot(attacked.half_width, clean.half_width)
