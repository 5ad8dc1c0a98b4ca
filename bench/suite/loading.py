"""Suites by name or from a TOML file, with changes made; a list in `[federation]` makes a family of them.

All rows and columns of a board share one federation. So each value of such a list is a suite of its own, with its own
folder and boards: `mine` with `alpha = [0.1, 1]` is the family of `mine@alpha=0.1` and `mine@alpha=1`.
"""

import itertools
import re
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
    results = [*sorted(folder.glob("*.toml")), *sorted(folder.glob("papers/*.toml"))]
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in results}


def titles() -> dict[str, str]:
    """One line for each shipped suite; what stands above its first table is all that is read."""
    heads = {name: path.read_text(encoding="utf-8").partition("\n[")[0] for name, path in shipped().items()}
    return {name: tomllib.loads(head)["title"] for name, head in heads.items()}


SWEPT = ("alpha", "similarity", "participation", "local_steps", "local_epochs")
"""Settings that may be lists: how alike the clients' data is, how many take part, and how long they train."""


def load(name_or_path: str, changes: Iterable[str] = ()) -> Suite:
    """The suite of that name or in that TOML file, with `changes` (`key=value`) made.

    Raises `BadInputError`, in one line, for whatever is wrong with it, and for a family: `mine.toml@alpha=0.1` names
    one of its suites.

    A key is one of the federation's (`rounds=5`), `privacy.KEY`, or `NAME.KEY` for a defense's or attack's parameter.
    """
    result = load_family(name_or_path, changes)
    if len(result) > 1:
        raise BadInputError(f"suite {name_or_path} is a family of {len(result)}: name one of {', '.join(result)}")
    return next(iter(result.values()))


def load_family(name_or_path: str, changes: Iterable[str] = ()) -> dict[str, Suite]:
    """The suites that a name or file stands for, each by a name that `load` takes: one, unless settings are swept.

    Raises `BadInputError` as `load` does.
    """
    base, _, member = name_or_path.rpartition("@")
    if not base or Path(name_or_path).suffix == ".toml" or not (Path(base).suffix == ".toml" or base in shipped()):
        base, member = name_or_path, ""
    path, content = _read(base)
    suites = _family(content, path)
    for change in changes:
        apply(content, change)
        suites = _family(content, path)
    if not member:
        return {name_or_path if len(suites) == 1 else _member(base, suite): suite for suite in suites}
    members = {suite.name.partition("@")[2]: suite for suite in suites}
    if member not in members:
        raise BadInputError(unknown(f"setting of suite {base}", member, [name for name in members if name]))
    return {name_or_path: members[member]}


def _member(base: str, suite: Suite) -> str:
    return f"{base}@{suite.name.partition('@')[2]}"


def _read(name_or_path: str) -> tuple[Path, dict[str, Any]]:
    """Where the suite's file lies, and what it holds."""
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
    return path, content


def _family(content: dict[str, Any], path: Path) -> list[Suite]:
    """One suite for every combination of the lists in `[federation]`; the suite itself where there is none."""
    federation = content.get("federation")
    given = federation if isinstance(federation, dict) else {}
    lists = {key: given[key] for key in SWEPT if isinstance(given.get(key), list)}
    if not lists:
        return [_validated(content, path)]
    for key, values in lists.items():
        if not values or len({_slug(value) for value in values}) < len(values):
            raise BadInputError(f"suite {path}: federation.{key} is {values}, but must be values, each once")
    return [
        _validated(_at(content, dict(zip(lists, point, strict=True))), path)
        for point in itertools.product(*lists.values())
    ]


def _at(content: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """The suite at one point of its sweep, which its name and title say."""
    name = "@" + ",".join(f"{key}={_slug(value)}" for key, value in point.items())
    title = f" ({', '.join(f'{key} = {value}' for key, value in point.items())})"
    said = {key: f"{content[key]}{more}" for key, more in (("name", name), ("title", title)) if key in content}
    return {**content, **said, "federation": {**content["federation"], **point}}


def _slug(value: Any) -> str:
    """A value as a part of a name: 0.1, or 1 of 1.0."""
    return f"{value:g}" if isinstance(value, int | float) else re.sub(r"[^a-z0-9.]", "_", str(value).lower())


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
