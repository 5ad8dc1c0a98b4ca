"""The workloads of ByzPy's published benchmark on ByzFL, ByzPy and ours, in turns: a Markdown table and its JSON.

    python3 -m venv BYZFL && BYZFL/bin/pip install byzfl==0.0.11
    python3 -m venv BYZPY && BYZPY/bin/pip install byzpy==0.1.4
    python tests/performance/peers_comparison.py --byzfl BYZFL/bin/python --byzpy BYZPY/bin/python [--only mda]...
    python tests/performance/peers_comparison.py --byzfl ... --byzpy ... --growth [--only median]...

The peers are read as installed packages, each in an environment of its own. A measurement is a process of its own that
loads the rows, makes one call to warm up and times the next ones; the sides take turns. It is forked from one that has
imported the side's package, which takes seconds and is done once. What is measured again replaces what the JSON holds
of it, the rest stays, so that the whole can be run in pieces; a side that was stopped at the limit is not tried again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np
import torch
from peers_ours import like
from peers_report import page

from bench.records import environment, now

HERE = Path(__file__).parent
THREADS = 2
KEEP_FREED = {"MALLOC_MMAP_THRESHOLD_": 2**30, "MALLOC_TRIM_THRESHOLD_": 2**31 - 1, "MALLOC_TOP_PAD_": 2**26}
"""What `bench.base.memory` tells glibc before a cell is played, here for all sides alike."""

WIDE = {"n": 64, "d": 65536}
TABLE: dict[str, dict[str, Any]] = {
    "trimmed mean": {"work": "trimmed_mean", **WIDE, "f": 8, "goal": 4},
    "median": {"work": "median", **WIDE, "goal": 4},
    "meamed": {"work": "meamed", **WIDE, "f": 8, "goal": 3},
    "Multi-Krum": {"work": "multi_krum", "n": 80, "d": 65536, "f": 20, "selected": 12, "goal": 2.5},
    "geometric median": {"work": "geometric_median", **WIDE, "goal": 10},
    "centered clipping": {"work": "centered_clipping", **WIDE, "tau": 0.1, "steps": 10, "goal": 10},
    "MDA": {"work": "mda", "n": 30, "d": 2048, "f": 10, "goal": 50},
    "MDA, larger": {"work": "mda", "n": 100, "d": 2048, "f": 20, "sides": ["ours"], "within_ms": 50},
    "SMEA": {"work": "smea", "n": 16, "d": 4096, "f": 5, "goal": 10},
    "CAF": {"work": "caf", **WIDE, "f": 8, "goal": 6},
    "MoNNA": {"work": "monna", **WIDE, "f": 8, "goal": 4},
    "CGE": {"work": "cge", **WIDE, "f": 8, "goal": 8},
    "NNM": {"work": "nnm", "n": 196, "d": 4096, "f": 32, "goal": 1.6},
    "bucketing": {"work": "bucketing", "n": 512, "d": 16384, "size": 32, "goal": 4},
    "clipping": {"work": "clipping", "n": 256, "d": 65536, "bound": 2.0, "goal": 4},
    "ARC": {"work": "arc", "n": 256, "d": 65536, "f": 8, "goal": 3},
    "ALIE": {"work": "alie", "n": 96, "d": 65536, "f": 12, "z": 1.5, "goal": 8},
    "IPM": {"work": "ipm", **WIDE, "epsilon": 2.0, "goal": 3},
    "Gaussian": {"work": "gaussian", **WIDE, "goal": 4},
}
"""ByzPy's own sizes, and how many times as fast as the best peer we want to be."""

