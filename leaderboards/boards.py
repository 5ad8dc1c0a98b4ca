"""All boards of a selection of records."""

from collections.abc import Iterable, Sequence

from bench.federation.settings import FederationSettings
from bench.records import Record
from bench.records.folder import slug
from bench.records.submissions import Submitted
from bench.records.verified import State
from leaderboards import root, verified
from leaderboards.audits import audits_board, find_audits
from leaderboards.backdoor import backdoor_boards
from leaderboards.board import Board, Leaderboard, Picture
from leaderboards.chance import floors
from leaderboards.claims import claims_board
from leaderboards.estimates import estimates, shares
from leaderboards.flags import find_flags
from leaderboards.frame import CLEAN, Selection, columns
from leaderboards.gaps import find_gaps, told
from leaderboards.noise import noise_board
from leaderboards.origin import unnamed
from leaderboards.overall import Measured, overall_board
from leaderboards.privacy import privacy_boards
from leaderboards.robustness import counts, robustness_boards
from leaderboards.root import root_board, root_images
from leaderboards.submissions import of_rows, submission_boards
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
    submissions: Sequence[Submitted] = (),
    verifications: Sequence[State] = (),
    damaged: Sequence[str] = (),
    pictures: Sequence[Picture] = (),
    results: str = "results",
    asked_for: str = "",
    runnable: frozenset[str] = frozenset(),
) -> Leaderboard:
    """All boards from one setting's records.

    `seeds` is what the suite asks for, `recovered_psnr` the dB from which its records count an image as recovered, and
    `rows` the order of its defenses; those that it does not name come last, by the age of their records. `federation`
    is the suite's, against which rows with one of their own are marked; `notice` is what stands above the boards.
    `submissions` and `verifications` are what lies beside the records, `damaged` the lines about files that were
    refused there; `results`, `asked_for` and `runnable` tell how the records are made again.
    """
    frame = selection.frame
    training, private, audited = (frame[frame["kind"] == kind] for kind in ("training", "inversion", "audit"))
    rows = selection.rows(rows)
    accuracy, recovered = estimates(training, "accuracy"), shares(private, "recovered")
    audits, chance = find_audits(selection.records), floors(selection.records)
    cells = [record.cell for record in selection.records]
    attacked, clean = training[training["column"] != CLEAN], training[training["column"] == CLEAN]
    parts = {"robustness": attacked, "privacy": private, "utility": clean}
    gaps = {name: find_gaps(rows, part, selection) for name, part in parts.items()}
    robustness = robustness_boards(
        rows, columns(training), accuracy, selection.evaluations, chance, counts(cells), gaps["robustness"]
    )
    privacy = privacy_boards(rows, columns(private), private, recovered_psnr, selection.evaluations, gaps["privacy"])
    utility = utility_board(rows, accuracy, training, chance, gaps["utility"])
    backdoors = estimates(training, "backdoor_success")
    measured = Measured(accuracy, backdoors, recovered, audits, chance)
    ranked = (robustness[0], privacy[0], utility)
    boards = [
        overall_board(rows, columns(frame), ranked, measured, selection.expects),
        *robustness,
        *backdoor_boards(rows, columns(training), backdoors, accuracy, gaps["robustness"]),
        *privacy,
        noise_board(rows, columns(private), private),
        utility,
        claims_board(rows, selection.records, audits),
        audits_board(rows, columns(audited), audits),
    ]
    if images := root_images(selection.records):
        boards.append(root_board(images, rows, ranked))
    submitted = of_rows(submissions, {slug(row): row for row in rows})
    boards += submission_boards(submitted, boards)
    sensitive = verified.sensitive(verifications, {cell.hash for cell in cells})
    flags = find_flags(rows, selection, accuracy, audits, seeds, federation)
    for row, note in [
        *((row, note) for row, one in submitted for note in one.notes),
        *((one.row, verified.note(one)) for one in sensitive),
        *((row, root.note(count)) for row, count in images.items()),
    ]:
        flags.setdefault(row, []).append(note)
    unread = [*(one.damaged for _, one in submitted), *(one.damaged for one in verifications)]
    return Leaderboard(
        suite=suite,
        title=title,
        seeds=seeds,
        notice=notice,
        boards=tuple(verified.marked(board, sensitive) for board in boards),
        flags=flags,
        left_out=[*selection.left_out, *told(gaps), *damaged, *filter(None, unread)],
        records=len(frame),
        environments=sorted({_environment(record) for record in selection.records}),
        caveats=unnamed(selection.records),
        verified=verified.told(verifications),
        pictures=pictures,
        evidence=selection.records,
        evaluations=selection.evaluations,
        results=results,
        asked_for=asked_for,
        runnable=runnable,
    )


def _environment(record: Record) -> str:
    where = record.environment
    return (
        f"fedsiege {where.fedsiege} ({where.commit or 'no commit'}), torch {where.torch}, Python {where.python}, "
        f"{where.machine}, {where.device}, {where.threads} thread(s) a cell"
    )
