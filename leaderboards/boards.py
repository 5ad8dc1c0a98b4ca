"""The boards: robustness, privacy, utility and cost, and one overall table with a rank in each and no mixed score."""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from leaderboards.frame import Selection

CONFIDENCE = 0.95
BROKEN_SHARE = 0.5
"""An attack breaks a defense when it takes this share of the accuracy that the clean run had."""
LEAKING_SHARE = 0.1
"""A defense leaks where at least this share of the images is recovered."""
HONEST_NOISE = 0.99
"""A ratio of noise below this is a claim without its noise; above it, sampling error of the measured variance."""
CONTROL_SHARE = 0.5
"""A control has failed when the attack recovers less than this share of the images with no defense at all."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and the half width of its 95 % t interval (nan for a single seed)."""

    mean: float
    half_width: float
    seeds: int
    failed: int  # seeds that failed or diverged
    within_claim: bool = True

    def text(self, scale: float = 100.0, digits: int = 1) -> str:
        """`87.1 ± 0.6`; a dagger where the defense does not claim to stand it; what failed is said."""
        mark = "" if self.within_claim else " †"
        if self.seeds == 0:
            return f"failed{mark}" if self.failed else "–"
        width = "" if math.isnan(self.half_width) else f" ± {self.half_width * scale:.{digits}f}"
        failed = f" ({self.failed} failed)" if self.failed else ""
        return f"{self.mean * scale:.{digits}f}{width}{failed}{mark}"


@dataclass(frozen=True)
class Board:
    """A table for people (`text`, strings) and the same numbers for programs (`data`, a row a number)."""

    name: str
    title: str
    caption: str
    text: pd.DataFrame
    data: pd.DataFrame


