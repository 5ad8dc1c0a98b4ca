"""Suites by name or from a TOML file, with changes made."""

import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.base.names import unknown
from bench.suite.changes import apply
from bench.suite.schema import Suite


def shipped() -> dict[str, Path]:
    """The suites that come with the package, by name; those of the papers' items as `papers/NAME`."""
    folder = Path(str(resources.files("bench.suite") / "shipped"))
    found = [*sorted(folder.glob("*.toml")), *sorted(folder.glob("papers/*.toml"))]
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}


def titles() -> dict[str, str]:
    """One line for each shipped suite; what stands above its first table is all that is read."""
    heads = {name: path.read_text(encoding="utf-8").partition("\n[")[0] for name, path in shipped().items()}
    return {name: tomllib.loads(head)["title"] for name, head in heads.items()}


def load(name_or_path: str, changes: Iterable[str] = ()) -> Suite:
    """The suite of that name or in that TOML file, with `changes` (`key=value`) made.

    Raises `BadInputError`, in one line, for whatever is wrong with it.

    A key is one of the federation's (`rounds=5`), `privacy.KEY`, or `NAME.KEY` for a defense's or attack's parameter.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        if name_or_path not in shipped():
            raise BadInputError(_no_suite(name_or_path))
        path = shipped()[name_or_path]
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a byte order mark first
    except OSError as error:
        raise BadInputError(f"cannot read suite {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"suite {path} is not valid TOML: {error}") from None
    except RecursionError:
        raise BadInputError(f"suite {path} is not valid TOML: its arrays or tables are nested too deep") from None
    if "extends" in content:
        raise BadInputError(
            f"suite {path}: extends: a suite takes nothing from another one: copy the file, such as "
            f"{shipped()['digits']}, or change single values of it with --set KEY=VALUE"
        )
    suite = _validated(content, path)
    for change in changes:
        apply(content, change)
        suite = _validated(content, path)
    return suite


def _no_suite(name: str) -> str:
    """One line about a name that is none: the file of that name, the nearest suites, or those that are no papers'."""
    if Path(f"{name}.toml").is_file():
        return f"no suite named {name!r} is shipped: give the file, --suite {name}.toml"
    told = unknown("suite", name, shipped())
    if not told.endswith("?"):
        known = [suite for suite in shipped() if "/" not in suite]
        told = f"{unknown('suite', name, known)}, and the papers' (`python -m bench list suites`)"
    return f"{told}; or give the path of a .toml file"


def _validated(content: dict[str, Any], path: Path) -> Suite:
    try:
        return Suite(**content)
    except ValidationError as error:
        raise BadInputError(f"suite {path}: {explain(error)}") from None
