"""A leaderboard as Markdown, CSV, LaTeX, JSON or one HTML page; the numbers are the same in all."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import pandas as pd

from leaderboards.board import LONG_FORMAT, Board, Leaderboard, asked_for
from leaderboards.frame import by_attack
from leaderboards.harmless import SIGN, marked
from leaderboards.html import html
from leaderboards.version import dated, version


def markdown(leaderboard: Leaderboard) -> str:
    """One page: every board with its caption, then flags, then where the numbers come from."""
    title = leaderboard.title[:1].upper() + leaderboard.title[1:]
    parts = [f"# Leaderboard: {leaderboard.suite}", markdown_text(f"{title}.")]
    parts += [f"**{markdown_text(leaderboard.notice)}**"] if leaderboard.notice else []
    for board in _shown(leaderboard):
        table = _marked(board, leaderboard).map(markdown_text).rename(columns=markdown_text)
        parts += [
            f"## {markdown_text(board.title)}",
            table.to_markdown(index=False, disable_numparse=True),
            f"*{markdown_text(board.caption)}*",
        ]
    if leaderboard.pictures:
        links = [
            f"[{markdown_text(one.title)}](<{one.path}>): {markdown_text(one.sentence)}" for one in leaderboard.pictures
        ]
        parts += ["## Pictures", _bullets(links)]
    flags = [f"**{markdown_text(what)}**: {markdown_text(note)}" for what, note in _flags(leaderboard)]
    parts += ["## Flags", _bullets(flags) if flags else "None."]
    origin = [dated(leaderboard), f"{leaderboard.records} records, {asked_for(leaderboard)}"]
    origin += [f"left out: {line}" for line in leaderboard.left_out]
    origin += [*leaderboard.environments, *leaderboard.caveats, *leaderboard.verified]
    parts += ["## Where the numbers come from", _bullets(map(markdown_text, origin))]
    return "\n\n".join(parts) + "\n"


def csv(leaderboard: Leaderboard) -> str:
    """One number a line: board, defense, column, metric, mean, interval, seeds, failed seeds, within its claim.

    A text that a spreadsheet would take for a formula has an apostrophe in front.
    """
    filled = [board.data for board in leaderboard.boards if len(board.data)]
    numbers = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(LONG_FORMAT))
    numbers[TEXTS] = numbers[TEXTS].map(csv_text, na_action="ignore")
    return numbers.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def latex(leaderboard: Leaderboard) -> str:
    """Tables, one a board, to paste into a paper."""
    said = [dated(leaderboard), leaderboard.notice, r"needs \usepackage{array,booktabs,graphicx}"]
    head = "".join(f"% {' '.join(line.split())}\n" for line in said if line)
    return "\n".join(
        [
            head,
            *(
                _latex_table(leaderboard.suite, replace(board, text=_marked(board, leaderboard)))
                for board in _shown(leaderboard)
            ),
        ]
    )


def as_json(leaderboard: Leaderboard) -> str:
    """The numbers with flags and origin, for programs."""
    content = {
        "suite": leaderboard.suite,
        "title": leaderboard.title,
        "notice": leaderboard.notice,
        "seeds": leaderboard.seeds,
        "seeds_of": leaderboard.seeds_of,
        "version": version(leaderboard),
        "records": leaderboard.records,
        "environments": leaderboard.environments,
        "caveats": leaderboard.caveats,
        "verified": leaderboard.verified,
        "left_out": leaderboard.left_out,
        "flags": leaderboard.flags,
        "column_flags": leaderboard.column_flags,
        "boards": {board.name: json.loads(board.data.to_json(orient="records")) for board in leaderboard.boards},
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Leaderboard], str]] = {
    "md": markdown, "csv": csv, "latex": latex, "json": as_json, "html": html,
}  # fmt: skip


def _shown(leaderboard: Leaderboard) -> list[Board]:
    """The boards that have a table."""
    return [board for board in leaderboard.boards if len(board.text)]


def _flags(leaderboard: Leaderboard) -> list[tuple[str, str]]:
    """Those of columns, then those of rows, each with what it is on."""
    columns = {f"{column} {SIGN}": notes for column, notes in leaderboard.column_flags.items()}
    return [(what, note) for result in (columns, leaderboard.flags) for what, notes in result.items() for note in notes]


def _marked(board: Board, leaderboard: Leaderboard) -> pd.DataFrame:
    """The table with a sign at the columns of attacks that the undefended control stands."""
    attacked = {one.cell.column for one in leaderboard.evidence if one.cell.kind == "training"}
    whole = [name for name, columns in by_attack(attacked).items() if set(columns) <= set(leaderboard.column_flags)]
    return board.text.rename(columns=lambda column: marked(str(column), [*whole, *leaderboard.column_flags]))


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


# A cell's border, emphasis (an underscore inside a word is none), code, strokes, formulas, what would begin an HTML
# tag, end a link's text, or be a character's name or an address.
MARKDOWN_SYNTAX = re.compile(
    r"[\\|*`$]|~(?=~)|<(?=[A-Za-z/!?])|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|&(?=#?\w+;)|:(?=//)|(?<=www)\.|@(?=\w)",
    re.IGNORECASE,
)


def printable(text: str) -> str:
    """A text in one line, in which what a terminal or a page would obey, and nobody would see, is spelt out."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in " ".join(text.split()))