@dataclass
class Leaderboard:
    """All boards of one suite in one setting."""

    suite: str
    title: str
    seeds: int
    boards: list[Board]
    flags: dict[str, list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    records: int = 0
    environments: list[str] = field(default_factory=list)


def estimate(cells: pd.DataFrame, metric: str) -> Estimate:
    """Mean and interval of a metric over the seeds of one (row, column); failed seeds are counted, never averaged."""
    good = cells[cells["status"] == "ok"]
    values = good[metric].dropna().to_numpy(dtype=float) if metric in good else np.empty(0)
    failed = int((cells["status"] != "ok").sum())
    within = bool(cells["within_claim"].fillna(True).all()) if len(cells) else True
    if len(values) == 0:
        return Estimate(math.nan, math.nan, 0, failed, within)
    half = math.nan
    if len(values) > 1:
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return Estimate(float(values.mean()), half, len(values), failed, within)


def build(suite: str, title: str, seeds: int, selection: Selection) -> Leaderboard:
    """All boards from one setting's records. `seeds` is what the suite asks for."""
    frame = selection.frame
    rows = list(dict.fromkeys(frame["defense"]))
    training = frame[~frame["privacy_cell"]]
    private = frame[frame["privacy_cell"]]
    accuracy = {
        (row, column): estimate(cells, "accuracy") for (row, column), cells in training.groupby(["defense", "column"])
    }
    robustness = _robustness(rows, _columns(training), accuracy)
    privacy = _privacy(rows, _columns(private), private, selection)
    utility = _utility(rows, accuracy, training)
    overall = _overall(rows, robustness, privacy, utility, accuracy, private)
    environments = sorted({_machine(record) for record in selection.records})
    return Leaderboard(
        suite=suite,
        title=title,
        seeds=seeds,
        boards=[
            overall,
            robustness,
            privacy,
            _noise(rows, _columns(private), private),
            utility,
            _claims(rows, selection),
        ],
        flags=_flags(rows, frame, accuracy, seeds),
        left_out=selection.left_out,
        records=len(frame),
        environments=environments,
    )


def _machine(record: object) -> str:
    environment = record.environment  # type: ignore[attr-defined]
    return (
        f"fedsiege {environment.fedsiege} ({environment.commit or 'no commit'}), torch {environment.torch}, "
        f"Python {environment.python}, {environment.machine}, {environment.device}, {environment.threads} thread(s) a cell"
    )


def _columns(frame: pd.DataFrame) -> list[str]:
    """The columns in reading order: clean first, then by attack and strength."""
    keys = frame[["attack", "byzantine", "rho", "column"]].drop_duplicates()
    first = keys["attack"].map(lambda name: 0 if name == "clean" else 1 if name == "dlg" else 2)
    ordered = keys.assign(first=first).sort_values(["first", "attack", "byzantine", "rho"], na_position="first")
    return list(ordered["column"])


def _ranks(scores: pd.Series, best_is_high: bool) -> pd.Series:
    """1 for the best; equal scores share a rank; what has no score comes last."""
    filled = scores.fillna(-math.inf if best_is_high else math.inf).round(6)
    return filled.rank(method="min", ascending=not best_is_high).astype(int)


def _robustness(rows: list[str], columns: list[str], accuracy: dict[tuple[str, str], Estimate]) -> Board:
    missing = Estimate(math.nan, math.nan, 0, 0)
    attacked = [column for column in columns if column != "clean"]
    worst: dict[str, float] = {}
    text = []
    for row in rows:
        found = {column: accuracy.get((row, column), missing) for column in columns}
        scores = [0.0 if found[column].failed else found[column].mean for column in attacked]
        worst[row] = float(np.min(scores)) if scores else math.nan  # nan where a column is missing
        cells = {column: found[column].text() for column in columns}
        where = attacked[int(np.nanargmin(scores))] if scores and not all(map(math.isnan, scores)) else ""
        text.append(
            {"defense": row, **cells, "worst case": "–" if math.isnan(worst[row]) else f"{worst[row]:.1%} ({where})"}
        )
    ranks = _ranks(pd.Series(worst), best_is_high=True)
    table = pd.DataFrame(text)
    table.insert(0, "rank", table["defense"].map(ranks))
    return Board(
        name="robustness",
        title="Robustness: accuracy under attack",
        caption=(
            "Test accuracy of the last round's model in %, mean and 95 % t interval over the seeds; b is the Byzantine "
            "share of the clients. Ranked by the worst attacked column. † beyond what the defense itself claims to stand."
        ),
        text=table.sort_values("rank", kind="stable"),
        data=_long("robustness", "accuracy", accuracy).pipe(_with_rank, ranks, worst, "worst_accuracy"),
    )


def _long(board: str, metric: str, values: dict[tuple[str, str], Estimate]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "board": board, "defense": row, "column": column, "metric": metric, "mean": value.mean,
                "half_width": value.half_width, "seeds": value.seeds, "failed": value.failed,
                "within_claim": value.within_claim,
            }
            for (row, column), value in values.items()
        ]
    )  # fmt: skip


def _with_rank(data: pd.DataFrame, ranks: pd.Series, score: dict[str, float], metric: str) -> pd.DataFrame:
    board = data["board"].iloc[0] if len(data) else ""
    extra = [{"board": board, "defense": row, "metric": metric, "mean": score[row]} for row in score]
    extra += [{"board": board, "defense": row, "metric": "rank", "mean": float(rank)} for row, rank in ranks.items()]
    return pd.concat([data, pd.DataFrame(extra)], ignore_index=True)


