"""Why something that was submitted is not ranked unseen: its name, its attackers, how its cells ended."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import registry
from bench.base.errors import BadInputError
from bench.plays.findings import build_attack
from bench.records import Record
from bench.records.submissions import Submission
from bench.submission import folder as folders
from bench.submission.referee.party import printable
from bench.suite import Suite
from bench.threat import PrivacyAttack

STRONGER = {
    "deviates": "its server sends a model of its own",
    "active": "its colluders send their targets peer messages of zeros",
}
"""What an attack may say of itself that makes its server or its colluders break the protocol."""


def taken(submission: Submission) -> str | None:
    """Why nothing can be submitted under its name: what plays under that is not the file beside the records."""
    if submission.name not in registry.names(submission.kind):
        return None
    return f"{submission.kind} name {submission.name!r} is taken: what plays is not its source"


def beyond(facts: Mapping[str, Any], suite: Suite) -> str | None:
    """By what a submitted inversion, of which the inspection told these `facts`, is a stronger one than the suite's."""
    if facts.get("base") != "inversion":
        return None
    cells = [cell for cell in suite.cells() if cell.kind == "inversion" and cell.attack is not None]
    parts = {cell.attack.model_dump_json(): cell.attack for cell in cells if cell.attack is not None}
    attacks = [one for one in map(build_attack, parts.values()) if isinstance(one, PrivacyAttack)]
    for name, words in STRONGER.items():
        if facts.get(name) and not any(getattr(one, name) for one in attacks):
            return f"{words}, as no attack of the suite {suite.name!r} does"
    most = max((one.collusion() for one in attacks), default=0.0)
    if (rho := facts.get("collusion") or 0.0) > most:
        return f"its colluders are {rho:g} of the other clients, but the suite {suite.name!r} has {most:g} at most"
    return None


def broken_attack(folder: Path, submission: Submission) -> Iterator[str]:
    """Why an attack decides nobody's rank, by what was published of its examination."""
    try:
        result = folders.examination(folder)
    except BadInputError as error:
        yield str(error)
        return
    if result is None or result.sha256 != submission.sha256:
        yield f"attack {submission.name} was not examined: nothing says that it keeps the contract"
    for finding in result.broken if result is not None else ():
        yield f"attack {submission.name} breaks the contract ({finding.rule}): it decides nobody's rank"


def unfinished(record: Record, submission: Submission | None, evaluation: Submission | None) -> Iterator[str]:
    """Why a cell that did not finish is not counted unseen.

    A training that failed under somebody's attack is no defeat of the row, which a diverged one is: its messages were
    finite, and its model is not. Where an attack on privacy came to no end nobody knows what a submitted row leaks.
    """
    if record.status == "ok":
        return
    text = f"it {record.status} ({printable(record.error or 'nobody says why')})"
    if evaluation is not None and record.status == "failed":
        yield f"{text}, which would count as 0 for the row: a maintainer has to look whether the row did, or the attack"
    if submission is not None and evaluation is None and record.cell.kind != "training":
        yield f"{text}, so that nobody knows what the row leaks there: a maintainer has to look"
