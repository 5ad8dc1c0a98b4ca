"""The board of audits: what a distinguishing game proves against each claim, at each threat model."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bench.privacy.claims import PrivacyClaim
from bench.records import Record
from leaderboards.board import Board, Line, Number, make_board

KEPT, BROKEN, BEYOND = "✓", "✗", "†"
ROUNDING = 1e-9
CAPTION = (
    "Lower bounds on epsilon at 95 % confidence, in the unit of the claim, from games that tell one of two "
    "neighbouring inputs from the other; behind them, where that unit is smaller, the bound for a whole upload. Of "
    "several seeds the median is shown (the lower one of two). rho is the share of the other clients that collude "
    f"with the server; active ones deviate for it. {KEPT} the claim stands: the audit proves no more than it admits. "
    f"{BROKEN} the audit proves more than is claimed. {BEYOND} the claim is not meant for this threat model, so that "
    f"{BROKEN} {BEYOND} is the price of trusting more clients than it allows. No mark: the claim is void, and there is "
    "nothing to stand by. + is the most that so many games can prove: every one was told right."
)


@dataclass(frozen=True)
class Audit:
    """What audits of a defense at a threat model prove: the record with the median bound over the seeds stands for all.

    `beyond` says that the claim is not meant for this threat model, `failed` how many seeds gave no bound.
    """

    record: Record
    proved: PrivacyClaim
    seeds: int
    failed: int
    beyond: bool

    @property
    def epsilon(self) -> float:
        """The bound; an audit that proves nothing proves that epsilon is at least 0."""
        return self.proved.epsilon or 0.0

    @property
    def upload(self) -> float | None:
        """The bound for a whole upload, where the claim is about less."""
        result = self.record.metrics.get("epsilon_audited_upload")
        return None if result == self.epsilon else result

    @property
    def claimed(self) -> PrivacyClaim | None:
        return self.record.privacy.claimed

    @property
    def allowed(self) -> float | None:
        """The claimed epsilon; None where there is none, or the claim is void."""
        return None if self.claimed is None else self.claimed.epsilon

    @property
    def exceeds(self) -> bool:
        """Whether it proves more than is claimed."""
        return self.allowed is not None and self.epsilon > self.allowed

    @property
    def breaks(self) -> bool:
        """Whether the claim is false where it is meant to hold."""
        return self.exceeds and not self.beyond

    @property
    def marks(self) -> str:
        verdict = BROKEN if self.exceeds else "" if self.allowed is None or self.beyond else KEPT
        return f"{verdict} {BEYOND if self.beyond else ''}".strip()

    @property
    def bound(self) -> str:
        """`12.3`, or `29.3+` where the games could not have proved more."""
        return self._bounded(self.epsilon, "epsilon_provable")

    def _bounded(self, epsilon: float, limit: str) -> str:
        whole = epsilon >= self.record.metrics.get(limit, math.inf) - ROUNDING
        return f"{epsilon:.3g}{'+' if whole else ''}"

    def text(self) -> str:
        """`12.3 ✗`, or `0.9 ✓, upload 35`."""
        upload = "" if self.upload is None else f", upload {self._bounded(self.upload, 'epsilon_provable_upload')}"
        failed = f" ({self.failed} failed)" if self.failed else ""
        return f"{self.bound}{failed} {self.marks}".strip() + upload


Audits = dict[tuple[str, str], Audit]
"""By (row, column)."""


def find_audits(records: Iterable[Record]) -> Audits:
    """The audits that have a bound, by row and column."""
    groups: dict[tuple[str, str], list[Record]] = {}
    trusting = set()
    for record in records:
        if record.cell.kind == "audit":
            groups.setdefault((record.cell.label, record.cell.column), []).append(record)
        if record.cost.peer_bytes:
            trusting.add(record.cell.label)
    results = {place: _median(mine, place[0] in trusting) for place, mine in groups.items()}
    return {place: audit for place, audit in results.items() if audit is not None}


def _median(records: list[Record], trusting: bool) -> Audit | None:
    """Of the seeds of one cell; `trusting` says that the row's clients hide behind each other's messages."""
    proofs = [
        (record, record.privacy.audited) for record in records if record.status == "ok" and record.privacy.audited
    ]
    if not proofs:
        return None
    ordered = sorted(proofs, key=lambda proof: (proof[1].epsilon or 0.0, proof[0].seed))
    record, proved = ordered[(len(ordered) - 1) // 2]
    return Audit(record, proved, len(proofs), len(records) - len(proofs), _beyond(record, trusting))


def _beyond(record: Record, trusting: bool) -> bool:
    """Whether the claim is not meant for the record's colluders: too many, or ones that write their peer messages.

    What clients send each other hides them only where all follow the protocol (errata N4).
    """
    cell, claim = record.cell, record.privacy.claimed
    active = cell.attack is not None and bool(cell.attack.parameters.get("active", False))
    return claim is not None and ((cell.rho or 0.0) > claim.colluders + ROUNDING or (active and trusting))


def largest(audits: Audits, row: str) -> list[Audit]:
    """The row's audit with the largest bound where its claim is meant to hold, and a larger one beyond, if there is."""
    mine = [audit for (name, _), audit in audits.items() if name == row]
    results: list[Audit] = []
    for beyond in (False, True):
        some = [
            audit for audit in mine if audit.beyond == beyond and all(audit.epsilon > one.epsilon for one in results)
        ]
        results += sorted(some, key=lambda audit: -audit.epsilon)[:1]
    return results


def audits_board(rows: list[str], columns: list[str], audits: Audits) -> Board:
    """Every row that was audited, in every threat model."""
    audited = [row for row in rows if largest(audits, row)]
    lines = [{"defense": row, **_claim(row, audits), **_cells(row, columns, audits)} for row in audited]
    numbers = [
        Number(row, column, metric, value, seeds=audit.seeds, failed=audit.failed, within_claim=not audit.beyond)
        for (row, column), audit in audits.items()
        for metric, value in (("epsilon_audited", audit.epsilon), ("epsilon_audited_upload", audit.upload))
        if value is not None
    ]
    return make_board("audits", "Audits: what an adversary proves against the claim", CAPTION, lines, numbers)


def _claim(row: str, audits: Audits) -> Line:
    """What the row claims, and up to which share of colluders."""
    claim = next(audit.claimed for (name, _), audit in audits.items() if name == row)
    if claim is None:
        return {"claimed": "nothing", "for rho up to": "–"}
    stated = "void," if claim.epsilon is None else f"{claim.epsilon:.3g}"
    return {"claimed": f"{stated} {claim.unit}", "for rho up to": f"{claim.colluders:.3g}"}


def _cells(row: str, columns: list[str], audits: Audits) -> Line:
    return {column: audits[row, column].text() if (row, column) in audits else "–" for column in columns}
