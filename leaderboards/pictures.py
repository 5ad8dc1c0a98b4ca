"""The pictures beside a leaderboard: which there are, what is seen on each, how it is drawn."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from bench.base.names import plain
from bench.records import Record, Store
from bench.suite.factors import Design
from leaderboards.audits import Audits, find_audits
from leaderboards.board import Picture
from leaderboards.coalitions import IMAGES, LEAKS, Coalition, Leak, coalitions
from leaderboards.durability import HALF, Lives, lives_of
from leaderboards.estimates import MISSING, Estimates, estimates, shares
from leaderboards.factors import Effect, effects, split
from leaderboards.frame import CLEAN, WIDE, Selection, columns
from leaderboards.membership import SEEN, has_curve, panels
from leaderboards.noise import falls_short
from leaderboards.noisy_rules import MEAN, Noisy, noisy_rules
from leaderboards.overall import BROKEN_SHARE, LEAKING_SHARE
from leaderboards.robustness import asked, worst_case
from leaderboards.run_audits import find_run_audits
from leaderboards.sweeps import Sweep, colluding, families

SHARING = "niss"
"""The defense whose noise Theorem 3 is about."""


def find_pictures(
    rows: Sequence[str], selection: Selection, store: Store, threshold: float, designs: Iterable[Design] = ()
) -> list[Picture]:
    """Those that the records give; `threshold` is the PSNR in dB from which an image counts as recovered."""
    changed = effects(rows, designs, selection)
    selection, _ = split(selection)
    records, private = selection.records, selection.frame[selection.frame["kind"] == "inversion"]
    recovered, psnr = shares(private, "recovered"), estimates(private, "psnr")
    ratio, audits = estimates(private, "residual_noise_ratio"), find_audits(records)
    result = families(records, columns(private))
    sweeps = colluding(result)
    pictures = []
    training = selection.frame[selection.frame["kind"] == "training"]
    if changed:
        pictures.append(factors(rows, changed))
    if len(columns(training)) > WIDE:
        accuracy = estimates(training, "accuracy")
        pictures.append(heat(rows, columns(training), accuracy, selection.evaluations))
    attacked = columns(training[training["column"] != CLEAN])
    if behind := noisy_rules(rows, attacked, estimates(training, "accuracy"), training, records):
        pictures.append(rules(behind))
    for leak in LEAKS:
        mine = selection.frame[selection.frame["kind"] == leak.kind]
        if forged := coalitions(rows, mine, records, leak):
            pictures.append(both(rows, forged, leak))
    if lives := lives_of(records):
        pictures.append(durability(rows, columns(training), lives, records))
    if sweeps:
        pictures.append(leakage(rows, sweeps, recovered, psnr, threshold))
    if sweeps and any(value.seeds for value in ratio.values()):
        pictures.append(noise(rows, sweeps, ratio, records))
    if audits:
        pictures.append(epsilons(rows, columns(selection.frame), audits))
    if any(has_curve(record) for record in records):
        pictures.append(membership(rows, records))
    if runs := find_run_audits(records):
        pictures.append(run_epsilons(rows, columns(selection.frame), runs))
    for name, sweep in result.items():
        if drawn := _with_pictures(rows, sweep, records, store):
            pictures.append(gallery(name, sweep, drawn, recovered, threshold))
    return pictures


def heat(rows: Sequence[str], places: Sequence[str], accuracy: Estimates, evaluations: Collection[str]) -> Picture:
    """Accuracy under all attacks, where there are too many for one table."""

    def draw() -> bytes:
        from leaderboards import heat, plots

        return plots.png(heat.heatmap(rows, places, accuracy, evaluations, f"Accuracy in %. {sentence}"))

    mine = {row: sorted(asked(row, places, accuracy, evaluations)) for row in rows}
    hardest = [worst_case(row, attacked, accuracy)[1] for row, attacked in mine.items()]
    breaks = Counter(filter(None, hardest)).most_common(3)
    told = [f"{column} ({count} of {len(rows)} rows)" for column, count in breaks]
    worst = f"The worst attacks are most often {_list(told)}" if told else "No row has records of all attacks"
    sentence = f"{worst}; the hardest columns stand on the left."
    return Picture("heat", "Accuracy under every attack", sentence, draw)


def factors(rows: Sequence[str], changed: Sequence[Effect]) -> Picture:
    """What each factor does to every row, one small picture a factor."""

    def draw() -> bytes:
        from leaderboards import levels, plots

        return plots.png(
            levels.by_level(rows, changed, f"Accuracy in % under the worst attack; bold: the base case. {sentence}")
        )

    falls = sorted(
        ((fall, effect) for effect in changed if (fall := effect.median_range(rows))), key=lambda one: -one[0]
    )
    told = [f"{effect.factor} ({fall:.0%})" for fall, effect in falls]
    sentence = (
        f"How far the worst accuracy of the median row moves over a factor's levels: {_list(told)}."
        if told
        else "No row has records of all attacks at two levels of a factor."
    )
    return Picture("factors", "What each factor does to the worst accuracy", sentence, draw)


def rules(found: Sequence[Noisy]) -> Picture:
    """Accuracy by epsilon, a line a rule behind DP-FedAvg's uploads."""

    def draw() -> bytes:
        from leaderboards import plots, rules_by_epsilon

        return plots.png(rules_by_epsilon.rules_by_epsilon(found, sentence))

    told = []
    for epsilon in dict.fromkeys(one.epsilon for one in found):
        mine = {one.rule: one.worst.mean for one in found if one.epsilon == epsilon and one.worst.seeds}
        if MEAN in mine and len(mine) > 1:
            best = max(mine, key=lambda rule: mine[rule])
            told.append(f"{mine[best]:.0%} ({best}) and {mine[MEAN]:.0%} (the mean) at ε = {plain(epsilon)}")
    sentence = f"What the best rule and the mean keep in their worst columns: {_list(told)}." if told else ""
    return Picture("rules", "Robust rules under privacy noise", sentence, draw)


