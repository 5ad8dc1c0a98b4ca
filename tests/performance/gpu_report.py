"""The benchmarks on a GPU, beside the same on two cores of a CPU, as a table.

    pytest tests/performance -m performance --device cuda --benchmark-json=GPU.json  # results/perf/gpu.json, shortened
    pytest tests/performance -m performance --benchmark-json=CPU.json
    python tests/performance/gpu_report.py GPU.json CPU.json "NVIDIA H200" > results/perf/gpu.md

A benchmark that only one of the two has is shown with what there is.
"""

import json
import sys
from pathlib import Path
from typing import Any

LEFT_OUT = ("test_kernel", "test_digits_matrix", "test_list_starts", "test_a_batch_inverts")


def timed(path: str) -> dict[str, dict[str, Any]]:
    """The benchmarks of a pytest-benchmark report by name."""
    entries = json.loads(Path(path).read_text())["benchmarks"]
    return {entry["name"]: entry for entry in entries if not entry["name"].startswith(LEFT_OUT)}


def milliseconds(entry: dict[str, Any] | None) -> str:
    return "" if entry is None else f"{1e3 * entry['stats']['median']:.3g}"


def peak(entry: dict[str, Any]) -> str:
    found = entry["extra_info"].get("tracking", {}).get("peak_bytes")
    return "" if found is None else f"{found / 2**20:,.0f}"


def ratio(gpu: dict[str, Any], cpu: dict[str, Any] | None) -> str:
    return "" if cpu is None else f"{cpu['stats']['median'] / gpu['stats']['median']:.3g}"


def table(gpu: dict[str, dict[str, Any]], cpu: dict[str, dict[str, Any]]) -> str:
    lines = ["| benchmark | GPU, ms | two cores, ms | times as fast | peak on the GPU, MiB |", "|:--|--:|--:|--:|--:|"]
    for name, entry in gpu.items():
        shown = name.removeprefix("test_").replace("|", "\\|")
        other = cpu.get(name)
        lines.append(
            f"| {shown} | {milliseconds(entry)} | {milliseconds(other)} | {ratio(entry, other)} | {peak(entry)} |"
        )
    return "\n".join(lines)


def main(gpu_path: str, cpu_path: str, name: str) -> str:
    text = (Path(__file__).parent / "gpu_report.md").read_text()
    return text.replace("{{gpu}}", name).replace("{{table}}", table(timed(gpu_path), timed(cpu_path)))


if __name__ == "__main__":
    print(main(*sys.argv[1:]), end="")
