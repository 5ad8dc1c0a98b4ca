"""All boards of a selection of records."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from bench.federation.settings import FederationSettings
from bench.records import Record
from bench.records.folder import slug
from bench.records.submissions import Submitted
from bench.records.verified import State
from bench.suite.factors import Design
from bench.suite.kinds import KINDS
from leaderboards import root, verified
from leaderboards.audits import audits_board, find_audits
from leaderboards.backdoor import backdoor_boards
from leaderboards.board import Board, Leaderboard, Picture
from leaderboards.chance import floors, grain
from leaderboards.claims import claims_board
from leaderboards.coalitions import MEMBERS, coalition_board, coalitions
from leaderboards.durability import durability_boards
from leaderboards.estimates import estimates, shares
from leaderboards.factors import effects, factor_boards, split
from leaderboards.fairness import fairness_board
from leaderboards.flags import find_flags
from leaderboards.frame import CLEAN, Selection, columns
from leaderboards.gaps import find_gaps
from leaderboards.gaps import told as told_of_gaps
from leaderboards.harmless import missing_control, notes_on_columns, saved
from leaderboards.membership import RATE, membership_boards, rates
from leaderboards.noise import noise_board
from leaderboards.noisy_rules import noisy_rules, noisy_rules_board
from leaderboards.origin import unnamed
from leaderboards.overall import Measured, learned, overall_board
from leaderboards.privacy import privacy_boards
from leaderboards.property import EXPLAINED, property_boards
from leaderboards.robustness import counts, robustness_boards
from leaderboards.root import root_board, root_images
from leaderboards.run_audits import find_run_audits, run_audits_board
from leaderboards.siege import siege_board
from leaderboards.submissions import of_rows, submission_boards
from leaderboards.utility import utility_board

__all__ = ["Board", "Leaderboard", "build"]


def build(
    suite: str,
    title: str,
    seeds: int,
    selection: Selection,
    *,
    seeds_of: Mapping[str, int] = MappingProxyType({}),
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
    designs: Sequence[Design] = (),
) -> Leaderboard:
    """All boards from one setting's records.

    `seeds` is how many the suite asks for, and `seeds_of` of which kinds of cells it asks for others; `recovered_psnr`
    is the dB from which its records count an image as recovered, and `rows` the order of its defenses; those that it
    does not name come last, by the age of their records. `federation` is the suite's, against which rows with one of
    their own are marked; `notice` is what stands above the boards. `submissions` and `verifications` are what lies
    beside the records, `damaged` the lines about files that were refused there; `results`, `asked_for` and `runnable`
    tell how the records are made again. `designs` are the suite's factors: what is played at a level of one stands on a
    board of its own, and in no other number.
    """
    everything, (selection, _) = selection, split(selection)
    frame = selection.frame
    training, private, audited = (frame[frame["kind"] == kind] for kind in ("training", "inversion", "audit"))
    asked, shared = (frame[frame["kind"] == kind] for kind in ("membership", "property"))
    inferred = asked[asked["byzantine"] == 0]  # coalitions that ask stand on a board of their own
    rows = selection.rows(rows)
    accuracy, recovered = estimates(training, "accuracy"), shares(private, "recovered")
    audits, runs, chance = find_audits(selection.records), find_run_audits(selection.records), floors(selection.records)
    cells = [record.cell for record in selection.records]
    attacked, clean = training[training["column"] != CLEAN], training[training["column"] == CLEAN]
    parts = {"robustness": attacked, "privacy": private, "membership": inferred, "property": shared, "utility": clean}
    gaps = {name: find_gaps(rows, part, selection) for name, part in parts.items()}
    told, step = counts(cells), grain(selection.records)
    robustness = robustness_boards(
        rows, columns(training), accuracy, selection.evaluations, chance, told, training, gaps["robustness"], step
    )
    privacy = privacy_boards(rows, columns(private), private, recovered_psnr, selection.evaluations, gaps["privacy"])
    utility = utility_board(rows, accuracy, training, chance, gaps["utility"], step)
    backdoors = estimates(training, "backdoor_success")
    leaks = learned(recovered, rates(inferred, RATE), estimates(shared, EXPLAINED))
    measured = Measured(accuracy, backdoors, leaks, audits | runs, chance)
    ranked = (robustness[0], privacy[0], utility)
    alone = frame.drop(asked[asked["byzantine"] > 0].index)
    boards = [
        overall_board(rows, columns(alone), ranked, measured, selection.expects),
        *robustness,
        *backdoor_boards(rows, columns(training), backdoors, accuracy, gaps["robustness"]),
        *durability_boards(rows, columns(training), backdoors, selection.records),
        *privacy,
        coalition_board(coalitions(rows, private, selection.records)),
        noise_board(rows, columns(private), private),
        *membership_boards(
            rows, columns(inferred), inferred, selection.records, selection.evaluations, gaps["membership"]
        ),
        coalition_board(coalitions(rows, asked, selection.records, MEMBERS), MEMBERS),
        *property_boards(rows, columns(shared), shared, selection.records, selection.evaluations, gaps["property"]),
        utility,
        siege_board(rows, accuracy, training, selection.records),
        noisy_rules_board(noisy_rules(rows, columns(attacked), accuracy, training, selection.records)),
        fairness_board(rows, columns(training), training),
        claims_board(rows, selection.records, audits),
        audits_board(rows, columns(audited), audits),
        run_audits_board(rows, columns(frame[frame["kind"] == "run_audit"]), runs, audits),
        *factor_boards(rows, effects(rows, designs, everything)),
    ]
    if images := root_images(selection.records):
        boards.append(root_board(images, rows, ranked))
    submitted = of_rows(submissions, {slug(row): row for row in rows})
    boards += submission_boards(submitted, boards)
    sensitive = verified.sensitive(verifications, {cell.hash for cell in cells})
    flags = find_flags(
        rows, selection, accuracy, audits | runs, {**dict.fromkeys(KINDS, seeds), **seeds_of}, federation
    )
    on_columns = notes_on_columns(rows, columns(training), accuracy, backdoors, selection.records)
    for row, note in [
        *saved(rows, on_columns, accuracy, selection.records).items(),
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
        seeds_of=dict(seeds_of),
        notice=notice,
        boards=tuple(verified.marked(board, sensitive) for board in boards),
        flags={row: flags[row] for row in rows if row in flags},
        column_flags=on_columns,
        left_out=[*selection.left_out, *told_of_gaps(gaps), *damaged, *filter(None, unread)],
        records=len(everything.frame),
        environments=sorted({_environment(record) for record in everything.records}),
        caveats=[*missing_control(rows, selection), *unnamed(everything.records)],
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
