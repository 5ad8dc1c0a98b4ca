"""What a run looks like to people: Markdown, the terminal, the picture."""

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.image import imread

from bench.base.errors import BadInputError
from bench.perf.compare import compare
from bench.perf.history import Entry
from bench.perf.plot import draw
from bench.perf.report import markdown, notes, print_run

Make = Callable[..., Entry]


def test_the_summary_of_a_run_alone_has_its_figures(make_entry: Make) -> None:
    text = markdown(make_entry(mean=(10.0, 9.0, 11.0)), None)
    assert "| mean | 10 ms | 10 | 9 to 11 | mixed |  |" in text
    assert text.startswith("## Performance\n")


def test_the_summary_of_a_comparison_names_what_is_slower(make_entry: Make) -> None:
    found = compare(make_entry(1, mean=20.0, krum=1000.0), make_entry(mean=10.0, krum=1000.0), 0.25)
    text = markdown(found.run, found, ["saved: here"])
    assert "**slower: mean** beyond 1.25 times" in text
    assert "| mean | 10 ms | 20 ms | 2.00 | 2.00 to 2.00 |  | slower |" in text
    assert "| krum | 1 s | 1 s | 1.00 | 1.00 to 1.00 |  | same |" in text
    assert "- saved: here" in text


def test_the_terminal_shows_the_same(make_entry: Make, capsys: pytest.CaptureFixture[str]) -> None:
    found = compare(make_entry(1, mean=20.0), make_entry(mean=10.0), 0.25)
    print_run(found.run, found, ["a remark"])
    out = capsys.readouterr().out
    assert all(part in out for part in ("mean", "2.00", "slower", "a remark", "matmul"))


def test_notes_tell_what_makes_a_comparison_doubtful(make_entry: Make) -> None:
    run = make_entry(1, mean=1.0, rsa=1.0).model_copy(update={"disturbance": 1.9})
    base = make_entry(cpu="Another", mean=1.0, krum=1.0).model_copy(update={"disturbance": 1.8})
    found = "\n".join(notes(run, compare(run, base, 0.25)))
    for part in ("1.90 times", "1.80 times", "another class: Another", "not in the base: rsa", "no longer there: krum"):
        assert part in found
    assert notes(make_entry(), compare(make_entry(), make_entry(), 0.25)) == []


@pytest.mark.parametrize("runs", [1, 12])
def test_the_history_is_drawn_a_panel_a_benchmark(tmp_path: Path, make_entry: Make, runs: int) -> None:
    entries = [make_entry(day, cpu=f"CPU {day % 2}", mean=1.0 + day, krum=9.0, median=4.0) for day in range(runs)]
    entries.append(make_entry(runs, "abc-dirty", mean=2.0, rsa=1.0))
    path = tmp_path / "folder" / "history.png"
    draw(entries, path)
    picture = imread(path)
    assert picture.shape[1] > picture.shape[0] > 400
    assert len({tuple(pixel) for pixel in picture[::3, ::3, :3].reshape(-1, 3)}) > 20


def test_a_picture_of_no_known_format_is_refused(tmp_path: Path, make_entry: Make) -> None:
    with pytest.raises(BadInputError, match="cannot draw"):
        draw([make_entry()], tmp_path / "history.nonsense")
