"""The process of its own: what a file does to it while it is imported, its limits, its network, its environment."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import suite
from bench.base.errors import BadInputError
from bench.submission import examination, guards, sandbox
from bench.submission.examination import Terms, examined, inspected
from bench.submission.package import Entry, Source, read_source, standing_in
from bench.submission.sandbox import Bounds

pytestmark = pytest.mark.integration

BROKEN = Path(__file__).parent / "broken"
TERMS = Terms(suite.load("smoke"), {})


def source(name: str, wanted: str = "") -> Source:
    return read_source(str(BROKEN / f"{name}.py") + wanted)


@pytest.mark.usefixtures("_interpreters")
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("raises_at_import", "its import raised RuntimeError: no license file found"),
        ("exits_at_import", "its process ended with exit code 0 before it was done, during its import"),
        ("opens_a_connection", "its import raised PermissionError: a submission has no network"),
    ],
)
def test_what_goes_wrong_at_import_is_one_sentence(file: str, words: str) -> None:
    with pytest.raises(BadInputError) as told:
        inspected(source(file), TERMS)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("inspected_here")
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("no_defense", "it has no Defense or Attack"),
        ("two_defenses", r"it has several defenses or attacks (One, Other): say which one with FILE.py:Class"),
    ],
)
def test_a_file_without_its_one_class_is_one_sentence(file: str, words: str) -> None:
    with pytest.raises(BadInputError) as told:
        inspected(source(file), TERMS)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.slow
def test_an_import_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "IMPORT_BOUNDS", Bounds(15, 2048))
    started = time.monotonic()
    with pytest.raises(BadInputError, match="it was not done after 15 seconds, during its import"):
        inspected(source("never_imported"), TERMS)
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("_interpreters")
def test_an_import_that_fills_the_memory_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "IMPORT_BOUNDS", Bounds(60, 1024))
    with pytest.raises(BadInputError, match="MiB of memory, more than the 1024 that it may, during its import"):
        inspected(source("memory_hog"), TERMS)


@pytest.mark.usefixtures("inspected_here")
def test_a_class_can_be_named() -> None:
    _, entry = inspected(source("two_defenses", ":Other"), TERMS)
    assert entry == Entry("defense", "two_defenses", "Other")
    with pytest.raises(BadInputError, match="no defense or attack named Third"):
        inspected(source("two_defenses", ":Third"), TERMS)


def test_what_differs_between_two_processes_is_told() -> None:
    seen, entry = inspected(source("by_hash"), TERMS)
    told: list[str] = []
    found = examined(source("by_hash"), entry, seen, TERMS, None, told.append)
    words = "another process gives another model for the same seed"
    assert any(words in finding.sentence for finding in found.broken)
    assert any(line.startswith("  BROKEN") and words in line for line in told)


@pytest.mark.usefixtures("_interpreters")
def test_all_that_a_process_started_ends_with_it(tmp_path: Path) -> None:
    file = tmp_path / "lingers.py"
    seconds = f"600.{os.getpid()}"
    file.write_text(f"import subprocess\nsubprocess.Popen(['sleep', '{seconds}'])\n")
    with pytest.raises(BadInputError, match="its import raised PermissionError"):
        inspected(read_source(str(file)), TERMS)
    ends = time.monotonic() + 20
    while seconds in commands() and time.monotonic() < ends:
        time.sleep(0.1)  # a killed process leaves as soon as it is scheduled
    assert sys.executable in commands()
    assert seconds not in commands()


def commands() -> str:
    """The command lines of all processes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((process / "cmdline").read_text().replace("\0", " "))
    return "\n".join(found)


def test_the_network_is_gone_where_that_is_guaranteed() -> None:
    code = (
        "from bench.submission.guards import leave_network\n"
        "print(leave_network())\n"
        "print(sorted(line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:]))\n"
        "import os; print(os.getuid())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=sandbox.ROOT)
    guarantee, interfaces, user = done.stdout.splitlines()
    assert guarantee.startswith(("none: an empty network namespace", "refused to Python's sockets only"))
    assert (interfaces == "['lo']") or guarantee.startswith("refused")
    assert int(user) == os.getuid()


def test_secrets_of_the_environment_stay_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = sandbox._environment([tmp_path], "7")
    assert "secret" not in found.values()
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["PYTHONPATH"].startswith(str(tmp_path))


def test_an_audit_hook_tells_unix_sockets_from_the_network() -> None:
    unix, internet = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET)
    with unix, internet:
        assert guards._is_local((unix, "/tmp/x"))
        assert not guards._is_local((internet, ("192.0.2.1", 80)))
    assert not guards._is_local(("example.org", 80))


