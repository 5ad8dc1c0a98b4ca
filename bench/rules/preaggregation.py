"""What happens to the messages before a rule aggregates them: a wrapper that any aggregation rule fits in."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from bench import registry
from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.protocol import Alphabet, Defense, Delivered, ServerRound, Setting, SumDefense
from bench.rules.base import ChoosingRule, RowRule, apply_weights
from bench.rules.gram import DOUBLE_ERROR, ContestedError, decided


class PreAggregation(Defense):
    """`rule` with its `parameters` on what `mixed` makes of the messages.

    The wrapped rule sees k messages, of which `spoilt` are Byzantine at worst.
    """

    rule: str = "median"
    parameters: dict[str, Any] = Field(default_factory=dict, validate_default=True)

    @field_validator("parameters")
    @classmethod
    def _of_the_rule(cls, parameters: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """All parameters of the rule, defaults included, so that a record tells them."""
        if "rule" not in info.data:
            return parameters  # the rule's own fault is told
        rule = rule_of(info.data["rule"], parameters)
        wanted = "a rule that remembers no clients: a mixed message is nobody's"
        require(not rule.remembers_clients(), "rule", f"{info.data['rule']} with memory", wanted)
        whole: dict[str, Any] = rule.model_dump()
        return whole

    @abstractmethod
    def mixed(self, messages: Tensor, num_byzantine: int, generator: torch.Generator) -> Tensor:
        """`(k, d)` from the messages `(n, d)`."""

    def num_mixed(self, num_messages: int) -> int:
        """k, the number of mixed messages; n by default."""
        return num_messages

    def spoilt(self, num_byzantine: int, num_messages: int) -> int:
        """How many of the k mixed messages Byzantine clients own at worst; as many as there are of them by default."""
        return num_byzantine

    @property
    def wrapped(self) -> Defense:
        """The rule itself."""
        rule: Defense = registry.get("defense", self.rule)(**self.parameters)
        return rule

    def inner(self, setting: Setting, num_messages: int | None = None) -> Setting:
        """The setting as the wrapped rule sees it, with k participants."""
        n = setting.participants if num_messages is None else num_messages
        k = self.num_mixed(n)
        return replace(setting, participants=k, assumed_byzantine=self.spoilt(setting.num_byzantine, n) / k)

    def start(self, setting: Setting) -> None:
        self.wrapped.start(self.inner(setting))

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        messages = delivered.messages
        mixed = self.mixed(messages, server.setting.num_byzantine, server.generator)
        weights = server.weights.new_full((len(mixed),), 1 / len(mixed))
        inner = replace(server, setting=self.inner(server.setting, len(messages)), weights=weights)
        return self.wrapped.aggregate(Delivered(mixed, senders=None), inner)

    def num_root_samples(self) -> int:
        return self.wrapped.num_root_samples()

    def derived(self, setting: Setting) -> dict[str, float]:
        return self.wrapped.derived(self.inner(setting))

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        n = setting.participants
        inner = self.inner(setting)
        return self.wrapped.tolerates(self.spoilt(round(fraction * n), n) / inner.participants, inner)


class Mixing(PreAggregation):
    """A pre-aggregation whose mixed messages are affine combinations of the messages, found by inner products alone.

    Under a row rule it never forms them: their Gram matrix is M G M^T, and their weights w are w M on the messages.
    """

    origin: ClassVar[bool] = False  # the zero vector counts as one more message, the last, in G and in M's columns

    @abstractmethod
    def mix(self, gram: Tensor, num_byzantine: int) -> Tensor:
        """M `(k, n)`, float64, whose rows add up to 1, from the Gram matrix `(n, n)`; n + 1 with the origin."""

    def mix_within(self, gram: Tensor, num_byzantine: int, error: float) -> Tensor:
        """`mix` from products with this relative error; may raise `ContestedError`, as `ChoosingRule.choose` does."""
        return self.mix(gram, num_byzantine)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        rule, messages = self.wrapped, delivered.messages
        if not isinstance(rule, RowRule) or not rule.is_plain():
            return super().aggregate(delivered, server)
        n = len(messages)
        f = self.inner(server.setting, n).num_byzantine

        def weigh(gram: Tensor, error: float) -> Tensor:
            m = self.mix_within(gram if self.origin else gram[:n, :n], server.setting.num_byzantine, error)
            k = len(m)
            m = torch.nn.functional.pad(m, (0, len(gram) - m.shape[1], 0, int(rule.origin)))
            if rule.origin:
                m[-1, -1] = 1.0  # the origin stays what it is
            return (_weights_of(rule, m @ gram @ m.T, f, error, m @ sqrt(gram.diagonal())) @ m[:k])[:n]

        weights = decided(messages, weigh, self.origin or rule.origin)
        return server.global_model + apply_weights(weights, messages)


def _weights_of(rule: RowRule, gram: Tensor, num_byzantine: int, error: float, lengths: Tensor) -> Tensor:
    """The rule's weights on mixed messages; what it contests are distances of theirs, not of the messages.

    The error is relative to the `lengths` that were mixed, which may be much longer than the mixtures.
    """
    if not isinstance(rule, ChoosingRule):
        return rule.weights(gram, num_byzantine)
    if error > DOUBLE_ERROR:
        error *= float((lengths.square() / gram.diagonal().clamp(min=torch.finfo(gram.dtype).tiny)).max())
    try:
        return rule.choose(gram, num_byzantine, error)
    except ContestedError:
        raise ContestedError from None


def rule_of(name: str, parameters: dict[str, Any]) -> Defense:
    """The aggregation rule of this name with these parameters; raises `ValueError` where it is none."""
    kind = cast(type[Defense], registry.get("defense", name))
    require_rule(kind)
    return kind(**parameters)


def require_rule(kind: type[Defense]) -> None:
    """Raise `ValueError` unless the class is an aggregation rule, which changes nothing but `aggregate`."""
    changed = [step for step in ("upload", "deliver") if getattr(kind, step) is not getattr(Defense, step)]
    reasons = {
        "is a protocol with its own " + " and ".join(changed): bool(changed),
        "keeps models": kind.keeps_models,
        "sends signs": kind.alphabet is not Alphabet.REAL,
        "sends weighted messages": kind.weighted,
        "takes the sum of the messages, and no single ones": issubclass(kind, SumDefense),
    }
    why = next((reason for reason, holds in reasons.items() if holds), None)
    require(why is None, "rule", kind.name, f"an aggregation rule, which changes nothing but the aggregate: it {why}")
