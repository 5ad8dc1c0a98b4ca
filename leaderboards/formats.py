"""A leaderboard as Markdown, CSV, LaTeX or JSON; the numbers are the same in all."""

import json
from collections.abc import Callable

import pandas as pd

from leaderboards.boards import Leaderboard


def markdown(leaderboard: Leaderboard) -> str:
    """One page: every board with its caption, then flags, then where the numbers come from."""
    parts = [f"# Leaderboard: {leaderboard.suite}", leaderboard.title[:1].upper() + leaderboard.title[1:] + "."]
    for board in leaderboard.boards:
        if len(board.text):
            table = board.text.to_markdown(index=False, disable_numparse=True)
            parts += [f"## {board.title}", table, f"*{board.caption}*"]
    parts.append("## Flags")
    lines = [f"- **{row}**: {note}" for row, notes in leaderboard.flags.items() for note in notes]
    parts.append("\n".join(lines) if lines else "None.")
    parts.append("## Where the numbers come from")
    origin = [f"- {leaderboard.records} records, {leaderboard.seeds} seed(s) a cell asked for"]
    origin += [f"- left out: {line}" for line in leaderboard.left_out]
    origin += [f"- {line}" for line in leaderboard.environments]
    parts.append("\n".join(origin))
    return "\n\n".join(parts) + "\n"


def csv(leaderboard: Leaderboard) -> str:
    """One number a line: board, defense, column, metric, mean, half width, seeds, failed seeds, within its claim."""
    return _numbers(leaderboard).to_csv(index=False, float_format="%.6g")


def latex(leaderboard: Leaderboard) -> str:
    """Booktabs tables, one a board, to paste into a paper."""
    parts = []
    for board in leaderboard.boards:
        if len(board.text):
            columns = {name: _escape(str(name)) for name in board.text.columns}
            text = board.text.astype(str).map(_escape).rename(columns=columns)
            parts.append(
                text.to_latex(
                    index=False,
                    caption=_escape(f"{board.title} ({leaderboard.suite}). {board.caption}"),
                    label=f"tab:{leaderboard.suite}-{board.name}",
                    position="t",
                )
            )
    return "\n".join(parts)


_LATEX = {"%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "±": r"$\pm$", "†": r"$\dagger$", "·": r"$\cdot$",
          "ε": r"$\epsilon$", "δ": r"$\delta$", "–": "--", "✗": r"$\times$"}  # fmt: skip


def _escape(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)


def as_json(leaderboard: Leaderboard) -> str:
    """The numbers with flags and origin, for programs."""
    content = {
        "suite": leaderboard.suite,
        "title": leaderboard.title,
        "seeds": leaderboard.seeds,
        "records": leaderboard.records,
        "environments": leaderboard.environments,
        "left_out": leaderboard.left_out,
        "flags": leaderboard.flags,
        "boards": {board.name: json.loads(board.data.to_json(orient="records")) for board in leaderboard.boards},
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _numbers(leaderboard: Leaderboard) -> pd.DataFrame:
    columns = ["board", "defense", "column", "metric", "mean", "half_width", "seeds", "failed", "within_claim"]
    filled = [board.data for board in leaderboard.boards if len(board.data)]
    return pd.concat(filled, ignore_index=True).reindex(columns=columns)


FORMATS: dict[str, Callable[[Leaderboard], str]] = {"md": markdown, "csv": csv, "latex": latex, "json": as_json}
