"""Trees as TOML and JSON make them: changed at random, and written as text."""

import copy
import json
import math
from typing import Any

from hypothesis import strategies as st

Tree = dict[str, Any]

EXTREMES: tuple[Any, ...] = (
    *(True, False, -1, 0, 1, 2, 2**31, 2**63, -(2**63), 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1.5, -2.5, 1e-320, 1e308, math.nan, math.inf, -math.inf),
    *("", "x", "0", "nan", "krum", "digits", "../../etc", "a\nb", "ü", "\U0001f600", "x" * 3000),
    *([], [[]], [1], ["a", 1], [0.1, 0.1], [True, None], {}, {"a": 1}, {"name": "krum"}, [{}], [{"name": 1}]),
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=6,
)


@st.composite
def mutations(draw: st.DrawFn, trees: list[Tree]) -> Tree:
    """One of the trees, changed in one to three places: something dropped, renamed, doubled, or given another value."""
    tree = copy.deepcopy(draw(st.sampled_from(trees)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(tree))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["drop", "rename", "double", "extreme", "extreme", "anything", "elsewhere"]))
        if change == "drop":
            del holder[key]
        elif change == "rename" and isinstance(holder, dict):
            holder[draw(TEXTS | st.sampled_from(["name", "byzantine", "seeds", "lr"]))] = holder.pop(key)
        elif change == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif change == "elsewhere":  # what is right there may be wrong here
            other, where = draw(st.sampled_from(places))
            holder[key] = copy.deepcopy(other[where]) if _holds(other, where) else None
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(EXTREMES) if change == "extreme" else ANYTHING))
    return tree


@st.composite
def damages(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """One of the files, cut short, or with some bytes put over others."""
    content = draw(st.sampled_from(files))
    at = draw(st.integers(0, len(content)))
    put = draw(
        st.binary(max_size=6) | st.sampled_from([b"", b"[", b'"', b"{", b"=", b"\n", b"\xff", b"\0", b"[" * 5000])
    )
    rest = content[at + draw(st.integers(0, 20)) :] if draw(st.booleans()) else b""
    return content[:at] + put + rest


def toml(tree: Tree) -> str:
    """The tree with inline tables; what TOML has no word for (None) becomes a string."""
    return "".join(f"{json.dumps(key, ensure_ascii=False)} = {_toml(value)}\n" for key, value in tree.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inside = (f"{json.dumps(str(key), ensure_ascii=False)} = {_toml(inner)}" for key, inner in value.items())
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps("None" if value is None else value, ensure_ascii=False)


def _places(tree: Any) -> Any:
    """All (holder, key) in the tree."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else []
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def _holds(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)
