"""Defenses, attacks, data sets and models by name, found without importing any, so that `list` starts at once.

`register(kind, name)` is the one decorator for all of them. A name comes from one of four places:

- what ships is a placeholder, a place and a line. That of a defense or an attack is its file under `defenses/` or
  `attacks/`, those of data sets and models stand in `SHIPPED`;
- another package's stands in an entry-point group, `fedsiege.defenses` and so on, whose entries name the object;
- a file of one's own is loaded by its path (`load_files`, `--load` on the command line), here and in every process that
  plays cells;
- whatever else this process has registered.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, overload

from bench.base.errors import BadInputError
from bench.base.names import refusal, unknown
from bench.base.ownfile import OwnFile, read

Part = Literal["defense", "attack"]
Kind = Literal["defense", "attack", "dataset", "model"]
KINDS: tuple[Kind, ...] = get_args(Kind)

PACKAGES: dict[Kind, str] = {"defense": "defenses", "attack": "attacks"}
"""The packages whose files are the shipped defenses and attacks."""

GROUPS: dict[Kind, str] = {kind: f"fedsiege.{kind}s" for kind in KINDS}
"""The entry-point groups of other packages."""

BASES: dict[Kind, tuple[str, str]] = {
    "defense": ("bench.protocol.Defense", "upload"),
    "attack": ("bench.threat.Attack", "plays"),
}
"""What a class must be of, and what tells that it is."""

WORDS: dict[Kind, str] = {"defense": "defense", "attack": "attack", "dataset": "data set", "model": "model"}
"""A kind in a sentence."""


@dataclass(frozen=True)
class Placeholder:
    """What ships, before it is imported: `module:object`, or a module that registers the name; its line or file."""

    target: str
    told: str | Path

    @property
    def module(self) -> str:
        return self.target.partition(":")[0]

    @property
    def line(self) -> str:
        return self.told if isinstance(self.told, str) else _line_of(self.told)


SHIPPED: dict[Kind, dict[str, Placeholder]] = {
    "dataset": {
        name: Placeholder(f"bench.data.{place}", line)
        for name, place, line in (
            ("digits", "datasets:DIGITS", "1,797 grey 8x8 digits of scikit-learn; embedded, no download"),
            ("mnist", "datasets:MNIST", "70,000 grey 28x28 handwritten digits"),
            ("fashion-mnist", "datasets:FASHION_MNIST", "70,000 grey 28x28 pieces of clothing"),
            ("cifar10", "datasets:CIFAR10", "60,000 coloured 32x32 photographs in 10 classes"),
            (
                "cifar10-scattering",
                "features:CIFAR10_SCATTERING",
                "cifar10 as 15,552 scattering features of each picture, made once (Tramer and Boneh 2021)",
            ),
            (
                "cifar100-sample",
                "datasets:CIFAR100",
                "100 coloured 32x32 photographs, one a class, for gradient inversion only",
            ),
        )
    },
    "model": {
        name: Placeholder(f"bench.models:{place}", line)
        for name, place, line in (
            ("softmax", "Softmax", "softmax regression (DPBFL paper, section 5.2)"),
            ("mlp", "MLP", "two hidden layers of 200 ReLU units (NISS paper, section VI-A)"),
            ("cnn", "CNN", "two 5x5 convolutions and 512 dense units (NISS paper, section VI-A)"),
            (
                "cnn_small",
                "SmallCNN",
                "ByzFL's CNN for MNIST: two 5x5 convolutions without padding and 500 dense units",
            ),
            (
                "cnn_group_norm",
                "GroupNormCNN",
                "three 3x3 convolutions with GroupNorm and 64 dense units, d = 90,058 on CIFAR-10",
            ),
            ("lenet", "LeNet", "the sigmoid LeNet of DLG (Zhu et al. 2019)"),
            ("alexnet", "AlexNet", "torchvision's AlexNet on images resized to 64 x 64 (DPBFL paper, figure 11)"),
        )
    },
}


@dataclass(frozen=True)
class Entry:
    """What a name stands for, the file of one's own that brought it, and the digest of its source where that counts."""

    found: Any
    file: OwnFile | None = None
    source: str = ""


_registered: dict[Kind, dict[str, Entry]] = {kind: {} for kind in KINDS}
_loading: list[OwnFile] = []
Registered = TypeVar("Registered")


