"""Which board of a suite it is: dated by its newest record, and told apart by setting and protocol."""

from bench.records import PROTOCOL_VERSION
from leaderboards.board import Leaderboard, asked_for


def version(leaderboard: Leaderboard) -> dict[str, str]:
    """What tells this board from another one of the suite, by name; nothing is of the clock of whoever makes it."""
    records = leaderboard.evidence
    if not records:
        return {"board": f"{leaderboard.suite}, no records"}
    newest = max(record.finished_at for record in records)
    commits = sorted({record.environment.commit or "unknown" for record in records})
    return {
        "suite": leaderboard.asked_for or leaderboard.suite,
        "newest record": f"{newest:%Y-%m-%d %H:%M} UTC",
        "setting": ", ".join(sorted({record.setting for record in records})),
        "protocol": _protocol(leaderboard),
        "data": ", ".join(sorted({f"{record.cell.federation.dataset} ({record.data_digest})" for record in records})),
        "code at commit": ", ".join(commits),
        "records": f"{leaderboard.records}, {asked_for(leaderboard)}",
    }


def dated(leaderboard: Leaderboard) -> str:
    """The same in one line: `board of 2026-01-01, protocol version 3, setting 0123456789abcdef`."""
    known = version(leaderboard)
    if "newest record" not in known:
        return f"board without records: {known['board']}"
    return f"board of {known['newest record'][:10]}, protocol {known['protocol']}, setting {known['setting']}"


def _protocol(leaderboard: Leaderboard) -> str:
    if any(record.cell.hash in leaderboard.runnable for record in leaderboard.evidence):
        return f"version {PROTOCOL_VERSION}"
    return f"not that of this code's suite (protocol version {PROTOCOL_VERSION}): a run begins a new board"
