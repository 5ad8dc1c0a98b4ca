"""Mutants of a module: its source with one small fault in it, such as a slip of the keyboard or of a sign makes.

A fault is one of these: a comparison is moved or turned round, an operator is exchanged, a number is changed, a minus
or a `not` is left out, `and` stands for `or`, a function stands for its counterpart (`min` for `max`), an own parameter
is not handed on. Docstrings, types, decorators and the words of errors are left alone: they change no number.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

COMPARISONS = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
OPERATORS = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult},
    **{ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
    **{ast.USub: ast.UAdd, ast.And: ast.Or, ast.Or: ast.And},
}
PAIRS = (("min", "max"), ("amin", "amax"), ("argmin", "argmax"), ("any", "all"), ("floor", "ceil"), ("sum", "mean"))
COUNTERPARTS = dict(PAIRS) | {other: one for one, other in PAIRS}

WITHOUT_NUMBERS = ("annotation", "returns", "decorator_list", "type_params")
CALLS_LEFT_ALONE = ("require", "Field", "cast", "TypeVar")
NAMES_LEFT_ALONE = ("version", "__all__")

Site = tuple[ast.AST, Callable[[], None]]
"""The statement, or its first line where it has a body, and what puts the fault into it."""


@dataclass(frozen=True)
class Mutant:
    """One fault of a module, by its number: the line `before` and `after`, and the module's code with it."""

    module: str
    line: int
    before: str
    after: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Stays the same when lines above it come or go."""
        return f"{self.module}: {self.before}  ->  {self.after}"


def count(source: str) -> int:
    """How many mutants a module has."""
    return len(list(_sites(ast.parse(source))))


def mutant(module: str, source: str, number: int) -> Mutant:
    """The mutant of this number, from 0 to `count(source) - 1`."""
    tree = ast.parse(source)
    statement, change = list(_sites(tree))[number]
    before = ast.unparse(statement)
    change()
    lines = zip(before.splitlines(), ast.unparse(statement).splitlines(), strict=True)
    old, new = next((old.strip(), new.strip()) for old, new in lines if old != new)
    line = min((node.lineno for node in ast.walk(statement) if hasattr(node, "lineno")), default=0)
    return Mutant(module, line, old, new, ast.fix_missing_locations(tree))


def _sites(tree: ast.Module) -> Iterator[Site]:
    """Always in the same order."""
    return _inside(tree, tree)


def _inside(node: ast.AST, statement: ast.AST) -> Iterator[Site]:
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or name in WITHOUT_NUMBERS or _is_left_alone(child):
                continue
            heads = isinstance(node, ast.stmt) and hasattr(node, "body")
            around = child if isinstance(child, ast.stmt) or heads else statement
            yield from ((around, change) for change in _changes(child))
            yield from _inside(child, around)


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.Raise() | ast.Import() | ast.ImportFrom() | ast.JoinedStr() | ast.Assert():
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name in NAMES_LEFT_ALONE
        case ast.Call(func=ast.Name(id=name)):
            return name in CALLS_LEFT_ALONE
    return False


def _changes(node: ast.AST) -> Iterator[Callable[[], None]]:
    """What puts a fault into this node."""
    match node:
        case ast.Compare(ops=[kind]):
            yield partial(setattr, node, "ops", [COMPARISONS[type(kind)]()])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield partial(setattr, node, "operand", ast.UnaryOp(ast.Not(), operand))
        case ast.BinOp(op=kind) | ast.AugAssign(op=kind) | ast.BoolOp(op=kind) | ast.UnaryOp(op=kind):
            if type(kind) in OPERATORS:
                yield partial(setattr, node, "op", OPERATORS[type(kind)]())
        case ast.Constant(value=bool(value)):
            yield partial(setattr, node, "value", not value)
        case ast.Constant(value=int(value)):
            yield partial(setattr, node, "value", value + 1)
        case ast.Constant(value=float(value)):
            yield partial(setattr, node, "value", 2 * value + 1)
        case ast.Call(func=ast.Attribute(attr=name)) if name in COUNTERPARTS:
            yield partial(setattr, node.func, "attr", COUNTERPARTS[name])
        case ast.Call(keywords=words):
            for word in words:
                match word.value:
                    case ast.Attribute(value=ast.Name(id="self")) if word.arg:
                        yield partial(setattr, node, "keywords", [each for each in words if each is not word])
