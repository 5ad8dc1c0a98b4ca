"""What a record, or a submitted row, says of itself, held against the suite, the data and this version's protocol."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from bench import suite as suites
from bench.base.arithmetic import PORTABLE
from bench.base.errors import BadInputError
from bench.data import load as load_data
from bench.federation.settings import TUNABLE
from bench.records import PUBLIC, Record, protocol_hash, setting_hash
from bench.records.submissions import FILE, Submission
from bench.suite import RECOVERED_PSNR, Cell, Parameters, Suite
from bench.suite.cell import KindName
from bench.suite.factors import levels

DEFENDING, ATTACKING = ("label", "defense"), ("attack", "byzantine", "rho")
"""What of a cell is a submitted defense's own, and what a submitted attack's."""

HALF = 0.0051
"""Half of a hundredth, and what adding up may lose."""

OTHER_PROTOCOL = "its protocol hash is not that of its content: it is of another version's protocol, or was changed"


def suite_of(name: str) -> Suite | None:
    """The shipped suite of a record; None where this version has none of that name."""
    return suites.load(name) if name in suites.shipped() else None


def recovered_psnr(suite: Suite | None) -> float:
    """From which score on the suite counts an image as recovered."""
    return RECOVERED_PSNR if suite is None else suite.ranking.recovered_psnr


def problems(place: Path, record: Record, suite: Suite | None, data_root: str | None) -> Iterator[str]:
    """What a record says of itself that is not so."""
    cell = record.cell
    if record.protocol != protocol_hash(cell, record.data_digest, recovered_psnr(suite), record.world):
        yield OTHER_PROTOCOL
        return
    if suite is not None and record.setting != setting_hash(suite, record.data_digest):
        yield f"its setting hash is not that of the suite {suite.name!r}"
    try:
        digest = load_data(cell.federation.dataset, data_root).digest
    except BadInputError as error:
        yield f"its data are not at hand: {error}"
    else:
        if record.data_digest != digest:
            yield f"its data digest is {record.data_digest}, but {cell.federation.dataset} has {digest}"
    for name in record.files.values():
        if not (place.parent / name).is_file():
            yield f"its file {name} is not there"
    accuracy = record.metrics.get("accuracy")
    if record.curve and accuracy is not None and round(accuracy, 4) != record.curve[-1][1]:
        yield f"its accuracy is {accuracy:.4f}, but its curve ends at {record.curve[-1][1]:.4f}"
    yield from _scores_apart(record, recovered_psnr(suite))
    success = record.metrics.get("backdoor_success")
    if record.success and success is not None and round(success, 4) != record.success[-1][1]:
        yield f"its backdoor succeeds with {success:.4f}, but its curve of success ends at {record.success[-1][1]:.4f}"


def _scores_apart(record: Record, threshold: float) -> Iterator[str]:
    """Where the PSNR of single images, which are rounded to hundredths, is not what the record says of all of them."""
    for prefix in ("", "control_"):
        scores = record.psnr if not prefix else record.control_psnr
        if not scores or not {"images", f"{prefix}psnr", f"{prefix}recovered"} <= record.metrics.keys():
            continue
        mean, share = record.metrics[f"{prefix}psnr"], record.metrics[f"{prefix}recovered"]
        least, most = (sum(score >= threshold + edge for score in scores) / len(scores) for edge in (HALF, -HALF))
        if len(scores) != record.metrics["images"] or abs(fmean(scores) - mean) > HALF:
            yield f"its {prefix}psnr is {mean:.4f}, but not in the mean of its {len(scores)} images"
        elif not least - 1e-9 <= share <= most + 1e-9:
            yield f"its {prefix}recovered is {share:.4f}, but {most:.4f} of its images have {threshold:g} dB"


def foreign(
    record: Record, suite: Suite, submission: Submission | None, evaluation: Submission | None
) -> Iterator[str]:
    """Why a record is none of the suite's; `evaluation` is its attack's submission, where somebody else ran it."""
    cell = record.cell
    if evaluation is not None:
        yield from _of_another_attack(cell, evaluation, suite)
    if submission is None:
        if evaluation is None and _without(cell, ()) not in _seats(suite.model_dump_json(), cell.kind, ()):
            yield f"its cell is none of the suite {suite.name!r} of this version"
        if evaluation is not None and not _has_seat(cell, suite, ATTACKING):
            yield f"its defense or its federation is none of the suite {suite.name!r} of this version"
        return
    if (cell.defense.name, cell.label) != (submission.name, submission.name):
        yield f"it is a record of {cell.label!r}, not of {submission.name!r}"
    if plain_of(cell.defense.parameters) != submission.parameters:
        yield f"its parameters are not those of {FILE}"
    free = DEFENDING if evaluation is None else (*DEFENDING, *ATTACKING)
    if not _has_seat(cell, suite, free):
        what = "its attack or its federation" if evaluation is None else "its federation"
        yield f"{what} is none of the suite {suite.name!r}"
    level = next((one.federation for one in levels(suite) if one.label == cell.level), {})  # which no row chooses
    own = suite.federation.model_copy(update={**submission.federation, **level})
    if cell.kind == "training" and any(getattr(cell.federation, key) != getattr(own, key) for key in TUNABLE):
        yield f"its {', '.join(TUNABLE)} are neither the suite's nor those of {FILE}"
    elif cell.kind != "training" and not _has_seat(cell, _with_choice(suite, submission), free, chosen=()):
        yield f"its {', '.join(TUNABLE)} are not those of a cell of its kind in the suite {suite.name!r}"


def _with_choice(suite: Suite, submission: Submission) -> Suite:
    """The suite whose rows all choose what a submission chooses, of what a row may choose.

    What is watched may have settings of its own: at a rate next to 0 no message would tell anything.
    """
    chosen = {key: value for key, value in submission.federation.items() if key in TUNABLE}
    rows = tuple(entry.model_copy(update={"federation": chosen}) for entry in suite.defense)
    return suite.model_copy(update={"defense": rows})


def row_problems(
    records: Mapping[Path, Record],
    suite: Suite,
    submission: Submission | None,
    evaluations: Mapping[Path, Submission | None],
    whole: bool = True,
) -> Iterator[str]:
    """What a row's records are not together: of the suite's seeds alone, all of them, in all cells of the row.

    Others' luck would stand in the row's means, and what is not there cannot be its worst case. What is missing is
    asked for where the `whole` row is looked at. `evaluations` has the submission of each attack's folder, where
    somebody else ran it.
    """
    seeds: dict[tuple[Path, str], set[int]] = {}
    for place, record in records.items():
        seeds.setdefault((place.parent, record.cell.hash), set()).add(record.seed)
    asked = {record.cell.hash: suite.seeds_for(record.cell) for record in records.values()}
    for (place, cell), result in sorted(seeds.items()):
        if extra := sorted(result - set(asked[cell])):
            yield f"{place.name}/{cell}: {_seeds(extra)}, but the suite {suite.name!r} has {_seeds(asked[cell])} alone"
        if whole and (missing := sorted(set(asked[cell]) - result)):
            yield f"{place.name}/{cell}: {_seeds(missing)} of the suite {suite.name!r} missing"
    if whole and submission is not None:
        claimed = {kind for record in records.values() for kind in _audited(record)}
        yield from _missing_of_submission(Counter(place.name for place, _ in seeds), suite, claimed)
    elif whole:
        yield from _missing_of_suite(
            {record.cell.label for record in records.values()}, {cell for _, cell in seeds}, suite
        )
    for one in (submission, *evaluations.values()):
        if one is not None and (others := sorted(set(one.federation) - set(TUNABLE))):
            yield f"{FILE} changes {', '.join(others)} of the federation; a row may choose {', '.join(TUNABLE)} alone"
    for place, record in records.items():
        there = (submission, evaluations.get(place.parent))
        if (told := _of_another_world(record, [one for one in there if one is not None])) is not None:
            yield f"{place.name}: {told}"
    judged = [one for place, one in records.items() if (submission or evaluations.get(place.parent)) is not None]
    if (
        submission is not None
        and len({one.privacy.claimed is None for one in records.values() if one.status == "ok"}) > 1
    ):
        yield "it claims privacy in some of its cells, and none in others"
    parts: dict[str, set[str]] = {}
    for place, record in records.items():
        if submission is not None:
            parts.setdefault("its defense", set()).add(record.cell.defense.model_dump_json())
        if record.cell.attack is not None and evaluations.get(place.parent) is not None:
            parts.setdefault(f"the attack {place.parent.name}", set()).add(record.cell.attack.model_dump_json())
    yield from (f"{what} has {len(several)} versions or choices" for what, several in parts.items() if len(several) > 1)
    if loose := [one for one in judged if one.environment.arithmetic != PORTABLE]:
        yield f"{len(loose)} records are not of the portable arithmetic, and hold on no other machine: make them anew"


def _of_another_world(record: Record, submitted: list[Submission]) -> str | None:
    """Why a record is not of a run of these files in the world that they name; shipped ones play in the public one."""
    if not submitted:
        return None if record.world == PUBLIC else "it names submitted files or a salt, and nothing was submitted here"
    if not {one.sha256 for one in submitted} <= set(record.sources):
        return f"it is no record of the files that {FILE} names: submit them anew"
    salt = submitted[-1].salt  # an attack's, where somebody has run one against the row
    return None if salt and record.salt == salt else f"its salt is not that of {FILE}"


def _audited(record: Record) -> Iterator[KindName]:
    """The kinds of audits that what a record claims is held to."""
    if record.privacy.claimed is not None:
        yield "audit"
    if record.privacy.composed is not None:
        yield "run_audit"


def _missing_of_submission(found: Counter[str], suite: Suite, claimed: Collection[KindName]) -> Iterator[str]:
    """The attacks of which a submitted row has fewer cells than the suite's rows; of audits, than those that claim.

    A rule that claims both may be in fewer cells of an audit than one that claims less: the least of them counts.
    """
    cells = suite.cells()
    audits = {cell.attack_name for cell in cells if cell.kind in ("audit", "run_audit")}
    unasked = {cell.attack_name for cell in cells if cell.attack_name in audits and cell.kind not in claimed}
    wanted = Counter((cell.label, cell.attack_name) for cell in cells)
    for attack in dict.fromkeys(cell.attack_name for cell in cells if cell.attack_name not in unasked):
        counts = [count for (_, name), count in wanted.items() if name == attack]
        needed = min(counts) if attack in audits else max(counts)
        if found[attack] < needed:
            yield f"{attack}: {found[attack]} of the {needed} cells that a row of the suite {suite.name!r} has"


def _missing_of_suite(labels: Collection[str], found: Collection[str], suite: Suite) -> Iterator[str]:
    """The columns of which a row of the suite's own has no record."""
    for label in sorted(labels):
        missing = [cell.column for cell in suite.cells() if cell.label == label and cell.hash not in found]
        if missing:
            yield f"no records of {', '.join(dict.fromkeys(missing))}, which {label!r} has in the suite {suite.name!r}"


