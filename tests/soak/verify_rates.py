"""False alarms and power of `verify` on another arithmetic: published rows as they are, and forged ones.

    python -m tests.soak.verify_rates --suite digits [--row dpbfl ...] [--points 0.02] [--sample 200] --report FILE.json

`verify` plays under the oldest instructions that each library has, as `.ci/run` plays its second pass. An honest row is
the published one. A forged row has the same files, with POINTS more accuracy in every training, in the last half of its
curve alone, which is what a careful forger would change: the first half is compared to the image.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

OLDEST = {
    "FEDSIEGE_ARITHMETIC": "native",
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": (
        "X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
    ),
}
"""As `.ci/run` has them."""

ANSWERS = ("bit_for_bit", "in_distribution", "cannot_tell", "refuted")


def forge(record: dict[str, Any], points: float) -> dict[str, Any]:
    """The record with `points` more accuracy in the last half of its curve; as it was where it has none."""
    if not record.get("curve") or record.get("status") != "ok":
        return record
    half = len(record["curve"]) // 2
    late = [[at, round(min(1.0, value + points), 4)] for at, value in record["curve"][half:]]
    accuracy = min(1.0, record["metrics"]["accuracy"] + points)
    return record | {
        "curve": record["curve"][:half] + late,
        "metrics": record["metrics"] | {"accuracy": accuracy},
    }


def copy_row(row: Path, to: Path, points: float) -> None:
    """The row's files under `to`, forged unless points is 0."""
    shutil.copytree(row, to)
    for path in to.glob("*/*.json") if points else ():
        path.write_text(json.dumps(forge(json.loads(path.read_text()), points), indent=1))


def judge(folder: Path, sample: int) -> dict[str, Any]:
    """What `verify` answers about the one row in the folder, played under the oldest instructions."""
    command = [sys.executable, "-m", "bench", "verify", str(folder), "--sample", str(sample), "--seed", "0", "--json"]
    done = subprocess.run(command, env={**os.environ, **OLDEST}, cwd=ROOT, capture_output=True, text=True, check=False)
    if not done.stdout.startswith("{"):
        raise SystemExit(f"verify printed no JSON, and exited with {done.returncode}: {done.stderr[-500:]}")
    [row] = json.loads(done.stdout)["rows"]
    return {name: row[name] for name in ("replayed", *ANSWERS, "verdict", "problems")} | {"exit": done.returncode}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="digits")
    parser.add_argument("--row", nargs="+", default=["fedavg", "median", "krum", "rsa", "dpbfl"])
    parser.add_argument("--points", type=float, default=0.02)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--report", type=Path, required=True)
    given = parser.parse_args()
    found = json.loads(given.report.read_text()) if given.report.exists() else {}
    for name in given.row:
        for points in (0.0, given.points):
            key = f"{given.suite}/{name}, {'as published' if not points else f'{100 * points:g} points more'}"
            if key in found:
                continue
            with tempfile.TemporaryDirectory() as place:
                row = Path(place) / "results" / given.suite / name
                row.parent.mkdir(parents=True)
                copy_row(ROOT / "results" / given.suite / name, row, points)
                found[key] = judge(row, given.sample)
            given.report.write_text(json.dumps(found, indent=1))
            print(key, {answer: found[key][answer] for answer in ANSWERS}, flush=True)


if __name__ == "__main__":
    main()
