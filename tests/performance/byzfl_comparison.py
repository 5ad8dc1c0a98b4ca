"""Rounds a second beside ByzFL's, on one machine and in turns: writes a Markdown table and its JSON.

    python3 -m venv PEER && PEER/bin/pip install byzfl
    python tests/performance/byzfl_comparison.py --peer PEER/bin/python --data ROOT [--only cnn]... [--repeats 5]

ByzFL is read as an installed package, in an environment of its own. Each measurement is a process of its own that sets
up, plays a few rounds to warm up and then times single rounds; ours and the peer's alternate. Cases that are measured
again replace what the JSON holds of them, the others stay, so that the whole can be run in pieces.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench.records import environment, now
from bench.registry import names

HERE = Path(__file__).parent
THREADS = 2

SOFTMAX = {"model": "softmax", "clients": 1000, "byzantine": 300, "batch_size": 32, "momentum": 0.0, "rounds": 7}
CNN = {"model": "cnn_small", "batch_size": 25, "momentum": 0.9, "rounds": 20, "target": 3.0}
COMMON = {"lr": 0.1, "seed": 0, "threads": THREADS, "warm_up": 3, "peer_data": "tensors"}
CASES: dict[str, dict[str, Any]] = {
    "softmax, mean": {**COMMON, **SOFTMAX, "aggregation": "mean", "target": 14.0},
    "softmax, median": {**COMMON, **SOFTMAX, "aggregation": "median", "target": 10.0},
    "softmax, Krum": {**COMMON, **SOFTMAX, "aggregation": "krum", "target": 5.0},
    "softmax, mean, from images": {**COMMON, **SOFTMAX, "aggregation": "mean", "target": 14.0, "peer_data": "images"},
    **{
        f"cnn, {title}, f = {f}": {**COMMON, **CNN, "aggregation": aggregation, "byzantine": f, "clients": 10 + f}
        for title, aggregation in (("Multi-Krum", "multi_krum"), ("trimmed mean", "trimmed_mean"))
        for f in (1, 4)
    },
}

NOTES = f"""
Both sides: MNIST, split evenly at random, {THREADS} threads, one local step a round, a server that adds -0.1 times the
aggregate to the model. A cell is the median over repeats of the median seconds of a round after {COMMON["warm_up"]}
rounds to warm up, each repeat a process; the ratio is ByzFL's over ours, repeat by repeat: median, and smallest to
largest. Data sets, clients and loaders are made before the clock starts, and nothing is evaluated.

- **ByzFL** is driven as its own `benchmark/train.py` drives it, through `Client`, `Server`, `ByzantineClient` and
  `DataDistributor`. A round: every honest client takes a batch from its `DataLoader`, computes its gradient and its
  momentum; `SignFlipping` forges minus their mean, once, for all f Byzantine clients, which train nothing; the server
  aggregates, steps and hands its parameters to the clients. Weight decay (1e-4 in its default) and each client's
  metrics are off. Its loaders read tensors that were normalised before, as ours are. `train.py` turns every image into
  a normalised tensor anew; "from images" is the case that does so too.
- **FedSiege** plays `Federation.advance`. A round: all clients, the f Byzantine ones too, take their batch as a window
  of their shard, which lies normalised in memory, and their step, with momentum where there is any; each of the f
  forges minus its own update; the server aggregates and steps.
- **softmax**: 1000 clients of which 300 are Byzantine, batches of 32, no momentum. ByzFL's `logreg_mnist` ends in a
  sigmoid before its loss. Its 700 honest clients hold 85 images each, so that every third batch has 21.
- **cnn**: ByzFL's default: its `cnn_mnist` (d = 431,080; ours is `cnn_small`), 10 honest clients and f more, batches of
  25, momentum 0.9. Multi-Krum is the mean of the n - f best on both sides.
- ByzFL's Krum scores by the n - f - 1 nearest others, ours by the n - f - 2 of the paper. Both
  trimmed means drop f at both ends.