def _seeds(some: Iterable[int]) -> str:
    numbers = [str(seed) for seed in some]
    return f"seed{'s' * (len(numbers) > 1)} {', '.join(numbers)}"


def plain_of(parameters: Mapping[str, Any]) -> Parameters:
    """The parameters that `submission.toml` names: all that are plain values, defaults too."""
    return {key: value for key, value in parameters.items() if isinstance(value, bool | int | float | str)}


def largest_byzantine(suite: Suite) -> float:
    """The largest Byzantine fraction of a suite's cells, which nobody's attack may exceed."""
    return max((cell.byzantine for cell in suite.cells()), default=0.0)


def _of_another_attack(cell: Cell, evaluation: Submission, suite: Suite) -> Iterator[str]:
    """Why a record is not one of the attack whose `submission.toml` lies beside it."""
    attack = cell.attack
    if attack is None or attack.name != evaluation.name:
        yield f"it is a record of {cell.attack_name!r}, not of {evaluation.name!r}"
        return
    if plain_of(attack.parameters) != evaluation.parameters:
        yield f"its attack's parameters are not those of {FILE}"
    if cell.kind == "training" and cell.byzantine not in evaluation.byzantine:
        yield f"its Byzantine fraction {cell.byzantine:g} is none of {FILE}"
    if cell.byzantine > (most := largest_byzantine(suite)):
        yield f"its Byzantine fraction {cell.byzantine:g} is above {most:g}, the suite's largest"
    if evaluation.against and cell.label not in evaluation.against:
        yield f"it is a record of {cell.label!r}, which {FILE} does not name"


