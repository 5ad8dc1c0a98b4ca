"""Our side of `byzfl_comparison.py`: rounds of a `Federation`, timed; case and answer are those of `byzfl_peer.py`."""

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import torch

from bench import data, registry
from bench.base.memory import keep_freed_memory
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings

DEFENSES = {"mean": "fedavg", "median": "median", "krum": "krum", "multi_krum": "krum", "trimmed_mean": "trimmed_mean"}


def federation(case: dict[str, Any]) -> Federation:
    settings = FederationSettings(
        dataset="mnist",
        model=case["model"],
        clients=case["clients"],
        rounds=case["warm_up"] + case["rounds"],
        local_steps=1,
        batch_size=case["batch_size"],
        lr=case["lr"],
        momentum=case["momentum"],
        oracle_f=True,
    )
    selected = {"num_selected": case["clients"] - case["byzantine"]} if case["aggregation"] == "multi_krum" else {}
    defense = registry.get("defense", DEFENSES[case["aggregation"]])(**selected)
    attack = registry.get("attack", "sign_flip")(c=1.0)
    share = case["byzantine"] / case["clients"]
    return Federation(settings, defense, data.load("mnist"), case["seed"], attack, share)


def main(case: dict[str, Any]) -> None:
    keep_freed_memory()
    torch.set_num_threads(case["threads"])
    training = federation(case)
    start, seconds = training.global_model.clone(), []
    for _ in range(case["warm_up"] + case["rounds"]):
        begin = time.perf_counter()
        training.advance()
        seconds.append(time.perf_counter() - begin)
    moved = float((training.global_model - start).norm())
    versions = {name: version(name) for name in ("fedsiege", "torch", "torchvision", "numpy")}
    print(json.dumps({"seconds": seconds[case["warm_up"] :], "moved": moved, "versions": versions}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
