"""The board of claims: the epsilon that a paper claims, what it composes to over a run, what an audit found."""

from bench.privacy import PrivacyClaim
from bench.records import Privacy, Record
from leaderboards.board import Board, Line, Number, make_board

KINDS = {"claimed": "nothing", "composed": "–", "audited": "not yet"}
"""The columns, and what stands there where a record has none."""
CAPTION = (
    "Claimed is what the paper promises for one release; composed is the same mechanism over all that one client "
    "releases in the run; audited is what an attacker measured. A condition that does not hold makes the claim "
    "void, with the reason."
)


def claims_board(rows: list[str], records: list[Record]) -> Board:
    """Each defense's epsilons in their units, from a training run that finished: a failed one does not state them."""
    stated = {row: privacy for row in rows if (privacy := _privacy(row, records))}
    lines = [{"defense": row, **_cells(privacy)} for row, privacy in stated.items()]
    numbers = [
        Number(row, None, f"epsilon_{kind}", claim.epsilon)
        for row, privacy in stated.items()
        for kind in KINDS
        if (claim := getattr(privacy, kind)) and claim.epsilon is not None
    ]
    title = "Privacy claims: what is promised, and what that makes over a run"
    return make_board("claims", title, CAPTION, lines, numbers)


def _privacy(row: str, records: list[Record]) -> Privacy | None:
    """Of a clean run, or else of an attacked one: the claim is the same."""
    mine = [record for record in records if record.cell.label == row and record.status == "ok"]
    training = [record for record in mine if not record.cell.is_privacy]
    clean_first = sorted(training, key=lambda record: record.cell.attack is not None)
    return clean_first[0].privacy if clean_first else None


def _cells(privacy: Privacy) -> Line:
    return {kind: _text(getattr(privacy, kind), nothing) for kind, nothing in KINDS.items()}


def _text(claim: PrivacyClaim | None, nothing: str) -> str:
    if claim is None:
        return nothing
    if claim.epsilon is None:
        return f"none: {claim.reason}"
    delta = "" if claim.delta is None else f", δ = {claim.delta:g}"
    return f"ε = {claim.epsilon:.3g}{delta} {claim.unit} ({claim.source})"