# ----------------------------------------------------------------------------------------------------- the package


def test_an_installed_package_is_found_by_every_process() -> None:
    """A real distribution on the path, with the entry point that any third party's package has."""
    code = (
        "from bench import registry\n"
        "print('two_defenses' in registry.names('defense'), registry.get('defense', 'two_defenses').name)\n"
        "import sys; from bench.cli import main; sys.argv = ['fedsiege', 'list', 'defenses']; main()"
    )
    theirs = source("two_defenses")
    seen, entry = inspected(source("two_defenses", ":Other"), TERMS)
    with standing_in(theirs, entry, examination.facts_of(seen)) as folder:
        environment = {**sandbox._environment([folder], "0")}
        run: dict[str, Any] = {"capture_output": True, "text": True, "check": True, "env": environment}
        first, listed = subprocess.run([sys.executable, "-c", code], **run).stdout.split("\n", 1)
        assert first == "True two_defenses"
        assert "two_defenses" in listed
    assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent.py", "cannot read"),
        ("README.md", "is not a Python file"),
        ("my-rule.py", "could be imported"),
        ("absent.py:Class", "cannot read"),
        ("x.py:1:Class", "is not a Python file"),
    ],
)
def test_what_is_no_source_is_one_line(name: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read_source(name)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("b'x' * 1000", "it said more than a job has to say"),
        ("b'[1]\\n'", "it said what no job says"),
        ("b'\\xff\\n'", "it said what no job says"),
        ("b'{\"event\": 3}\\n'", "it said what no job says"),
        ('b\'{"event": "begin"}\\n\' * 1000', "it said more than a job has to say"),
    ],
)
def test_what_a_process_says_is_bounded_and_read_with_care(
    says: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's own code is in the process that inspects it, and finds the pipe."""
    monkeypatch.setattr(sandbox, "LONGEST_LINE", 500)
    monkeypatch.setattr(sandbox, "MOST_LINES", 500)
    done = listened(f"import os, sys, time; os.write(int(sys.argv[1]), {says}); time.sleep(60)", Bounds(50, 4096))
    assert done.broken == words


def test_lines_do_not_lengthen_the_time_of_what_tells_its_own() -> None:
    speaks = 'import os, sys, time\nwhile 1: os.write(int(sys.argv[1]), b\'{"event": "begin"}\\n\'); time.sleep(0.2)'
    done = listened(speaks, Bounds(2, 4096, whole=True))
    assert done.broken == "it was not done after 2 seconds"
    assert examination.IMPORT_BOUNDS.whole


def listened(code: str, bounds: Bounds) -> sandbox.Finished:
    """What is heard of a process that is told where to speak."""
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code, str(writer)], pass_fds=[writer], start_new_session=True)
    os.close(writer)
    try:
        return sandbox._listen(process, reader, bounds, lambda event: None)
    finally:
        sandbox._end(process)
        os.close(reader)


@pytest.mark.usefixtures("inspected_here")
@pytest.mark.parametrize(("root", "found"), [("torch.sqrt", ["torch.sqrt"]), ("elementary.sqrt", [])])
def test_a_root_that_depends_on_the_processor_is_found(root: str, found: list[str], tmp_path: Path) -> None:
    file = tmp_path / "rooted.py"
    file.write_text(
        "import torch\nfrom bench import elementary\nfrom bench.protocol import Defense\n\n"
        "class Rooted(Defense):\n    def aggregate(self, delivered, server):\n"
        f"        return server.global_model + {root}(delivered.messages.square()).mean(dim=0)\n"
    )
    seen, _ = inspected(read_source(str(file)), TERMS)
    assert (seen.last("unportable") or {})["operations"] == found


def test_it_is_said_what_takes_the_place_of_such_a_root() -> None:
    finding = examination._unportable(["torch.sqrt"])
    told = "its numbers depend on the processor (torch.sqrt): use bench.elementary"
    assert (finding.verdict, finding.sentence.startswith(told)) == ("failed", True)
