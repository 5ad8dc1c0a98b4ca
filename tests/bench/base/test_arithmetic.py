"""The arithmetic that a process computes in: chosen before libraries load, the same for all that it starts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.base import arithmetic
from bench.base.errors import BadInputError

SAYS = """
import json, os, sys
{before}
import bench
from bench.base import arithmetic
pins = {{name: os.environ.get(name) for name in arithmetic.PINS["portable"]}}
print(json.dumps([arithmetic.current(), arithmetic.is_too_late(), pins]))
"""
CAPABLE = pytest.mark.skipif(bool(arithmetic.lacking()), reason=f"the portable arithmetic needs {arithmetic.lacking()}")


@pytest.fixture(autouse=True)
def _same_environment_afterwards() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def says(before: str = "", **variables: str) -> tuple[str, bool, dict[str, str | None]]:
    """What a fresh process says of its arithmetic, where nothing of ours is set but `variables`."""
    ours = (arithmetic.VARIABLE, arithmetic.OURS, *arithmetic.PINS[arithmetic.PORTABLE])
    environment = {key: value for key, value in os.environ.items() if key not in ours} | variables
    done = subprocess.run(
        [sys.executable, "-c", SAYS.format(before=before)], env=environment, capture_output=True, text=True, check=True
    )
    name, late, pins = json.loads(done.stdout)
    return name, late, pins


@CAPABLE
def test_a_process_is_portable_without_a_word_and_has_loaded_nothing_yet() -> None:
    name, late, pins = says()
    assert (name, late) == ("portable", False)
    assert pins == arithmetic.PINS["portable"]


@CAPABLE
def test_portable_replaces_what_a_machine_sets_and_native_keeps_what_its_user_sets() -> None:
    assert says(OPENBLAS_CORETYPE="Zen")[2]["OPENBLAS_CORETYPE"] == "Haswell"
    name, _, pins = says(FEDSIEGE_ARITHMETIC="native", ATEN_CPU_CAPABILITY="default")
    assert name == "native"
    assert pins == {**dict.fromkeys(pins), "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "AUTO"}


@CAPABLE
def test_what_a_portable_parent_has_set_is_taken_back_by_a_native_child() -> None:
    inherited = {arithmetic.OURS: " ".join(arithmetic.PINS["portable"]), **arithmetic.PINS["portable"]}
    name, _, pins = says(FEDSIEGE_ARITHMETIC="native", **inherited)
    assert (name, pins["MKL_CBWR"], pins["ATEN_CPU_CAPABILITY"]) == ("native", "AUTO", None)


def test_a_library_that_was_there_first_makes_it_native_for_all_that_follows() -> None:
    name, late, pins = says("import numpy")
    assert (name, late) == ("native", True)
    assert pins == dict.fromkeys(pins)


def test_an_unknown_name_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match="no arithmetic named 'portabel': did you mean portable"):
        arithmetic.choose("portabel")


def test_a_change_after_torch_is_loaded_is_refused() -> None:
    other = next(name for name in arithmetic.ARITHMETICS if name != arithmetic.current())
    if other == arithmetic.PORTABLE and arithmetic.lacking():
        pytest.skip(arithmetic.lacking())
    with pytest.raises(BadInputError, match="numpy is loaded: set FEDSIEGE_ARITHMETIC"):
        arithmetic.choose(other)
    arithmetic.choose(arithmetic.current())


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "lacks"),
    [
        ("arm64", None, "an x86-64 processor, and this is arm64"),
        ("x86_64", None, "a system that tells its processor's instructions in /proc/cpuinfo"),
        ("x86_64", "flags : fpu sse2 avx\n", "a processor with avx2 and fma"),
        ("AMD64", "model name : x\nflags : fpu fma avx2\n", ""),
    ],
)
def test_what_a_machine_lacks_is_named(
    machine: str, cpuinfo: str | None, lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def text(path: Path, encoding: str) -> str:
        assert path == Path("/proc/cpuinfo")
        if cpuinfo is None:
            raise FileNotFoundError
        return cpuinfo

    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(Path, "read_text", text)
    assert arithmetic.lacking() == lacks
    if lacks:
        with pytest.raises(BadInputError, match="the portable arithmetic needs"):
            arithmetic.choose("portable")
