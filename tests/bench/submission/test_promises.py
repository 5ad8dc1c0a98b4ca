"""What docs/submitting.md promises: each promise names its test, and the test is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "submitting.md").read_text(encoding="utf-8")
SECTION = "## Each promise has its test"
LINES = [line for line in PAGE.split(SECTION)[-1].split("\n## ")[0].splitlines() if line.startswith("| ")][1:]


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("line", LINES)
def test_each_promise_names_a_test_that_is_there(line: str) -> None:
    match = re.fullmatch(r"\| [^|]+ \| `(tests/[\w/]+\.py)::(test_\w+)` \|", line)
    assert match is not None
    assert match[2] in names_in(match[1])


def test_there_are_promises_and_what_remains() -> None:
    assert len(LINES) > 25
    assert "**What remains possible.**" in PAGE
