"""Any rule or pre-aggregation from here as a strategy of a Flower app (`flwr` 1.42 and later).

`Strategy` is for a `ServerApp`, whose clients answer with messages; `FitStrategy` for `flwr.server.start_server`, whose
clients answer `fit` over gRPC.

    from bench.flower import Strategy

    strategy = Strategy("nnm", rule="trimmed_mean", f=2)
    result = strategy.start(grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=50)

It is Flower's FedAvg but for what becomes of the clients' replies, so that sampling, evaluation and metrics are as
Flower's users know them.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from bench.base.errors import BadInputError
from bench.exchange.rule import Rule, rule

try:
    from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
    from flwr.common import FitRes, Parameters, ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.server.strategy import FedAvg as FitFedAvg
    from flwr.serverapp import Grid
    from flwr.serverapp.strategy import FedAvg
except ImportError as error:
    raise ImportError("bench.flower needs Flower 1.42 or later: pip install 'fedsiege[flower]'") from error

Layers = Mapping[str, np.ndarray]
Replies = Literal["models", "updates"]

OPTIONS = (
    *("fraction_train", "fraction_evaluate", "min_train_nodes", "min_evaluate_nodes", "min_available_nodes"),
    *("weighted_by_key", "arrayrecord_key", "configrecord_key", "train_metrics_aggr_fn", "evaluate_metrics_aggr_fn"),
)
"""What Flower's FedAvg takes, and `Strategy` hands on."""

FIT_OPTIONS = (
    *("fraction_fit", "fraction_evaluate", "min_fit_clients", "min_evaluate_clients", "min_available_clients"),
    *("evaluate_fn", "on_fit_config_fn", "on_evaluate_config_fn", "accept_failures", "initial_parameters"),
    *("fit_metrics_aggregation_fn", "evaluate_metrics_aggregation_fn", "inplace"),
)
"""The same of the FedAvg of `flwr.server`, and of `FitStrategy`."""

LOG = logging.getLogger("flwr")


class Deployed:
    """The part that both strategies share: replies that do not fit are left out, the rest go to the rule."""

    def __init__(self, name: str, replies: Replies, weigh: bool, given: Mapping[str, Any]) -> None:
        if replies not in ("models", "updates"):
            raise BadInputError(f"replies is {replies!r}, but must be models or updates")
        self.rule: Rule = rule(name, **given)
        if self.rule.defense.num_root_samples():
            raise BadInputError(f"{self.rule.defense.name} needs an update that the server trained: call bench.rule")
        self.replies, self.weigh = replies, weigh
        self.broadcast: Layers = {}
        self.refused: dict[int, str] = {}

    def fits(self, layers: Layers) -> bool:
        """Whether a reply has the layers that were broadcast, by name, shape and number type."""
        return _kinds(layers) == _kinds(self.broadcast)

    def next_model(
        self, server_round: int, sent: Sequence[Layers], names: Sequence[Any], weights: Sequence[float]
    ) -> dict[str, np.ndarray] | None:
        """The next model; None, with the reason in `refused` and the log, where nobody answered or the rule refuses."""
        if not sent:
            self._refuse(server_round, "no reply holds the model's layers")
            return None
        asked: dict[str, Any] = {"clients": names, "weights": weights if self.weigh and any(weights) else None}
        try:
            if self.replies == "models":
                result: dict[str, np.ndarray] = self.rule.of_models(list(sent), self.broadcast, **asked)
            else:
                result = self.rule(list(sent), model=self.broadcast, **asked)
        except ValueError as error:
            self._refuse(server_round, str(error))
            return None
        return result

    def _refuse(self, server_round: int, why: str) -> None:
        self.refused[server_round] = why
        LOG.warning("round %s: the model stays as it is: %s", server_round, why)


