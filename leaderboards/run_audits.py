"""The board of runs: what is claimed of one release, what that makes over a run, and what an audit of either proves."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.privacy.claims import PrivacyClaim
from bench.records import Record
from leaderboards.audits import Audit, Audits, largest
from leaderboards.board import Board, Line, Number, make_board

ONCE, RUN = "audited, one release", "audited, whole run"
CAPTION = (
    "Claimed is what one release promises, composed the same mechanism over all that one client releases in the run; "
    "each is an upper bound on epsilon in its own unit and at its own delta. Behind them the largest lower bound that "
    "games of one round prove of the one (where its claim is meant to hold), and what one training with many canaries "
    "proves of the other, at the same delta and with 95 % confidence: of several seeds the median (the lower one of "
    "two), with the share of guesses that were right. The run's adversary sees what the claim is against: every "
    "message of every round as the channel delivers it, or the models alone; nobody colludes with it. ✓ no more is "
    "proved than is promised. ✗ more is proved. + is the most that so many canaries can prove, so that the true "
    "epsilon may be larger by any factor: a bound far below the composed epsilon says little of the defense, and much "
    "of how many canaries there are. Where what is composed covers less than the adversary sees, its source says so on "
    "the board of claims (noise shares: each upload seen alone), and ✗ is what that leaves out."
)


@dataclass(frozen=True)
class RunAudit(Audit):
    """What audits of a whole run prove: against the composed epsilon, in its unit."""

    @property
    def claimed(self) -> PrivacyClaim | None:
        return self.record.privacy.composed

    @property
    def upload(self) -> float | None:
        return None

    @property
    def bound(self) -> str:
        return self._bounded(self.epsilon, "epsilon_run_provable")

    def text(self) -> str:
        """`2.81 ✓ (314 of 500 right)`."""
        right, guesses = (round(self.record.metrics[name]) for name in ("right_guesses", "guesses"))
        return f"{super().text()} ({right:,} of {guesses:,} right)"


def find_run_audits(records: Iterable[Record]) -> Audits:
    """The audits of whole runs that have a bound, by row and column."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.cell.kind == "run_audit":
            groups.setdefault((record.cell.label, record.cell.column), []).append(record)
    results = {place: _median(mine) for place, mine in groups.items()}
    return {place: audit for place, audit in results.items() if audit is not None}


def _median(records: list[Record]) -> RunAudit | None:
    """Of the seeds of one cell."""
    proofs = [
        (record, record.privacy.audited) for record in records if record.status == "ok" and record.privacy.audited
    ]
    if not proofs:
        return None
    ordered = sorted(proofs, key=lambda proof: (proof[1].epsilon or 0.0, proof[0].seed))
    record, proved = ordered[(len(ordered) - 1) // 2]
    return RunAudit(record, proved, len(proofs), len(records) - len(proofs), beyond=False)


def run_audits_board(rows: list[str], columns: list[str], runs: Audits, audits: Audits) -> Board:
    """Every row whose run was audited, beside what games of one round proved of it."""
    lines: list[Line] = []
    for row in rows:
        mine = [runs[row, column] for column in columns if (row, column) in runs]
        if mine:
            privacy, once = mine[0].record.privacy, largest(audits, row)[:1]
            result = "; ".join(_with_column(audit, len(mine) > 1) for audit in mine)
            told = {ONCE: once[0].text() if once else "–", RUN: result}
            lines.append(
                {"defense": row, "claimed": _stated(privacy.claimed), "composed": _stated(privacy.composed), **told}
            )
    numbers = [
        Number(row, column, "epsilon_run", audit.epsilon, seeds=audit.seeds, failed=audit.failed, within_claim=True)
        for (row, column), audit in runs.items()
    ]
    return make_board(
        "run_audits", "Audits of whole runs: what a training shows of one client", CAPTION, lines, numbers
    )


def _stated(claim: PrivacyClaim | None) -> str:
    if claim is None:
        return "–"
    if claim.epsilon is None:
        return f"void, {claim.unit}"
    delta = "" if claim.delta is None else f", δ = {claim.delta:g}"
    return f"{claim.epsilon:.3g} {claim.unit}{delta}"


def _with_column(audit: Audit, several: bool) -> str:
    text = audit.record.cell.column.removeprefix(audit.record.cell.attack_name).strip()
    return f"{text}: {audit.text()}" if several and text else audit.text()
