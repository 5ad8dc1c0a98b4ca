"""Claimed against audited epsilon: a line a threat model, on which the claim is a mark, the bound a point."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.base.names import plain
from leaderboards.audits import Audit, Audits
from leaderboards.plots import INK, LEGEND_TEXT, above, frame

WIDTH, LINE, REST = 7.4, 0.23, 1.6  # inches
KEPT, BROKEN, VOID = "#0072B2", "#D55E00", "#777777"
ROOM, SPAN = 2.5, 1e4
"""Factors: from the outermost numbers to the axis's ends, and from the smallest claim to the smallest bound."""
BESIDE = 7
"""Points between a bound's mark and its number."""


def epsilons(rows: Sequence[str], columns: Sequence[str], audits: Audits, title: str = "") -> Figure:
    """Every audit, in a band for each row that begins with its claim; right of the claim, more is proved than promised.

    Each band has the unit of its claim.
    """
    results = {row: [audits[row, column] for column in columns if (row, column) in audits] for row in rows}
    bands = _alike({row: band for row, band in results.items() if band})
    lines = sum(len(band) + 1 for band in bands.values())
    figure = Figure(figsize=(WIDTH, LINE * lines + REST), layout="constrained")
    axes = figure.subplots()
    low, high = _limits([audit for band in bands.values() for audit in band])
    axes.set(xscale="log", xlim=(low, high), ylim=(lines - 0.5, -0.6))
    axes.set_xlabel("ε, in the unit of the claim", color=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    frame(axes, "x")
    names: dict[int, str] = {}
    top = 0
    for row, band in bands.items():
        _band(axes, row, band, top, (low, high))
        names |= {top + 1 + index: _threat(audit) for index, audit in enumerate(band)}
        top += len(band) + 1
    axes.set_yticks(list(names), list(names.values()))
    figure.legend(handles=_legend(), loc="outside lower left", ncols=2, **LEGEND_TEXT)
    above(figure, title)
    return figure


def _alike(bands: Mapping[str, Sequence[Audit]]) -> dict[str, Sequence[Audit]]:
    """Bands that look the same as one, under the names of all their rows."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for row, band in bands.items():
        seen = [(_threat(audit), audit.bound, audit.exceeds, audit.beyond, audit.upload) for audit in band]
        groups.setdefault((_promise("", band[0]), *seen), []).append(row)
    return {_together(rows): bands[rows[0]] for rows in groups.values()}


def _together(rows: Sequence[str]) -> str:
    """Two names, or the first and how many more."""
    return " and ".join(rows) if len(rows) <= 2 else f"{rows[0]} and {len(rows) - 1} others"


def _band(axes: Axes, row: str, band: Sequence[Audit], top: int, limits: tuple[float, float]) -> None:
    """The row's name and claim, and below them its audits."""
    place = axes.get_yaxis_transform()
    axes.text(0.01, top, _promise(row, band[0]), transform=place, va="center", fontsize=9, weight="bold", color=INK)
    allowed = band[0].allowed
    if allowed:
        ends = (top + 0.45, top + len(band) + 0.45)
        axes.fill_betweenx(ends, allowed, limits[1], color=BROKEN, alpha=0.1, linewidth=0)
        axes.vlines(allowed, *ends, color=INK, linewidth=2)
    for line, audit in enumerate(band, start=top + 1):
        at = max(audit.epsilon, 1.2 * limits[0])
        colour = BROKEN if audit.exceeds else KEPT if allowed else VOID
        axes.plot(at, line, **_dot(colour, hollow=audit.beyond))
        left = bool(allowed) and not audit.exceeds and at > 2 * limits[0]  # away from the claim's mark and the axis
        shift, side = ((-BESIDE, 0), "right") if left else ((BESIDE, 0), "left")
        look: dict[str, Any] = {"textcoords": "offset points", "va": "center", "ha": side, "fontsize": 8}
        axes.annotate(audit.bound, (at, line), shift, color=colour, **look)
        if audit.upload:
            axes.plot(audit.upload, line, **UPLOAD)


UPLOAD: dict[str, Any] = {"marker": "|", "markersize": 9, "markeredgewidth": 2, "linestyle": "none", "color": VOID}


def _dot(colour: str, hollow: bool = False) -> dict[str, Any]:
    face = "white" if hollow else colour
    return {"marker": "o", "markersize": 6.5, "linestyle": "none", "color": colour, "markerfacecolor": face}


def _promise(row: str, audit: Audit) -> str:
    claim = audit.claimed
    if claim is None:
        return f"{row} claims nothing"
    stated = "void," if claim.epsilon is None else f"ε = {plain(float(f'{claim.epsilon:.3g}'))}"
    return f"{row}, claim: {stated} {claim.unit}"


def _threat(audit: Audit) -> str:
    """`active=True, ρ = 1` for the column `audit active=True rho=1`; the server alone has no rho."""
    cell = audit.record.cell
    words = cell.column.removeprefix(cell.attack_name).split()
    return ", ".join(word.replace("rho=", "ρ = ") for word in words) or "the server alone"


def _limits(audits: Sequence[Audit]) -> tuple[float, float]:
    results = [value for audit in audits for value in (audit.epsilon, audit.allowed, audit.upload) if value]
    largest = max(results, default=1.0)
    claims = [audit.allowed for audit in audits if audit.allowed]
    least = max(min(results, default=1.0), min(claims, default=largest) / SPAN)  # every claim is on the axis
    return least / ROOM, largest * ROOM


def _legend() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=INK, linewidth=2, label="claimed"),
        Patch(color=BROKEN, alpha=0.1, label="more than is claimed"),
        Line2D([], [], label="audit proves at least this: the claim stands", **_dot(KEPT)),
        Line2D([], [], label="audit proves more than is claimed", **_dot(BROKEN)),
        Line2D([], [], label="hollow: the claim is not meant for these colluders", **_dot(INK, hollow=True)),
        Line2D([], [], label="bound for a whole upload", **UPLOAD),
    ]
