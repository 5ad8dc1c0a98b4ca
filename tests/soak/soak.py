"""The soak: random cells through the real command line, faults at random moments, and a comparison at the end of each.

    python -m tests.soak.soak --work FOLDER [--minutes 30] [--seed 0] [--records 200] [--report FOLDER]

Suites of 200 cells in all are drawn from the seed and run once undisturbed. Then, as long as the minutes last, one
suite after the other runs in an empty folder while faults strike; after each fault the same command is started again.
Once a suite is complete, its records and pictures are compared with those of the undisturbed run, byte for byte but for
times. Killed itself, the soak goes on where it was when it is started again with the same folder and seed. Exit code 1
where anything differs or is not as it should be.
"""

import argparse
import json
import random
import re
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bench
from bench.base.errors import BadInputError
from bench.records import ASIDE, environment, read
from tests.soak.faults import FAULTS, WORKERS, Blow, kill_driver
from tests.soak.report import write_report
from tests.soak.runs import ROOT, Place, Run
from tests.soak.suites import Drawn, draw

PACKAGE = Path(bench.__file__).parent

TIMES = re.compile(rb'"(?:finished_at|round_seconds|total_seconds)": [^\n]*')
"""What of a record hangs on when it was made."""

MOST_FAULTS = 8
"""Strikes on one suite before it may finish undisturbed."""


@dataclass
class State:
    """What the soak has done so far; a file of the work folder."""

    seed: int
    seconds: float = 0.0
    turns: int = 0  # suites that were run under faults and compared
    starts: int = 0  # of the command line under faults
    faults: Counter[str] = field(default_factory=Counter)
    records: int = 0
    pictures: int = 0
    excused: Counter[str] = field(default_factory=Counter)  # cells that a fault made fail, as documented, by reason
    set_aside: int = 0
    differences: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "faults": dict(self.faults), "excused": dict(self.excused)}

    @classmethod
    def of(cls, path: Path, seed: int) -> "State":
        """The state in the file; a new one where there is none."""
        if not path.exists():
            return cls(seed)
        found = json.loads(path.read_text())
        if found["seed"] != seed:
            raise SystemExit(f"{path.parent} holds a soak with --seed {found['seed']}; give another --work")
        return cls(**{**found, "faults": Counter(found["faults"]), "excused": Counter(found["excused"])})


