"""The board of privacy: what an attacker recovers of the targets' images, ranked by the worst column."""

import math
from collections.abc import Collection

import pandas as pd

from leaderboards.board import Board, Number, Standing, numbers
from leaderboards.estimates import MISSING, Estimate, Estimates, estimates, shares
from leaderboards.leaks import grain_of, highest, standing, worst_of
from leaderboards.wide import Matrix

SHOWN = ("recovered", "psnr", "ssim")
SHARES = ("recovered", "label_recovered")
METRICS = (*SHOWN, "label_recovered")
MOST = 6
"""Columns of one table: its cells are long."""
CONTROLS = {"control: no defense": "control_", "control: mean image, no view": "blind_"}
"""The rows below the table, and how their metrics' names begin."""
CAPTION = (
    "Share of the targets' images recovered (PSNR of at least {recovered_psnr:g} dB) with its 95 % interval · mean "
    "PSNR · mean SSIM (scikit-image's default: uniform 7 x 7 windows inside the image), over the images of all seeds. "
    "The interval is Wilson's at the effective number of images, because those of a seed belong together (design "
    "effect, with the degrees of freedom of the seeds). dlg is the passive server alone; rho is the share of the other "
    "clients that collude with it. Ranked by the worst column's share; rows that share a rank stand by the mean share "
    "over the columns, then by the highest PSNR in whole dB, where one below the second control's counts as that: "
    "lower is better. The controls are the same attack on the same targets with no defense, and the mean training "
    "image as a guess that needs no view. A PSNR below the second control's is a failed reconstruction, not a better "
    "defense."
)
TRAINED = " Behind them, where a model was trained before it was attacked, its test accuracy."

Leaks = dict[str, Estimates]
"""The estimates of each metric."""


def privacy_boards(
    rows: list[str],
    columns: list[str],
    private: pd.DataFrame,
    recovered_psnr: float,
    evaluations: frozenset[str] = frozenset(),
    lacking: Collection[str] = (),
) -> list[Board]:
    """Every row's leak in every column, and below them the controls; nothing to show without a privacy attack.

    `evaluations` are columns that single rows have on top of the suite's: the worst case counts them there, and they
    are missed nowhere. A row that is `lacking` records that other rows have has no rank.
    """
    leaks, controls = {metric: _estimates(private, metric) for metric in METRICS}, _controls(private)
    shown = {metric: {**leaks[metric], **controls[metric]} for metric in SHOWN}
    trained = {place: value for place, value in estimates(private, "model_accuracy").items() if value.seeds}

    def cell(row: str, column: str) -> str:
        share, psnr, ssim = (shown[metric].get((row, column), MISSING) for metric in SHOWN)
        model = trained.get((row, column), MISSING)
        after = f" · model {model.mean:.0%}" if model.seeds else ""
        return share.with_failures(f"{share.share()} · {psnr.mean:.1f} dB · {ssim.mean:z.2f}{after}")

    def worst(row: str, some: list[str]) -> tuple[str, str]:
        share, where = highest(leaks["recovered"], row, known(row, some))
        return share.share(), where

    def known(row: str, some: list[str]) -> list[str]:
        result = leaks["recovered"]
        return [column for column in some if column not in evaluations or result.get((row, column), MISSING).seeds]

    title, caption = "Privacy: what an attacker recovers", CAPTION.format(recovered_psnr=recovered_psnr)
    caption += TRAINED if trained else ""
    data = [*_numbers(leaks), *numbers("model_accuracy", trained), *_means(controls)]
    matrix = Matrix("privacy", title, caption, columns, cell, worst, tuple(CONTROLS), most=MOST)
    asked = {row: known(row, columns) for row in rows}
    suites = [column for column in columns if column not in evaluations]
    return matrix.boards(_standing(asked, suites, private, leaks, lacking), data)


def _estimates(private: pd.DataFrame, metric: str) -> Estimates:
    return shares(private, metric) if metric.endswith(SHARES) else estimates(private, metric)


def _standing(
    asked: dict[str, list[str]], suites: list[str], private: pd.DataFrame, leaks: Leaks, lacking: Collection[str]
) -> Standing:
    """`asked` has each row's columns, `suites` those that all rows share: a mean over others would not compare."""
    worst = worst_of(asked, leaks["recovered"])
    usual = {row: _mean(leaks["recovered"], row, suites) for row in worst}
    blind = max((value.mean for value in estimates(private, "blind_psnr").values()), default=0.0)
    clearest = {row: round(max(blind, highest(leaks["psnr"], row, asked[row])[0].mean), 0) for row in worst}
    then = {row: (-usual[row], -clearest[row]) for row in worst}
    grain = grain_of(private, "images")
    return standing("recovered", private, asked, worst, lacking, Estimate.share, grain, then)


def _mean(found: Estimates, row: str, columns: list[str]) -> float:
    """The mean over a row's columns; nan where one is missing, or there is none."""
    if not columns:
        return math.nan
    return sum(found.get((row, column), MISSING).mean for column in columns) / len(columns)


def _controls(private: pd.DataFrame) -> Leaks:
    """The controls as rows of their own, over all records of a column that finished."""
    finished = private[private["status"] == "ok"]
    return {
        metric: {
            place: value
            for name, prefix in CONTROLS.items()
            for place, value in _estimates(finished.assign(defense=name), prefix + metric).items()
        }
        for metric in SHOWN
    }


def _numbers(leaks: Leaks) -> list[Number]:
    return [number for metric, result in leaks.items() for number in numbers(metric, result)]


def _means(controls: Leaks) -> list[Number]:
    """The controls' numbers; no t interval, because all rows share them, so their records are not independent."""
    return [
        Number(number.defense, number.column, number.metric, number.mean, low=number.low, high=number.high)
        for number in _numbers(controls)
    ]
