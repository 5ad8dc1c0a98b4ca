"""Defenses and attacks by name: one file each, found without importing it, so that `list` starts at once.

A built-in name is the name of its file under `defenses/` or `attacks/`; other packages register through the entry-point
groups `fedsiege.defenses` and `fedsiege.attacks`, whose entries name the class.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Literal, TypeVar

from bench.base.errors import BadInputError
from bench.base.names import refusal, unknown

Kind = Literal["defense", "attack"]
PACKAGES: dict[Kind, str] = {"defense": "defenses", "attack": "attacks"}

DATASETS = {
    "digits": "1,797 grey 8x8 digits of scikit-learn; embedded, no download",
    "mnist": "70,000 grey 28x28 handwritten digits",
    "fashion-mnist": "70,000 grey 28x28 pieces of clothing",
    "cifar10": "60,000 coloured 32x32 photographs in 10 classes",
    "cifar100-sample": "100 coloured 32x32 photographs, one a class, for gradient inversion only",
}

MODELS = {
    "softmax": "softmax regression (DPBFL paper, section 5.2)",
    "mlp": "two hidden layers of 200 ReLU units (NISS paper, section VI-A)",
    "cnn": "two 5x5 convolutions and 512 dense units (NISS paper, section VI-A)",
    "cnn_small": "ByzFL's CNN for MNIST: two 5x5 convolutions without padding and 500 dense units",
    "lenet": "the sigmoid LeNet of DLG (Zhu et al. 2019)",
    "alexnet": "torchvision's AlexNet on images resized to 64 x 64 (DPBFL paper, figure 11)",
}

_registered: dict[Kind, dict[str, type]] = {"defense": {}, "attack": {}}
Class = TypeVar("Class", bound=type)


def register(kind: Kind, name: str) -> Callable[[Class], Class]:
    """Class decorator: make a defense or an attack known as `name`. A second class under one name is refused.

    Raises `ValueError` for what is no name.
    """
    if (refused := refusal(kind, name)) is not None:
        raise ValueError(refused)

    def decorate(cls: Class) -> Class:
        owner = f"{cls.__module__}.{cls.__qualname__}"
        if (other := _registered[kind].get(name)) is not None:
            owner = f"{other.__module__}.{other.__qualname__}"
        elif name in _built_in(kind) and cls.__module__ != f"{PACKAGES[kind]}.{name}":
            owner = f"{PACKAGES[kind]}.{name}"
        if owner != f"{cls.__module__}.{cls.__qualname__}":
            raise ValueError(f"{kind} name {name!r} is taken by {owner}: give {cls.__qualname__} another")
        cls.name = name  # type: ignore[attr-defined]
        _registered[kind][name] = cls
        return cls

    return decorate


@contextmanager
def known(kind: Kind, name: str, cls: type) -> Iterator[None]:
    """A class is registered as `name` in here, and afterwards no more than it was; `BadInputError` for a taken name."""
    before = _registered[kind].get(name)
    if before is not cls:
        if name in names(kind):
            raise BadInputError(f"{kind} name {name!r} is taken: give {cls.__qualname__} another")
        register(kind, name)(cls)
    try:
        yield
    finally:
        if before is None:
            del _registered[kind][name]


def get(kind: Kind, name: str) -> type:
    """The class registered as `name`; `BadInputError` with the nearest names where there is none."""
    if name not in _registered[kind]:
        if name in _built_in(kind):
            _import(kind, name)
        elif name in (entries := _entry_points(kind)):
            found = _load(kind, name, entries[name])
            _registered[kind][name] = register(kind, name)(found)
        else:
            raise BadInputError(unknown(kind, name, names(kind)))
    return _registered[kind][name]


def names(kind: Kind) -> list[str]:
    """All names of a kind, sorted."""
    return sorted({*_built_in(kind), *_entry_points(kind), *_registered[kind]})


def summaries(kind: Kind) -> dict[str, str]:
    """One line for each name: the first of its file's docstring, or of its class's where it came from elsewhere."""
    lines = {name: _line_of(path) for name, path in _built_in(kind).items()}
    for name in names(kind):
        if name not in lines:
            lines[name] = _summary(kind, name)
    return dict(sorted(lines.items()))


@cache
def _built_in(kind: Kind) -> dict[str, Path]:
    """The files of a package whose module registers a class under the file's own name."""
    spec = importlib.util.find_spec(PACKAGES[kind])
    assert spec is not None
    assert spec.submodule_search_locations is not None
    files = sorted(path for folder in spec.submodule_search_locations for path in Path(folder).glob("*.py"))
    return {path.stem: path for path in files if f'@register("{kind}", "{path.stem}")'.encode() in path.read_bytes()}


def _import(kind: Kind, name: str) -> None:
    """Import a file under `defenses/` or `attacks/`; `BadInputError` where it is no Python."""
    try:
        importlib.import_module(f"{PACKAGES[kind]}.{name}")
    except SyntaxError as error:
        raise BadInputError(
            f"{kind} {name!r} cannot be loaded: {error.msg} in {error.filename}, line {error.lineno}"
        ) from None


def _entry_points(kind: Kind) -> dict[str, list["importlib.metadata.EntryPoint"]]:
    """Those of every name; more than one where two packages bring the same."""
    found: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for entry in entry_points(group=f"fedsiege.{PACKAGES[kind]}"):
        found.setdefault(entry.name, []).append(entry)
    return found


def _load(kind: Kind, name: str, entries: list["importlib.metadata.EntryPoint"]) -> type:
    """What another package registers; `BadInputError` where two do, where it cannot be loaded, or is no class."""
    if (refused := refusal(kind, name)) is not None:
        raise BadInputError(f"{refused} (it is brought by {' and by '.join(entry.value for entry in entries)})")
    if len(entries) > 1:
        raise BadInputError(
            f"{kind} {name!r} is brought by {' and by '.join(entry.value for entry in entries)}: keep one"
        )
    try:
        found = entries[0].load()
    except Exception as error:  # whatever somebody else's module raises
        told = " ".join(str(error).split())
        raise BadInputError(
            f"{kind} {name!r} of another package cannot be loaded: {type(error).__name__}: {told}"
        ) from error
    if not isinstance(found, type):
        raise BadInputError(f"{kind} {name!r} of another package is {type(found).__name__}, not a class")
    return found


def _summary(kind: Kind, name: str) -> str:
    """The line of another package's class, or of its module; one that cannot be loaded says so, the others stay."""
    try:
        found = get(kind, name)
    except BadInputError as error:
        return str(error)
    module = sys.modules.get(found.__module__)
    described = _first_line(found.__doc__) or _first_line(getattr(module, "__doc__", None))
    return described or f"(no docstring) {found.__module__}:{found.__qualname__}"


def _line_of(path: Path) -> str:
    """The first line of a file's docstring, or what stands in its way."""
    try:
        described = _first_line(ast.get_docstring(ast.parse(path.read_bytes())))
    except SyntaxError as error:
        return f"cannot be loaded: {error.msg} in {path}, line {error.lineno}"
    return described or f"(no docstring) {path}"


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n", 1)[0]
