"""Pages filled in: `<!-- what -->` becomes what the code says, `{{ suite / row / column / metric }}` a number."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import parts
from cited import cite
from text import cell, prose

from bench.commands import catalogue
from bench.federation.settings import FederationSettings
from bench.privacy.audit import judge
from bench.registry import PACKAGES, Kind
from leaderboards import (
    audits,
    backdoor,
    claims,
    fairness,
    noise,
    overall,
    privacy,
    robustness,
    siege,
    submissions,
    utility,
)
from leaderboards.html import glossary

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"<!-- ([a-z-]+)(?: ([a-z0-9_]+))?(?: ([a-z0-9_]+))? -->")
KEPT = re.compile(r"<!-- list ([a-z]+) -->\n(?:(?!<!-- ).)*<!-- end -->", re.DOTALL)
"""A list that the page in the repository shows too: whoever reads it there sees no marks."""

CAPTIONS = {
    "overall": overall.CAPTION,
    "robustness": robustness.CAPTION,
    "privacy": privacy.CAPTION.replace("{recovered_psnr:g}", "20") + privacy.TRAINED,
    "noise": noise.CAPTION,
    "utility": utility.CAPTION,
    "siege": siege.CAPTION,
    "fairness": fairness.CAPTION,
    "claims": claims.CAPTION,
    "audits": audits.CAPTION,
    "backdoor": backdoor.CAPTION,
    "submissions": submissions.CAPTION,
}
GAMES = (100, 500, 1000, 10_000, 100_000)


@dataclass(frozen=True)
class Filled:
    """A page's text, and a line about each mark or number that could not be filled in."""

    text: str
    problems: list[str]


def fill(markdown: str, results: Path) -> Filled:
    """The page with all its marks and citations replaced."""
    problems: list[str] = []
    markdown = KEPT.sub(r"<!-- list \1 -->", markdown)
    own = {kind: set(re.findall(rf"<!-- part {kind} (\w+) -->", markdown)) for kind in PACKAGES}

    def replacement(found: re.Match[str]) -> str:
        what, one, two = found.groups()
        if what == "part":
            return parts.block(cast(Kind, one), two)
        if what == "rest":
            kind = cast(Kind, one)
            return "\n\n".join(parts.section(kind, name) for name in parts.names(kind) if name not in own[kind])
        if what not in MARKS:
            problems.append(f"there is no mark {found[0]}")
            return ""
        return MARKS[what](one or "")

    return Filled(cite(MARK.sub(replacement, markdown), results, problems), problems)


def with_lists(markdown: str) -> str:
    """The page with its kept lists as the code has them now."""
    return KEPT.sub(lambda found: f"<!-- list {found[1]} -->\n\n{_listing(found[1])}\n\n<!-- end -->", markdown)


def _table(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    rows = [head, tuple(":--" for _ in head), *lines]
    return "\n".join(f"| {' | '.join(cell(text) for text in row)} |" for row in rows)


def _listing(kind: str) -> str:
    lines = [(f"`{name}`", prose(line)) for name, line in catalogue.listing(kind)[kind].items()]
    return _table(("name", "what it is"), lines)


def _caption(board: str) -> str:
    return prose(CAPTIONS[board])


def _marks(_: str) -> str:
    return _table(("mark", "meaning"), [(f"`{mark}`", meaning) for mark, meaning in glossary.MARKS.items()])


def _flags(_: str) -> str:
    return _table(("flag", "meaning"), [(name, meaning) for _, name, meaning in glossary.FLAGS])


def _federation(_: str) -> str:
    described = [(f"`{name}`", prose(parts.MEANINGS[f"federation.{name}"])) for name in FederationSettings.model_fields]
    return _table(("key of `[federation]`", "meaning"), described)


def _audit_limits(_: str) -> str:
    """What faultless games prove at delta = 1e-4, by their number."""
    lines = []
    for games in GAMES:
        scores = np.zeros(games), np.ones(games)
        found = (judge(*scores, delta=1e-4, gaussian=gaussian).limit for gaussian in (False, True))
        lines.append((f"{games:,}", *(f"{limit:.3g}" for limit in found)))
    return _table(("games a world", "Clopper-Pearson", "fit of a Gaussian mechanism"), lines)


MARKS: dict[str, Callable[[str], str]] = {
    "index": lambda kind: parts.index(cast(Kind, kind)),
    "list": _listing,
    "caption": _caption,
    "marks": _marks,
    "flags": _flags,
    "federation": _federation,
    "audit-limits": _audit_limits,
}
"""What stands in a page for each mark, of its argument."""

if __name__ == "__main__":
    for page in sorted(Path(__file__).parents[1].glob("*.md")):
        page.write_text(with_lists(page.read_text(encoding="utf-8")), encoding="utf-8")