def _privacy(rows: list[str], columns: list[str], private: pd.DataFrame, selection: Selection) -> Board:
    metrics = ("recovered", "psnr", "ssim", "label_recovered")
    groups = {place: cells for place, cells in private.groupby(["defense", "column"])}
    found = {metric: {place: estimate(cells, metric) for place, cells in groups.items()} for metric in metrics}
    worst: dict[str, float] = {}
    tie: dict[str, float] = {}
    text = []
    for row in rows:
        shares = [found["recovered"][row, column].mean for column in columns if (row, column) in groups]
        psnrs = [found["psnr"][row, column].mean for column in columns if (row, column) in groups]
        complete = len(shares) == len(columns) and len(columns) > 0
        worst[row] = float(np.max(shares)) if complete else math.nan
        tie[row] = float(np.max(psnrs)) if complete else math.nan
        cells = {column: _leak(found, row, column) for column in columns}
        text.append({"defense": row, **cells, "worst case": "–" if math.isnan(worst[row]) else f"{worst[row]:.0%}"})
    ranks = _ranks(pd.Series(worst) + pd.Series(tie) / 1e6, best_is_high=False)
    table = pd.DataFrame(text)
    table.insert(0, "rank", table["defense"].map(ranks))
    table = table.sort_values("rank", kind="stable")
    controls = []
    for name, prefix in (("control: no defense", "control_"), ("control: mean image, no view", "blind_")):
        if not len(private):
            break
        line: dict[str, object] = {"rank": "", "defense": name, "worst case": ""}
        for column in columns:
            cells = private[private["column"] == column]
            line[column] = "{:.0%} · {:.1f} dB · {:.2f}".format(
                *(float(cells[f"{prefix}{metric}"].mean()) for metric in ("recovered", "psnr", "ssim"))
            )
        controls.append(line)
    data = pd.concat([_long("privacy", metric, values) for metric, values in found.items()], ignore_index=True)
    return Board(
        name="privacy",
        title="Privacy: what an attacker recovers",
        caption=(
            "Share of the targets' images recovered (PSNR of at least "
            "20 dB) · mean PSNR · mean SSIM, over all targets and seeds. dlg is the passive server alone; rho is the share of "
            "the other clients that collude with it. Ranked by the worst column's share, then its PSNR: lower is better. The "
            "controls are the same attack on the same targets with no defense, and the mean training image as a guess that "
            "needs no view. A PSNR below the second control's is a failed reconstruction, not a better defense."
        ),
        text=pd.concat([table, pd.DataFrame(controls)], ignore_index=True),
        data=_with_rank(data, ranks, worst, "worst_recovered"),
    )


def _leak(found: dict[str, dict[tuple[str, str], Estimate]], row: str, column: str) -> str:
    share = found["recovered"].get((row, column))
    if share is None:
        return "–"
    if share.seeds == 0:
        return "failed"
    psnr, ssim = found["psnr"][row, column], found["ssim"][row, column]
    failed = f" ({share.failed} failed)" if share.failed else ""
    return f"{share.mean:.0%} · {psnr.mean:.1f} dB · {ssim.mean:.2f}{failed}"


def _noise(rows: list[str], columns: list[str], private: pd.DataFrame) -> Board:
    """How much of the noise that a claim rests on is left once colluders have taken out what they know."""
    groups = private.groupby(["defense", "column"])
    found = {place: estimate(cells, "residual_noise_ratio") for place, cells in groups}
    text = []
    for row in rows:
        values = {column: found[row, column] for column in columns if (row, column) in found}
        if any(value.seeds for value in values.values()):
            text.append({"defense": row, **{column: _ratio(value) for column, value in values.items()}})
    return Board(
        name="noise",
        title="Noise left on a target's message, over what its claim needs",
        caption=(
            "1 or more: the noise that the claim asks for is there, on average. ✗ below 0.99: the claim does not hold against "
            "these colluders. Real messages: variance of what the attacker cannot explain over sigma_k squared. Shuffled "
            "signs: the share of the random messages that still surround the target's. Defenses that claim nothing are left out."
        ),
        text=pd.DataFrame(text),
        data=_long("noise", "residual_noise_ratio", {place: value for place, value in found.items() if value.seeds}),
    )


def _ratio(value: Estimate) -> str:
    return value.text(scale=1.0, digits=2) + (" ✗" if value.mean < HONEST_NOISE else "")


