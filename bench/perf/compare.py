"""A run against an older one, benchmark by benchmark."""

from dataclasses import dataclass
from typing import Any

from bench.perf.history import Entry, Figure
from bench.perf.statistics import Spread, Verdict, ratio, verdict


@dataclass(frozen=True)
class Comparison:
    """One benchmark: new over base with its interval, the verdict, and both figures."""

    name: str
    found: Spread
    verdict: Verdict
    new: Figure
    base: Figure

    @property
    def memory(self) -> float | None:
        """Peak memory, new over base."""
        if not self.new.peak_bytes or not self.base.peak_bytes:
            return None
        return self.new.peak_bytes / self.base.peak_bytes

    def as_dict(self) -> dict[str, Any]:
        return {
            "benchmark": self.name,
            "verdict": self.verdict,
            "ratio": self.found.middle,
            "low": self.found.low,
            "high": self.found.high,
            "memory_ratio": self.memory,
        }


@dataclass(frozen=True)
class Comparisons:
    """All benchmarks that two runs share, and which only one of them has."""

    run: Entry
    base: Entry
    threshold: float
    rows: list[Comparison]
    added: list[str]
    gone: list[str]

    @property
    def same_machine(self) -> bool:
        return self.run.machine_class == self.base.machine_class

    @property
    def slower(self) -> list[str]:
        return [row.name for row in self.rows if row.verdict == "slower"]


def compare(run: Entry, base: Entry, threshold: float) -> Comparisons:
    """Judge every benchmark of `run` that `base` has under the same normaliser."""
    shared = {
        name: (figure, base.benchmarks[name])
        for name, figure in run.benchmarks.items()
        if name in base.benchmarks and base.benchmarks[name].normaliser == figure.normaliser
    }
    rows = []
    for name, (new, old) in shared.items():
        result = ratio(new.spread, old.spread)
        rows.append(Comparison(name, result, verdict(result, threshold), new, old))
    return Comparisons(
        run=run,
        base=base,
        threshold=threshold,
        rows=rows,
        added=[name for name in run.benchmarks if name not in shared],
        gone=[] if run.quick else [name for name in base.benchmarks if name not in run.benchmarks],
    )
