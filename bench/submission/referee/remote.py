"""What all stand-ins share: the facts of a submitted class, its party, and checks of what the party gives."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from torch import Tensor

from bench.base.numbers import STRICT, Numbers
from bench.protocol import Alphabet
from bench.submission.referee.party import Code, Party, Role
from bench.submission.referee.wire import MEMORY, Header, Tensors, named

SLACK = 2**14
"""Bytes that a generator's state, and small tensors, may take beside the large ones."""


SHOWN = (
    *("alphabet", "keeps_models", "weighted", "gaussian", "against", "breakdown"),
    *("omniscient", "finite", "active", "deviates", "single_shares"),
)
"""Class attributes of defenses and attacks that the engine reads."""


class Facts(BaseModel):
    """What a file says of its class."""

    model_config = STRICT

    base: Literal["defense", "forging", "poisoning", "inversion", "audit"]
    version: int = Field(ge=1, le=10**6)
    parameters: dict[str, Any]
    alphabet: Alphabet = Alphabet.REAL
    keeps_models: bool = False
    weighted: bool = False
    gaussian: bool = False
    against: Literal["server", "models"] = "server"
    breakdown: float | Literal["assumed"] = 0.0
    own: frozenset[str] = frozenset()  # the methods that it has of its own
    omniscient: bool = False
    finite: bool = True
    needs_updates: bool = False
    active: bool = False
    deviates: bool = False
    single_shares: bool = False
    collusion: float = Field(default=0.0, ge=0, le=1)
    sabotages: bool = False
    size: tuple[int, int] = (1, 1)


OPEN = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
"""Parameters are the file's own: which ones there are is a fact of it."""


class Remote(Numbers):
    """A stand-in: it has the file's parameters, and a party that is started when it is first needed."""

    model_config = OPEN

    code: ClassVar[Code]
    facts: ClassVar[Facts]

    _role: Role = PrivateAttr()
    _party: Party | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: Any) -> Any:
        """All parameters, those that were not given as the file has them."""
        if not isinstance(given, dict):
            return given
        if unknown := sorted(set(given) - set(cls.facts.parameters)):
            raise ValueError(f"{cls.code.name} has no parameter {unknown[0]}")
        return {**cls.facts.parameters, **given}

    def _parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.facts.parameters}

    def _is_own(self, method: str) -> bool:
        """Whether the file has a method of its own; what it has not is the engine's to do."""
        return method in self.facts.own

    def _call(
        self, do: str, tensors: Mapping[str, Tensor] | None = None, room: int = 0, **more: Any
    ) -> tuple[Header, Tensors]:
        """What the party answers, and the tensors that it gives, which may take `room` bytes and a little more."""
        if self._party is None:
            self._party = Party(self._role, self.code, self._parameters())
        return self._party.call(do, tensors, room + SLACK, **more)


def only(made: Tensors, name: str, step: str, shape: torch.Size) -> Tensor:
    """The tensor of that name and shape; `ValueError` where it is another."""
    if name not in made:
        raise ValueError(f"{step} gave no {name}")
    if made[name].shape != shape:
        raise ValueError(f"{step} gave {tuple(made[name].shape)}, not {tuple(shape)}")
    return made[name]


def drawn(made: Tensors, generator: torch.Generator) -> None:
    """The generator goes on from where the party left it."""
    state = made.get("generator")
    if state is None or state.shape != generator.get_state().shape or state.dtype != torch.uint8:
        raise ValueError("it gave no state of its generator")
    try:
        generator.set_state(state)
    except RuntimeError:
        raise ValueError("it gave no state of its generator") from None


def keep(made: Tensors, memory: dict[str, Tensor]) -> None:
    """What the party has in memory now, in place of what it had."""
    memory.clear()
    memory.update(named(made, MEMORY))
