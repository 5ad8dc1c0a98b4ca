"""All boards of a selection of records."""

from collections.abc import Iterable

from bench.federation.settings import FederationSettings
from bench.records import Record
from leaderboards.audits import audits_board, find_audits
from leaderboards.backdoor import backdoor_boards
from leaderboards.board import Board, Leaderboard
from leaderboards.chance import floors
from leaderboards.claims import claims_board
from leaderboards.estimates import estimates, shares
from leaderboards.flags import find_flags
from leaderboards.frame import Selection, columns
from leaderboards.noise import noise_board
from leaderboards.overall import Measured, overall_board
from leaderboards.privacy import privacy_boards
from leaderboards.robustness import counts, robustness_boards
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
    federation: FederationSettings | None = None,
    notice: str = "",
) -> Leaderboard:
    """All boards from one setting's records.

    `seeds` is what the suite asks for, `recovered_psnr` the dB from which its records count an image as recovered, and
    `rows` the order of its defenses; those that it does not name come last, by the age of their records. `federation`
    is the suite's, against which rows with one of their own are marked; `notice` is what stands above the boards.
    """
    frame = selection.frame
    training, private, audited = (frame[frame["kind"] == kind] for kind in ("training", "inversion", "audit"))
    rows = selection.rows(rows)
    accuracy, recovered = estimates(training, "accuracy"), shares(private, "recovered")
    audits, chance = find_audits(selection.records), floors(selection.records)
    cells = [record.cell for record in selection.records]
    robustness = robustness_boards(rows, columns(training), accuracy, selection.evaluations, chance, counts(cells))
    privacy = privacy_boards(rows, columns(private), private, recovered_psnr, selection.evaluations)
    utility = utility_board(rows, accuracy, training, chance)
    backdoors = estimates(training, "backdoor_success")
    measured = Measured(accuracy, backdoors, recovered, audits, chance)
    ranked = (robustness[0], privacy[0], utility)
    return Leaderboard(
        suite=suite,
        title=title,
        seeds=seeds,
        notice=notice,
        boards=[
            overall_board(rows, columns(frame), ranked, measured, selection.expects),
            *robustness,
            *backdoor_boards(rows, columns(training), backdoors, accuracy),
            *privacy,
            noise_board(rows, columns(private), private),
            utility,
            claims_board(rows, selection.records, audits),
            audits_board(rows, columns(audited), audits),
        ],
        flags=find_flags(rows, selection, accuracy, audits, seeds, federation),
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
