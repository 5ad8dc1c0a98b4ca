"""What docs/submitting.md promises: each promise names its test, and the test is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "submitting.md").read_text(encoding="utf-8")
SECTION = "## Each promise has its test"
TRIED = "## What was tried, and what it gets"


def lines_of(section: str) -> list[str]:
    return [line for line in PAGE.split(section)[-1].split("\n## ")[0].splitlines() if line.startswith("| ")][1:]


LINES = lines_of(SECTION)
KINDS = lines_of(TRIED)


@cache
def names_in(file: str) -> set[str]:
    """The tests of a file that CI plays: all but the slow ones, those marked `integration` too."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name for node in found if "pytest.mark.slow" not in map(ast.unparse, node.decorator_list)}


@pytest.mark.parametrize("line", LINES)
def test_each_promise_names_a_test_that_is_there(line: str) -> None:
    match = re.fullmatch(r"\| [^|]+ \| `(tests/[\w/]+\.py)::(test_\w+)` \|", line)
    assert match is not None
    assert match[2] in names_in(match[1])


@pytest.mark.parametrize("line", KINDS)
def test_each_kind_of_dishonesty_names_a_test_that_is_there(line: str) -> None:
    match = re.fullmatch(r"\| [^|]+ \| [^|]+ \| `(tests/[\w/]+\.py)::(test_\w+)` \|", line)
    assert match is not None
    assert match[2] in names_in(match[1])


def test_there_are_promises_and_what_remains() -> None:
    assert len(LINES) > 35
    assert len(KINDS) > 40
    assert "**What remains possible.**" in PAGE
