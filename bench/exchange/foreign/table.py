"""All rules, pre-aggregations, attacks and wrappers of a library beside ours, as one Markdown table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.exchange.foreign.compare import Verdict, compared
from bench.exchange.foreign.entry import Library
from bench.exchange.foreign.privacy import PrivacyFinding, audited


@dataclass(frozen=True)
class Line:
    """One line: a verdict, or what games showed."""

    name: str
    verdict: Verdict | None
    privacy: tuple[PrivacyFinding, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        if self.verdict is not None:
            return self.verdict.as_dict()
        return {"name": self.name, "privacy": [one.as_dict() for one in self.privacy]}


def lines(library: Library, tell: Callable[[str], None]) -> Iterator[Line]:
    """A line for each entry, told as it is done."""
    for name, entry in library.all().items():
        if entry.kind == "mechanism":
            line = Line(name, None, tuple(audited(entry)))
            told = "; ".join(one.told for one in line.privacy)
        else:
            verdict = compared(entry)
            line, told = Line(name, verdict), f"{verdict.outcome}: {verdict.told}"
        tell(f"{library.name}:{name}: {told}")
        yield line


def markdown(library: Library, found: list[Line]) -> str:
    """The tables of a library, under a heading with its version."""
    out = [f"## {library.distribution} {library.version}", ""]
    rules = [one.verdict for one in found if one.verdict is not None]
    if rules:
        out += ["| theirs | ours | verdict | smallest example | besides |", "|:--|:--|:--|:--|:--|"]
        out += [_row(one) for one in rules]
    games = [(one.name, game) for one in found for game in one.privacy]
    if games:
        out += ["", "| wrapper | game | claimed epsilon | measured, at least |", "|:--|:--|--:|--:|"]
        out += [_game(name, game) for name, game in games]
    return "\n".join(out) + "\n"


def _row(verdict: Verdict) -> str:
    ours = f"`{verdict.entry.ours}`" if verdict.entry.ours else "-"
    text = f"; {verdict.entry.told}" if verdict.entry.told else ""
    example = "-" if verdict.example is None else verdict.example.told
    besides = "; ".join(verdict.notes) or "-"
    cells = (f"`{verdict.entry.name}`{text}", ours, f"**{verdict.outcome}**: {verdict.told}", example, besides)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _game(name: str, game: PrivacyFinding) -> str:
    claimed = "none" if game.claimed is None else f"{game.claimed:.2f}"
    measured = "no finite one holds" if "no noise at all" in game.told else f"{game.measured:.2f}"
    if not game.most:
        return f"| `{name}` | {game.told} | - | not played |"
    refuted = game.claimed is not None and game.measured > game.claimed
    return f"| `{name}` | {game.case} | {claimed} | {'**' if refuted else ''}{measured}{'**' if refuted else ''} |"