"""


def play(command: list[str], root: Path) -> dict[str, Any]:
    """One process's answer; what it says on failure is what the user sees."""
    variables = {**os.environ, "FEDSIEGE_DATA": str(root), "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=HERE)
    if done.returncode:
        raise SystemExit(f"{command[:2]} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure(case: dict[str, Any], peer: str, root: Path, repeats: int) -> dict[str, Any]:
    """Ours and the peer's in turns: the median seconds of a round in every repeat, and versions."""
    told = json.dumps(case)
    sides = {
        "ours": [sys.executable, str(HERE / "byzfl_ours.py"), told],
        "peer": [peer, str(HERE / "byzfl_peer.py"), told, str(root)],
    }
    answers: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, command in sides.items():
            answers[side].append(play(command, root))
    found: dict[str, Any] = {"case": case, "measured_at": now().isoformat()}
    for side, given in answers.items():
        found[side] = [median(answer["seconds"]) for answer in given]
        found[f"{side}_versions"] = given[0]["versions"]
    return found


def row(title: str, found: dict[str, Any]) -> str:
    ratios = [peer / ours for ours, peer in zip(found["ours"], found["peer"], strict=True)]
    ours, peer, target = 1e3 * median(found["ours"]), 1e3 * median(found["peer"]), found["case"]["target"]
    met = "yes" if median(ratios) >= target else "**no**"
    spread = f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}, {len(ratios)} repeats)"
    return f"| {title} | {peer:.1f} | {ours:.1f} | {spread} | {target:g} | {met} |"


def report(cases: dict[str, dict[str, Any]], machine: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = ["# Beside ByzFL", ""]
    lines += ["| case | ByzFL, ms a round | FedSiege, ms a round | ratio | target | met |", "|:--|--:|--:|--:|--:|:--|"]
    lines += [row(title, cases[title]) for title in CASES if title in cases]
    lines += [
        f"| {title} | not measured | | | {case['target']:g} | |" for title, case in CASES.items() if title not in cases
    ]
    some = next(iter(cases.values()))
    versions = {side: ", ".join(f"{k} {v}" for k, v in some[f"{side}_versions"].items()) for side in ("ours", "peer")}
    lines += [
        NOTES,
        f"- **Machine**: {machine['cpu']}; commit {machine['commit']}.",
        f"- **Ours**: {versions['ours']}.",
    ]
    lines += [f"- **Peer**: {versions['peer']}.", "", f"Made by `tests/performance/{Path(__file__).name}`.", ""]
    return "\n".join(lines)


def chosen(only: list[str]) -> dict[str, dict[str, Any]]:
    """The cases whose titles begin with one of `only`, of those whose defense is there."""
    found = {title: case for title, case in CASES.items() if not only or any(title.startswith(start) for start in only)}
    if not found:
        raise SystemExit(f"no case begins with {', '.join(only)}; there are: {'; '.join(CASES)}")
    if "trimmed_mean" not in names("defense"):
        found = {title: case for title, case in found.items() if case["aggregation"] != "trimmed_mean"}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the python of an environment with byzfl")
    parser.add_argument("--data", type=Path, default=os.environ.get("FEDSIEGE_DATA"), help="the torchvision root")
    parser.add_argument("--only", action="append", default=[], help="cases whose titles begin so")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE.parents[1] / "results" / "perf")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or FEDSIEGE_DATA: the torchvision root that holds MNIST")
    store = options.output / "byzfl.json"
    cases = json.loads(store.read_text())["cases"] if store.exists() else {}
    machine = environment("cpu", THREADS).model_dump(mode="json")
    options.output.mkdir(parents=True, exist_ok=True)
    for title, case in chosen(options.only).items():
        cases[title] = measure(case, options.peer, options.data, options.repeats)
        print(row(title, cases[title]), flush=True)
        store.write_text(json.dumps({"machine": machine, "cases": cases}, indent=1) + "\n")
        (options.output / "byzfl.md").write_text(report(cases, machine))


if __name__ == "__main__":
    main()
