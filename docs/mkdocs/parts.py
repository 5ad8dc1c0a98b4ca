"""What the pages say of each defense and attack, from its class and docstrings."""

import ast
import inspect
import io
import textwrap
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from text import cell, prose

from bench import models, registry, suite
from bench.attacking.poisoning import DataPoisoning
from bench.data import load
from bench.federation.roles import setting_of
from bench.privacy.claims import PrivacyClaim
from bench.protocol import Defense, Setting
from bench.registry import Kind
from bench.rules import CoordinateRule, PreAggregation, RowRule
from bench.threat import ByzantineAttack, MembershipAttack, PrivacyAttack, PrivacyAudit, PropertyAttack, RunAudit

MEANINGS: dict[str, str] = tomllib.loads((Path(__file__).parent / "meanings.toml").read_text())
"""What a parameter means, by `name` or by `part.name`, where no comment in the code says it."""

SUITES = ("field", "digits")
"""The settings in which claims are told: 4 of 20 clients assumed Byzantine, so that every rule works, and 40 of 100."""


def names(kind: Kind) -> list[str]:
    """The parts that ship with the package."""
    return [name for name in registry.names(kind) if module_path(kind, name).is_file()]


def module_path(kind: Kind, name: str) -> Path:
    """The part's file."""
    return Path(__file__).parents[2] / registry.PACKAGES[kind] / f"{name}.py"


def index(kind: Kind) -> str:
    """A table of all parts, a line each."""
    lines = [f"| {kind} | what it is | kind |", "|:--|:--|:--|"]
    for name in names(kind):
        line = registry.summaries(kind)[name]
        lines.append(f"| [`{name}`](#{name}) | {cell(prose(line))} | {sort_of(registry.get(kind, name))} |")
    return "\n".join(lines)


def section(kind: Kind, name: str) -> str:
    """A part without a paragraph of its own: heading and block."""
    return f"### `{name}`\n\n{block(kind, name)}"


def block(kind: Kind, name: str) -> str:
    """The docstrings, what is claimed, the parameters, the functions, the file."""
    cls = registry.get(kind, name)
    doc = ast.get_docstring(ast.parse(module_path(kind, name).read_text())) or ""
    told = [prose(doc), prose(inspect.getdoc(cls) or "")]
    if kind == "defense":
        told.append(claims(cast(type[Defense], cls)))
    told += [parameter_table(name, cls), functions(kind, name), source(kind, name)]
    return "\n\n".join(filter(None, told))


def sort_of(cls: type) -> str:
    """What kind of defense or attack it is, in a few words."""
    if issubclass(cls, DataPoisoning):
        return "Byzantine, poisons data"
    if issubclass(cls, ByzantineAttack):
        return f"Byzantine, {'omniscient' if cls.omniscient else 'oblivious'}"
    if issubclass(cls, PrivacyAttack):
        if cls.deviates:
            return "privacy, server that deviates"
        colluding = "rho" in cls.model_fields
        return f"privacy, server with {'active ' if cls.active else ''}colluders" if colluding else "privacy, server"
    if issubclass(cls, PrivacyAudit):
        return "audit"
    if issubclass(cls, MembershipAttack):
        return "membership"
    if issubclass(cls, PropertyAttack):
        return "property"
    if issubclass(cls, RunAudit):
        return "audit of a run"
    kinds = {PreAggregation: "pre-aggregation", RowRule: "row rule", CoordinateRule: "coordinate rule"}
    protocol = any(getattr(cls, step) is not getattr(Defense, step) for step in ("upload", "deliver"))
    return next((text for base, text in kinds.items() if issubclass(cls, base)), "protocol" if protocol else "rule")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a part as the table tells it."""

    name: str
    default: str
    values: str
    meaning: str


def parameter_table(name: str, cls: type) -> str:
    """Name, default, possible values and meaning of each parameter."""
    result = parameters(name, cls)
    if not result:
        return "No parameters."
    lines = ["| parameter | default | values | meaning |", "|:--|:--|:--|:--|"]
    lines += [f"| `{one.name}` | `{one.default}` | {one.values} | {cell(prose(one.meaning))} |" for one in result]
    return "\n".join(lines)


def parameters(name: str, cls: type) -> list[Parameter]:
    """All fields of the class, those of its base classes first."""
    assert issubclass(cls, BaseModel)
    comments = dict(_comments(cls))
    return [
        Parameter(key, _default(field), _values(field), _meaning(name, key, comments.get(key, "")))
        for key, field in cls.model_fields.items()
    ]


def _comments(cls: type) -> Iterator[tuple[str, str]]:
    """(field, the comment behind it), base classes first."""
    for base in reversed(cls.__mro__):
        if base.__module__.startswith(("bench.", "defenses.", "attacks.")):
            code = textwrap.dedent(inspect.getsource(base))
            tokens = tokenize.generate_tokens(io.StringIO(code).readline)
            behind = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
            body = cast(ast.ClassDef, ast.parse(code).body[0]).body
            for node in body:
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    yield node.target.id, behind.get(node.end_lineno or 0, "").removeprefix("#").strip()


def _meaning(part: str, name: str, comment: str) -> str:
    return MEANINGS.get(f"{part}.{name}") or MEANINGS.get(name) or comment


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return str(default).lower() if isinstance(default, bool) else "none" if default is None else str(default)


def _values(field: FieldInfo) -> str:
    """`x > 0`, `1 ≤ x`, or the choices."""
    choices = [str(choice) for choice in _choices(field.annotation)]
    if choices:
        return " or ".join(f"`{choice}`" for choice in choices)
    if field.annotation is bool:
        return "`true` or `false`"
    low = high = ""
    for bound in field.metadata:
        match bound:
            case Ge():
                low = f"{bound.ge} ≤ "
            case Gt():
                low = f"{bound.gt} < "
            case Le():
                high = f" ≤ {bound.le}"
            case Lt():
                high = f" < {bound.lt}"
    kind = _kind(field.annotation)
    return f"{kind}, {low}x{high}" if low or high else kind


def _choices(annotation: Any) -> Iterator[object]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)


def _kind(annotation: Any) -> str:
    words = {int: "whole", float: "number", str: "name", NoneType: "none", bool: "`true` or `false`"}
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    if annotation in words:
        return words[annotation]
    origin = get_origin(annotation)
    if origin is dict:
        return "table"
    if origin is tuple:
        return "one a client"
    return " or ".join(_kind(one) for one in get_args(annotation))


@cache
def setting(name: str) -> Setting:
    """The setting of a shipped suite's training cells."""
    federation = suite.load(name).federation
    dataset = load(federation.dataset)
    dim = models.build(federation.model, dataset.shape, dataset.num_classes).dim
    return setting_of(federation, dim, federation.assumed_byzantine)