def _utility(rows: list[str], accuracy: dict[tuple[str, str], Estimate], training: pd.DataFrame) -> Board:
    clean = training[training["column"] == "clean"]
    text, data, scores = [], [], {}
    for row in rows:
        cells = clean[clean["defense"] == row]
        value = accuracy.get((row, "clean"), Estimate(math.nan, math.nan, 0, 0))
        scores[row] = value.mean
        seconds, upload, peer = (cells[column].median() for column in ("round_seconds", "upload_bytes", "peer_bytes"))
        text.append(
            {
                "defense": row,
                "clean accuracy": value.text(),
                "ms a round": "–" if pd.isna(seconds) else f"{seconds * 1e3:.1f}",
                "upload a client and round": _bytes(upload),
                "to other clients": _bytes(peer),
            }
        )
        for metric, number in (("round_seconds", seconds), ("upload_bytes", upload), ("peer_bytes", peer)):
            data.append({"board": "utility", "defense": row, "column": "clean", "metric": metric, "mean": number})
    ranks = _ranks(pd.Series(scores), best_is_high=True)
    table = pd.DataFrame(text)
    table.insert(0, "rank", table["defense"].map(ranks))
    numbers = pd.concat(
        [_long("utility", "clean_accuracy", {k: v for k, v in accuracy.items() if k[1] == "clean"}), pd.DataFrame(data)]
    )
    return Board(
        name="utility",
        title="Utility and cost: no attack",
        caption=(
            "Accuracy of the clean run in %, ranked; median time of a round on one thread with all clients simulated in it "
            "(machines differ: compare within a board only); bytes that one client sends."
        ),
        text=table.sort_values("rank", kind="stable"),
        data=_with_rank(numbers, ranks, scores, "clean"),
    )


def _bytes(count: float) -> str:
    if pd.isna(count):
        return "–"
    return f"{count:.0f} B" if count < 1000 else f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.2f} MB"


def _claims(rows: list[str], selection: Selection) -> Board:
    """Claimed, composed and audited epsilon of each defense, from its clean run, in their units."""
    text, data = [], []
    for row in rows:
        record = next((r for r in selection.records if r.cell.label == row and r.cell.attack is None), None)
        if record is None:
            continue
        line: dict[str, str] = {"defense": row}
        for kind in ("claimed", "composed", "audited"):
            claim = getattr(record.privacy, kind)
            if claim is None:
                line[kind] = "nothing" if kind == "claimed" else "–" if kind == "composed" else "not yet"
            elif claim.epsilon is None:
                line[kind] = f"none: {claim.reason}"
            else:
                line[kind] = f"ε = {claim.epsilon:.3g}, δ = {claim.delta:.0e} {claim.unit} ({claim.source})"
                data.append({"board": "claims", "defense": row, "metric": f"epsilon_{kind}", "mean": claim.epsilon})
        text.append(line)
    return Board(
        name="claims",
        title="Privacy claims: what is promised, and what that makes over a run",
        caption=(
            "Claimed is what the paper promises for one release; composed is the same mechanism over all that one client "
            "releases in the run. A condition that does not hold makes the claim void, with the reason."
        ),
        text=pd.DataFrame(text),
        data=pd.DataFrame(data),
    )


def _scores(board: Board, metric: str) -> dict[str, float]:
    chosen = board.data[board.data["metric"] == metric] if len(board.data) else board.data
    return dict(zip(chosen["defense"], chosen["mean"], strict=True)) if len(chosen) else {}