def register(kind: Kind, name: str) -> Callable[[Registered], Registered]:
    """Decorator: make a class or a function known as `name`. Another one under a name that is taken is refused.

    A defense or an attack is a class. A data set is a function without arguments that returns a `bench.data.Dataset`.
    A model is a function of the shape of a sample and the number of classes that returns a `torch.nn.Module`, or a
    subclass of `bench.models.Model`. Raises `ValueError` for what is no name, and for a taken one.
    """
    if (refused := refusal(WORDS[kind], name)) is not None:
        raise ValueError(refused)
    caller = sys._getframe(1).f_globals.get("__name__")  # a file that is loaded may import others, which register too
    file = next((one for one in _loading if one.module == caller), None)

    def decorate(found: Registered) -> Registered:
        if (taken := _taken(kind, name, found, file)) is not None:
            mine = _owner(found).rpartition(".")[2]
            raise ValueError(f"{WORDS[kind]} name {name!r} is taken by {taken}: give {mine} another")
        if isinstance(found, type):
            found.name = name  # type: ignore[attr-defined]
        _registered[kind][name] = Entry(found, file, file.digest if file else "")
        return found

    return decorate


@contextmanager
def known(kind: Kind, name: str, cls: type) -> Iterator[None]:
    """A class is registered as `name` in here, and afterwards no more than it was; `BadInputError` for a taken name."""
    before = _registered[kind].get(name)
    if before is None or before.found is not cls:
        if name in names(kind):
            raise BadInputError(f"{WORDS[kind]} name {name!r} is taken: give {cls.__qualname__} another")
        register(kind, name)(cls)
    try:
        yield
    finally:
        if before is None:
            del _registered[kind][name]


@overload
def get(kind: Part, name: str) -> type: ...
@overload
def get(kind: Kind, name: str) -> Any: ...
def get(kind: Kind, name: str) -> Any:
    """What is registered as `name`; `BadInputError` with the nearest names where there is none."""
    if name not in _registered[kind]:
        if (placeholder := _shipped(kind).get(name)) is not None:
            _import(kind, name, placeholder)
        elif name in (entries := _entry_points(kind)):
            result = _load(kind, name, entries[name])
            source = _digest_of_module(result) if kind == "model" else ""
            register(kind, name)(result)
            _registered[kind][name] = Entry(result, source=source)
        else:
            told = unknown(WORDS[kind], name, names(kind))
            all_of_them = f"`python -m bench list {kind}s` has all, and --load FILE.py brings one of your own"
            raise BadInputError(told if told.endswith("?") else f"{told}; {all_of_them}")
    return _registered[kind][name].found


def names(kind: Kind) -> list[str]:
    """All names of a kind, sorted; of data sets and models what ships comes first, as it stands in the table."""
    others = sorted({*_entry_points(kind), *_registered[kind]})
    return list(dict.fromkeys([*SHIPPED[kind], *others])) if kind in SHIPPED else sorted({*_shipped(kind), *others})


def summaries(kind: Kind) -> dict[str, str]:
    """One line for each name: that of a placeholder, or the first of the docstring where it came from elsewhere."""
    shipped = _shipped(kind)
    return {name: shipped[name].line if name in shipped else _summary(kind, name) for name in names(kind)}


def source_of(kind: Kind, name: str) -> str:
    """The digest of the source of what is no part of this package and has no version; "" for everything else.

    That is the file which brought it, and of another package's model its module. No error for a name that is unknown.
    """
    if name in _shipped(kind):
        return ""
    if name not in _registered[kind] and kind == "model" and name in _entry_points(kind):
        get(kind, name)
    known = _registered[kind].get(name)
    return "" if known is None else known.source


# ------------------------------------------------------------------------------------------------- files of one's own


def load_files(paths: Iterable[str | Path]) -> None:
    """Import the files and register what they hold; one that has changed since is taken anew.

    Raises `BadInputError`, in one line, for one that cannot be read or imported, takes a taken name, or brings nothing.
    """
    for path in paths:
        take(read(Path(path)))


def loaded_files() -> tuple[OwnFile, ...]:
    """The files that brought something, for a process that is to know the same names."""
    return tuple(dict.fromkeys(e.file for kind in KINDS for e in _registered[kind].values() if e.file is not None))


def take(file: OwnFile) -> None:
    """Register what a file holds, in place of what one of the same path has brought."""
    if file in loaded_files():
        return
    before = _forget(file.path)
    _loading.append(file)
    try:
        file.execute()
        if file not in loaded_files():
            raise BadInputError(
                f'{file.path} registers nothing: put @register("defense", "my_rule") above a class, '
                "or the same for an attack, a dataset or a model"
            )
        _check_kinds(file)
    except BaseException:
        _forget(file.path)
        for kind, name, entry in before:
            _registered[kind][name] = entry
        raise
    finally:
        _loading.pop()


def _check_kinds(file: OwnFile) -> None:
    """Raise `BadInputError` for a defense or an attack that is none; their base classes are not imported here."""
    for kind, (base, step) in BASES.items():
        for name, entry in _registered[kind].items():
            if entry.file == file and not (isinstance(entry.found, type) and hasattr(entry.found, step)):
                raise BadInputError(f"{file.path}: {kind} {name!r} is no subclass of {base}")


