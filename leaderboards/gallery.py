"""The gallery of one attack: the targets' images, and what it makes of them without a defense and under each."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from bench.records import Record
from leaderboards.plots import DPI, INK, LOSSLESS, png

WIDTHS = (8, 6, 4, 3)
"""Images side by side: as many as fit into a small file, which noise makes large."""
MOST_BYTES = 150_000
TILE, GAP, CAPTION, TITLE, MARGIN, LETTER = 72, 8, 15, 30, 10, 7
"""Pixels: an image's side (about), between images, a PSNR, the title, the border, a letter of a label."""
LINE, LINES = 28, 5
"""The most characters in a line of a label, and lines of it."""
FRAME, GREY = ((1, 1), (1, 1), (0, 0)), 216
"""One pixel around each image: white ones end somewhere."""
ALIKE = 2
"""Grey levels out of 255 by which reconstructions may differ that stand in one row."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Strip:
    """A row of the gallery: images `(k, H, W, 3)` and the PSNR of each; none for the originals."""

    label: str
    images: Pixels
    psnr: Sequence[float] = ()


def gallery(title: str, records: Sequence[tuple[Record, Path]], threshold: float) -> bytes:
    """A PNG of records of one attack and seed, each with the place of its picture, in the order of the rows.

    A PSNR of at least `threshold` stands in bold.
    """
    rows = strips(records)
    content = b""
    for wide in WIDTHS:
        content = png(draw(title, rows, threshold, wide))
        if len(content) <= MOST_BYTES:
            break
    return content


def strips(records: Sequence[tuple[Record, Path]]) -> list[Strip]:
    """Originals, undefended reconstructions, and a row for all records whose reconstructions look the same."""
    cut = [_cut(path, record) for record, path in records]
    first, (truth, control, _) = records[0][0], cut[0]
    rows = [Strip("original", truth), Strip("no defense", control, first.control_psnr)]
    groups: list[tuple[Pixels, list[Record]]] = []
    for (record, _), (_, _, images) in zip(records, cut, strict=True):
        alike = (group for shown, group in groups if np.abs(images.astype(int) - shown).max() <= ALIKE)
        group = next(alike, None)
        if group is None:
            groups.append((images, group := []))
        group.append(record)
    everywhere = _rhos([record for record, _ in records])
    for images, group in groups:
        names = [_name(row, mine, everywhere[row]) for row, mine in _rhos(group).items()]
        rows.append(Strip(", ".join(names), images, group[0].psnr))
    return rows


def _rhos(records: Sequence[Record]) -> dict[str, list[float]]:
    """Each defense's shares of colluders."""
    results: dict[str, list[float]] = {}
    for record in records:
        results.setdefault(record.cell.label, []).append(record.cell.rho or 0.0)
    return results


def _name(row: str, mine: list[float], everywhere: list[float]) -> str:
    """The defense, and at which rho, unless it is alike at all of them."""
    return row if mine == everywhere else f"{row} ρ = {', '.join(f'{rho:g}' for rho in mine)}"


def _cut(path: Path, record: Record) -> Pixels:
    """The picture's rows `(3, k, H, W, 3)`: truth, control, reconstruction; of each the first images.

    The picture is a grid with a border of one pixel around each image.
    """
    columns = round(record.metrics.get("images", record.cell.targets))
    grid: Pixels = np.asarray(Image.open(path).convert("RGB"))[1:, 1:]
    rows: Pixels = grid.reshape(3, len(grid) // 3, columns, -1, 3).swapaxes(1, 2)
    return rows[:, : WIDTHS[0], :-1, :-1]


def draw(title: str, rows: Sequence[Strip], threshold: float, wide: int) -> Figure:
    """Every pixel of an image becomes a square of whole pixels; the rest is text beside and below it."""
    side = rows[0].images.shape[1]
    wide = min(wide, len(rows[0].images))
    scale = max(1, round(TILE / side))
    step = side * scale + GAP
    heights = [side * scale + (CAPTION if row.psnr else 0) + GAP for row in rows]
    labels = [_label(row.label) for row in rows]
    edge = 2 * MARGIN + LETTER * max(len(line) for label in labels for line in label.split("\n"))
    width = max(edge + step * wide, MARGIN + LETTER * len(title)) + MARGIN
    height = TITLE + sum(heights) + MARGIN
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def write(x: float, y: float, text: str, **look: Any) -> None:
        figure.text(x / width, 1 - y / height, text, **{"fontsize": 9, "color": INK, **look})

    write(MARGIN, TITLE / 2, title, va="center", fontsize=10)
    top = TITLE
    for row, label, tall in zip(rows, labels, heights, strict=True):
        write(MARGIN, top + side * scale / 2, label, va="center", linespacing=1.1)
        for index, image in enumerate(row.images[:wide]):
            left = edge + index * step
            large = np.pad(image.repeat(scale, axis=0).repeat(scale, axis=1), FRAME, constant_values=GREY)
            figure.figimage(large, left - 1, height - top - len(large) + 1, origin="upper")
            if row.psnr:
                value = row.psnr[index]
                text = f"{value:.1f}" if value < LOSSLESS else f"{LOSSLESS:g}+"
                weight = "bold" if value >= threshold else "normal"
                middle = left + side * scale / 2
                write(middle, top + side * scale + 3, text, ha="center", va="top", fontsize=8, weight=weight)
        top += tall
    return figure


def _label(text: str) -> str:
    return "\n".join(textwrap.wrap(text, LINE, max_lines=LINES, placeholder=" …"))
