"""Issue by issue number: what a run of the benchmarks and the comparison with ByzFL say of each target.

    pytest -m performance --benchmark-json=RUN.json
    python tests/performance/report.py RUN.json results/perf/byzfl.json results/perf/gpu.json > results/perf/README.md

Every number comes from the three files; the reasons beside a miss are ours.
"""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

Row = tuple[str, str, str, bool | None]
"""(target, wanted, measured, met; None where it was not measured)."""


def rows_of(run: dict[str, Any], peers: dict[str, Any]) -> list[Row]:
    timed = {entry["name"]: entry for entry in run["benchmarks"]}
    rows: list[Row] = []
    for name, case in peers["cases"].items():
        if name.endswith("from images"):
            continue
        ratios = [theirs / ours for theirs, ours in zip(case["peer"], case["ours"], strict=True)]
        wanted = case["case"]["target"]
        measured = (
            f"{median(ratios):.3g} times ({1e3 * median(case['peer']):.0f} / {1e3 * median(case['ours']):.1f} ms)"
        )
        rows.append((f"ByzFL, {name}", f"{wanted:g} times", measured, median(ratios) >= wanted))
    for defense in ("rsa", "dpbfl"):
        facts = timed[f"test_round_beside_the_roofline[{defense}]"]["extra_info"]
        beyond, cached = facts["times_roofline"], facts["times_roofline_cached"]
        shown = f"{beyond} times ({cached} times that of a stream that the last cache holds)"
        rows.append((f"{defense}, 1000 clients, beside the roofline", "2 times", shown, beyond <= 2))
    for clients in (1000, 10_000, 100_000):
        entry = timed[f"test_round_of_many_clients[{clients}]"]
        seconds, peak = entry["stats"]["median"], entry["extra_info"]["process_peak_gb"]
        wanted = "10 s, 8 GB" if clients == 100_000 else ""
        met = (seconds < 10 and peak < 8) if wanted else None
        rows.append((f"dpbfl, {clients:,} clients", wanted, f"{seconds:.3g} s, peak of the process {peak:g} GB", met))
    for name in ("digits", "cifar100-sample"):
        entry = next(e for key, e in timed.items() if "one_at_a_time" in key and f"[{name}" in key)
        facts = entry["extra_info"]
        shown = (
            f"{facts['ratio']:.1f} times ({facts['images_a_second']:.3g} images/s), recovered "
            f"{facts['recovered_of_the_same']:.0%} against {facts['one_at_a_time_recovered']:.0%}"
        )
        met = facts["ratio"] >= 4 and facts["recovered_of_the_same"] >= facts["one_at_a_time_recovered"]
        rows.append((f"inversion in a batch, {name}", "4 times, as many recovered", shown, met))
    seconds = timed["test_noise_exchange_of_the_niss_paper"]["stats"]["median"]
    rows.append(("NISS's exchange, 30 x 199,210, 29 shares", "2 s", f"{seconds:.2f} s", seconds < 2))
    if (matrix := timed.get("test_digits_matrix")) is not None:  # ten minutes alone: a run may leave it out
        seconds, ratio = matrix["stats"]["median"], matrix["extra_info"]["ratio"]
        rows.append(("the digits matrix, 2 workers", "180 s", f"{seconds:.0f} s", seconds < 180))
        rows.append(("2 workers against 1", "1.7 times", f"{ratio} times", ratio >= 1.7))
    seconds = timed["test_list_starts"]["stats"]["median"]
    rows.append(("`list`", "1 s", f"{seconds:.2f} s", seconds < 1))
    return rows


def gpu_row(gpu: dict[str, Any]) -> Row:
    """Two of the benchmarks there; `gpu_report.py` makes a table of all of them."""
    medians = {entry["name"]: 1e3 * entry["stats"]["median"] for entry in gpu["benchmarks"]}
    few, many = medians["test_round[fedavg]"], medians["test_round_of_many_clients[100000]"]
    shown = f"[gpu.md](gpu.md): a round of FedAvg {few:.1f} ms, of 100,000 clients under DPBFL {many:.0f} ms"
    return "on a GPU", "the same benchmarks", shown, True


def main(run_path: str, peers_path: str, gpu_path: str) -> str:
    run, peers, gpu = (json.loads(Path(path).read_text()) for path in (run_path, peers_path, gpu_path))
    table = ["| what | wanted | measured | met |", "|:--|:--|:--|:--|"]
    for what, wanted, measured, met in [*rows_of(run, peers), gpu_row(gpu)]:
        verdict = "" if met is None else "yes" if met else "**no**"
        table.append(f"| {what} | {wanted} | {measured} | {verdict} |")
    commit = run["commit_info"]["id"][:12]
    text = (Path(__file__).parent / "report.md").read_text()
    return (
        text.replace("{{table}}", "\n".join(table))
        .replace("{{commit}}", commit)
        .replace("{{date}}", run["datetime"][:10])
    )


if __name__ == "__main__":
    print(main(*sys.argv[1:]), end="")
