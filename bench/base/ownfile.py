"""A Python file of somebody's own, read once and imported from what was read, here or in another process."""

import hashlib
import importlib.abc
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType

from bench.base.errors import BadInputError

LARGEST = 1_000_000
"""Bytes of a file that is loaded."""


@dataclass(frozen=True)
class OwnFile:
    """A file's path and content: what is played is what its records tell the digest of, whatever the file becomes."""

    path: str
    content: bytes

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of its sha256."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    @property
    def module(self) -> str:
        """The name under which it is imported."""
        return f"fedsiege_loaded_{self.digest}"

    def execute(self) -> None:
        """Import it; `BadInputError` in one line, with the line of the file, for whatever it raises."""
        spec = importlib.util.spec_from_loader(self.module, _Content(self), origin=self.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        module.__file__ = self.path
        sys.modules[self.module] = module  # where annotations of its classes are looked up
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise BadInputError(f"{self.path} cannot be loaded: {_told(error, self.path)}") from error


class _Content(importlib.abc.InspectLoader):
    def __init__(self, file: OwnFile) -> None:
        self.file = file

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self.file.content)

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self.file.content, self.file.path, "exec", dont_inherit=True)
        return code


def read(path: Path) -> OwnFile:
    """The file; `BadInputError` where it is none, or no Python by its name."""
    if path.suffix != ".py":
        raise BadInputError(f"--load {path} is not a Python file: give FILE.py")
    try:
        if path.is_file() and path.stat().st_size > LARGEST:
            raise BadInputError(f"--load {path} has more than {LARGEST:,} bytes: give one readable file")
        return OwnFile(str(path.resolve()), path.read_bytes())
    except OSError as error:
        raise BadInputError(f"--load {path} cannot be read: {error.strerror}") from None


def _told(error: BaseException, path: str) -> str:
    """What was raised, and in which line of the file."""
    if isinstance(error, SyntaxError):
        return f"{error.msg} in line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{type(error).__name__}: {' '.join(str(error).split())}" + (f" in line {lines[-1]}" if lines else "")
