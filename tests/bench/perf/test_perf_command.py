"""`python -m bench perf`: options, exit codes, one line for bad input; a planted slowdown, ten unchanged runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.perf import command, history, options
from bench.perf.history import Entry

Command = Callable[..., Any]
Make = Callable[..., Entry]
ROOT = Path(__file__).parents[3]
TWICE = ("--threshold", "1")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, make_entry: Make) -> Callable[..., None]:
    """What the next run measures, without measuring."""

    def set_to(**given: Any) -> None:
        monkeypatch.setattr(command, "measure", lambda *_: make_entry(9, **given))

    return set_to


# ------------------------------------------------------------------------------------------------------- the options


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([], []),
        (["--compare"], ["--compare", "newest"]),
        (["--compare", "--save"], ["--compare", "newest", "--save"]),
        (["--compare", "abc", "--save"], ["--compare", "abc", "--save"]),
        (["--compare=abc"], ["--compare=abc"]),
        (["--save", "--compare"], ["--save", "--compare", "newest"]),
    ],
)
def test_a_bare_compare_means_the_newest(given: list[str], wanted: list[str]) -> None:
    assert options.with_value(given, "--compare", "newest") == wanted


@pytest.mark.parametrize("asked", [("--compare",), ("--compare", "abc"), ("--compare=abc",), ("--compare", "--quick")])
def test_compare_stands_alone_or_takes_a_base(
    bench: Command, measured: Callable[..., None], tmp_path: Path, make_entry: Make, asked: tuple[str, ...]
) -> None:
    history.append(tmp_path / "h.jsonl", make_entry(0, "abc1", mean=10.0))
    measured(mean=10.0)
    done = bench("perf", "--json", "--history", "h.jsonl", *asked)
    assert done.code == 0
    assert json.loads(done.out)["comparisons"][0]["verdict"] == "same"


def test_saved_runs_are_compared_and_drawn(bench: Command, measured: Callable[..., None], tmp_path: Path) -> None:
    measured(mean=10.0)
    assert bench("perf", "--save").code == 0
    measured(mean=20.0)
    done = bench("perf", "--save", "--compare", "--summary", "s.md", "--plot", "p.png")
    assert done.code == 1
    assert "slower" in done.out
    assert len((tmp_path / "results/perf/history.jsonl").read_text().splitlines()) == 2
    assert "**slower: mean**" in (tmp_path / "s.md").read_text()
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert bench("perf", "--compare", *TWICE).code == 0


def test_plot_alone_measures_nothing(bench: Command, monkeypatch: pytest.MonkeyPatch, make_entry: Make) -> None:
    monkeypatch.setattr(command, "measure", lambda *_: pytest.fail("measured"))
    history.append(Path("results/perf/history.jsonl"), make_entry())
    done = bench("perf", "--plot", "p.png")
    assert (done.code, done.out) == (0, "drawn: p.png\n")
    assert Path("p.png").exists()


def test_nothing_to_compare_with_is_said_and_passes(bench: Command, measured: Callable[..., None]) -> None:
    measured(mean=10.0)
    done = bench("perf", "--compare")
    assert done.code == 0
    assert "nothing to compare with: results/perf/history.jsonl has no comparable entry" in done.out


def test_against_another_class_of_machine_only_a_named_base_counts(
    bench: Command, measured: Callable[..., None], make_entry: Make
) -> None:
    history.append(Path("h.jsonl"), make_entry(0, "abc", cpu="Another", mean=1.0))
    measured(mean=10.0)
    found = bench("perf", "--history", "h.jsonl", "--compare")
    assert found.code == 0
    assert "another class" in found.out
    assert "nothing here counts as a failure" in found.out
    assert bench("perf", "--history", "h.jsonl", "--compare", "abc").code == 1


def test_damaged_lines_are_told(bench: Command, measured: Callable[..., None], make_entry: Make) -> None:
    history.append(Path("h.jsonl"), make_entry(mean=10.0))
    with Path("h.jsonl").open("a") as file:
        file.write("torn\n")
    measured(mean=10.0)
    done = bench("perf", "--history", "h.jsonl", "--compare", "--plot", "p.png")
    assert done.code == 0
    assert done.out.count("line 2 of h.jsonl is no entry") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--compare", "nope"), "--compare nope: neither a file nor a commit"),
        (("--threshold", "0"), "--threshold is 0, but must be above 0"),
        (("--threshold", "nan"), "--threshold is nan, but must be above 0"),
        (("--plot", "p.png"), "nothing to draw: results/perf/history.jsonl has no entries"),
        (("--passes", "0"), "--passes"),
        (("--accuracy", "--save"), "--accuracy checks numbers and measures nothing: no --quick, --save"),
        (("--accuracy", "--results", "absent"), "no records in absent/smoke"),
    ],
)
def test_bad_input_is_told_in_one_line(
    bench: Command, measured: Callable[..., None], arguments: tuple[str, ...], said: str
) -> None:
    measured(mean=10.0)
    done = bench("perf", *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_folder_without_benchmarks_is_refused(bench: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = bench("perf", "--benchmarks", "empty", "--json")
    assert (done.code, done.err) == (2, "fedsiege: no benchmarks marked performance in empty\n")


# ------------------------------------------------------------------------------------------------------ the real thing


@pytest.mark.slow
def test_a_planted_slowdown_is_caught(shell: Command, planted: Path) -> None:
    assert shell("perf", "--benchmarks", "planted", "--passes", "1", "--save").code == 0
    asked = ("perf", "--benchmarks", "planted", "--passes", "1", "--compare", *TWICE, "--json")
    done = shell(*asked, PLANTED_SECONDS="0.05")
    assert done.code == 1
    found = json.loads(done.out)
    assert {row["benchmark"]: row["verdict"] == "slower" for row in found["comparisons"]} == {
        "speed.plain": False,
        "speed.planted": True,
    }
    assert found["run"]["benchmarks"]["speed.planted"]["seconds"] > 0.05


@pytest.mark.slow
def test_ten_unchanged_runs_raise_no_alarm(shell: Command, planted: Path) -> None:
    asked = ("perf", "--benchmarks", "planted")
    assert shell(*asked, "--save").code == 0
    runs = [shell(*asked, "--compare") for _ in range(10)]
    assert [done.code for done in runs] == [0] * 10, [done.out for done in runs if done.code]


@pytest.mark.slow
def test_ten_unchanged_runs_of_the_quick_set_raise_no_alarm(shell: Command) -> None:
    asked = ("perf", "--quick", "--benchmarks", str(ROOT / "tests" / "performance"))
    assert shell(*asked, "--save").code == 0
    runs = [shell(*asked, "--compare") for _ in range(10)]
    assert [done.code for done in runs] == [0] * 10, [done.out for done in runs if done.code]
