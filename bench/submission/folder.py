"""The folder of a submission: the source and its digest, what its authors say of it, what the examination found.

`results/<suite>/<name>/` holds it beside the row's records. What the authors say is theirs to fill in; it is read when
boards are made, and stands beside what we measured.
"""

import json
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.base.files import write_whole
from bench.submission.findings import STRICT, Examination
from bench.submission.package import Entry, Source
from bench.submission.scaffold import NAME
from bench.suite import Parameters

FILE, EXAMINATION = "submission.toml", "contract.json"

TO_FILL_IN = """
[paper]                 # fill in; what is empty is shown as not given
title = ""
authors = []            # ["First Author", "Second Author"]
year = 0
link = ""               # a public address: DOI, arXiv, OpenReview
code = ""               # the authors' own code, if there is some
submitted_by = ""       # whom to ask
privacy_claim = ""      # in a sentence with its theorem; "" for none

# The authors' own numbers, one table each, as they stand in the paper; they are shown beside ours, never ranked.
# [[reported]]
# column = "sign_flip b=0.4"    # the board's column it may be held against, or "" where none fits
# metric = "accuracy"
# value = 0.87
# setting = "MNIST, 1000 clients, softmax regression"
# where = "Table 2"
"""


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
    source: str
    sha256: str
    suite: str
    parameters: Parameters = {}
    federation: Parameters = {}
    byzantine: tuple[float, ...] = ()
    against: tuple[str, ...] = ()
    paper: Paper = Paper()
    reported: tuple[Reported, ...] = ()
    salt: str = Field(
        default="", pattern="^[0-9a-f]*$", max_length=64
    )  # of the run's draws, drawn once the file was known

    @property
    def entry(self) -> Entry:
        return Entry(self.kind, self.name, self.class_name)


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


def source_of(folder: Path, submission: Submission) -> Source:
    """The published source; `BadInputError` where it is not the one whose digest the submission names."""
    path = folder / submission.source
    if path.parent != folder:
        raise BadInputError(f"{folder / FILE}: source {submission.source!r} is not a file of this folder")
    try:
        source = Source(path, path.read_bytes(), submission.class_name)
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    if source.digest != submission.sha256:
        raise BadInputError(f"{path} is not the source that was submitted: its sha256 is {source.digest[:16]}…")
    return source


def examination(folder: Path) -> Examination | None:
    """What the examination found; None where there is no such file."""
    path = folder / EXAMINATION
    if not path.is_file():
        return None
    try:
        return Examination.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError):
        raise BadInputError(f"{path} is not what an examination writes: run `python -m bench submit` again") from None


def write(folder: Path, source: Source, submission: Submission, found: Examination | None) -> None:
    """Write source, digest and findings; what the authors have filled in already is kept as it stands."""
    path = folder / FILE
    said = TO_FILL_IN
    if load(folder) is not None:
        _, mark, kept = path.read_text(encoding="utf-8").partition("\n[paper]")
        said = f"{mark}{kept}" if mark else said
    write_whole(folder / submission.source, source.content)
    if found is not None:
        write_whole(folder / EXAMINATION, (found.model_dump_json(indent=1) + "\n").encode())
    write_whole(path, (_head(submission) + said).encode())


def _head(submission: Submission) -> str:
    """What `submit` knows, as TOML; a JSON text, number, truth value or list of them is TOML as well."""
    plain = submission.model_dump(mode="json", exclude={"paper", "reported", "parameters", "federation"})
    lines = ["# Written by `python -m bench submit`; the tables from [paper] on are for the authors to fill in."]
    lines += [f"{key} = {toml(value)}" for key, value in plain.items()]
    for table in ("parameters", "federation"):
        inline = ", ".join(f"{toml(key)} = {toml(value)}" for key, value in getattr(submission, table).items())
        lines.append(f"{table} = {{ {inline} }}" if inline else f"{table} = {{}}")
    return "\n".join(lines) + "\n"


def toml(value: object) -> str:
    """A plain value, or a list of them, as TOML."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
