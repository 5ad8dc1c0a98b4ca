"""The board of privacy: what an attacker recovers of the targets' images, ranked by the worst column."""

import math

import pandas as pd

from leaderboards.board import Board, Line, Number, Standing, make_board, numbers, ranks
from leaderboards.estimates import MISSING, Estimate, Estimates, estimates

SHOWN = ("recovered", "psnr", "ssim")
METRICS = (*SHOWN, "label_recovered")
CONTROLS = {"control: no defense": "control_", "control: mean image, no view": "blind_"}
"""The rows below the table, and how their metrics' names begin."""
CAPTION = (
    "Share of the targets' images recovered (PSNR of at least {recovered_psnr:g} dB) · mean PSNR · mean SSIM, over "
    "all targets and seeds. dlg is the passive server alone; rho is the share of the other clients that collude "
    "with it. Ranked by the worst column's share, then the mean share over the columns, then the highest PSNR in whole "
    "dB, where one below the second control's counts as that: lower is better. The controls "
    "are the same attack on the same targets with no defense, and the mean training image as a guess that needs no "
    "view. A PSNR below the second control's is a failed reconstruction, not a better defense."
)

Leaks = dict[str, Estimates]
"""The estimates of each metric."""


def privacy_board(rows: list[str], columns: list[str], private: pd.DataFrame, recovered_psnr: float) -> Board:
    """Every row's leak in every column, and below them the controls; nothing to show without a privacy attack."""
    leaks, controls = {metric: estimates(private, metric) for metric in METRICS}, _controls(private)
    worst = {row: _highest(leaks["recovered"], row, columns) for row in rows} if columns else {}
    usual = {row: _mean(leaks["recovered"], row, columns) for row in worst}
    blind = max((value.mean for value in estimates(private, "blind_psnr").values()), default=0.0)
    clearest = {row: round(max(blind, _highest(leaks["psnr"], row, columns)), 0) for row in worst}
    standing = Standing(
        "worst_recovered", worst, ranks({row: (-worst[row], -usual[row], -clearest[row]) for row in worst})
    )
    lines = [
        {"defense": row, **_cells(leaks, row, columns), "worst case": "–" if math.isnan(share) else f"{share:.0%}"}
        for row, share in worst.items()
    ]
    below = [{"rank": "", "defense": name, **_cells(controls, name, columns), "worst case": ""} for name in CONTROLS]
    return make_board(
        "privacy",
        "Privacy: what an attacker recovers",
        CAPTION.format(recovered_psnr=recovered_psnr),
        standing.sort(lines) + (below if columns else []),
        [*_numbers(leaks), *_means(controls)],
        standing,
    )


def _highest(found: Estimates, row: str, columns: list[str]) -> float:
    """The highest mean of a row; nan where a column is missing."""
    means = [found.get((row, column), MISSING).mean for column in columns]
    return math.nan if any(map(math.isnan, means)) else max(means)


def _mean(found: Estimates, row: str, columns: list[str]) -> float:
    """The mean over a row's columns; nan where one is missing."""
    return sum(found.get((row, column), MISSING).mean for column in columns) / len(columns)


def _controls(private: pd.DataFrame) -> Leaks:
    """The controls as rows of their own, over all records of a column that finished."""
    finished = private[private["status"] == "ok"]
    return {
        metric: {
            place: value
            for name, prefix in CONTROLS.items()
            for place, value in estimates(finished.assign(defense=name), prefix + metric).items()
        }
        for metric in SHOWN
    }


def _numbers(leaks: Leaks) -> list[Number]:
    return [number for metric, found in leaks.items() for number in numbers(metric, found)]


def _means(controls: Leaks) -> list[Number]:
    """The controls' numbers without an interval: all rows share them, so their records are not independent."""
    return [Number(number.defense, number.column, number.metric, number.mean) for number in _numbers(controls)]


def _cells(leaks: Leaks, row: str, columns: list[str]) -> Line:
    return {column: _cell(*(leaks[metric].get((row, column), MISSING) for metric in SHOWN)) for column in columns}


def _cell(share: Estimate, psnr: Estimate, ssim: Estimate) -> str:
    return share.with_failures(f"{share.mean:.0%} · {psnr.mean:.1f} dB · {ssim.mean:z.2f}")
