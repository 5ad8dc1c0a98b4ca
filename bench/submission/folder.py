"""The folder of a submission as `submit` writes it: the source, its digest, what the examination found.

`bench.records.submissions` reads it.
"""

import json
from pathlib import Path

from bench.base.files import write_whole
from bench.records.submissions import EXAMINATION, FILE, Examination, Submission, examination, load, source_in
from bench.submission.package import Entry, Source

__all__ = ["EXAMINATION", "FILE", "Submission", "entry_of", "examination", "load", "source_of", "toml", "write"]

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


def entry_of(submission: Submission) -> Entry:
    """What its source registers."""
    return Entry(submission.kind, submission.name, submission.class_name)


def source_of(folder: Path, submission: Submission) -> Source:
    """The published source; `BadInputError` where it is not the one whose digest the submission names."""
    return Source(folder / submission.source, source_in(folder, submission), submission.class_name)


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
