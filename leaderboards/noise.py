"""The board of noise: how much of the noise that a claim rests on is left once colluders have taken out theirs."""

import math

import pandas as pd

from leaderboards.board import Board, make_board, numbers
from leaderboards.estimates import MISSING, Estimate, estimates
from leaderboards.frame import WIDE

HONEST_NOISE = 0.99
"""A ratio of noise whose interval over the seeds lies below this is a claim without its noise."""
ONE_SEED = 0.9
"""The same for a single seed: 12 standard deviations of the variance of 32,000 measured numbers."""
CAPTION = (
    "1 or more: the noise that the claim asks for is there, on average. ✗ where the interval lies below "
    f"{HONEST_NOISE} (one seed: below {ONE_SEED}): the claim does not hold against these colluders. Real messages: "
    "variance of what the attacker cannot explain over sigma_k squared. Shuffled signs: the share of the random "
    "messages that still surround the target's. Defenses that claim nothing are left out."
)


def noise_board(rows: list[str], columns: list[str], private: pd.DataFrame) -> Board:
    """The ratio of every row that has one, in every column; where there are many, a line a column."""
    result = estimates(private, "residual_noise_ratio")
    measured = {place: value for place, value in result.items() if value.seeds}
    claiming = [row for row in rows if any((row, column) in measured for column in columns)]
    cells = {(row, column): _ratio(result.get((row, column), MISSING)) for row in claiming for column in columns}
    lines = [{"defense": row, **{column: cells[row, column] for column in columns}} for row in claiming]
    if len(columns) > WIDE and claiming:
        lines = [{"attack": column, **{row: cells[row, column] for row in claiming}} for column in columns]
    title = "Noise left on a target's message, over what its claim needs"
    return make_board("noise", title, CAPTION, lines, numbers("residual_noise_ratio", measured))


def _ratio(value: Estimate) -> str:
    return value.text(scale=1.0, digits=2) + (" ✗" if falls_short(value) else "")


def falls_short(ratio: Estimate) -> bool:
    """Whether less noise is left than the claim asks for, by more than the sampling error of the measured variance."""
    return ratio.mean < ONE_SEED if math.isnan(ratio.half_width) else ratio.mean + ratio.half_width < HONEST_NOISE
