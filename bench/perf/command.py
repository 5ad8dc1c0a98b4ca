"""`python -m bench perf`: what the options ask for, in order: measure, compare, save, summarize, draw."""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.base import device as devices
from bench.base.errors import BadInputError
from bench.perf import history, plot, report
from bench.perf.accuracy import Check, check
from bench.perf.compare import Comparisons, compare
from bench.perf.history import Entry
from bench.perf.measure import measure
from bench.perf.options import NEWEST
from bench.runs.jobs import write_text


@dataclass(frozen=True)
class Request:
    """The options."""

    quick: bool
    save: bool
    base: str | None
    threshold: float
    plot: Path | None
    summary: Path | None
    benchmarks: Path
    history: Path
    passes: int
    accuracy: bool
    results: Path
    device: str = devices.CPU

    @property
    def asks_for_times(self) -> bool:
        return self.quick or self.save or self.base is not None or self.summary is not None

    @property
    def only_draws(self) -> bool:
        """`--plot` alone shows what is there and measures nothing."""
        return self.plot is not None and not self.asks_for_times


@dataclass
class Outcome:
    """What came of it."""

    run: Entry | None = None
    comparisons: Comparisons | None = None
    remarks: list[str] = field(default_factory=list)
    advisory: bool = False

    @property
    def failed(self) -> bool:
        """Whether a benchmark was slower; against another class of machine, only where the base was named."""
        return self.comparisons is not None and bool(self.comparisons.slower) and not self.advisory

    def as_dict(self) -> dict[str, Any]:
        result = self.comparisons
        return {
            "run": None if self.run is None else self.run.model_dump(mode="json"),
            "base": None if result is None else result.base.model_dump(mode="json"),
            "comparisons": None if result is None else [row.as_dict() for row in result.rows],
            "failed": self.failed,
            "notes": self.remarks if self.run is None else [*report.notes(self.run, result), *self.remarks],
        }

    def print(self) -> None:
        if self.run is not None:
            report.print_run(self.run, self.comparisons, self.remarks)
        else:
            for line in self.remarks:
                print(line)


def perform(request: Request, quiet: bool = False) -> Outcome | Check:
    """Do what the options ask for; `quiet` tells no progress."""
    if not request.accuracy:
        return track(request, quiet)
    if request.asks_for_times or request.plot is not None:
        raise BadInputError(
            "--accuracy checks numbers and measures nothing: no --quick, --save, --compare, --plot or --summary with it"
        )
    return check(request.results)


def track(request: Request, quiet: bool) -> Outcome:
    """Measure and what follows, or only draw."""
    outcome = Outcome()
    if not 0 < request.threshold < math.inf:
        raise BadInputError(f"--threshold is {request.threshold:g}, but must be above 0: 0.25 for 25 % slower")
    if not request.only_draws:
        _measure(request, outcome, quiet)
    if request.plot is not None:
        _draw(request.history, request.plot, outcome)
    return outcome


def _measure(request: Request, outcome: Outcome, quiet: bool) -> None:
    announce = (lambda line: None) if quiet else _announce
    run = measure(request.benchmarks, request.quick, request.passes, announce, devices.choose(request.device))
    outcome.run = run
    if request.base is not None:
        base = history.choose(request.base, request.history, run, outcome.remarks)
        if base is None:
            outcome.remarks.append(f"nothing to compare with: {request.history} has no comparable entry")
        else:
            outcome.comparisons = compare(run, base, request.threshold)
            outcome.advisory = request.base == NEWEST and not outcome.comparisons.same_machine
    if outcome.advisory:
        outcome.remarks.append("so nothing here counts as a failure; name the base to make it one")
    if request.save:
        history.append(request.history, run)
    if request.summary is not None:
        write_text(request.summary, report.markdown(run, outcome.comparisons, outcome.remarks))
    if request.save:
        outcome.remarks.append(f"saved: {request.history}")


def _draw(source: Path, picture: Path, outcome: Outcome) -> None:
    damaged: list[str] = []
    entries = history.read(source, damaged)
    if not entries:
        raise BadInputError(f"nothing to draw: {source} has no entries; --save adds one")
    plot.draw(entries, picture)
    outcome.remarks += [line for line in damaged if line not in outcome.remarks]
    outcome.remarks.append(f"drawn: {picture}")


def _announce(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