class Strategy(FedAvg):  # type: ignore[misc]  # where Flower is not installed it has no type
    """The server's side of a defense of ours in a Flower app.

    `name`, `f` or `share`, `suite`, `seed`, `num_clients`, `rounds` and a rule's own parameters are those of
    `bench.rule`; the options of Flower's FedAvg are handed on. Clients reply with models, as Flower's do, or with
    updates (`replies="updates"`). What the rule remembers is in `deployed.rule.memory`; a client is known by its node's
    id.

    f counts among those that answer. A reply with an error, or with other layers than the broadcast, is left out: what
    an attacker sends must not stop a round. Where the rule refuses so few replies the model stays as it is, and
    `deployed.refused` says why. A reply's `num-examples` are what its client says: they count for `fedavg` alone, and
    with `weigh=False` not there either.
    """

    def __init__(self, name: str, /, *, replies: Replies = "models", weigh: bool = True, **given: Any) -> None:
        super().__init__(**{key: given.pop(key) for key in OPTIONS if key in given})
        self.deployed = Deployed(name, replies, weigh, given)

    def summary(self) -> None:
        """Tell, in Flower's log, which rule it is, before what FedAvg tells."""
        LOG.info("\t├──> FedSiege: %r", self.deployed.rule)
        super().summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember what is broadcast, and ask as FedAvg does."""
        self.deployed.broadcast = layers_of(arrays)
        asked: Iterable[Message] = super().configure_train(server_round, arrays, config, grid)
        return asked

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The next model by the rule, and Flower's own mean of the clients' metrics."""
        fitting = [(message, layers) for message in replies if (layers := self._fitting(message)) is not None]
        fitting.sort(key=lambda one: one[0].metadata.src_node_id)  # who answers first says nothing
        model = self.deployed.next_model(
            server_round,
            [layers for _, layers in fitting],
            [message.metadata.src_node_id for message, _ in fitting],
            [self._weight(message) for message, _ in fitting],
        )
        if model is None:
            return None, None
        return record_of(model), self._metrics([message for message, _ in fitting])

    def _fitting(self, message: Message) -> Layers | None:
        if not message.has_content():
            return None
        records = list(message.content.array_records.values())
        try:
            layers = layers_of(records[0]) if len(records) == 1 else {}
        except (ValueError, TypeError):  # bytes that are no array
            return None
        return layers if self.deployed.fits(layers) else None

    def _weight(self, message: Message) -> float:
        said = [metrics.get(self.weighted_by_key) for metrics in message.content.metric_records.values()]
        return _sensible(said[0] if said else None)

    def _metrics(self, fitting: list[Message]) -> MetricRecord | None:
        """None where the clients' metrics are not of one kind."""
        try:
            return self.train_metrics_aggr_fn([message.content for message in fitting], self.weighted_by_key)
        except (KeyError, TypeError, ValueError, ZeroDivisionError, StopIteration):
            return None


class FitStrategy(FitFedAvg):  # type: ignore[misc]
    """The same for `flwr.server.start_server`: what it takes, and what it leaves out, is as in `Strategy`.

    A client is known by its proxy's `cid`.
    """

    def __init__(self, name: str, /, *, replies: Replies = "models", weigh: bool = True, **given: Any) -> None:
        super().__init__(**{key: given.pop(key) for key in FIT_OPTIONS if key in given})
        self.deployed = Deployed(name, replies, weigh, given)

    def __repr__(self) -> str:
        return f"FitStrategy({self.deployed.rule!r})"

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: Any) -> list[Any]:
        """Remember what is broadcast, and ask as FedAvg does."""
        self.deployed.broadcast = _numbered(parameters_to_ndarrays(parameters))
        asked: list[Any] = super().configure_fit(server_round, parameters, client_manager)
        return asked

    def aggregate_fit(
        self, server_round: int, results: list[tuple[Any, FitRes]], failures: list[Any]
    ) -> tuple[Parameters | None, dict[str, Any]]:
        """The next model by the rule."""
        fitting = []
        for proxy, answer in sorted(results, key=lambda one: str(one[0].cid)):
            try:
                layers = _numbered(parameters_to_ndarrays(answer.parameters))
            except (ValueError, TypeError, OSError, EOFError):  # bytes that are no array
                continue
            if self.deployed.fits(layers):
                fitting.append((proxy.cid, answer, layers))
        model = self.deployed.next_model(
            server_round,
            [layers for _, _, layers in fitting],
            [name for name, _, _ in fitting],
            [_sensible(answer.num_examples) for _, answer, _ in fitting],
        )
        if model is None:
            return None, {}
        metrics: dict[str, Any] = {}
        if self.fit_metrics_aggregation_fn:
            metrics = self.fit_metrics_aggregation_fn(
                [(answer.num_examples, answer.metrics) for _, answer, _ in fitting]
            )
        return ndarrays_to_parameters([np.ascontiguousarray(layer) for layer in model.values()]), metrics


def layers_of(arrays: ArrayRecord) -> dict[str, np.ndarray]:
    """The layers of a record, by name."""
    return {name: array.numpy() for name, array in arrays.items()}


def record_of(model: Layers) -> ArrayRecord:
    """Layers by name as a record."""
    return ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in model.items()})


def _numbered(layers: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {str(place): layer for place, layer in enumerate(layers)}


def _kinds(layers: Layers) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {name: (array.shape, array.dtype) for name, array in layers.items()}


def _sensible(said: object) -> float:
    """What a client says that it holds; what is no such number counts as nothing."""
    fine = isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said < 1e18
    return float(said) if fine and isinstance(said, int | float) else 0.0