class Soak:
    """The work folder, the suites in it, and the state."""

    def __init__(self, work: Path, report: Path, seed: int, minutes: float, records: int) -> None:
        self.work, self.report, self.minutes = work, report, minutes
        work.mkdir(parents=True, exist_ok=True)
        self.state = State.of(work / "state.json", seed)
        scratch = work / "scratch"
        scratch.mkdir(exist_ok=True)
        self.suites = draw(seed, records, scratch)
        for suite in self.suites:
            (work / f"{suite.name}.toml").write_text(suite.text)

    def play(self) -> bool:
        """The whole soak; whether nothing was wrong."""
        began = time.time()
        for suite in self.suites:
            self._undisturbed(Place(self.work / f"{suite.name}.toml", self.work / "calm"))
        self._say(f"undisturbed: {time.time() - began:.0f} s, {sum(suite.records for suite in self.suites)} records")
        while not self._is_over():
            self._turn(self.suites[self.state.turns % len(self.suites)])
            self._save()
        self._save()
        return not (self.state.differences or self.state.wrong)

    def _undisturbed(self, place: Place) -> None:
        """Complete the suite; one worker, no faults."""
        place.results.mkdir(exist_ok=True)
        ended = Run(place, "--workers", "1").ended()
        if ended.code not in (0, 1):
            raise SystemExit(f"{place.suite} does not run undisturbed: {ended.err}")

    def _turn(self, suite: Drawn) -> None:
        """One suite in an empty folder, under faults until it is complete, and its comparison."""
        place = Place(self.work / f"{suite.name}.toml", self.work / f"turn{self.state.turns}")
        calm = Place(place.suite, self.work / "calm")
        shutil.rmtree(place.results, ignore_errors=True)  # where the soak was killed itself, the turn begins again
        place.results.mkdir()
        source = random.Random(f"{self.state.seed} {self.state.turns} {self.state.starts}")
        damaged: dict[str, bytes] = {}
        for count in range(MOST_FAULTS):
            if self._is_over() or len(place.records()) == len(calm.records()):
                break
            fault = kill_driver if not count else source.choices(list(FAULTS), list(FAULTS.values()))[0]
            before = _contents(place)
            since = time.time()
            blow = fault(place, source)
            self.state.starts += 1
            damaged |= blow.damaged
            self._check(f"{suite.name}, turn {self.state.turns}, {fault.__name__}", place, blow, before, damaged)
            self._excuse(place, blow, calm)
            self.state.seconds += time.time() - since
            self._save()
        since = time.time()
        blow = Blow()
        blow.expect_end(Run(place, *WORKERS).ended(), 0, 1)
        self.state.wrong += blow.wrong
        self._compare(place, calm, damaged)
        self.state.seconds += time.time() - since
        self.state.turns += 1
        self._say(f"turn {self.state.turns}: {suite.name}, {sum(self.state.faults.values())} faults so far")

    def _check(self, where: str, place: Place, blow: Blow, before: dict[str, bytes], damaged: dict[str, bytes]) -> None:
        """Nothing that was there is lost, and whatever is there is whole."""
        self.state.faults += blow.counts
        after = _contents(place)
        for name, content in before.items():
            blow.expect(name in damaged or after.get(name) == content, f"{name} was there and is lost or changed")
        for name, path in place.records().items():
            if name.endswith(".json") and name not in damaged:
                try:
                    read(path)
                except BadInputError as error:
                    blow.wrong.append(str(error))
        self.state.wrong += [f"{where}: {told}" for told in blow.wrong]

    def _excuse(self, place: Place, blow: Blow, calm: Place) -> None:
        """Remove the records of cells that the fault made fail, as documented, so that they run again."""
        if blow.excuse is None:
            return
        for name, path in place.records().items():
            if not name.endswith(".json"):
                continue
            content = json.loads(path.read_text())
            if content["status"] == "failed" and blow.excuse.fullmatch(content["error"]):
                self.state.excused[re.sub(r"[\d.]+", "N", content["error"])] += 1
                path.unlink()

    def _compare(self, place: Place, calm: Place, damaged: dict[str, bytes]) -> None:
        """Both folders hold the same files with the same content but for times, and beside them nothing."""
        expected, found = _contents(calm), _contents(place)
        for name in sorted({*expected, *found}):
            one, other = (TIMES.sub(b"", side.get(name, b"missing")) for side in (expected, found))
            if one != other:
                self.state.differences.append(f"{place.results.name}/{place.folder.name}/{name}")
        self.state.records += sum(name.endswith(".json") for name in expected)
        self.state.pictures += sum(name.endswith(".png") for name in expected)
        aside = [path for path in place.folder.rglob(f"*{ASIDE}*") if path.is_file()]
        self.state.set_aside += len(aside)
        if sorted(path.read_bytes() for path in aside) != sorted(damaged.values()):
            self.state.wrong.append(f"{place.folder}: {len(aside)} files set aside, {len(damaged)} were damaged")
        hidden = [path.name for path in place.folder.rglob(".*")]
        if hidden:
            self.state.wrong.append(f"{place.folder}: left behind: {', '.join(hidden)}")
        same = not self.state.differences and not self.state.wrong
        if same:  # what differs is kept to be looked at
            shutil.rmtree(place.results)

    def _is_over(self) -> bool:
        return self.state.seconds >= 60 * self.minutes

    def _save(self) -> None:
        path = self.work / "state.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(self.state.as_dict(), indent=1))
        new.replace(path)
        write_report(self.report, self._facts())

    def _facts(self) -> dict[str, Any]:
        suites = self.suites
        return {
            "seed": self.state.seed,
            "environment": environment("cpu", 1).model_dump(),
            "package": str(PACKAGE),
            "minutes": round(self.state.seconds / 60, 1),
            "suites": len(suites),
            "cells": sum(suite.records for suite in suites),
            "undisturbed": dict(Counter(json.loads(path.read_text())["status"] for path in self._calm_records())),
            "defenses": sorted({name for suite in suites for name in suite.defenses}),
            "attacks": sorted({name for suite in suites for name in suite.attacks}),
            **self.state.as_dict(),
        }

    def _calm_records(self) -> list[Path]:
        return sorted((self.work / "calm").glob("*/*/*/*.json"))

    def _say(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _contents(place: Place) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in place.records().items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, required=True, help="folder of suites, records and the state")
    parser.add_argument("--minutes", type=float, default=30.0, help="of runs under faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--records", type=int, default=200, help="cells drawn, at least")
    parser.add_argument("--report", type=Path, help="folder of README.md and soak.json; WORK/report by default")
    given = parser.parse_args()
    if PACKAGE.parent != ROOT:
        raise SystemExit(f"the package at hand is {PACKAGE}, but the runs take that of {ROOT}: set PYTHONPATH={ROOT}")
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job ignores Ctrl-C, and its children
    work = given.work.absolute()
    soak = Soak(work, given.report or work / "report", given.seed, given.minutes, given.records)
    raise SystemExit(0 if soak.play() else 1)


if __name__ == "__main__":
    main()
