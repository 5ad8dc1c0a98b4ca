"""NVFlare: its aggregator, a weighted mean, and its privacy filters, through `Shareable`, `DXO` and `FLContext`."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import InTimeAccumulateWeightedAggregator
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy
from nvflare.app_common.filters.svt_privacy import SVTPrivacy

from bench.exchange.foreign.entry import Apply, Entry
from bench.exchange.foreign.privacy import DIM, PrivacyFinding, play

LAYER = "weight"
GAMMA = 1e-2


def entries() -> dict[str, Entry]:
    """The aggregator and the two filters; NVFlare has no rule against Byzantine clients."""
    mean = "InTimeAccumulateWeightedAggregator"
    results = {mean: Entry("nvflare", mean, "rule", _mean, "fedavg", "equal weights")}
    for name in ("PercentilePrivacy", "SVTPrivacy"):
        results[name] = Entry("nvflare", name, "mechanism", _no_rule)
    return results


def _no_rule(n: int, f: int, parameters: Mapping[str, Any]) -> Apply:
    raise NotImplementedError


def _mean(n: int, f: int, parameters: Mapping[str, Any]) -> Apply:
    def called(rows: torch.Tensor) -> torch.Tensor:
        logging.getLogger("nvflare").setLevel(logging.ERROR)
        logging.disable(logging.WARNING)
        context = FLContext()
        context.set_prop(AppConstants.CURRENT_ROUND, 0, private=True, sticky=True)
        aggregator = InTimeAccumulateWeightedAggregator(expected_data_kind=DataKind.WEIGHT_DIFF, **parameters)
        aggregator.handle_event(EventType.START_RUN, context)
        for index, row in enumerate(rows.numpy()):
            dxo = DXO(DataKind.WEIGHT_DIFF, data={LAYER: row.copy()}, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: 1})
            sent: Shareable = dxo.to_shareable()
            sent.set_peer_props({ReservedKey.IDENTITY_NAME: f"client {index}", FLContextKey.CLIENT_NAME: f"{index}"})
            sent.add_cookie(AppConstants.CONTRIBUTION_ROUND, 0)
            sent.set_header(AppConstants.CURRENT_ROUND, 0)
            if not aggregator.accept(sent, context):
                raise ValueError("the aggregator does not accept the update")
        total = aggregator.aggregate(context)
        result: dict[str, np.ndarray] = total["DXO"]["data"] if "DXO" in total else _data(total)
        return torch.from_numpy(np.asarray(result[LAYER]))

    return called


def _data(shareable: Shareable) -> dict[str, np.ndarray]:
    from nvflare.apis.dxo import from_shareable

    result: dict[str, np.ndarray] = from_shareable(shareable).data
    return result


def _filtered(made: Any, update: np.ndarray) -> np.ndarray:
    logging.disable(logging.WARNING)
    dxo = DXO(DataKind.WEIGHT_DIFF, data={LAYER: update.copy()}, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: 1})
    out = made.process_dxo(dxo, Shareable(), FLContext())
    return update if out is None else np.asarray(out.data[LAYER])


def games(name: str) -> Iterator[PrivacyFinding]:
    """PercentilePrivacy as if it were differential privacy, which it does not say; SVTPrivacy by its own accounting."""
    canary = np.full(DIM, GAMMA)
    if name == "PercentilePrivacy":
        yield play(
            "percentile 10, gamma 0.01, asked about as if it were differential privacy",
            lambda update: _filtered(PercentilePrivacy(), update),
            None,
            False,
            canary,
            "its docstring says a policy of sharing the largest values (Shokri and Shmatikov 2015), and no epsilon",
        )
        return

    def filtered(update: np.ndarray) -> np.ndarray:
        return _filtered(SVTPrivacy(gamma=GAMMA, tau=GAMMA / 10), update)

    spent = _spent()
    one = np.zeros(DIM)
    one[0] = GAMMA
    why = "its own get_privacy_spent() after one round"
    yield play(f"defaults, gamma {GAMMA:g}, worlds differ in one of {DIM} entries", filtered, spent, False, one, why)
    yield play(
        f"defaults, gamma {GAMMA:g}, worlds differ in the whole update, as one client's data make them",
        filtered,
        spent,
        False,
        canary,
        f"{why}; whether it speaks of one entry or of a client's update is for its documentation to say",
    )


def _spent() -> float | None:
    made = SVTPrivacy(gamma=GAMMA, tau=GAMMA / 10)
    _filtered(made, np.zeros(DIM))
    result = float(made.get_privacy_spent())
    return result if math.isfinite(result) else None
