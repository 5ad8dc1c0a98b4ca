"""The page: everything that it shows, put into its template, with style and script inlined and nothing else allowed."""

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import resources
from typing import Any

import pandas as pd

from leaderboards.board import Board, Leaderboard, Picture
from leaderboards.harmless import SIGN
from leaderboards.html import charts, glossary
from leaderboards.html.evidence import AGAIN, by_place, evidence
from leaderboards.html.leads import find_leads
from leaderboards.html.tables import SHADES, Table, tables
from leaderboards.html.threats import choices, shared, threats
from leaderboards.looks import looks
from leaderboards.overall import AXES, Axis
from leaderboards.version import version

PAGE_BYTES = 1_450_000
"""What the page may take; pictures that do not fit beside the numbers are left out."""
DRAWN_BY_THE_PAGE = ("heat",)
"""Pictures that the page has in a form that answers to the pointer."""
LEADING = ("factors", "rules", "both", "durability", "membership", "run-epsilons")
"""Pictures that say what a suite is about, which stand above its tables."""
LONG = 32
"""Characters beyond which a text in a table breaks its lines."""
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class Drawn:
    """A picture with its PNG as base64."""

    picture: Picture
    content: str


def html(leaderboard: Leaderboard, home: str = "") -> str:
    """The leaderboard as one HTML file that needs no other and asks for none; `home` is where a site's index is."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here, because other formats need none of it
    from markupsafe import Markup

    style, script = _own("page.css"), _own("page.js")
    columns = threats(leaderboard.evidence, leaderboard.evaluations)
    places = by_place(leaderboard.evidence)
    leads = find_leads(leaderboard.boards, list(columns), places.keys())
    result = tables(leaderboard.boards, leads)
    rows = list(dict.fromkeys([row.label for table in result for row in table.ranked]))
    boards = {board.name: board for board in leaderboard.boards}
    look = looks(_in_order(rows, boards))
    flags = {row: [glossary.explained(note) for note in notes] for row, notes in leaderboard.flags.items()}
    template = Environment(
        loader=PackageLoader("leaderboards.html", ""),
        keep_trailing_newline=True,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.jinja")
    render = partial(
        template.render,
        board=leaderboard,
        home=home,
        title=leaderboard.title[:1].upper() + leaderboard.title[1:],
        overall=next((coloured(table, boards) for table in result if table.name == "overall"), None),
        tables=[table for table in result if table.name != "overall"],
        columns=columns,
        choices=choices(columns.values()),
        shared=shared(leaderboard.evidence),
        anchors={row: f"row-{index}" for index, row in enumerate(rows)},
        look=look,
        panels=charts.panels(leaderboard.evidence, list(columns), look),
        plot=charts.pareto(boards, leads, look),
        charts=charts,
        short=_short([table.title for table in result]).get,
        heats=" ".join(_heats(result, leaderboard)),
        flags=flags,
        kinds=glossary.kinds(flag for some in flags.values() for flag in some),
        marks=glossary.MARKS,
        shades=range(SHADES + 1),
        long=LONG,
        sign=SIGN,
        again=AGAIN,
        version=version(leaderboard),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=Markup(_packed(evidence(leaderboard, columns))),
        threats=Markup(_inline({name: asdict(threat) for name, threat in columns.items()})),
    )
    shown = [one for one in leaderboard.pictures if one.name not in DRAWN_BY_THE_PAGE]
    room = PAGE_BYTES - len(render(pictures=[], skipped=shown, lead=[]).encode())
    drawn, skipped = _draw(shown, room)
    lead = [one for name in LEADING for one in drawn if one.picture.name == name][:1]
    if not lead and "robustness" not in boards:  # audits alone
        lead = [one for one in drawn if not one.picture.name.startswith("gallery")][:1]
    return render(pictures=drawn, skipped=skipped, lead=lead)


def _heats(found: Sequence[Table], leaderboard: Leaderboard) -> list[str]:
    """The tables that a heat map shows, what the suite is about first: backdoors where attacks come and go."""
    shaded = [table.name for table in found if table.shaded and table.name != "overall"]
    first = "backdoor" if any(record.cell.stop for record in leaderboard.evidence) else ""
    return sorted(shaded, key=lambda name: name != first)


def _short(titles: Sequence[str]) -> dict[str, str]:
    """What stands before the colon, or before the comma; the whole title where others begin so too."""
    begun = {title: title.partition(":")[0].partition(",")[0] for title in titles}
    return {title: head if list(begun.values()).count(head) == 1 else title for title, head in begun.items()}


def coloured(table: Table, boards: Mapping[str, Board]) -> Table:
    """The overall table with the shades of the boards that it sums up."""
    scores = {name: boards[name].standing.scores for name in AXES if name in boards}
    rows = []
    for row in table.rows:
        entries = []
        for head, entry in zip(table.heads, row.entries, strict=True):
            score = scores.get(head.text, {}).get(row.label, math.nan)
            good = score if AXES.get(head.text, Axis("")).sign > 0 else 1 - score
            entries.append(entry if math.isnan(score) else replace(entry, shade=round(SHADES * min(max(good, 0), 1))))
        rows.append(replace(row, entries=entries))
    return replace(table, rows=rows, shaded="good" if scores else "")


def _in_order(rows: Sequence[str], boards: Mapping[str, Board]) -> list[str]:
    """The rows as the suite orders them, which gives them the colours that they have in the pictures."""
    data = boards["overall"].data if "overall" in boards else pd.DataFrame({"metric": [], "defense": []})
    order = list(data.loc[data["metric"] == "pareto", "defense"])
    return sorted(rows, key=lambda row: order.index(row) if row in order else len(order))


def _own(name: str) -> str:
    return resources.files("leaderboards.html").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a content security policy names an inlined script or style by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _packed(content: dict[str, Any]) -> str:
    """JSON, compressed, in Base64: a tenth of its size where a suite has thousands of records."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode("ascii")


def _inline(content: dict[str, Any]) -> str:
    """JSON in which nothing ends a script element."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char, escape in ESCAPES.items():
        text = text.replace(char, escape)
    return text


def _draw(pictures: Sequence[Picture], room: int) -> tuple[list[Drawn], list[Picture]]:
    """The pictures that fit into so many bytes of the page, in their order, and those that do not."""
    drawn, skipped = [], []
    for picture in pictures:
        content = base64.b64encode(picture.draw()).decode()
        if len(content) <= room:
            room -= len(content)
            drawn.append(Drawn(picture, content))
        else:
            skipped.append(picture)
    return drawn, skipped