def markdown_text(text: str) -> str:
    """A text in one line, in which nothing is taken for Markdown."""
    return MARKDOWN_SYNTAX.sub(r"\\\g<0>", printable(text))


TEXTS = ["board", "defense", "column", "metric"]
"""The columns of the long format that are no numbers."""
FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet takes for the beginning of one, were white space in front."""


def csv_text(text: str) -> str:
    """A text in one line that is no formula: `'=1+1`."""
    line = printable(text)
    return f"'{line}" if line.startswith(FORMULA) else line


LATEX_SYMBOLS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$",
    "†": r"$\dagger$", "·": r"$\cdot$", "×": r"$\times$", "✗": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "–": "--",
    "γ": r"$\gamma$", "δ": r"$\delta$", "ε": r"$\varepsilon$", "ρ": r"$\rho$", "σ": r"$\sigma$", "τ": r"$\tau$",
    "○": r"$\circ$", "✓": r"$\surd$", "≈": r"$\approx$",
}  # fmt: skip
LATEX_FRAME = {
    r"\begin{table}": r"\begin{table*}",  # over both columns of a paper that has two
    r"\end{table}": r"\end{table*}",
    r"\begin{tabular}": "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n\\begin{tabular}",
    r"\end{tabular}": r"\end{tabular}}",  # shrunk to the width of the text, if it is wider
}
LONG_TEXT = 40
"""Characters beyond which a column of a LaTeX table breaks its lines."""
PARAGRAPH = r">{\raggedright\arraybackslash}p{0.4\linewidth}"


def _latex_text(text: str) -> str:
    """A text in which every character stands for itself, and a number's hyphen is a minus sign."""
    escaped = "".join(LATEX_SYMBOLS.get(char, char) for char in printable(text))
    return re.sub(r"(?<!\w)-(?=\d)", "$-$", escaped)


def _latex_table(suite: str, board: Board) -> str:
    long = board.text.map(len).max() > LONG_TEXT
    written = board.text.map(_latex_text).rename(columns=_latex_text)
    table = written.to_latex(
        index=False,
        caption=_latex_text(f"{board.title} ({suite}). {board.caption}"),
        label=re.sub(r"[^\w:./-]", "-", f"tab:{suite}-{board.name}"),
        position="t",
        column_format="".join(PARAGRAPH if breaks_lines else "l" for breaks_lines in long),
    )
    for plain, framed in LATEX_FRAME.items():
        table = table.replace(plain, framed)
    return table
