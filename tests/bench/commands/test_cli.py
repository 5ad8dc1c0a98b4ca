"""The command line: what each command prints and writes, its exit codes, and one line for whatever cannot be."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest

from bench import cli
from bench.commands.list_ import aligned
from bench.records import read
from bench.runs import jobs, tune
from bench.runs.tune import Trial
from bench.runs.workers import Limits

ROOT = Path(__file__).parents[3]

Command = Callable[..., Any]
"""The command line in this process, in an empty folder with `tiny.toml`; what it returns has code, out and err."""


@pytest.fixture(autouse=True)
def _tiny(tmp_path: Path, suite_text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDSIEGE_DATA", raising=False)
    (tmp_path / "tiny.toml").write_text(suite_text)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, suite_text: str) -> Path:
    """A results folder with the tiny suite's six records."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(suite_text)
    jobs.run_suite(str(folder / "tiny.toml"), results=folder / "results", workers=1, quiet=True)
    return folder / "results"


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


RUN = ("run", "--suite", "tiny.toml", "--workers", "1")


# ----------------------------------------------------------------------------------------------------------------- list


def test_list_names_everything(bench: Command) -> None:
    done = bench("list")
    assert (done.code, done.err) == (0, "")
    for line in (
        "defenses:",
        "attacks:",
        "datasets:",
        "models:",
        "suites:",
        "  krum ",
        "  dlg ",
        "  digits ",
        "  mlp ",
    ):
        assert line in done.out


def test_list_of_one_kind(bench: Command) -> None:
    done = bench("list", "attacks")
    assert done.code == 0
    assert done.out.startswith("attacks:\n")
    assert "sign_flip" in done.out
    assert "krum" not in done.out


@pytest.mark.parametrize("kind", ["defenses", "attacks", "datasets", "models", "suites", None])
def test_list_for_programs(bench: Command, kind: str | None) -> None:
    done = bench("list", *([kind] if kind else []), "--json")
    found = json.loads(done.out)
    assert kind is None or list(found) == [kind]
    assert all(isinstance(line, str) for entries in found.values() for line in entries.values())
    assert "krum" in found.get("defenses", {"krum": ""})