def both(rows: Sequence[str], found: Sequence[Coalition], leak: Leak = IMAGES) -> Picture:
    """Worst accuracy against worst leak, an arrow a row: from a coalition that looks on to one that forges."""

    def draw() -> bytes:
        from leaderboards import arrows, plots

        return plots.png(arrows.both_at_once(rows, found, sentence, leak))

    more = [one.row for one in found if one.sees_more]
    broken = [one.row for one in found if one.forging.accuracy.score < BROKEN_SHARE * one.looking.accuracy.score]
    sentence = (
        f"Forging shows {leak.more} under {_list(more)}; "
        if more
        else f"Under no rule does forging show {leak.more}, beyond luck; "
    ) + f"it halves the accuracy of {len(broken)} of {len(found)} rows."
    return Picture(leak.picture, leak.heading, sentence, draw)


def durability(rows: Sequence[str], places: Sequence[str], lives: Lives, records: Sequence[Record]) -> Picture:
    """Success round by round of every backdoor that stops, a small picture a row."""

    def draw() -> bytes:
        from leaderboards import lifespans, plots

        return plots.png(lifespans.small_multiples(rows, places, records, sentence))

    kept, worked = Counter[str](), Counter[str]()
    for (row, _), seeds in lives.items():
        worked[row] += sum(life.stop >= HALF for life in seeds.values())
        kept[row] += sum(life.stop >= HALF and life.survived for life in seeds.values())
    none = [row for row in rows if not worked[row]]
    sentence = (
        f"Of {sum(worked.values())} runs in which a backdoor worked on half of the images when the attackers left, "
        f"{sum(kept.values())} still do at the end of the training"
    )
    sentence += f"; in no run did one work under {_list(none)}." if none else "."
    return Picture("durability", "Backdoors while they are attacked with, and after", sentence, draw)


def leakage(
    rows: Sequence[str], sweeps: Mapping[str, Sweep], recovered: Estimates, psnr: Estimates, threshold: float
) -> Picture:
    """What is recovered against rho."""

    def draw() -> bytes:
        from leaderboards import plots

        return plots.png(plots.leakage(sweeps, rows, recovered, psnr, threshold, sentence))

    more = {row: max(_gain(row, sweep, recovered) for sweep in sweeps.values()) for row in rows}
    gained = [f"{row} (by {gain:.0%} of the images)" for row, gain in more.items() if gain >= LEAKING_SHARE]
    sentence = (
        f"Colluders help against {_list(gained)}; against the others they add less than one image in ten."
        if gained
        else "Under no defense do colluders recover one image in ten more than the server alone."
    )
    return Picture("leakage", "Images recovered, by the share ρ of colluders", sentence, draw)


def noise(rows: Sequence[str], sweeps: Mapping[str, Sweep], ratio: Estimates, records: Iterable[Record]) -> Picture:
    """How much noise colluders leave, against rho."""
    shared = {
        record.cell.label: float(tau_squared)
        for record in records
        if record.cell.defense.name == SHARING
        and isinstance(tau_squared := record.cell.defense.parameters.get("tau_squared"), int | float)
    }

    def draw() -> bytes:
        from leaderboards import plots

        return plots.png(plots.noise(sweeps, rows, ratio, shared, sentence))

    short = {
        row: [
            rho
            for sweep in sweeps.values()
            for rho, column in sweep.items()
            if falls_short(ratio.get((row, column), MISSING))
        ]
        for row in rows
    }
    lacking = [f"{row} from ρ = {min(result):g} on" for row, result in short.items() if result]
    sentence = (
        f"Less noise is left than the claim needs under {_list(lacking)}; everywhere else there is enough, on average."
        if lacking
        else "The noise that the claims need is there at every ρ, on average."
    )
    return Picture("noise", "Noise left, by the share ρ of colluders", sentence, draw)


