"""All boards of a selection of records."""

from collections.abc import Iterable

from bench.records import Record
from leaderboards.audits import audits_board, find_audits
from leaderboards.backdoor import backdoor_boards
from leaderboards.board import Board, Leaderboard
from leaderboards.claims import claims_board
from leaderboards.estimates import estimates, shares
from leaderboards.flags import find_flags
from leaderboards.frame import Selection, columns
from leaderboards.noise import noise_board
from leaderboards.overall import overall_board
from leaderboards.privacy import privacy_boards
from leaderboards.robustness import robustness_boards
from leaderboards.utility import utility_board

__all__ = ["Board", "Leaderboard", "build"]


def build(
    suite: str,
    title: str,
    seeds: int,
    selection: Selection,
    *,
    recovered_psnr: float = 20.0,
    rows: Iterable[str] = (),
) -> Leaderboard:
    """All boards from one setting's records.

    `seeds` is what the suite asks for, `recovered_psnr` the dB from which its records count an image as recovered, and
    `rows` the order of its defenses; those that it does not name come last, by the age of their records.
    """
    frame = selection.frame
    training, private, audited = (frame[frame["kind"] == kind] for kind in ("training", "inversion", "audit"))
    rows = selection.rows(rows)
    accuracy, recovered = estimates(training, "accuracy"), shares(private, "recovered")
    audits = find_audits(selection.records)
    robustness = robustness_boards(rows, columns(training), accuracy, selection.evaluations)
    privacy = privacy_boards(rows, columns(private), private, recovered_psnr, selection.evaluations)
    utility = utility_board(rows, accuracy, training)
    ranked = (robustness[0], privacy[0], utility)
    return Leaderboard(
        suite=suite,
        title=title,
        seeds=seeds,
        boards=[
            overall_board(rows, columns(frame), ranked, accuracy, recovered, audits),
            *robustness,
            *backdoor_boards(rows, columns(training), training, accuracy),
            *privacy,
            noise_board(rows, columns(private), private),
            utility,
            claims_board(rows, selection.records, audits),
            audits_board(rows, columns(audited), audits),
        ],
        flags=find_flags(rows, selection, accuracy, audits, seeds),
        left_out=list(selection.left_out),
        records=len(frame),
        evidence=list(selection.records),
        evaluations=selection.evaluations,
        environments=sorted({_environment(record) for record in selection.records}),
    )


def _environment(record: Record) -> str:
    where = record.environment
    return (
        f"fedsiege {where.fedsiege} ({where.commit or 'no commit'}), torch {where.torch}, Python {where.python}, "
        f"{where.machine}, {where.device}, {where.threads} thread(s) a cell"
    )
