"""Where there are no walls, submitted code is looked at only once somebody has said that it is trusted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import BadInputError
from bench.submission.examination import Terms, inspected
from bench.submission.package import read_source
from bench.submission.referee import walls
from bench.suite import load

PHOCAS = Path(__file__).parents[4] / "docs" / "examples" / "phocas.py"


@pytest.fixture
def _no_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walls, "available", lambda: False)
    monkeypatch.delenv(walls.TRUST, raising=False)


@pytest.mark.usefixtures("_no_walls")
def test_without_walls_a_file_is_refused_before_it_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    file = tmp_path / "rule.py"
    file.write_text(f"open({str(mark)!r}, 'w')\n")
    with pytest.raises(BadInputError, match="nothing holds submitted code back here"):
        inspected(read_source(str(file)), Terms(load("smoke"), {}))
    assert not mark.exists()


@pytest.mark.usefixtures("_no_walls")
def test_a_trusted_file_runs_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(walls.TRUST, "1")
    _, entry = inspected(read_source(str(PHOCAS)), Terms(load("smoke"), {}))
    assert entry.name == "phocas"
    assert walls.prefix() == []


@pytest.mark.usefixtures("_no_walls")
@pytest.mark.parametrize("command", ["submit", "verify"])
def test_trust_is_an_option_and_the_refusal_names_it(
    command: str, bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(walls.TRUST, "")  # put back afterwards
    refused = bench("submit", str(PHOCAS), "--suite", "smoke", "--check-only")
    assert (refused.code, "or read the file and add --trust" in refused.err) == (2, True)
    assert bench(command, "absent.py", "--trust").code == 2
    walls.require()


def test_the_code_is_seen_and_what_lies_beside_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walls, "available", lambda: True)
    words = walls.prefix([PHOCAS], [Path("/usr")])
    bound = [words[place + 1] for place, word in enumerate(words) if word == "--ro-bind"]
    emptied = [words[place + 1] for place, word in enumerate(words) if word == "--tmpfs"]
    assert str(walls.ROOT / "bench") in bound
    assert str(PHOCAS) in bound
    assert "/usr" in emptied
    assert not {"/", "/home", "/root", "/work", "/opt", str(walls.ROOT)} & set(bound)
    assert not any(str(walls.ROOT / name) in bound for name in ("results", "tests", ".git"))
    assert "--unshare-all" in words


def test_packages_of_the_user_and_of_a_pth_file_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(walls, "available", lambda: True)
    (own := tmp_path / "lib" / "site-packages").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(own))
    words = walls.prefix()
    bound = [words[place + 1] for place, word in enumerate(words) if word == "--ro-bind"]
    assert str(own) in bound
    assert str(tmp_path) not in bound
