"""A submitted file as an installed package: a folder on the path with the entry point that other packages have too.

Every process that is asked for the name, worker processes included, then finds it as it finds any third party's.
"""

import ast
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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


@contextmanager
def packaged(source: Source, entry: Entry | None = None) -> Iterator[Path]:
    """A folder for `PYTHONPATH` in which the source is a package, with its entry point where that is known."""
    folder = Path(tempfile.mkdtemp(prefix="fedsiege-"))
    try:
        package = folder / source.package
        package.mkdir()
        guard = '"""A submission."""\n\nfrom bench.submission.guards import refuse_network\n\nrefuse_network()\n'
        (package / "__init__.py").write_text(guard, encoding="utf-8")
        (package / source.path.name).write_bytes(source.content)
        if entry is not None:
            facts = folder / f"{source.package}-0.dist-info"
            facts.mkdir()
            about = f"Metadata-Version: 2.1\nName: {source.package}\nVersion: 0\n"
            (facts / "METADATA").write_text(about, encoding="utf-8")
            lines = f"[fedsiege.{PACKAGES[entry.kind]}]\n{entry.name} = {source.module}:{entry.class_name}\n"
            (facts / "entry_points.txt").write_text(lines, encoding="utf-8")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
