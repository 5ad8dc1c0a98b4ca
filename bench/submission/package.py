"""A submitted file as an installed package: a folder on the path with the entry point that other packages have too.

Every process that is asked for the name, worker processes included, then finds it as it finds any third party's.
"""

import ast
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.base.errors import BadInputError
from bench.registry import PACKAGES, Kind

LARGEST = 1_000_000
"""Bytes of a submitted file."""


@dataclass(frozen=True)
class Source:
    """One Python file, read once: what is checked is what is run and what is published."""

    path: Path
    content: bytes
    wanted: str | None = None  # the class, where the file has several

    @property
    def digest(self) -> str:
        """The sha256 of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def package(self) -> str:
        return f"fedsiege_submitted_{self.digest[:12]}"

    @property
    def module(self) -> str:
        return f"{self.package}.{self.path.stem}"


@dataclass(frozen=True)
class Entry:
    """What the file registers."""

    kind: Kind
    name: str
    class_name: str


def read_source(text: str) -> Source:
    """The source that `FILE.py` or `FILE.py:Class` names; `BadInputError` where it cannot be one."""
    file, colon, wanted = text.rpartition(":")
    if not colon or not file.endswith(".py"):
        file, wanted = text, ""
    path = Path(file)
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise BadInputError(f"{file} is not a Python file whose name could be imported: give FILE.py or FILE.py:Class")
    try:
        if path.stat().st_size > LARGEST:
            raise BadInputError(f"{path} has more than {LARGEST:,} bytes: a submission is one readable file")
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    return Source(path, content, wanted or None)


def registered_kind(source: Source) -> Kind | None:
    """Whether the file registers defenses or attacks, read without running it; None where it does not say, or both."""
    try:
        tree = ast.parse(source.content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    kinds = {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "register"
        if call.args and isinstance(call.args[0], ast.Constant)
    }
    return next((kind for kind in PACKAGES if kinds == {kind}), None)


STAND_IN = '''"""The stand-in of a submission, whose code runs elsewhere and is not imported here."""

import json
from pathlib import Path
from typing import Any

from bench.submission.referee.party import Code
from bench.submission.referee.proxies import stand_in

HERE = Path(__file__).parent
Submitted = stand_in(
    Code(HERE / "source" / {file!r}, {module!r}, {class_name!r}, {name!r}, tuple(map(Path, {hidden!r}))),
    json.loads((HERE / "facts.json").read_text(encoding="utf-8")),
)
'''


@contextmanager
def packaged(source: Source) -> Iterator[Path]:
    """A folder for `PYTHONPATH` in which the source is a package, for a process that looks at it."""
    with _package(source) as (folder, package):
        guard = '"""A submission."""\n\nfrom bench.submission.guards import refuse_network\n\nrefuse_network()\n'
        (package / "__init__.py").write_text(guard, encoding="utf-8")
        (package / source.path.name).write_bytes(source.content)
        yield folder


@contextmanager
def standing_in(source: Source, entry: Entry, facts: Mapping[str, Any], data_root: str | None = None) -> Iterator[Path]:
    """A folder for `PYTHONPATH` with a package that stands in for the source, and its entry point.

    The engine imports the stand-in; the source lies beside it, for processes behind walls. `facts` are what the
    inspection of the file gave.
    """
    with _package(source) as (folder, package):
        (package / "source").mkdir()
        (package / "source" / source.path.name).write_bytes(source.content)
        (package / "facts.json").write_text(json.dumps(dict(facts)), encoding="utf-8")
        text = STAND_IN.format(
            file=source.path.name,
            module=source.module,
            class_name=entry.class_name,
            name=entry.name,
            hidden=_data_folders(data_root),
        )
        (package / "__init__.py").write_text(text, encoding="utf-8")
        about = folder / f"{source.package}-0.dist-info"
        about.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {source.package}\nVersion: 0\n"
        (about / "METADATA").write_text(metadata, encoding="utf-8")
        lines = f"[fedsiege.{PACKAGES[entry.kind]}]\n{entry.name} = {source.package}:Submitted\n"
        (about / "entry_points.txt").write_text(lines, encoding="utf-8")
        yield folder


@contextmanager
def _package(source: Source) -> Iterator[tuple[Path, Path]]:
    folder = Path(tempfile.mkdtemp(prefix="fedsiege-"))
    try:
        package = folder / source.package
        package.mkdir()
        yield folder, package
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _data_folders(data_root: str | None) -> list[str]:
    """Where data sets lie: no submitted code has to see them."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    named = [data_root, os.environ.get("FEDSIEGE_DATA"), str(cache)]
    return sorted({str(Path(name).expanduser().resolve()) for name in named if name})
