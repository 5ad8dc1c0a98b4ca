"""The report: from evidence to `results/papers/README.md`, and a table, its numbers and a plot an item."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.reproduce.cost import Cost, estimate
from bench.reproduce.evidence import FOLDER, collect
from bench.reproduce.item import Exhibit, Form, Item, Verdict
from bench.reproduce.items import items
from bench.reproduce.papers import Stated, stated
from bench.reproduce.tables import csv_table, markdown_table

TITLES = {"niss": "NISS (Yang et al.)", "dpbfl": "DPBFL (Ma et al.)"}
HEAD = """# The papers' evidence, ours beside theirs

Made by `python -m bench reproduce`. What a paper states, with its place; what we measured, with the 95 % t interval
over the seeds; the settings; and a verdict, which a rule gives that is stated below and is a function of the records.
*Reproduced in shape* says that the statements hold and the numbers differ, or that the paper prints none. Where the
papers leave a setting open, the suite files under `bench/suite/shipped/papers` say what we took and how it was found.
"""


@dataclass(frozen=True)
class Entry:
    """An item, the exhibit of the fullest form that there is evidence of, and what its forms still need."""

    item: Item
    stated: Stated
    form: Form | None
    exhibit: Exhibit | None
    costs: tuple[Cost, ...]
    environments: frozenset[str] = frozenset()

    @property
    def verdict(self) -> Verdict:
        return Verdict.PENDING if self.exhibit is None else self.exhibit.judged.verdict

    @property
    def reduced(self) -> str:
        """What the form that was run is less than the full one; empty for that."""
        return "" if self.form is None or self.form is self.item.forms[0] else self.form.name

    def line(self) -> dict[str, str]:
        """The item's row of the report."""
        row = {"item": self._link(), "the paper states": f"{self.stated.says} ({self.stated.place})"}
        if self.exhibit is None:
            heavy = " --reduced" if all(form.heavy for form in self.item.forms) else ""
            text = f"`python -m bench reproduce --only {self.item.id}{heavy}`"
            text = "; ".join([text, *(f"{cost.form.name}: {cost.text()}" for cost in self.costs)])
            return {**row, "we measured": "nothing yet", "settings": "", "verdict": f"{self.verdict}: {text}"}
        judged = self.exhibit.judged
        limits = f" (reduced form: {self.reduced})" if self.reduced else ""
        return {
            **row,
            "we measured": self.exhibit.measured,
            "settings": self.exhibit.settings,
            "verdict": f"{judged.verdict}{limits}: {judged.reason}",
        }

    def _link(self) -> str:
        return self.item.title if self.exhibit is None else f"[{self.item.title}]({self.item.id}/table.md)"


def entries(results: Path) -> list[Entry]:
    """All items, from the records that there are."""
    return [_entry(item, results) for item in items()]


def _entry(item: Item, results: Path) -> Entry:
    said = stated()[item.id]
    costs = tuple(cost for form in item.forms if (cost := estimate(item, form, results)) is not None)
    for form in item.forms:
        suites = () if form.experiments else form.suites
        evidence = collect(said, form.name, suites, form.experiments, results)
        if evidence is not None:
            return Entry(item, said, form, item.build(evidence), costs, frozenset(evidence.environments))
    return Entry(item, said, None, None, costs)


def files(entry: Entry, draw: bool = True) -> dict[str, bytes]:
    """What lies in the item's folder: `table.md`, `table.csv`, and `plot.png` where there is one."""
    exhibit = entry.exhibit
    if exhibit is None:
        return {}
    results = {"table.csv": csv_table(exhibit.numbers).encode()}
    if exhibit.plot is not None and draw:
        results["plot.png"] = exhibit.plot()
        results |= {f"plot-{number}.png": plot() for number, plot in enumerate(exhibit.more.values(), start=2)}
    parts = [
        f"# {entry.item.title}",
        f"{entry.stated.says} ({entry.stated.place})",
        markdown_table(exhibit.lines),
        *([exhibit.caption] if exhibit.caption else []),
        *(["![plot](plot.png)"] if exhibit.plot is not None else []),
        *([f"More pictures: {_links(exhibit.more)}."] if exhibit.more else []),
        f"**{exhibit.judged.verdict}**: {exhibit.judged.reason}.",
        *([f"Reduced form: {entry.reduced}."] if entry.reduced else []),
        f"Rule: {entry.item.rule}",
        f"Settings: {exhibit.settings}.",
    ]
    results["table.md"] = ("\n\n".join(parts) + "\n").encode()
    return results


def _links(more: Iterable[str]) -> str:
    return ", ".join(f"[{name}](plot-{number}.png)" for number, name in enumerate(more, start=2))


def readme(found: Iterable[Entry]) -> bytes:
    """The report itself."""
    found = list(found)
    counts = Counter(entry.verdict for entry in found)
    parts = [HEAD.rstrip(), "Of {} items: {}.".format(len(found), ", ".join(f"{counts[v]} {v}" for v in counts))]
    for paper, title in TITLES.items():
        mine = [entry.line() for entry in found if entry.item.paper == paper]
        parts += [f"## {title}", markdown_table(mine, links=["item"])]
    parts += ["## The rules", "\n".join(f"- {entry.item.title}: {entry.item.rule}" for entry in found)]
    costs = [cost for entry in found for cost in entry.costs if cost.missing]
    if costs:
        rows = [
            {
                "item": cost.item.title,
                "form": cost.form.name,
                "cells missing": f"{cost.missing} of {cost.wanted}",
                "core time": cost.core_time(),
            }
            for cost in costs
        ]
        parts += [
            "## What is not run, and what it would take",
            "A round of each kind of cell was timed once (`python -m bench reproduce --estimate`), where a round is "
            "too long with fewer clients and steps, and multiplied; time of one core of the machine that timed it. "
            "`--form NAME` runs a form.",
            markdown_table(rows),
        ]
    where = sorted({text for entry in found for text in entry.environments})
    parts += ["## Where the numbers come from", "\n".join(f"- {text}" for text in where) or "Nothing yet."]
    return ("\n\n".join(parts) + "\n").encode()


def folder(results: Path) -> Path:
    return results / FOLDER
