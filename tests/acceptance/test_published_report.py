"""The published report on the papers: rebuilt from the committed records, unchanged."""

from pathlib import Path

import pytest

from bench.reproduce import report

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def entries() -> list[report.Entry]:
    if not (RESULTS / "papers" / "README.md").exists():
        pytest.skip("no results/papers: `python -m bench reproduce --results results` makes it")
    return report.entries(RESULTS)


def test_the_report_is_that_of_the_records(entries: list[report.Entry]) -> None:
    assert (RESULTS / "papers" / "README.md").read_bytes() == report.readme(entries)


def test_every_table_is_that_of_the_records(entries: list[report.Entry]) -> None:
    for entry in entries:
        for name, content in report.files(entry, draw=False).items():
            assert (RESULTS / "papers" / entry.item.id / name).read_bytes() == content, entry.item.id


def test_every_plot_is_there(entries: list[report.Entry]) -> None:
    """Their pixels are not compared: they differ with the fonts and the version of matplotlib."""
    for entry in entries:
        plot = RESULTS / "papers" / entry.item.id / "plot.png"
        drawn = entry.exhibit is not None and entry.exhibit.plot is not None
        assert plot.exists() == drawn, entry.item.id
        assert not drawn or plot.read_bytes().startswith(b"\x89PNG")


def test_no_record_was_made_of_code_that_is_in_no_commit(entries: list[report.Entry]) -> None:
    commits = [text for entry in entries for text in entry.environments]
    assert not any("commit none" in text or "-dirty" in text for text in commits), commits
