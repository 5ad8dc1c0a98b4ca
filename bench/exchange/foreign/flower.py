"""Flower's strategies (`flwr.serverapp.strategy`): server side, called with the messages that clients would reply with.

Flower aggregates models, each as an `ArrayRecord` in a `Message`; here the model has one layer. Every client reports
the same `num-examples`.
"""

import gc
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.serverapp import strategy as strategies
from torch import Tensor

from bench.exchange.foreign import flower_server
from bench.exchange.foreign.entry import Apply, Entry, built, takes

LAYER, RECORD = "weight", "arrays"
QUIET = ("flwr",)

COUNTERPARTS = {
    "FedAvg": ("fedavg", "equal num-examples"),
    "Krum": ("krum", ""),
    "MultiKrum": ("multi_krum", "num_nodes_to_select = n - f"),
    "Bulyan": ("bulyan", ""),
    "FedTrimmedAvg": ("trimmed_mean", "beta = f / n"),
    "FedMedian": ("median", ""),
}


def replies(rows: np.ndarray, examples: list[float] | None = None) -> list[Message]:
    """What clients answer with: rows `(n, d)` as messages, the k-th from node k + 1; `examples` are what each holds."""
    counts = examples or [1] * len(rows)
    return [_reply(row, node + 1, count) for node, (row, count) in enumerate(zip(rows, counts, strict=True))]


def _reply(row: np.ndarray, node: int, examples: float) -> Message:
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=node,
        dst_node_id=1,
        reply_to_message_id="",
        group_id="",
        created_at=time.time(),
        ttl=3600.0,
        message_type="train",
    )
    arrays = ArrayRecord({LAYER: Array(np.ascontiguousarray(row))})
    content = RecordDict({RECORD: arrays, "metrics": MetricRecord({"num-examples": examples})})
    return Message(content=content, metadata=metadata)


def aggregated(strategy: Any, messages: list[Message], server_round: int = 1) -> np.ndarray:
    """What a strategy makes of the messages, `(d,)`; raises `ValueError` where it gives no model."""
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    gc.freeze()  # Bulyan collects garbage for each reply, which walks through all that torch holds
    try:
        arrays, _ = strategy.aggregate_train(server_round, messages)
    finally:
        gc.unfreeze()
    if arrays is None:
        raise ValueError(f"{type(strategy).__name__} gives no model of {len(messages)} replies")
    result: np.ndarray = arrays[LAYER].numpy()
    return result


def _maker(name: str) -> Any:
    kind = getattr(strategies, name)

    def make(n: int, f: int, parameters: Mapping[str, Any]) -> Apply:
        given: dict[str, Any] = {}
        if takes(kind, "num_malicious_nodes"):
            given["num_malicious_nodes"] = f
        if takes(kind, "num_nodes_to_select"):
            given["num_nodes_to_select"] = n - f
        if takes(kind, "beta"):
            given["beta"] = f / n
        strategy = built(kind, {**given, **parameters}, f"flwr {name}")
        return lambda rows: torch.from_numpy(np.array(aggregated(strategy, replies(_numpy(rows)))))

    return make


def _numpy(rows: Tensor) -> np.ndarray:
    result: np.ndarray = rows.detach().cpu().numpy()
    return result


def entries() -> dict[str, Entry]:
    """All strategies that are aggregation rules, and the wrappers for differential privacy; those of before last."""
    results = {
        name: Entry("flwr", name, "rule", _maker(name), ours, told, models=True)
        for name, (ours, told) in COUNTERPARTS.items()
        if hasattr(strategies, name)
    }
    for name in dir(strategies):
        if name.startswith("DifferentialPrivacy"):
            results[name] = Entry("flwr", name, "mechanism", _no_rule)
    return {**results, **flower_server.entries()}


def _no_rule(n: int, f: int, parameters: Mapping[str, Any]) -> Apply:
    raise NotImplementedError


def private_round(name: str, rows: np.ndarray, bits: Sequence[bool], given: Mapping[str, Any]) -> tuple[Any, float]:
    """The model `(d,)` out of one round of a wrapper, from a broadcast of zeros, and the norm that it then clips to.

    `rows` `(n, d)` are what clients send, and `bits` whether each one clipped. `given` holds `z`, `clip`, `sampled` and
    `examples`, for adaptive clipping the deviation of the count's noise too (`stddev`, None for Flower's own).
    """
    kind, z, clip, sampled = getattr(strategies, name), given["z"], given["clip"], given["sampled"]
    if "Fixed" in name:
        wrapper = kind(strategies.FedAvg(), noise_multiplier=z, clipping_norm=clip, num_sampled_clients=sampled)
    else:
        stddev = given.get("stddev")
        wrapper = kind(strategies.FedAvg(), z, sampled, initial_clipping_norm=clip, clipped_count_stddev=stddev)
    wrapper.current_arrays = ArrayRecord({LAYER: Array(np.zeros(rows.shape[1]))})
    messages = replies(rows, given["examples"])
    if "ClientSideAdaptive" in name:
        for message, bit in zip(messages, bits, strict=True):
            message.content["metrics"]["norm_bit"] = int(bit)
    return aggregated(wrapper, messages), float(wrapper.clipping_norm)
