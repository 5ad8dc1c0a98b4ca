"""The board of claims: the epsilon that a paper claims, what it composes to over a run, what an audit proved."""

from bench.privacy.claims import PrivacyClaim
from bench.records import Privacy, Record
from leaderboards.audits import Audit, Audits, largest
from leaderboards.board import Board, Line, Number, make_board

KINDS = {"claimed": "nothing", "composed": "–"}
"""What a training run states, and what stands there where it does not."""
CAPTION = (
    "Claimed is what the paper promises for one release; composed is the same mechanism over all that one client "
    "releases in the run; audited is the largest lower bound that an adversary proved, and at which threat model, "
    "and behind it a larger one where the claim is not meant to hold (†); ✓ as much as is claimed or less, ✗ more (the "
    "board of audits has all of them). A condition that does not hold makes the claim void, with the reason."
)


def claims_board(rows: list[str], records: list[Record], audits: Audits) -> Board:
    """Each defense's epsilons in their units, from a record that finished: a failed one does not state them."""
    stated = {row: privacy for row in rows if (privacy := _privacy(row, records))}
    lines = [{"defense": row, **_cells(privacy, largest(audits, row))} for row, privacy in stated.items()]
    numbers = [
        Number(row, None, f"epsilon_{kind}", claim.epsilon)
        for row, privacy in stated.items()
        for kind in KINDS
        if (claim := getattr(privacy, kind)) and claim.epsilon is not None
    ]
    title = "Privacy claims: what is promised, what that makes over a run, what an adversary proves"
    return make_board("claims", title, CAPTION, lines, numbers)


def _privacy(row: str, records: list[Record]) -> Privacy | None:
    """Of a clean run, or else of an attacked one or of an audit: all are about the suite's own training."""
    mine = [record for record in records if record.cell.label == row and record.status == "ok"]
    training = [record for record in mine if record.cell.kind != "inversion"]
    clean_first = sorted(training, key=lambda record: (record.cell.kind != "training", record.cell.attack is not None))
    return clean_first[0].privacy if clean_first else None


def _cells(privacy: Privacy, audits: list[Audit]) -> Line:
    results = {kind: _text(getattr(privacy, kind), nothing) for kind, nothing in KINDS.items()}
    audited = "; ".join(map(_audited, audits)) or ("not yet" if privacy.claimed else "–")
    return {**results, "audited": audited}


def _text(claim: PrivacyClaim | None, nothing: str) -> str:
    if claim is None:
        return nothing
    if claim.epsilon is None:
        return f"none: {claim.reason}"
    return f"ε = {_bound(claim)} ({claim.source})"


def _bound(claim: PrivacyClaim) -> str:
    delta = "" if claim.delta is None else f", δ = {claim.delta:g}"
    return f"{claim.epsilon:.3g}{delta} {claim.unit}"


def _audited(audit: Audit) -> str:
    """`ε ≥ 12.3 ✗, δ = 0.0001 per upload at audit rho=1 (audit of 4000 uploads)`."""
    marks = f" {audit.marks}" if audit.marks else ""
    return f"ε ≥ {_bound(audit.proved)}{marks} at {audit.record.cell.column} ({audit.proved.source})"
