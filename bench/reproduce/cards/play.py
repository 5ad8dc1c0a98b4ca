"""`claims`: play what the cards still miss, judge them, and write the page."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.base import device as devices
from bench.base.errors import BadInputError
from bench.records import Record, Store
from bench.reproduce.cards import page
from bench.reproduce.cards.card import FOLDER, Card, choose, published
from bench.reproduce.cards.evidence import cells_of, find
from bench.reproduce.papers import stated
from bench.runs import places, runner
from bench.runs.jobs import run_with_progress, write_bytes


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    names: tuple[str, ...] = ()
    results: Path = places.OWN
    workers: int | None = None
    data_root: str | None = None
    run: bool = True  # False: only verdicts, of the records that are there
    quiet: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class Outcome:
    """What was played, and the lines of what was asked for."""

    ran: int
    unfinished: list[Record]
    lines: list[page.Line]
    written: Path | None

    def as_dict(self) -> dict[str, Any]:
        return {"ran": self.ran, "claims": [line.as_dict() for line in self.lines]}

    def print(self) -> None:
        console = Console(width=150, highlight=False) if not Console().is_terminal else Console(highlight=False)
        for line in self.lines:
            console.print(f"{line.name}: {line.verdict}\n  {line.reason}", markup=False)
        text = f"; the page is {self.written}" if self.written else ""
        console.print(f"{self.ran} cells played{text}", markup=False)


def play(request: Request) -> Outcome:
    """Play what is missing of the cards asked for, and write the page of all published cards where it is about one.

    An item of `reproduce` may be named too: it is not played here, and its verdict is that of its records. Raises
    `BadInputError` for what is no card, and for what cannot be played.
    """
    items = [name for name in request.names if name in stated()]
    cards = [] if items and len(items) == len(request.names) else _cards(request, items)
    ran, unfinished = 0, list[Record]()
    for card in cards if request.run else []:
        if card.is_played:
            records, count = _run(card, request)
            ran += count
            unfinished += [record for record in records if record.status == "failed"]
    lines = [page.line_of(find(card, request.results)) for card in cards]
    if items or not request.names:
        lines += [line for line in page.item_lines(request.results) if not items or line.name in items]
    written, known = None, published()
    if items or any(known.get(card.name) == card for card in cards):
        written = request.results / FOLDER / page.FILE
        write_bytes(written, page.markdown(list(known.values()), request.results))
    return Outcome(ran, unfinished, lines, written)


def _cards(request: Request, items: list[str]) -> list[Card]:
    result = choose([name for name in request.names if name not in items])
    if not result:
        raise BadInputError("there is no claim card here: give a card's file, or work in a checkout, which has them")
    return result


def _run(card: Card, request: Request) -> tuple[list[Record], int]:
    """The records of a card's cells, and how many of them this run made."""
    store = Store(request.results, card.cells_suite.name)
    device = devices.choose(request.device)
    plan = runner.plan(card.cells_suite, cells_of(card), store, request.data_root, device=device)
    running = partial(runner.run, workers=request.workers or runner.default_workers())
    result, count = run_with_progress(plan, store, running, request.quiet)
    return [*plan.present, *result], count
