"""What a suite's tables `[federation]` and `[resources]` may hold, validated."""

import math
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

MOST, MOST_CLIENTS = 10**9, 10**7
"""The largest count of anything, and of clients: a larger one is a slip, and no memory holds it."""


class Numbers(BaseModel):
    """Base of what users write: `rounds = true` is a fault there, where pydantic would read 1."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name or ""].annotation
        given = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(one, bool) for one in given) and not _takes(bool, annotation):
            raise ValueError("Input should be a number, not true or false")
        if isinstance(value, float) and 2**63 <= abs(value) < math.inf and not _takes(float, annotation):
            return int(value)  # pydantic would speak of a text that it cannot parse, not of the largest count
        return value


def _takes(kind: type, annotation: Any) -> bool:
    """Whether a type, or anything at all, is among those that an annotation is made of."""
    return annotation in (kind, Any, object) or any(_takes(kind, part) for part in get_args(annotation))


class FederationSettings(Numbers):
    """Data, model, clients and local training; a defense's tuned values override single entries.

    `alpha` is the concentration of Hsu et al. 2019, Dir(alpha * class frequencies); public code that draws from
    Dir(a, a, ...) over C classes has alpha = a * C.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: str
    partition: Literal["iid", "sorted", "dirichlet"] = "iid"
    shards_per_client: int = Field(default=2, ge=1, le=MOST)
    alpha: float = Field(default=0.2, gt=0)
    model: str = "softmax"
    clients: int = Field(ge=1, le=MOST_CLIENTS)
    samples_per_client: int | None = Field(default=None, ge=1, le=MOST)
    participation: float = Field(default=1.0, gt=0, le=1)
    rounds: int = Field(ge=1, le=MOST)
    local_epochs: int | None = Field(default=None, ge=1, le=MOST)
    local_steps: int | None = Field(default=None, ge=1, le=MOST)
    batch_size: int = Field(default=32, ge=1, le=MOST)
    lr: float = Field(gt=0)
    lr_decay: float | None = Field(default=None, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)  # of each client: it sends the running mean of its updates
    assumed_byzantine: float = Field(default=0.4, ge=0, lt=1)
    oracle_f: bool = False
    delta: float = Field(default=1e-6, gt=0, lt=1)
    eval_every: int = Field(default=1, ge=1, le=MOST)
    dtype: Literal["float32", "float64"] = "float32"
    messages: Literal["as_needed", "always"] = "as_needed"  # whether a training cell draws every client's message

    @model_validator(mode="after")
    def _one_length_of_training(self) -> "FederationSettings":
        if (self.local_epochs is None) == (self.local_steps is None):
            raise ValueError("give either local_epochs or local_steps, how long a client trains in a round")
        return self

    @property
    def participants(self) -> int:
        """m, the clients of a round: participation * clients, rounded, at least 1 (errata N17)."""
        return max(1, round(self.participation * self.clients))


TUNABLE = ("lr", "lr_decay", "momentum")
"""Settings of the federation that a row may have its own of, as the shipped rows have."""


def own_settings(row: FederationSettings, suite: FederationSettings) -> dict[str, object]:
    """What a row's training has otherwise than its suite, beyond what is a row's own to choose."""
    other = suite.model_dump()
    return {key: value for key, value in row.model_dump().items() if key not in TUNABLE and value != other[key]}


class Resources(Numbers):
    """What each cell takes of a node of a cluster (`--ray`); fractions are shares of one, as two cells on a CPU.

    A table of the suite, and not a part of its federation: it says where a cell may run, never what it computes, so
    that cells, their keys and their protocol's hash are the same whatever stands in it. Without `cpus` a cell takes as
    many as it has threads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpus: float | None = Field(default=None, ge=0.01)
    gpus: float = Field(default=0.0, ge=0)

    @field_validator("gpus")
    @classmethod
    def _whole_or_a_share(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus is {gpus:g}, but must be a whole number, or a share of one GPU")
        return gpus