GROWING = ("trimmed_mean", "median", "meamed", "krum", "geometric_median", "monna", "cge")
SIZES = ((10, 1000), (100, 1000), (1000, 1000), (10_000, 1000), (100, 10_000), (100, 100_000), (100, 1_000_000))
GROWTH: dict[str, dict[str, Any]] = {
    f"{work} {n} x {d}": {"work": work, "n": n, "d": d, "f": n // 5, "sides": ["ours", "byzfl", "byzpy"]}
    for work in GROWING
    for n, d in SIZES
}
"""Each rule at n and d, f a fifth of n."""

SIDES = ("ours", "byzfl", "byzfl_numpy", "byzpy", "byzpy_pool")


def busy_seconds() -> float:
    """Processor seconds that the whole machine has spent so far (Linux)."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def await_quiet(patience: float) -> None:
    """Return as soon as the machine has been idle for half a second, or when patience ends."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = busy_seconds()
        time.sleep(0.5)
        if busy_seconds() - before < 0.1:
            return


class Library:
    """A process that has imported one side's package, and forks another one for each measurement."""

    def __init__(self, package: str, python: str) -> None:
        variables = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        variables |= {key: str(value) for key, value in KEEP_FREED.items()}
        variables["PYTHONPATH"] = str(HERE.parents[1]) if package == "ours" else ""
        command = [python, str(HERE / f"peers_{package}.py")]
        self.package = package
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables, cwd=HERE
        )

    def ask(self, told: dict[str, Any]) -> dict[str, Any]:
        """The answer of a process of its own, see `peers_timing.measured`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(told), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.package}: the process has ended, status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Libraries:
    """Those of all sides, each started when it is first asked; a context that ends them."""

    def __init__(self, pythons: dict[str, str]) -> None:
        self.pythons = pythons
        self.running: dict[str, Library] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for library in self.running.values():
            library.close()

    def play(self, side: str, told: dict[str, Any], patience: float) -> dict[str, Any]:
        """One measurement, begun on a quiet machine, and how many cores other processes used meanwhile.

        Seconds are None where the library has no such thing, failed or was stopped.
        """
        package = side.split("_")[0]
        library = self.running.get(package) or Library(package, self.pythons[package])
        self.running[package] = library
        await_quiet(patience)
        start, busy = time.monotonic(), busy_seconds()
        answer = library.ask({**told, "side": side})
        others = busy_seconds() - busy - answer["used"]
        return {**answer, "others": max(0.0, others / (time.monotonic() - start))}


def measure(
    case: dict[str, Any], libraries: Libraries, how: argparse.Namespace, over: dict[str, str]
) -> dict[str, Any]:
    """Every side's median seconds turn by turn, what went wrong, and how far its answer is from ours.

    The sides in `over` are left out: what they say there has been found before.
    """
    rows = torch.randn(case["n"], case["d"], generator=torch.Generator().manual_seed(0))
    sides = [side for side in SIDES if side in case.get("sides", SIDES) and side not in over]
    found: dict[str, Any] = {
        "case": case,
        "measured_at": now().isoformat(),
        "seconds": {},
        "fastest": {},
        "notes": dict(over),
        "others": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, rows.numpy())
        told = {"case": case, "rows": str(path), "answers": folder, "threads": THREADS}
        told |= {"repeats": how.repeats, "limit": how.limit}
        for _ in range(how.turns):
            for side in list(sides):
                answer = libraries.play(side, told, how.patience)
                found["others"].append(round(answer["others"], 2))
                if answer["seconds"] is None:
                    sides.remove(side)
                    found["notes"][side] = answer.get("failed") or (stopped(how) if "stopped" in answer else "none")
                    continue
                for kind in ("seconds", "fastest"):
                    found[kind].setdefault(side, []).append(answer[kind])
                found.setdefault("peak_bytes", {})[side] = answer["peak_bytes"]
                found.setdefault("versions", {})[side] = answer["versions"]
                if "stack_seconds" in answer:
                    found.setdefault("stack_seconds", []).append(answer["stack_seconds"])
        found["differences"] = dict(differences(case, sides, rows, Path(folder)))
    return found


def stopped(how: argparse.Namespace) -> str:
    """What is noted of a side that takes longer than the limit."""
    return f"over {how.limit:g} s"


def over_before(case: dict[str, Any], before: dict[str, Any], how: argparse.Namespace) -> dict[str, str]:
    """The sides that were stopped at this limit when the case was last measured: to see it once is enough."""
    if how.again or before.get("case") != case:
        return {}
    return {side: note for side, note in before["notes"].items() if note == stopped(how)}


def differences(case: dict[str, Any], sides: list[str], rows: torch.Tensor, folder: Path) -> Iterable[tuple[str, Any]]:
    """By side: its answer's largest difference from ours by its definition, over our largest entry; or a reason."""
    torch.set_num_threads(THREADS)
    for side in sides:
        if side != "ours":
            ours = like(case, side, rows)
            if isinstance(ours, torch.Tensor):
                theirs = torch.from_numpy(np.load(folder / f"{side}.npy"))
                yield side, float((theirs - ours).abs().max() / ours.abs().max())
            else:
                yield side, ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--byzfl", required=True, help="the python of an environment with byzfl")
    parser.add_argument("--byzpy", required=True, help="the python of an environment with byzpy")
    parser.add_argument("--only", action="append", default=[], help="workloads whose titles begin so")
    parser.add_argument("--growth", action="store_true", help="cost over n and d instead of the table")
    parser.add_argument("--patience", type=float, default=0.0, help="seconds to wait for an idle machine before each")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds after which a process is stopped")
    parser.add_argument("--again", action="store_true", help="try also what was stopped at the limit before")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "results" / "perf")
    options = parser.parse_args()
    store = options.output / "peers.json"
    found: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {"table": {}, "growth": {}}
    part, cases = ("growth", GROWTH) if options.growth else ("table", TABLE)
    with Libraries({"ours": sys.executable, "byzfl": options.byzfl, "byzpy": options.byzpy}) as libraries:
        for title, case in cases.items():
            if options.only and not any(title.startswith(start) for start in options.only):
                continue
            over = over_before(case, found[part].get(title, {}), options)
            found[part][title] = measure(case, libraries, options, over)
            seconds = {side: round(1e3 * median(times), 2) for side, times in found[part][title]["seconds"].items()}
            print(title, seconds, found[part][title]["notes"], found[part][title]["differences"], flush=True)
            found |= {"machine": environment("cpu", THREADS).model_dump(mode="json")}
            found |= {"turns": options.turns, "repeats": options.repeats}
            options.output.mkdir(parents=True, exist_ok=True)
            store.write_text(json.dumps(found, indent=1) + "\n")
            (options.output / "peers.md").write_text(page(found, TABLE, GROWING, SIZES))


if __name__ == "__main__":
    main()