def claims(cls: type[Defense]) -> str:
    """What it claims with its default parameters: Byzantine clients to withstand, and privacy."""
    defense = cls()
    stands = "; ".join(f"{tolerated(defense, setting(name))} (suite `{name}`)" for name in SUITES)
    claim = defense.claim(setting("digits"))
    said = "none" if claim is None else privacy(claim, against_server=cls.claims_privacy())
    text = f"Claims, with default parameters. Byzantine clients that it withstands: {stands}. Privacy: {said}."
    return f"*{prose(text)}*"


def tolerated(defense: Defense, where: Setting) -> str:
    """`b up to 0.4 where 40 of 100 are assumed`, or that it refuses the setting."""
    f, n = where.num_byzantine, where.participants
    try:
        defense.start(where)
    except ValueError:
        return f"it refuses to work where {f} of {n} are assumed"
    most = max((k for k in range(n + 1) if defense.tolerates(k / n, where)), default=0)
    return f"b up to {most / n:g} where {f} of {n} are assumed" if most else f"none of {n}"


def privacy(claim: PrivacyClaim, against_server: bool) -> str:
    """A claim in one clause."""
    if claim.epsilon is None:
        return f"{claim.unit} ({claim.source}), void in the suite `digits`: {claim.reason}"
    bound = f"ε = {claim.epsilon:.3g}" + (f", δ = {claim.delta:g}" if claim.delta else "")
    who = f"against up to rho = {claim.colluders:.2g} colluders" if against_server else "and nothing against the server"
    return f"{bound} {claim.unit} {who} ({claim.source}; suite `digits`)"


def functions(kind: Kind, name: str) -> str:
    """The module's pure functions, a line each; those that check or word something are left out."""
    module = inspect.getmodule(registry.get(kind, name))
    assert module is not None
    own = [
        value
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_")
        if get_type_hints(value)["return"] not in (NoneType, str, bool, PrivacyClaim)
    ]
    lines = [f"- `{module.__name__}.{one.__name__}`: {prose(first(one.__doc__))}" for one in own if one.__doc__]
    return "\n".join(["Functions:", "", *lines]) if lines else ""


def first(doc: str) -> str:
    """The first paragraph on one line."""
    return " ".join(inspect.cleandoc(doc).split("\n\n")[0].split())


def source(kind: Kind, name: str) -> str:
    """Links to the file and its tests."""
    package = registry.PACKAGES[kind]
    file = f"{package}/{name}.py"
    return f"Source: [`{file}`](../{file}). Variants in public code: [conformance](conformance.md)."