def _forget(path: str) -> list[tuple[Kind, str, Entry]]:
    """Take out what a file of this path has brought; what that was."""
    entries = [(kind, name, entry) for kind in KINDS for name, entry in _registered[kind].items()]
    results = [one for one in entries if one[2].file is not None and one[2].file.path == path]
    for kind, name, _ in results:
        del _registered[kind][name]
    return results


# ------------------------------------------------------------------------------------------- what ships, and packages


def _owner(found: Any) -> str:
    """Where a class or a function is defined; of anything else what it is."""
    if (name := getattr(found, "__qualname__", None)) is None:
        return f"a {type(found).__name__}"
    return f"{found.__module__}.{name}"


def _taken(kind: Kind, name: str, found: Any, file: OwnFile | None) -> str | None:
    """Whose a name is already; None where it is free, or this one's, whose module may be loaded twice."""
    owner = _owner(found)
    if (other := _registered[kind].get(name)) is not None:
        same = other.found is found or (hasattr(found, "__qualname__") and _owner(other.found) == owner)
        return None if same else other.file.path if other.file and other.file != file else _owner(other.found)
    if (placeholder := _shipped(kind).get(name)) is not None:
        return None if getattr(found, "__module__", None) == placeholder.module else placeholder.target
    if file is not None and name in (entries := _entry_points(kind)):
        return entries[name][0].value
    return None


@cache
def _shipped(kind: Kind) -> dict[str, Placeholder]:
    """The placeholders of a kind: the table's, or the files whose module registers a class under the file's name."""
    if kind in SHIPPED:
        return SHIPPED[kind]
    package = PACKAGES[kind]
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    files = sorted(path for folder in spec.submodule_search_locations for path in Path(folder).glob("*.py"))
    return {
        path.stem: Placeholder(f"{package}.{path.stem}", path)
        for path in files
        if f'@register("{kind}", "{path.stem}")'.encode() in path.read_bytes()
    }


def _import(kind: Kind, name: str, placeholder: Placeholder) -> None:
    """Import what ships; `BadInputError` where a file under `defenses/` or `attacks/` is no Python."""
    module, _, place = placeholder.target.partition(":")
    try:
        imported = importlib.import_module(module)
    except SyntaxError as error:
        raise BadInputError(
            f"{WORDS[kind]} {name!r} cannot be loaded: {error.msg} in {error.filename}, line {error.lineno}"
        ) from None
    if place:
        _registered[kind][name] = Entry(getattr(imported, place))


def _entry_points(kind: Kind) -> dict[str, list[EntryPoint]]:
    """Those of every name; more than one where two packages bring the same."""
    results: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUPS[kind]):
        results.setdefault(entry.name, []).append(entry)
    return results


def _load(kind: Kind, name: str, entries: list[EntryPoint]) -> Any:
    """What another package registers; `BadInputError` where two do, where it cannot be loaded, or is no class."""
    what = WORDS[kind]
    if (refused := refusal(what, name)) is not None:
        raise BadInputError(f"{refused} (it is brought by {' and by '.join(entry.value for entry in entries)})")
    if len(entries) > 1:
        raise BadInputError(
            f"{what} {name!r} is brought by {' and by '.join(entry.value for entry in entries)}: keep one"
        )
    try:
        result = entries[0].load()
    except Exception as error:  # whatever somebody else's module raises
        text = " ".join(str(error).split())
        raise BadInputError(
            f"{what} {name!r} of another package cannot be loaded: {type(error).__name__}: {text}"
        ) from error
    if kind in PACKAGES and not isinstance(result, type):
        raise BadInputError(f"{what} {name!r} of another package is {type(result).__name__}, not a class")
    return result


def _digest_of_module(found: Any) -> str:
    """Of the file in which another package's class or function stands; "" where there is none."""
    path = getattr(sys.modules.get(getattr(found, "__module__", "")), "__file__", None)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] if path else ""


def _summary(kind: Kind, name: str) -> str:
    """The line of another package's class, or of its module; one that cannot be loaded says so, the others stay."""
    try:
        result = get(kind, name)
    except BadInputError as error:
        return str(error)
    module = getattr(result, "__module__", "")
    own = result.__doc__ if hasattr(result, "__qualname__") else None  # the docstring of an instance is its class's
    described = _first_line(own) or _first_line(getattr(sys.modules.get(module), "__doc__", None))
    return described or f"(no docstring) {_owner(result).replace(f'{module}.', f'{module}:', 1)}"


def _line_of(path: Path) -> str:
    """The first line of a file's docstring, or what stands in its way."""
    try:
        described = _first_line(ast.get_docstring(ast.parse(path.read_bytes())))
    except SyntaxError as error:
        return f"cannot be loaded: {error.msg} in {path}, line {error.lineno}"
    return described or f"(no docstring) {path}"


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n", 1)[0]
