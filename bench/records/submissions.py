"""What lies beside the records of a submission: who made it and from which source, and what an examination found.

`results/<suite>/<name>/` holds the source of a defense, `<row>/<name>/` that of an attack. What the authors say is
theirs to fill in; it is read when boards are made, and stands beside what we measured.
"""

import hashlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.suite import Parameters

FILE, EXAMINATION = "submission.toml", "contract.json"

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""What a submission may be called."""

STRICT = ConfigDict(frozen=True, extra="forbid")
Verdict = Literal["passed", "failed", "note"]


class Finding(BaseModel):
    """One rule of the contract: whether it was kept, in a sentence; a note is for people and breaks nothing."""

    model_config = STRICT

    rule: str
    verdict: Verdict
    sentence: str


class Examination(BaseModel):
    """All findings about one source, under which network guarantee."""

    model_config = STRICT

    sha256: str
    network: str
    findings: list[Finding]

    @property
    def broken(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict == "failed"]


class Paper(BaseModel):
    """What the authors say of themselves and of their rule; empty is not given."""

    model_config = STRICT

    title: str = ""
    authors: tuple[str, ...] = ()
    year: int = 0
    link: str = ""
    code: str = ""
    submitted_by: str = ""
    privacy_claim: str = ""

    @property
    def text(self) -> str:
        """In a few words, for a table."""
        who = "" if not self.authors else self.authors[0] if len(self.authors) == 1 else f"{self.authors[0]} et al."
        return ", ".join(filter(None, [who, str(self.year or ""), self.title, self.link])) or "not given"


class Reported(BaseModel):
    """A number of the authors' own."""

    model_config = STRICT

    column: str = ""
    metric: str = "accuracy"
    value: float = Field(allow_inf_nan=False)
    setting: str = ""
    where: str = ""


class Submission(BaseModel):
    """`submission.toml`: what was submitted, and what its authors say."""

    model_config = STRICT

    schema_version: Literal[1]
    kind: Literal["defense", "attack"]
    name: str = Field(pattern=f"^{NAME.pattern}$")
    class_name: str
    source: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\.py$")  # a file of this folder
    sha256: str
    suite: str
    parameters: Parameters = {}
    federation: Parameters = {}
    byzantine: tuple[float, ...] = ()
    against: tuple[str, ...] = ()
    paper: Paper = Paper()
    reported: tuple[Reported, ...] = ()
    salt: str = Field(default="", pattern="^[0-9a-f]*$", max_length=64)  # of the run's draws


@dataclass(frozen=True)
class Submitted:
    """A submission below a suite's folder: the name of its row's folder, and what breaks its contract or its source.

    Of one that is damaged there is only the line that says so.
    """

    row: str
    submission: Submission | None
    notes: tuple[str, ...] = ()
    damaged: str = ""


def load(folder: Path) -> Submission | None:
    """The submission in a folder, None where there is none; `BadInputError` in one line where it is damaged."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return Submission(**tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInputError(f"{path} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise BadInputError(f"{path}: {explain(error)}") from None
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None


def source_in(folder: Path, submission: Submission) -> bytes:
    """The published source; `BadInputError` where it is not the one whose digest the submission names."""
    path = folder / submission.source
    if path.parent != folder or path.is_symlink():
        raise BadInputError(f"{folder / FILE}: source {submission.source!r} is not a file of this folder")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    if (digest := hashlib.sha256(content).hexdigest()) != submission.sha256:
        raise BadInputError(f"{path} is not the source that was submitted: its sha256 is {digest[:16]}…")
    return content


def examination(folder: Path) -> Examination | None:
    """What the examination found; None where there is no such file."""
    path = folder / EXAMINATION
    if not path.is_file():
        return None
    try:
        return Examination.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError):
        raise BadInputError(f"{path} is not what an examination writes: run `python -m bench submit` again") from None


def submitted(folder: Path) -> list[Submitted]:
    """All submissions below a suite's folder, of defenses and of attacks on its rows."""
    results = []
    for place in sorted([*folder.glob(f"*/{FILE}"), *folder.glob(f"*/*/{FILE}")]):
        row = place.relative_to(folder).parts[0]
        try:
            submission = load(place.parent)
            notes = () if submission is None else tuple(_broken(place.parent, submission))
        except BadInputError as error:
            results.append(Submitted(row, None, damaged=str(error)))
        else:
            results.append(Submitted(row, submission, notes))
    return results


def _broken(folder: Path, submission: Submission) -> Iterator[str]:
    """What breaks the contract; raises `BadInputError` where a file is damaged."""
    who = "" if submission.kind == "defense" else f"evaluation {submission.name}: "
    try:
        source_in(folder, submission)
    except BadInputError as error:
        yield f"{who}the source is not what was submitted: {error}"
    result = examination(folder)
    if result is None:
        yield f"{who}its contract was not examined"
    elif result.sha256 != submission.sha256:
        yield f"{who}its contract was examined for another source"
    for broken in result.broken if result is not None else ():
        yield f"{who}breaks the contract ({broken.rule}): {broken.sentence}"