def _has_seat(cell: Cell, suite: Suite, free: tuple[str, ...], chosen: tuple[str, ...] = TUNABLE) -> bool:
    """Whether the suite has this cell but for what is `free`; nothing is asked where it has none of the kind.

    Of a submitted defense the settings that are `chosen` are free too.
    """
    chosen = chosen if "defense" in free else ()
    seats = _seats(suite.model_dump_json(), cell.kind, free, chosen)
    return not seats or _without(cell, free, chosen) in seats


@lru_cache(maxsize=64)
def _seats(suite: str, kind: KindName, free: tuple[str, ...], chosen: tuple[str, ...] = ()) -> frozenset[str]:
    """The cells of a kind, but for what is `free`, that a suite has, given as JSON: many records ask for the same."""
    cells = [one for one in Suite.model_validate_json(suite).cells() if one.kind == kind]
    return frozenset(_without(one, free, chosen) for one in cells)


def _without(cell: Cell, free: tuple[str, ...], chosen: tuple[str, ...] = ()) -> str:
    """A cell without what is free, and without the settings of its federation that are chosen."""
    content = {key: value for key, value in cell.content.items() if key not in free}
    content["federation"] = {key: value for key, value in content["federation"].items() if key not in chosen}
    return json.dumps(content, sort_keys=True)
