"""Pages filled in, and kept so: between two marks stands what the code says, and in links the numbers of the boards.

    python docs/mkdocs/pages.py

brings README.md, docs/*.md and the first picture up to date, in place: whoever reads them on GitHub sees what a reader
of the site sees. A test fails where they are not.
"""

import csv
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import parts
from cited import cite
from text import cell, prose

from bench.base.files import write_whole
from bench.commands import catalogue
from bench.federation.settings import FederationSettings
from bench.privacy.audit import judge
from bench.registry import PACKAGES, Kind
from bench.reproduce.cards import judge as card_rules
from bench.reproduce.cards import page as card_page
from bench.suite import load, shipped
from leaderboards import (
    audits,
    backdoor,
    claims,
    coalitions,
    decision,
    durability,
    fairness,
    front,
    learns,
    membership,
    noise,
    noisy_rules,
    overall,
    privacy,
    property,
    robustness,
    run_audits,
    siege,
    submissions,
    utility,
)
from leaderboards.html import glossary

ROOT = Path(__file__).parents[2]
POWER = Path(__file__).with_name("power.csv")
END = "<!-- end -->"
MARK = re.compile(r"<!-- (?!end )([a-z-]+)(?: ([a-z0-9_.]+))?(?: ([a-z0-9_]+))? -->")
KEPT = re.compile(rf"({MARK.pattern})\n(?:(?!<!-- ).)*{END}", re.DOTALL)
"""A mark with what was filled in behind it."""
PICTURE = ROOT / "docs" / "pictures" / "front.svg"

CAPTIONS = {
    "overall": overall.CAPTION,
    "robustness": robustness.CAPTION,
    "privacy": privacy.CAPTION.replace("{recovered_psnr:g}", "20") + privacy.TRAINED,
    "membership": membership.CAPTION.replace("{resolution} ", ""),
    "property": property.CAPTION,
    "noise": noise.CAPTION,
    "utility": utility.CAPTION,
    "siege": siege.CAPTION,
    "coalitions": coalitions.IMAGES.caption,
    "poisoned_membership": coalitions.MEMBERS.caption,
    "fairness": fairness.CAPTION,
    "noisy_rules": noisy_rules.CAPTION,
    "claims": claims.CAPTION,
    "audits": audits.CAPTION,
    "run_audits": run_audits.CAPTION,
    "backdoor": backdoor.CAPTION,
    "durability": durability.CAPTION,
    "submissions": submissions.CAPTION,
}
GAMES = (100, 500, 1000, 10_000, 100_000)


@dataclass(frozen=True)
class Filled:
    """A page's text, and a line about each mark or number that could not be filled in."""

    text: str
    problems: list[str]


def fill(markdown: str, results: Path, way: str = "../results") -> Filled:
    """The page with all its marks and citations as they are today; `way` leads from it to the boards."""
    problems: list[str] = []
    markdown = KEPT.sub(r"\1", markdown)
    own = {kind: set(re.findall(rf"<!-- part {kind} (\w+) -->", markdown)) for kind in PACKAGES}

    def replacement(found: re.Match[str]) -> str:
        what, one, two = found.groups()
        if what == "part":
            content = parts.block(cast(Kind, one), two)
        elif what == "rest":
            kind = cast(Kind, one)
            content = "\n\n".join(parts.section(kind, name) for name in parts.names(kind) if name not in own[kind])
        elif what == "decision":
            content = decision.markdown(decision.decide(decision.SITUATIONS, measured(results)), way)
        elif what == "learns":
            head, *lines = learns.table(measured(results))
            content = _table(head, lines)
        elif what == "claim-cards":
            content = card_page.overview(results, f"{way}/claims/")
        elif what in MARKS:
            content = MARKS[what](one or "")
        else:
            problems.append(f"there is no mark {found[0]}")
            return ""
        return f"{found[0]}\n\n{content}\n\n{END}"

    return Filled(cite(MARK.sub(replacement, markdown), results, problems, way), problems)


