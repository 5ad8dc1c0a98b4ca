"""Other systems: what they lack is refused in one line or done without; what is tested is named alike everywhere."""

import ast
import ctypes
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import bench as package
from bench.base import memory, systems
from bench.base.errors import BadInputError
from bench.perf.peak import peak_bytes
from bench.records import provenance as records
from bench.records.submissions import Examination
from bench.runs import runner
from bench.runs.workers import Limits
from bench.submission import guards, sandbox, submit
from bench.submission.package import Entry
from bench.submission.sandbox import Finished

ROOT = Path(__file__).parents[3]
PHOCAS = ROOT / "docs" / "examples" / "phocas.py"

Bench = Callable[..., Any]


@pytest.fixture
def _no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pathlib` finds under /proc on a system that has none, in this process."""

    def without(name: str, absent: Callable[[Path], Any]) -> None:
        real = getattr(Path, name)

        def called(path: Path, *arguments: Any, **given: Any) -> Any:
            return absent(path) if path.is_relative_to("/proc") else real(path, *arguments, **given)

        monkeypatch.setattr(Path, name, called)

    def missing(path: Path) -> Any:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    def nothing(path: Path) -> Iterator[Path]:
        return iter(())

    without("exists", lambda path: False)
    without("glob", nothing)
    without("read_text", missing)
    without("write_text", missing)


@pytest.fixture
def _not_linux(monkeypatch: pytest.MonkeyPatch, _no_proc: None) -> None:
    """No /proc, no affinity of processes, no glibc, another name."""
    real = ctypes.CDLL

    def library(name: str | None, *arguments: Any, **given: Any) -> Any:
        if name == "libc.so.6":
            raise OSError("libc.so.6: cannot open shared object file")
        return real(name, *arguments, **given)

    monkeypatch.setattr(ctypes, "CDLL", library)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)


@pytest.mark.usefixtures("_not_linux")
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (systems.tells_memory, False),
        (memory.keep_freed_memory.__wrapped__, False),
        (lambda: peak_bytes(lambda: None), None),
        (lambda: sandbox._held(os.getpid()), 0),
        (lambda: runner.default_workers() >= 1, True),
        (lambda: bool(records._cpu_model()), True),
        (lambda: guards.leave_network().startswith("refused to Python's sockets only"), True),
        (systems.check, None),
    ],
)
def test_what_linux_alone_has_is_done_without(what: Callable[[], object], expected: object) -> None:
    assert what() == expected


@pytest.mark.usefixtures("_not_linux")
def test_a_limit_of_memory_that_nobody_can_keep_is_refused(bench: Bench, tmp_path: Path, suite_text: str) -> None:
    (tmp_path / "tiny.toml").write_text(suite_text)
    run = ("run", "--suite", "tiny.toml", "--defense", "median", "--attack", "clean", "--workers", "1", "--quiet")
    done = bench(*run, "--cell-memory", "500")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line == "fedsiege: --cell-memory 500 needs /proc, where Linux tells a process's memory"
    assert bench(*run).code == 0


def test_here_it_is_kept() -> None:
    assert systems.tells_memory() == Path("/proc/self/statm").exists()
    if systems.tells_memory():
        Limits(mebibytes=500).check()


@pytest.mark.usefixtures("_no_proc")
def test_a_submission_runs_without_the_limit_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suite_text: str
) -> None:
    jobs: list[Any] = []

    def call(job: Any, *arguments: Any, **given: Any) -> Finished:
        jobs.append(job)
        return Finished([{"event": "ran", "ran": 0, "unfinished": []}, {"event": "end"}], None)

    seen = [{"event": "entry", "parameters": [], "forges": False}, {"event": "facts", "value": {}}]
    monkeypatch.setattr(submit, "inspected", lambda *_: (Finished(seen, None), Entry("defense", "phocas", "Phocas")))
    monkeypatch.setattr(submit, "examined", lambda *_: Examination(sha256="0" * 64, network="none", findings=[]))
    monkeypatch.setattr(sandbox, "call", call)
    (tmp_path / "tiny.toml").write_text(suite_text)
    request = submit.Request(str(PHOCAS), str(tmp_path / "tiny.toml"), tmp_path / "results")
    told: list[str] = []
    with pytest.raises(BadInputError, match="no records in"):  # the process that would have made some is not there
        submit.submit(request, told.append)
    assert [job["cell_memory"] for job in jobs] == [None]
    assert any(line.startswith("memory: not limited, since this system has no /proc") for line in told)


def test_windows_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    done = bench("list")
    assert (done.code, done.out) == (2, "")
    assert (
        done.err == "fedsiege: Windows is not supported: use Linux in WSL 2 (`wsl --install`), where all of it runs\n"
    )
    with pytest.raises(BadInputError, match="Windows is not supported"):
        package.run  # noqa: B018


def test_that_line_is_reached_without_what_windows_lacks() -> None:
    code = (
        "import sys\n"
        "for name in ('fcntl', 'pwd', 'grp', 'resource', 'termios'): sys.modules[name] = None\n"
        "sys.argv = ['fedsiege', 'list']\n"
        "from bench.cli import main\n"
        "sys.platform = 'win32'\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "Windows is not supported" in done.stderr


# ------------------------------------------------------------------------------------------------------------- versions


def test_classifiers_and_workflows_name_the_same_python_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    used = {
        str(step["with"]["python-version"])
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/setup-python")
    }
    assert used == set(named)
    assert project["requires-python"] == f">={min(named, key=lambda version: int(version.split('.')[1]))}"


# ------------------------------------------------------------------------------------------------------------ encodings


@pytest.mark.parametrize("folder", ["bench", "attacks", "defenses", "leaderboards"])
def test_no_file_is_read_or_written_in_the_system_s_encoding(folder: str) -> None:
    """Which is not UTF-8 everywhere: every call that opens a text names its encoding."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(call, ast.Call) and opens_a_text(call) and not names_an_encoding(call):
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert found == []


def opens_a_text(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if name in ("read_text", "write_text"):
        return isinstance(call.func, ast.Attribute) and owner != "jobs"
    modes = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    if name in ("open", "fdopen", "NamedTemporaryFile"):
        return owner not in ("Image", "os", "webbrowser") and any(re.fullmatch(r"[rwax]\+?", mode) for mode in modes)
    return name == "run" and owner == "subprocess" and any(one.arg == "text" for one in call.keywords)


def names_an_encoding(call: ast.Call) -> bool:
    return any(one.arg == "encoding" for one in call.keywords)