def _overall(
    rows: list[str],
    robustness: Board,
    privacy: Board,
    utility: Board,
    accuracy: dict[tuple[str, str], Estimate],
    private: pd.DataFrame,
) -> Board:
    worst, leaked, clean = (
        _scores(robustness, "worst_accuracy"),
        _scores(privacy, "worst_recovered"),
        _scores(utility, "clean"),
    )
    ranks = {board.name: _scores(board, "rank") for board in (robustness, privacy, utility)}
    front = pareto_front(
        {row: (worst.get(row, math.nan), -leaked.get(row, math.nan), clean.get(row, math.nan)) for row in rows}
    )
    text = []
    for row in rows:
        text.append(
            {
                "defense": row,
                "robustness": _place(ranks["robustness"].get(row), worst.get(row), "worst {:.1%}"),
                "privacy": _place(ranks["privacy"].get(row), leaked.get(row), "worst {:.0%} recovered"),
                "utility": _place(ranks["utility"].get(row), clean.get(row), "clean {:.1%}"),
                "Pareto": "yes" if row in front else "",
                "what breaks it": "; ".join(_breaks(row, accuracy, private, clean)) or "nothing here",
            }
        )
    table = pd.DataFrame(text)
    order = table["defense"].map(lambda row: (row not in front, ranks["robustness"].get(row, 99)))
    table = table.iloc[sorted(range(len(table)), key=lambda index: order.iloc[index])]
    data = [{"board": "overall", "defense": row, "metric": "pareto", "mean": float(row in front)} for row in rows]
    return Board(
        name="overall",
        title="Overall: a rank in each, no mixed score",
        caption=(
            "Pareto: no other defense is at least as good in worst-case accuracy, in worst-case share of images recovered and "
            "in clean accuracy, and better in one. An attack breaks a defense when it halves the accuracy of its clean run; "
            "a defense leaks where one image in ten or more is recovered; its clean accuracy is low where it is less "
            "than half of the best."
        ),
        text=table,
        data=pd.DataFrame(data),
    )


def _place(rank: float | None, score: float | None, form: str) -> str:
    if rank is None or score is None or math.isnan(score):
        return "–"
    return f"{int(rank)} ({form.format(score)})"


def pareto_front(points: dict[str, tuple[float, ...]]) -> set[str]:
    """The names whose point no other one dominates, higher being better; points with a nan are not on it."""
    whole = {name: point for name, point in points.items() if not any(map(math.isnan, point))}
    return {
        name
        for name, point in whole.items()
        if not any(
            all(theirs >= ours for theirs, ours in zip(other, point, strict=True)) and other != point
            for other in whole.values()
        )
    }


def _breaks(
    row: str, accuracy: dict[tuple[str, str], Estimate], private: pd.DataFrame, clean: dict[str, float]
) -> list[str]:
    found = []
    best = max((value for value in clean.values() if not math.isnan(value)), default=math.nan)
    if clean.get(row, math.nan) < BROKEN_SHARE * best:
        found.append("low clean accuracy")
    for (name, column), value in accuracy.items():
        lost = value.failed or value.mean < BROKEN_SHARE * clean.get(row, math.nan)
        if name == row and column != "clean" and lost and "low clean accuracy" not in found:
            found.append(column)
    mine = private[private["defense"] == row]
    leaks = [column for column in _columns(mine) if mine[mine["column"] == column]["recovered"].mean() >= LEAKING_SHARE]
    return found + ([f"leaks to {', '.join(leaks)}"] if leaks else [])


def _flags(
    rows: list[str], frame: pd.DataFrame, accuracy: dict[tuple[str, str], Estimate], seeds: int
) -> dict[str, list[str]]:
    """What a reader must know about a row before trusting it."""
    flags: dict[str, list[str]] = {}
    for row in rows:
        mine, notes = frame[frame["defense"] == row], []
        for column, cells in mine.groupby("column", sort=False):
            for status in ("failed", "diverged"):
                bad = cells[cells["status"] == status]
                if len(bad):
                    notes.append(f"{column}: {len(bad)} seed(s) {status}: {bad['error'].iloc[0]}")
            if len(cells) < seeds:
                notes.append(f"{column}: {len(cells)} of {seeds} seeds")
            if "control_recovered" in cells and (cells["control_recovered"] < CONTROL_SHARE).any():
                notes.append(f"{column}: the control failed, the attack recovers too little without a defense")
        base = accuracy.get((row, "clean"))
        for (name, column), value in accuracy.items():
            if name == row and base is not None and column != "clean" and value.mean - base.mean > _reach(value, base):
                notes.append(f"{column}: beats the clean run by more than the interval")
        if mine["oracle_f"].any():
            notes.append("was given the true number of Byzantine clients")
        if notes:
            flags[row] = notes
    return flags


def _reach(value: Estimate, base: Estimate) -> float:
    widths = [width for width in (value.half_width, base.half_width) if not math.isnan(width)]
    return math.hypot(*widths) if widths else math.inf