@cache
def measured(results: Path) -> list[decision.Measured]:
    """Every shipped suite that is published, but what reproduces a paper."""
    loaded = [load(name) for name in shipped() if "/" not in name and (results / name / "leaderboard.csv").is_file()]
    whole = [decision.Measured.published(suite, results) for suite in loaded]
    return whole + [one for suite in loaded for one in decision.Measured.levels(suite, results / suite.name)]


def picture(results: Path) -> str:
    """The first picture: of the suite that measures attacks on accuracy and on privacy under most columns."""
    both = [one for one in measured(results) if one.columns("robustness") and one.columns("privacy")]
    return front.front(max(both, key=lambda one: len(one.cells) * len(one.defenses)))


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
        result = (judge(*scores, delta=1e-4, gaussian=gaussian).limit for gaussian in (False, True))
        lines.append((f"{games:,}", *(f"{limit:.3g}" for limit in result)))
    return _table(("games a world", "Clopper-Pearson", "fit of a Gaussian mechanism"), lines)


def _reference(module: str) -> str:
    """A module's public names with their parameters, a line each; the site has whole docstrings there."""
    result = importlib.import_module(module)
    names = getattr(result, "__all__", None) or [
        name for name, value in vars(result).items() if getattr(value, "__module__", None) == module and name[0] != "_"
    ]
    lines = []
    for name in names:
        value = getattr(result, name)
        doc = inspect.getdoc(value) if callable(value) or inspect.ismodule(value) else None
        lines.append((f"`{name}{_parameters(value)}`", prose(parts.first(doc)) if doc else "a constant or a type"))
    return _table((f"`{module}`", "what it is"), lines)


def _parameters(value: object) -> str:
    """`(messages, f)` of a function; nothing of a class, whose fields are on the pages."""
    if not inspect.isfunction(value):
        return ""
    return f"({', '.join(inspect.signature(value).parameters)})"


def _run_audit_power(_: str) -> str:
    """What one-run audits prove of mechanisms of known epsilon, as `power.py` has measured it."""
    with POWER.open(newline="") as file:
        lines = list(csv.DictReader(file))
    places = dict.fromkeys((one["mechanism"], one["bound"], one["canaries"]) for one in lines)
    results = {
        (one["mechanism"], one["bound"], one["canaries"], one["epsilon"]): f"{one['median']} ({one['above']})"
        for one in lines
    }
    epsilons = list(dict.fromkeys(one["epsilon"] for one in lines))
    head = ("mechanism", "bound for", "canaries", *(f"ε = {epsilon}" for epsilon in epsilons))
    kinds = {"any": "any mechanism", "Gaussian": "a Gaussian one"}
    rows = [
        (mechanism, kinds[bound], canaries, *(results[mechanism, bound, canaries, epsilon] for epsilon in epsilons))
        for mechanism, bound, canaries in places
    ]
    return _table(head, rows)


MARKS: dict[str, Callable[[str], str]] = {
    "index": lambda kind: parts.index(cast(Kind, kind)),
    "list": _listing,
    "caption": _caption,
    "marks": _marks,
    "flags": _flags,
    "federation": _federation,
    "audit-limits": _audit_limits,
    "run-audit-power": _run_audit_power,
    "claim-rule": lambda _: card_rules.RULE.rstrip(),
    "reference": _reference,
}
"""What stands in a page for each mark, of its argument."""


def address() -> str | None:
    """Where the repository is, as pyproject.toml says it and nothing else does; None while nobody owns such a place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return cast(str | None, project.get("urls", {}).get("Repository"))


def pages() -> dict[Path, str]:
    """Each page with the way from it to the boards."""
    return {ROOT / "README.md": "results", **dict.fromkeys(sorted((ROOT / "docs").glob("*.md")), "../results")}


def main() -> int:
    """Write what is not up to date; 1 where something cannot be filled in."""
    problems = []
    for page, way in pages().items():
        filled = fill(page.read_text(encoding="utf-8"), ROOT / "results", way)
        problems += [f"{page.name}: {problem}" for problem in filled.problems]
        if not filled.problems:
            write_whole(page, filled.text.encode())
    PICTURE.parent.mkdir(exist_ok=True)
    write_whole(PICTURE, picture(ROOT / "results").encode())
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
