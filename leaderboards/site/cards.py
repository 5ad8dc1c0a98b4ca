"""A small picture of each suite for its card: a tile for each row and column, the best rows on top."""

import math
from html import escape

from leaderboards.decision import METRICS
from leaderboards.estimates import Estimate
from leaderboards.site.standing import Published

MOST_ROWS, MOST_COLUMNS = 14, 20
TILE = (12, 9)
STEPS = 10
SAID = {
    "robustness": "accuracy under each attack, bright is high",
    "backdoor": "success of backdoors, bright is low",
    "privacy": "images kept from each attack, bright is many",
}


def card(one: Published) -> tuple[str, str]:
    """An SVG and what it shows; of the board that ranks, "" where nothing does."""
    result = one.measured.found
    board = next((name for name in METRICS if one.measured.columns(name)), None)
    if board is None:
        return _epsilons(one)
    values = result[board]
    columns = one.measured.columns(board)[:MOST_COLUMNS]
    standing = next((known.standing for known in one.leaderboard.boards if known.name == board), None)
    rows = list(dict.fromkeys(row for row, column in values if row in one.measured.defenses and column in columns))
    if standing is not None:
        rows.sort(key=standing.place)
    tiles = [
        _tile(line, place, _goodness(board, values.get((row, column))))
        for line, row in enumerate(rows[:MOST_ROWS])
        for place, column in enumerate(columns)
    ]
    return _svg(tiles, len(columns), min(len(rows), MOST_ROWS), SAID[board]), SAID[board]


def _goodness(board: str, value: Estimate | None) -> float:
    if value is None or math.isnan(value.score):
        return math.nan
    return value.score if board == "robustness" else 1 - value.mean


def _epsilons(one: Published) -> tuple[str, str]:
    """Of audits: a tile for each, bright where the claim stands."""
    data = next((board.data for board in one.leaderboard.boards if board.name == "audits"), None)
    if data is None or not len(data):
        return "", ""
    audits = data[data["metric"] == "epsilon_audited"]
    claims = {
        board.name: board.text for board in one.leaderboard.boards if board.name == "audits" and len(board.text)
    }.get("audits")
    rows = list(dict.fromkeys(audits["defense"]))
    columns = list(dict.fromkeys(audits["column"].dropna()))
    texts = {} if claims is None else {line["defense"]: line for line in claims.to_dict(orient="records")}
    tiles = []
    for line, row in enumerate(rows[:MOST_ROWS]):
        for place, column in enumerate(columns[:MOST_COLUMNS]):
            text = str(texts.get(row, {}).get(column, ""))
            known = "✓" in text or "✗" in text
            tiles.append(_tile(line, place, math.nan if not known else 1.0 if "✓" in text else 0.1))
    said = "audits of privacy claims, bright where the claim stands"
    return _svg(tiles, min(len(columns), MOST_COLUMNS), min(len(rows), MOST_ROWS), said), said


def _tile(line: int, place: int, goodness: float) -> str:
    shade = "none" if math.isnan(goodness) else str(round(min(max(goodness, 0.0), 1.0) * STEPS))
    width, height = TILE
    return f'<path class="s{shade}" d="M{place * width} {line * height}h{width - 1}v{height - 1}h-{width - 1}z"/>'


def _svg(tiles: list[str], columns: int, rows: int, said: str) -> str:
    size = f"0 0 {columns * TILE[0]} {rows * TILE[1]}"
    return f'<svg class="heat" viewBox="{size}" role="img" aria-label="{escape(said)}">{"".join(tiles)}</svg>'
