"""Flower's strategies of before `serverapp` (`flwr.server.strategy`), called with the `FitRes` that clients return.

Their names here begin with `server.`. A model has one layer. Every client reports the same `num_examples`, and each has
a proxy of its own in Flower's client manager, as `start_server` has them.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from flwr.common import Code, FitRes, Parameters, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import strategy as strategies
from flwr.server.client_manager import SimpleClientManager
from flwr.server.client_proxy import ClientProxy

from bench.exchange.foreign.entry import Apply, Entry, built

PREFIX = "server."

COUNTERPARTS = {
    "FedAvg": ("FedAvg", "fedavg", "equal num_examples"),
    "FaultTolerantFedAvg": ("FaultTolerantFedAvg", "fedavg", "equal num_examples"),
    "Krum": ("Krum", "krum", ""),
    "MultiKrum": ("Krum", "multi_krum", "Krum with num_clients_to_keep = n - f"),
    "Bulyan": ("Bulyan", "bulyan", "to_keep = 0, without which it raises TypeError"),
    "FedTrimmedAvg": ("FedTrimmedAvg", "trimmed_mean", "beta = f / n"),
    "FedMedian": ("FedMedian", "median", ""),
}
"""The class, the rule of ours, and what is told of how it is called."""

WRAPPERS = (
    *("DifferentialPrivacyServerSideFixedClipping", "DifferentialPrivacyClientSideFixedClipping"),
    *("DifferentialPrivacyServerSideAdaptiveClipping", "DifferentialPrivacyClientSideAdaptiveClipping"),
    *("DPFedAvgFixed", "DPFedAvgAdaptive"),
)


class Proxy(ClientProxy):  # type: ignore[misc]  # where Flower is not installed it has no type
    """A client that is known by its name and never asked for anything."""

    def _none(self, *given: Any, **named: Any) -> Any:
        raise NotImplementedError

    get_properties = get_parameters = fit = evaluate = reconnect = _none


def results(
    rows: np.ndarray, examples: Sequence[float] | None = None, metrics: Mapping[str, Sequence[Any]] | None = None
) -> list[tuple[Proxy, FitRes]]:
    """What clients return, from models `(n, d)`; `metrics` has a value for each client under each key."""
    said = metrics or {}
    return [
        (
            Proxy(f"{index:06d}"),
            FitRes(
                Status(Code.OK, ""),
                ndarrays_to_parameters([np.ascontiguousarray(row)]),
                int(examples[index]) if examples else 1,
                {key: values[index] for key, values in said.items()},
            ),
        )
        for index, row in enumerate(rows)
    ]


def aggregated(strategy: Any, answers: list[tuple[Proxy, FitRes]]) -> np.ndarray:
    """What a strategy makes of the answers, `(d,)`; raises `ValueError` where it gives no model."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    result: Parameters | None = strategy.aggregate_fit(1, answers, [])[0]
    if result is None:
        raise ValueError(f"{type(strategy).__name__} gives no model of {len(answers)} answers")
    model: np.ndarray = parameters_to_ndarrays(result)[0]
    return model


def _maker(name: str) -> Any:
    kind = getattr(strategies, COUNTERPARTS[name][0])

    def make(n: int, f: int, parameters: Mapping[str, Any]) -> Apply:
        given: dict[str, dict[str, Any]] = {
            "Krum": {"num_malicious_clients": f},
            "MultiKrum": {"num_malicious_clients": f, "num_clients_to_keep": n - f},
            "Bulyan": {"num_malicious_clients": f, "to_keep": 0},
            "FedTrimmedAvg": {"beta": f / n},
        }
        strategy = built(kind, {**given.get(name, {}), **parameters}, f"flwr {PREFIX}{name}")
        return lambda rows: torch.from_numpy(np.array(aggregated(strategy, results(rows.detach().cpu().numpy()))))

    return make


def entries() -> dict[str, Entry]:
    """Those strategies that are aggregation rules, and the wrappers for differential privacy."""
    result = {
        f"{PREFIX}{name}": Entry("flwr", f"{PREFIX}{name}", "rule", _maker(name), ours, told, models=True)
        for name, (kind, ours, told) in COUNTERPARTS.items()
        if hasattr(strategies, kind)
    }
    for name in WRAPPERS:
        if hasattr(strategies, name):
            result[f"{PREFIX}{name}"] = Entry("flwr", f"{PREFIX}{name}", "mechanism", _no_rule)
    return result


def _no_rule(n: int, f: int, parameters: Mapping[str, Any]) -> Apply:
    raise NotImplementedError


def private_round(name: str, rows: np.ndarray, bits: Sequence[bool], given: Mapping[str, Any]) -> tuple[Any, float]:
    """The model `(d,)` out of one round of a wrapper, from a broadcast of zeros, and the norm that it then clips to.

    `rows` `(n, d)` are what clients send, `bits` whether each one clipped, and `given` is as in `flower.private_round`.
    """
    kind, adaptive = getattr(strategies, name.removeprefix(PREFIX)), "Adaptive" in name
    options = {"noise_multiplier": given["z"], "num_sampled_clients": given["sampled"]}
    if "DPFedAvg" in name:
        options["init_clip_norm" if adaptive else "clip_norm"] = given["clip"]
        stddev, said = "clip_count_stddev", {"dpfedavg_norm_bit": [not bit for bit in bits]}
    else:
        options["initial_clipping_norm" if adaptive else "clipping_norm"] = given["clip"]
        stddev, said = "clipped_count_stddev", {"norm_bit": list(bits)}
    if adaptive:
        options[stddev] = given.get("stddev")
    logging.getLogger("flwr").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        wrapper = kind(strategies.FedAvg(), **options)
    answers = results(rows, given["examples"], said if adaptive else None)
    manager = SimpleClientManager()
    for proxy, _ in answers:
        manager.register(proxy)
    wrapper.configure_fit(1, ndarrays_to_parameters([np.zeros(rows.shape[1])]), manager)
    model = aggregated(wrapper, answers)
    return model, float(wrapper.clip_norm if "DPFedAvg" in name else wrapper.clipping_norm)
