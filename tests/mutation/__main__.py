"""How many small faults in the mathematics do the tests notice? `python -m tests.mutation`, a nightly command.

Of each area it draws mutants (mutants.py) and runs the area's tests on each: first those of the module's own file,
then all. One is killed where a test fails or takes too long. The shares and the survivors go to results/mutation.json;
survivors that equivalent.toml names, each with the reason why it computes the same, do not count.
"""

import argparse
import contextlib
import importlib.abc
import json
import multiprocessing
import os
import random
import resource
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.mutation.mutants import Mutant, count, mutant

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
RESULT = ROOT / "results/mutation.json"
SECONDS, LONGEST = 240, 3600
"""Of processor time that a mutant's tests may take, each of the two times; of wall time, where they wait for ever."""

PRELOADED = ("torch", "scipy.stats", "sklearn.datasets", "hypothesis", "pydantic", "pytest", "pandas")
"""What takes long to import and is not ours: the processes that run tests are forked after it."""


@dataclass(frozen=True)
class Area:
    """Modules by glob, and the tests that are to notice a fault in them."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


AREAS = {
    "defenses": Area(
        ("defenses/*.py", "bench/rules/*.py"), ("tests/defenses", "tests/bench/rules", "tests/test_conformance.py")
    ),
    "attacks": Area(("attacks/*.py", "bench/attacking/*.py"), ("tests/attacks", "tests/bench/attacking")),
    "privacy": Area(("bench/privacy/**/*.py",), ("tests/bench/privacy", "tests/attacks/test_audit_attack.py")),
    "engine": Area(
        ("bench/federation/*.py", "bench/plays/*.py", "bench/models/*.py", "bench/data/partitions.py"),
        ("tests/bench/federation", "tests/bench/plays", "tests/bench/models", "tests/bench/data"),
    ),
    "boards": Area(
        ("leaderboards/*.py", "bench/records/comparison.py", "bench/records/distribution.py"),
        ("tests/leaderboards", "tests/bench/records"),
    ),
}


class Faulty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with its fault in it."""

    def __init__(self, chosen: Mutant) -> None:
        self._chosen, self._name = chosen, chosen.module.removesuffix(".py").replace("/", ".")

    def find_spec(
        self, name: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return ModuleSpec(name, self, origin=str(ROOT / self._chosen.module))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(ROOT / self._chosen.module)
        exec(compile(self._chosen.tree, module.__file__, "exec"), vars(module))


def drawn(area: Area, each: int, seed: int) -> list[Mutant]:
    """`each` mutants of the area, as the seed has it, from all of its modules alike."""
    sources = {name: (ROOT / name).read_text() for glob in area.modules for name in _names(glob)}
    places = [(name, number) for name, source in sources.items() for number in range(count(source))]
    chosen = random.Random(seed).sample(places, min(each, len(places)))
    return [mutant(name, sources[name], number) for name, number in sorted(chosen)]


def _names(glob: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(glob))


def is_killed(chosen: Mutant, area: Area) -> bool:
    """Whether a test fails, or does not end in time: those of the module's own file are asked first."""
    own = [
        str(path.relative_to(ROOT)) for tests in area.tests for path in (ROOT / tests).rglob(f"test_{_stem(chosen)}.py")
    ]
    return any(_fails(chosen, tests) for tests in (own, area.tests) if tests)


def _stem(chosen: Mutant) -> str:
    return Path(chosen.module).stem


def _fails(chosen: Mutant | None, tests: Sequence[str]) -> bool:
    process = multiprocessing.get_context("fork").Process(target=_run, args=(chosen, tests))
    process.start()
    process.join(LONGEST)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode != 0


def _run(chosen: Mutant | None, tests: Sequence[str]) -> None:
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    if chosen is not None:
        sys.meta_path.insert(0, Faulty(chosen))
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests])
    os._exit(int(code))


def main() -> int:
    """Exit code 1 where an area's tests fail without any fault, for then nothing can be told."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--area", action="append", choices=list(AREAS), help="by default all")
    parser.add_argument("--each", type=int, default=60, help="mutants of each area")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.dont_write_bytecode = True
    for name in PRELOADED:
        importlib.import_module(name)
    equivalent = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    found: dict[str, Any] = json.loads(options.output.read_text())["areas"] if options.output.exists() else {}
    for name in options.area or AREAS:
        area = AREAS[name]
        if _fails(None, area.tests):
            print(f"{name}: its tests fail without any fault", file=sys.stderr)
            return 1
        mutants = drawn(area, options.each, options.seed)
        survivors = []
        for chosen in mutants:
            killed = is_killed(chosen, area)
            survivors += [] if killed or chosen.name in equivalent else [f"line {chosen.line} of {chosen.name}"]
            print(f"{name}: {'killed' if killed else 'SURVIVES'}: {chosen.name}", flush=True)
        counted = len(mutants) - sum(chosen.name in equivalent for chosen in mutants)
        killed_share = round(1 - len(survivors) / max(1, counted), 3)
        found[name] = {"mutants": counted, "killed": killed_share, "seed": options.seed, "survivors": survivors}
        content = {"made": f"{datetime.now(UTC):%Y-%m-%d}", "goal": 0.95, "areas": found}
        options.output.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