def epsilons(rows: Sequence[str], places: Sequence[str], audits: Audits) -> Picture:
    """What is claimed against what is proved."""

    def draw() -> bytes:
        from leaderboards import epsilons, plots

        return plots.png(epsilons.epsilons(rows, places, audits, sentence))

    mine = {row: [audit for (name, _), audit in audits.items() if name == row] for row in rows}
    broken = [row for row, result in mine.items() if any(audit.breaks for audit in result)]
    beyond = [row for row, result in mine.items() if row not in broken and any(audit.exceeds for audit in result)]
    void = [row for row, result in mine.items() if result and not any(audit.allowed for audit in result)]
    parts = [f"An audit proves more than is claimed under {_list(broken)}" if broken else "No audit breaks a claim"]
    parts += (
        [f"beyond the colluders that a claim is meant for, one proves more under {_list(beyond)}"] if beyond else []
    )
    parts += [f"the claim of {_list(void)} is void"] if void else []
    sentence = f"{'; '.join(parts)}."
    return Picture("epsilons", "Claimed ε against audited ε", sentence, draw)


def membership(rows: Sequence[str], records: Sequence[Record]) -> Picture:
    """ROC curves of membership inference, a panel for what is seen."""
    result = panels(records)

    def draw() -> bytes:
        from leaderboards import plots, roc

        return plots.png(roc.rocs(rows, result, sentence))

    parts = []
    for seen, curves in result.items():
        leaking = max(curves, key=lambda row: curves[row].area)
        parts.append(f"{curves[leaking].area:.2f} under {leaking} for {SEEN[seen]}")
    sentence = f"The largest areas (0.5 is a guess): {_list(parts)}. Each row's best attack is drawn."
    return Picture("membership", "Membership inference: true against false positives", sentence, draw)


def run_epsilons(rows: Sequence[str], places: Sequence[str], runs: Audits) -> Picture:
    """What a whole run promises against what one shows."""

    def draw() -> bytes:
        from leaderboards import plots, run_epsilons

        return plots.png(run_epsilons.run_epsilons(rows, places, runs, sentence))

    broken = [row for row in rows if any(audit.breaks for (name, _), audit in runs.items() if name == row)]
    silent = [row for row in rows if any(not audit.epsilon for (name, _), audit in runs.items() if name == row)]
    parts = [f"One run proves more than is composed under {_list(broken)}" if broken else "No run breaks a claim"]
    parts += [f"it proves nothing under {_list(silent)}"] if silent else []
    sentence = f"{'; '.join(parts)}."
    return Picture("run-epsilons", "Composed ε against what one run proves", sentence, draw)


def gallery(
    name: str, sweep: Sweep, drawn: list[tuple[Record, Path]], recovered: Estimates, threshold: float
) -> Picture:
    """The images that one attack makes, of the first seed."""
    record = drawn[0][0]
    attack = name if len(sweep) > 1 else next(iter(sweep.values()))
    where = f"{record.cell.federation.dataset}, seed {record.seed}"
    title = f"{attack} on {where}: PSNR in dB, bold from {threshold:g} dB on"

    def draw() -> bytes:
        from leaderboards import gallery

        return gallery.gallery(title, drawn, threshold)

    rows = list(dict.fromkeys(record.cell.label for record, _ in drawn))
    measured = {row: [recovered.get((row, column), MISSING).mean for column in sweep.values()] for row in rows}
    best = {row: max(filter(math.isfinite, result), default=math.nan) for row, result in measured.items()}
    leaking = [f"{row} ({share:.0%})" for row, share in best.items() if share > 0]
    closed = [row for row, share in best.items() if share == 0]
    parts = [f"images are recovered under {_list(leaking)}"] if leaking else []
    parts += [f"no image is recovered under {_list(closed)}"] if closed else []
    sentence = f"Over all targets and seeds, {'; '.join(parts)}."
    slug = re.sub(r"[^\w.=-]+", "-", name)
    return Picture(f"gallery-{slug}", f"Gallery: {name}", sentence, draw)


def _gain(row: str, sweep: Sweep, recovered: Estimates) -> float:
    """How much more of the images the most colluders recover than the fewest."""
    shown = [value.mean for column in sweep.values() if (value := recovered.get((row, column), MISSING)).seeds]
    return shown[-1] - shown[0] if shown else 0.0


def _with_pictures(
    rows: Sequence[str], sweep: Sweep, records: Iterable[Record], store: Store
) -> list[tuple[Record, Path]]:
    """The sweep's records of the lowest seed and their pictures, as far as there are any, by row and rho."""
    columns = list(sweep.values())
    results = [record for record in records if record.cell.column in columns and "png" in record.files]
    places = {record.key: store.path(record.cell, record.seed).parent / record.files["png"] for record in results}
    first = min((record.seed for record in results), default=None)
    mine = [record for record in results if record.seed == first and places[record.key].exists()]
    mine.sort(key=lambda record: (rows.index(record.cell.label), columns.index(record.cell.column)))
    return [(record, places[record.key]) for record in mine]


def _list(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
