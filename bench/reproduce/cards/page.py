"""The page of all claims: a line for each card and each item of `reproduce`, then what each card says and found."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.reproduce import item as items
from bench.reproduce import report
from bench.reproduce.cards.card import FOLDER, Card, published
from bench.reproduce.cards.evidence import Found, find
from bench.reproduce.cards.judge import RULE, Measured, Verdict
from bench.reproduce.tables import markdown_table

FILE = "claims.md"
HEAD = """# What the field's papers say, played here

Made by `python -m bench claims`. A card is a claim of a paper: what it says and where, the setting and the comparison
that judges it, written down in a TOML file beside this page before the cells were played. No verdict is given without
the paper's text or its authors' code at hand: each card says which of them was read. Numbers are test accuracy in
points of percent: the mean over the seeds of a difference taken seed by seed, with its 95 % t interval.
"""
ITEMS = {
    items.Verdict.REPRODUCED: Verdict.HELD,
    items.Verdict.SHAPE: Verdict.SHAPE,
    items.Verdict.NOT: Verdict.NOT,
    items.Verdict.INFEASIBLE: Verdict.UNPLAYABLE,
    items.Verdict.PENDING: Verdict.PENDING,
}
"""What the verdicts of `reproduce` are called here."""


@dataclass(frozen=True)
class Line:
    """A claim's row of the table."""

    name: str
    claim: str
    paper: str
    where: str
    theirs: str
    ours: str
    verdict: str
    reason: str
    record: str = ""  # what refutes it, below the results folder
    source_read: str = ""
    of_reproduce: bool = False

    @property
    def told(self) -> str:
        """The verdict with the record that refutes."""
        return self.verdict + (f" ({self.record})" if self.record else "")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def line_of(found: Found) -> Line:
    """The row of a card."""
    card, judged = found.card, found.judged
    return Line(
        name=card.name,
        claim=card.title,
        paper=card.paper,
        where=card.where,
        theirs=card.theirs or "no number at hand",
        ours="; ".join(one.text() for one in found.measured) or "–",
        verdict=str(judged),
        reason=judged.reason,
        record=judged.record,
        source_read=card.source_read,
    )


@cache
def item_lines(results: Path) -> tuple[Line, ...]:
    """The rows of the items of `reproduce`, whose verdicts are those of their own rules and records."""
    return tuple(_item_line(entry) for entry in report.entries(results))


def _item_line(entry: report.Entry) -> Line:
    told = entry.line()
    result = ITEMS[entry.verdict]
    if entry.reduced and result is Verdict.HELD:
        result = Verdict.SHAPE  # a reduced form is a setting scaled down
    return Line(
        name=entry.item.id,
        claim=entry.item.title,
        paper=report.TITLES[entry.item.paper],
        where=entry.stated.place,
        theirs=entry.stated.says,
        ours=told["we measured"],
        verdict=str(result),
        reason=f"its own rule: {told['verdict']}",
        source_read="the paper's text",
        of_reproduce=True,
    )


def markdown(cards: Sequence[Card], results: Path) -> bytes:
    """The whole page, from the records below `results`."""
    result = [find(card, results) for card in cards]
    lines = [line_of(one) for one in result]
    everything = [*lines, *item_lines(results)]
    parts = [
        HEAD.rstrip(),
        summary(everything),
        table(lines),
        "## The two papers",
        "Items of `python -m bench reproduce`, played and judged there, each by a rule of its own: "
        "[the report](../papers/README.md). *Reproduced* is *held* here, *infeasible as stated* is *cannot be played*.",
        table(item_lines(results)),
        "## The rule of verdicts",
        RULE.rstrip(),
        "## The cards",
        *(_section(one, line) for one, line in zip(result, lines, strict=True)),
    ]
    return ("\n\n".join(parts) + "\n").encode()


def summary(lines: Iterable[Line]) -> str:
    """`Of 40 claims: 12 held, ...`."""
    counts = Counter("refuted" if line.verdict.startswith("refuted") else line.verdict for line in lines)
    told = [f"{counts[name]} {name}" for name in Verdict if counts[name]]
    return f"Of {sum(counts.values())} claims: {', '.join(told)}."


def overview(results: Path, way: str) -> str:
    """Claim, verdict and paper of every published card, with a count; `way` leads from another page to this one's."""
    lines = [line_of(find(card, results)) for card in published().values()]
    rows = [
        {"claim": f"[{one.claim}]({way}{FILE}#{one.name})", "verdict": one.told, "paper": one.paper} for one in lines
    ]
    return f"{summary(lines)}\n\n{markdown_table(rows, links=['claim'])}"


def table(lines: Iterable[Line]) -> str:
    """Claim, verdict, what they have, ours, and where it stands, a row each."""
    rows = [
        {
            "claim": line.claim if line.of_reproduce else f"[{line.claim}](#{line.name})",
            "verdict": line.told,
            "they have": line.theirs,
            "ours": line.ours,
            "paper": line.paper,
            "where": line.where,
        }
        for line in lines
    ]
    return markdown_table(rows, links=["claim"])


def _section(found: Found, line: Line) -> str:
    """What a card says, how it was played, and what became of each statement."""
    card, evidence = found.card, found.evidence
    parts = [
        f'### <a id="{card.name}"></a>{card.title}',
        f"{card.says}.\n\n*{card.paper}; {card.where}. Read: {card.source_read}.*",
        f"**{line.verdict}**: {line.reason}.",
    ]
    if card.scaled_down:
        parts.append(f"Setting scaled down: {card.scaled_down}.")
    if found.measured:
        parts.append(markdown_table([_row(one) for one in found.measured]))
    if card.withstands is not None:
        attacks = ", ".join(card.withstands.attacks) or "any attack"
        parts.append(
            f"The card says that {card.withstands.row} withstands {attacks} up to b = {card.withstands.byzantine:g} "
            f"and keeps {card.withstands.keeps:.0%} of its clean accuracy: published boards may refute it."
        )
    if evidence is not None:
        seeds = len(card.cells_suite.seeds)
        where = "; ".join(sorted(evidence.environments)) or "nothing played yet"
        parts.append(
            f"{len(evidence.cells)} cells, {seeds} seeds; card [{card.name}.toml]({card.name}.toml), records in "
            f"`{FOLDER}/{card.name}`, again with `python -m bench claims {card.name}`. Records: {where}."
        )
    else:
        parts.append(f"Card [{card.name}.toml]({card.name}.toml).")
    return "\n\n".join(parts)


def _row(one: Measured) -> dict[str, str]:
    said = one.statement
    theirs = "–" if said.theirs is None else f"{100 * said.theirs:z.1f} (± {100 * (said.tolerance or 0):g})"
    return {
        "statement": said.text,
        "difference": said.difference(),
        "wanted": said.bound,
        "theirs": theirs,
        "ours": one.text(),
        "answer": str(one.answer) + (f" ({one.failed} seeds failed)" if one.failed else ""),
    }
