"""All boards of a selection of records."""

from collections.abc import Iterable

from bench.records import Record
from leaderboards.board import Board, Leaderboard
from leaderboards.claims import claims_board
from leaderboards.estimates import estimates
from leaderboards.flags import find_flags
from leaderboards.frame import Selection, columns
from leaderboards.noise import noise_board
from leaderboards.overall import overall_board
from leaderboards.privacy import privacy_board
from leaderboards.robustness import robustness_board
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
    training, private = frame[~frame["privacy_cell"]], frame[frame["privacy_cell"]]
    rows = _in_order(rows, list(frame["defense"].unique()))
    accuracy, recovered = estimates(training, "accuracy"), estimates(private, "recovered")
    ranked = (
        robustness_board(rows, columns(training), accuracy),
        privacy_board(rows, columns(private), private, recovered_psnr),
        utility_board(rows, accuracy, training),
    )
    robustness, privacy, utility = ranked
    return Leaderboard(
        suite=suite,
        title=title,
        seeds=seeds,
        boards=[
            overall_board(rows, columns(frame), ranked, accuracy, recovered),
            robustness,
            privacy,
            noise_board(rows, columns(private), private),
            utility,
            claims_board(rows, selection.records),
        ],
        flags=find_flags(rows, columns(frame), frame, accuracy, seeds),
        left_out=list(selection.left_out),
        records=len(frame),
        environments=sorted({_environment(record) for record in selection.records}),
    )


def _in_order(named: Iterable[str], present: list[str]) -> list[str]:
    """The rows that are present: first the named ones, in their order, then the others."""
    return [row for row in dict.fromkeys([*named, *present]) if row in present]


def _environment(record: Record) -> str:
    where = record.environment
    return (
        f"fedsiege {where.fedsiege} ({where.commit or 'no commit'}), torch {where.torch}, Python {where.python}, "
        f"{where.machine}, {where.device}, {where.threads} thread(s) a cell"
    )
