"""What a suite's table `[federation]` may hold, validated; nothing here imports torch."""

from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from bench.base.errors import require
from bench.base.numbers import MOST, MOST_CLIENTS, Numbers, added


class FederationSettings(Numbers):
    """Data, model, clients and local training; a defense's tuned values override single entries.

    `alpha` is the concentration of Hsu et al. 2019, Dir(alpha * class frequencies); public code that draws from
    Dir(a, a, ...) over C classes has alpha = a * C.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: str
    partition: Literal["iid", "sorted", "dirichlet", "similarity"] = "iid"
    shards_per_client: int = Field(default=2, ge=1, le=MOST)
    alpha: float = Field(default=0.2, gt=0)
    similarity: float = added(0.5, ge=0, le=1)  # of the partition of that name: ByzFL's gamma
    model: str = "softmax"
    clients: int = Field(ge=1, le=MOST_CLIENTS)
    samples_per_client: int | None = Field(default=None, ge=1, le=MOST)
    sizes: Literal["equal", "lognormal", "dirichlet"] = added("equal")  # how many samples each client holds
    size_spread: float = added(1.0, gt=0)
    size_alpha: float = added(0.5, gt=0)
    participation: float = Field(default=1.0, gt=0, le=1)
    rounds: int = Field(ge=1, le=MOST)
    local_epochs: int | None = Field(default=None, ge=1, le=MOST)
    local_steps: int | None = Field(default=None, ge=1, le=MOST)
    batch_size: int = Field(default=32, ge=1, le=MOST)
    lr: float = Field(gt=0)
    lr_decay: float | None = Field(default=None, gt=0)
    lr_milestones: tuple[int, ...] | None = added(None)  # rounds, counted from 0, as in torch's MultiStepLR
    lr_milestone_factor: float = added(0.1, gt=0, le=1)
    momentum: float = Field(default=0.0, ge=0, lt=1)  # of each client: it sends the running mean of its updates
    weight_decay: float = added(0.0, ge=0)  # of torch.optim.SGD, in each local step
    clip_gradients: float = added(0.0, ge=0)  # the norm to which each client clips each step's gradient; 0 is none
    server_optimizer: Literal["none", "momentum", "adam", "yogi", "adagrad"] = added("none")
    server_lr: float = added(1.0, gt=0)
    server_momentum: float = added(0.9, ge=0, lt=1)  # beta_1 of the adaptive ones
    server_beta2: float = added(0.99, ge=0, lt=1)
    server_tau: float = added(1e-3, gt=0)
    assumed_byzantine: float = Field(default=0.4, ge=0, lt=1)
    oracle_f: bool = False
    delta: float = Field(default=1e-6, gt=0, lt=1)
    eval_every: int = Field(default=1, ge=1, le=MOST)
    dtype: Literal["float32", "float64"] = "float32"
    messages: Literal["as_needed", "always"] = "as_needed"  # whether a training cell draws every client's message

    @field_validator("lr_milestones")
    @classmethod
    def _no_milestones_are_none(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return value or None

    @model_validator(mode="after")
    def _one_length_of_training(self) -> "FederationSettings":
        if (self.local_epochs is None) == (self.local_steps is None):
            raise ValueError("give either local_epochs or local_steps, how long a client trains in a round")
        return self

    @model_validator(mode="after")
    def _as_many_steps_for_all(self) -> "FederationSettings":
        if self.sizes != "equal" and self.local_steps is None:
            raise ValueError(f"sizes is {self.sizes!r}, but must be 'equal' with local_epochs: give local_steps")
        return self

    @model_validator(mode="after")
    def _one_schedule_of_the_learning_rate(self) -> "FederationSettings":
        if self.lr_milestones is None:
            return self
        if self.lr_decay is not None:
            raise ValueError("give either lr_decay or lr_milestones: each is a schedule of the learning rate")
        if list(self.lr_milestones) != sorted({max(1, one) for one in self.lr_milestones}):
            raise ValueError(
                f"lr_milestones is {list(self.lr_milestones)}, but must be rounds from 1 on, each later than the last"
            )
        return self

    @property
    def participants(self) -> int:
        """m, the clients of a round: participation * clients, rounded, at least 1 (errata N17)."""
        return max(1, round(self.participation * self.clients))


def check_inverted(settings: FederationSettings) -> None:
    """Raise `ValueError` where an update is not what inversions take it for: lr times the gradients of its steps."""
    for name in ("weight_decay", "clip_gradients"):
        value = getattr(settings, name)
        require(value == 0, name, value, "0 in [privacy]: inversions take an update for a sum of gradients")
    text = "'equal' in [privacy]: inversions take every client to weigh as much"
    require(settings.sizes == "equal", "sizes", settings.sizes, text)


TUNABLE = ("lr", "lr_decay", "momentum")
"""Settings of the federation that a row may have its own of, as the shipped rows have."""


def own_settings(row: FederationSettings, suite: FederationSettings) -> dict[str, object]:
    """What a row's training has otherwise than its suite, beyond what is a row's own to choose."""
    free = (*TUNABLE, "lr_milestones", "lr_milestone_factor")  # lr_decay takes the place of milestones
    return {key: value for key, value in row if key not in free and value != getattr(suite, key)}
