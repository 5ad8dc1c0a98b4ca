"""The claim cards that a defense or an attack stands on, with their verdicts, out of the files beside the records."""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

FOLDER = "results/claims/"
PAGE = "docs/claims.md"
"""The page that lists every card with its verdict."""
LISTED = re.compile(r"^\| \[(?P<title>[^\]]+)\]\([^)#]*#(?P<name>[\w-]+)\) *\| (?P<verdict>[^|]+?) *\|", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """A claim, what came of it, and where it stands on the site ("" where it has no page there)."""

    title: str
    paper: str
    verdict: str
    place: str


def cards(files: Mapping[str, bytes], known: Collection[str], parts: Collection[str]) -> dict[str, list[Card]]:
    """By name of a part, the cards that play it, or, where nothing is played, have its name in theirs."""
    verdicts = {results["name"]: results["verdict"] for results in LISTED.finditer(files.get(PAGE, b"").decode())}
    results: dict[str, list[Card]] = {}
    for path in sorted(files):
        if not path.startswith(FOLDER) or not path.endswith(".toml"):
            continue
        content = tomllib.loads(files[path].decode())
        name = path.removeprefix(FOLDER).removesuffix(".toml")
        place = f"../claims/claims.html#{name}" if "claims/claims.html" in known else ""
        card = Card(content["title"], content["paper"], verdicts.get(name, "not judged yet"), place)
        for part in _parts(name, content, parts):
            results.setdefault(part, []).append(card)
    return results


def _parts(card: str, content: Mapping[str, Any], parts: Collection[str]) -> list[str]:
    """Names of defenses, of rules behind them, and of attacks."""
    if "suite" not in content:
        return [part for part in parts if f"-{part.replace('_', '-')}-" in f"-{card}-"]
    suite = content["suite"]
    named = [one["name"] for kind in ("defense", "attack") for one in suite.get(kind, [])]
    named += [one["rule"] for one in suite.get("defense", []) if "rule" in one]
    return list(dict.fromkeys(named))
