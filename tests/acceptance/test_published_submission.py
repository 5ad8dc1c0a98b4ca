"""The worked example, an outside rule that was really submitted: whole, and its records are what they say."""

from pathlib import Path

import pytest

from bench.submission import folder as folders
from bench.submission.verify import verify

pytestmark = pytest.mark.integration

ROW = Path(__file__).parents[2] / "results" / "smoke" / "aksel"


def test_the_worked_example_is_verified() -> None:
    (row,) = verify(ROW, sample=1).rows
    assert row.problems == []
    assert (len(row.records), row.replayed, row.verdict) == (4, 1, "verified")


def test_it_says_where_it_comes_from_and_keeps_the_contract() -> None:
    submission, found = folders.load(ROW), folders.examination(ROW)
    assert submission is not None
    assert found is not None
    assert (submission.paper.title, submission.paper.year) == ("AKSEL: Fast Byzantine SGD", 2021)
    assert (found.broken, found.sha256) == ([], submission.sha256)