def test_names_stand_in_a_column_of_their_own_and_lines_are_wrapped_to_the_terminal(
    bench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    whole = bench("list").out.splitlines()
    monkeypatch.setenv("COLUMNS", "80")
    wrapped = bench("list").out.splitlines()
    assert max(map(len, whole)) > 100
    assert max(map(len, wrapped)) <= 80
    assert " ".join(" ".join(wrapped).split()) == " ".join(" ".join(whole).split())
    for lines in (whole, wrapped):
        starts: dict[str, set[int]] = {}
        for line in lines:
            if not line.startswith(" "):
                kind = line
            elif line.startswith("    "):
                starts[kind].add(len(line) - len(line.lstrip()))
            else:
                name = line.split("  ")[1]
                starts.setdefault(kind, set()).add(len(line) - len(line[2 + len(name) :].lstrip()))
        assert {kind: len(columns) for kind, columns in starts.items()} == dict.fromkeys(starts, 1)
        assert len(starts) == 5


@pytest.mark.parametrize("width", [1, 30])
def test_a_terminal_too_narrow_for_a_list_loses_no_word(width: int) -> None:
    entries = {"a-name-of-some-length": "some words, and averyverylongword of what it is", "b": ""}
    lines = aligned(entries, width)
    assert (
        " ".join(" ".join(lines).split()) == "a-name-of-some-length some words, and averyverylongword of what it is b"
    )


def test_list_does_not_import_torch() -> None:
    code = (
        "import sys; sys.argv = ['fedsiege', 'list']\n"
        "from bench.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: print('ended', ended.code)\n"
        "print('slow:', sorted({'torch', 'pandas', 'numpy', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("ended 0\nslow: []\n")
    assert "  krum " in done.stdout


def test_ctrl_c_in_the_middle_of_an_import_is_one_line_too(tmp_path: Path) -> None:
    """An import may make anything of a `KeyboardInterrupt`; this one swallows it."""
    struck = "import os, signal\ntry: os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt: raise ValueError\n"
    (tmp_path / "struck.py").write_text(struck)
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from bench import cli\n"
        "sys.argv = ['fedsiege', 'list']\n"
        "cli.app = lambda **_: __import__('struck')\n"
        "cli.main()"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines() == [cli.STOPPED_LINE]


def test_the_module_and_the_console_script_are_one_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "list", "suites"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "  digits " in done.stdout
    (script,) = entry_points(group="console_scripts", name="fedsiege")
    assert script.value == "bench.cli:main"


def test_help_names_the_commands(bench: Command) -> None:
    done = bench("--help")
    assert done.code == 0
    assert all(command in done.out for command in ("run", "list", "leaderboard", "show", "tune"))


def test_every_command_is_a_function_of_a_file_of_its_own_and_the_program_has_none() -> None:
    files = {info.callback.__module__ for info in cli.app.registered_commands if info.callback is not None}
    assert {file.rpartition(".")[0] for file in files} == {"bench.commands"}
    assert len(files) == len(cli.app.registered_commands) - 1  # new-defense and new-attack are one


# ------------------------------------------------------------------------------------------------------------------ run


def test_a_run_prints_and_writes_its_boards_and_a_second_one_has_nothing_to_do(bench: Command, tmp_path: Path) -> None:
    done = bench(*RUN, "--attack", "sign_flip")
    assert done.code == 0
    for text in ("Overall", "median", "dp_fedavg", "more boards", "--all, or runs/tiny", "4 cells run, 0 were there"):
        assert text in done.out
    assert "Robustness" not in done.out
    assert "published" not in done.out  # nobody has published this suite
    assert "Robustness" in bench(*RUN, "--attack", "sign_flip", "--all").out
    folder = tmp_path / "runs" / "tiny"
    assert "| median" in (folder / "leaderboard.md").read_text()
    assert next(csv.reader(io.StringIO((folder / "leaderboard.csv").read_text())))[:2] == ["board", "defense"]
    records = set(folder.glob("*/*/*.json"))
    assert len(records) == 4
    again = bench(*RUN, "--attack", "sign_flip")
    assert again.code == 0
    assert "nothing is left to run: 4 of 4 records were there" in again.out
    assert set(folder.glob("*/*/*.json")) == records


def test_a_run_for_programs_prints_json_alone(bench: Command) -> None:
    done = bench(*RUN, "--defense", "median", "--attack", "sign_flip", "--results", "out", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {
        "suite": "tiny",
        "ran": 2,
        "already_there": 0,
        "failed_or_diverged": [],
        "written": ["out/tiny/leaderboard.md", "out/tiny/leaderboard.csv"],
        "agreement": None,
    }


def test_a_quiet_run_says_nothing(bench: Command) -> None:
    done = bench(*RUN, "--defense", "median", "--attack", "sign_flip", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_every_option_of_a_run_arrives(bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def spy(suite: str, **given: Any) -> None:
        seen.update(given, suite=suite)
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "run_suite", spy)
    bench(
        *("run", "--suite", "mnist", "--defense", "krum", "--defense", "rsa", "--attack", "dlg", "--seeds", "3,4"),
        *("--set", "rounds=5", "--set", "krum.num_selected=2", "--workers", "7", "--results", "out", "--fresh"),
        *("--data", "somewhere", "--device", "cpu", "--quiet", "--cell-timeout", "2.5", "--cell-memory", "900"),
        *("--ray", "10.0.0.1:6379"),
    )
    assert seen == {
        "suite": "mnist",
        "defenses": ["krum", "rsa"],
        "attacks": ["dlg"],
        "seeds": (3, 4),
        "changes": ["rounds=5", "krum.num_selected=2"],
        "workers": 7,
        "results": Path("out"),
        "fresh": True,
        "data_root": "somewhere",
        "device": "cpu",
        "quiet": True,
        "limits": Limits(seconds=2.5, mebibytes=900),
        "ray": "10.0.0.1:6379",
    }


def test_without_a_command_the_whole_digits_suite_runs(bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def spy(suite: str, **given: Any) -> None:
        seen.update(given, suite=suite)
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "run_suite", spy)
    bench("--workers", "3", "--results", "out", "--quiet")
    everything = {"suite": "digits", "defenses": (), "attacks": (), "seeds": None, "changes": (), "fresh": False}
    assert seen.items() >= {**everything, "workers": 3, "results": Path("out"), "quiet": True}.items()


def test_a_run_that_is_stopped_says_how_to_go_on(bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any, **given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "run_suite", stop)
    done = bench(*RUN)
    assert done.code == 130
    assert done.err.splitlines() == [
        "fedsiege: stopped; what was finished is recorded, the same command goes on from there"
    ]


@pytest.mark.usefixtures("_broken")
def test_a_failed_cell_is_exit_code_one_now_and_the_next_time(bench: Command, suite_text: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(suite_text.replace("dp_fedavg", "broken"))
    done = bench(*RUN, "--attack", "sign_flip", "--set", "median.label=plain")
    assert done.code == 1
    assert "RuntimeError: cannot aggregate" in done.out
    assert "Traceback" not in done.out + done.err
    recorded = [read(path) for path in (tmp_path / "runs").rglob("*.json")]
    assert sorted((record.cell.label, record.status) for record in recorded) == [
        ("broken", "failed"),
        ("broken", "failed"),
        ("plain", "ok"),
        ("plain", "ok"),
    ]
    again = bench(*RUN, "--attack", "sign_flip", "--set", "median.label=plain", "--quiet")
    assert again.code == 1
    assert bench(*RUN, "--defense", "median", "--attack", "sign_flip", "--quiet").code == 0


# --------------------------------------------------------------------------------------------- where the output goes to


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")


@FULL
@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("list", "--json"),
        ("--version",),
        ("leaderboard", "--suite", "tiny.toml", "--results", "{finished}"),
        ("leaderboard", "--suite", "tiny.toml", "--results", "{finished}", "--format", "html"),
        ("show", "{record}"),
        ("show", "{record}", "--json"),
        ("run", "--suite", "tiny.toml", "--results", "{finished}", "--workers", "1"),
        ("verify", "{record}", "--sample", "0"),
    ],
    ids=" ".join,
)
def test_a_full_disk_is_told_in_one_line(
    bench: Command, finished: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    record = next(finished.rglob("*.json"))
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        done = bench(*(part.format(finished=finished, record=record) for part in command))
        monkeypatch.undo()
    assert (done.code, done.err) == (2, "fedsiege: cannot write the output: No space left on device\n")


@FULL
def test_a_full_disk_in_a_process_of_its_own_is_the_same_line() -> None:
    """The interpreter writes what is left once more when it ends."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "bench", "list"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "fedsiege: cannot write the output: No space left on device\n")


def test_a_reader_that_has_read_enough_is_no_fault(bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    pipe = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stdout", pipe)
    done = bench("list")
    monkeypatch.undo()
    with contextlib.suppress(BrokenPipeError):
        pipe.close()
    assert (done.code, done.err) == (1, "")


@FULL
@pytest.mark.parametrize("output_format", ["md", "html"])
def test_a_device_is_written_to_and_not_replaced(bench: Command, finished: Path, output_format: str) -> None:
    done = leaderboard(bench, finished, "--format", output_format, "--output", "/dev/full")
    assert (done.code, done.err) == (2, "fedsiege: cannot write /dev/full: No space left on device\n")
    assert Path("/dev/full").is_char_device()
    assert leaderboard(bench, finished, "--format", output_format, "--output", os.devnull).code == 0
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_output_goes_through_a_pipe_of_any_encoding(
    bench: Command, finished: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    record = next(finished.glob("*/median/clean/*.json"))
    asked: dict[str, tuple[str, ...]] = {
        "board": ("leaderboard", "--suite", "tiny.toml", "--results", str(finished)),
        "rich": ("run", "--suite", "tiny.toml", "--results", str(finished), "--workers", "1", "--all"),
        "record": ("show", str(record)),
        "json": ("show", str(record), "--json"),
        "listed": ("list", "--json"),
    }
    told = {}
    for name, command in asked.items():
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        done = bench(*command)
        assert (done.code, "Traceback" in done.err) == (0, False), done
        told[name] = written.getvalue().decode(encoding)
    mark = {"ascii": r"\u2020", "latin-1": r"\u2020"}.get(encoding, "†")
    assert mark in told["board"]
    assert mark in told["rich"]
    assert json.loads(told["json"]) == json.loads(record.read_text())
    assert "krum" in json.loads(told["listed"])["defenses"]


def test_the_version_and_nothing_else(bench: Command, tmp_path: Path) -> None:
    done = bench("--version")
    assert (done.code, done.out, done.err) == (0, f"fedsiege {version('fedsiege')}\n", "")
    assert not (tmp_path / "results").exists()


# ---------------------------------------------------------------------------------------------------------- leaderboard


def leaderboard(bench: Command, finished: Path, *arguments: str) -> Any:
    return bench("leaderboard", "--suite", "tiny.toml", "--results", str(finished), *arguments)


def test_the_boards_in_markdown_are_those_that_the_run_wrote(bench: Command, finished: Path) -> None:
    done = leaderboard(bench, finished)
    assert (done.code, done.err) == (0, "")
    assert done.out == (finished / "tiny" / "leaderboard.md").read_text()
    assert done.out.startswith("# Leaderboard: tiny\n")


def test_the_boards_in_csv(bench: Command, finished: Path) -> None:
    done = leaderboard(bench, finished, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert {row["defense"] for row in rows} >= {"median", "dp_fedavg"}
    assert all(float(row["mean"] or 0) == float(row["mean"] or 0) for row in rows)


def test_the_boards_in_latex(bench: Command, finished: Path) -> None:
    done = leaderboard(bench, finished, "--format", "latex")
    assert done.out.count(r"\begin{table*}") == done.out.count(r"\end{table*}") >= 3
    assert r"dp\_fedavg" in done.out


def test_the_boards_in_json(bench: Command, finished: Path) -> None:
    found = json.loads(leaderboard(bench, finished, "--format", "json").out)
    assert (found["suite"], found["records"], found["seeds"]) == ("tiny", 6, 1)
    assert {"overall", "robustness", "privacy", "utility"} <= set(found["boards"])


@pytest.mark.parametrize("output_format", ["md", "csv", "latex", "json"])
def test_the_boards_go_into_a_file(bench: Command, finished: Path, tmp_path: Path, output_format: str) -> None:
    printed = leaderboard(bench, finished, "--format", output_format).out
    done = leaderboard(bench, finished, "--format", output_format, "--output", "deep/board.txt")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (tmp_path / "deep" / "board.txt").read_text() == printed


def test_boards_of_a_suite_of_one_s_own_need_its_file_and_say_so(bench: Command, finished: Path) -> None:
    done = bench("leaderboard", "--suite", "tiny", "--results", str(finished))
    assert (done.code, done.out) == (2, "")
    told = f"records of a suite 'tiny' lie in {finished / 'tiny'}: give the file that was run, --suite FILE.toml"
    assert done.err == f"fedsiege: no suite named 'tiny' is shipped; {told}\n"


# ----------------------------------------------------------------------------------------------------------------- show


def test_a_record_is_shown_to_a_person_and_to_a_program(bench: Command, finished: Path) -> None:
    for path in finished.rglob("*.json"):
        record = read(path)
        done = bench("show", str(path))
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"{record.cell.label} x {record.cell.column}, seed 0: ok\n")
        dumped = bench("show", str(path), "--json")
        assert json.loads(dumped.out) == json.loads(path.read_text())


def test_a_folder_of_records_is_told_with_an_example(bench: Command, finished: Path) -> None:
    done = bench("show", str(finished / "tiny"))
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    told, _, example = line.partition(": give a record's file, such as ")
    assert told == f"fedsiege: {finished / 'tiny'} is a folder"
    assert bench("show", example).code == 0


# ----------------------------------------------------------------------------------------------------------------- tune


def test_a_search_prints_its_trials(bench: Command) -> None:
    done = bench("tune", "--defense", "median", "--suite", "tiny.toml")
    assert (done.code, done.err) == (0, "")
    assert "2 trials" in done.out
    found = json.loads(bench("tune", "--defense", "median", "--suite", "tiny.toml", "--json").out)
    assert sorted(trial["lr"] for trial in found) == [0.1, 0.5]
    assert found[0]["validation_accuracy"] >= found[1]["validation_accuracy"]


def test_every_option_of_a_search_arrives(bench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def spy(*arguments: Any) -> list[Trial]:
        seen.extend(arguments)
        return [Trial({"lr": 1.0}, 0.5)]

    monkeypatch.setattr(tune, "search", spy)
    done = bench("tune", "--defense", "krum", "--suite", "mnist", "--set", "rounds=5", "--data", "there")
    assert done.code == 0
    assert seen == ["mnist", "krum", "there", ["rounds=5"], False]
    assert bench("tune", "--defense", "krum", "--worst-case").code == 0
    assert seen[-1] is True


# ------------------------------------------------------------------------------------------------------------ bad input


def test_boards_that_cannot_be_written_are_told_in_one_line(bench: Command, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    done = leaderboard(bench, finished, "--output", "taken")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == ["fedsiege: cannot write taken: Is a directory"]
    assert list((tmp_path / "taken").iterdir()) == []


def test_a_fault_in_a_process_of_its_own_is_the_same_line() -> None:
    """Nothing that a test process sets up hides a traceback."""
    command = [sys.executable, "-m", "bench", "list", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "fedsiege: no kind of thing to list named 'nothing': known are attacks, datasets, defenses, models, suites"
    ]
