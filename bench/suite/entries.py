"""The tables of a suite file: `[[defense]]`, `[[attack]]`, `[privacy]`, `[ranking]`."""

import math

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bench.base.numbers import MOST, STRICT, Numbers, added
from bench.suite.cell import RECOVERED_PSNR, Parameters


class DefenseEntry(BaseModel):
    """A `[[defense]]` table: `name`, optional `label` and `[defense.federation]`, every other key a parameter."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    label: str | None = None
    federation: Parameters = {}

    @property
    def parameters(self) -> Parameters:
        return dict(self.model_extra or {})


class AttackEntry(Numbers):
    """An `[[attack]]` table: `name`, `byzantine` for Byzantine clients, every other key a parameter.

    `start` and `stop` are the first and the last round, counted from 1, in which Byzantine clients attack; in all
    others they are honest. `[attack.privacy]` changes the suite's `[privacy]` for this attack; a list in it is a sweep.
    An inversion with `byzantine` is that of a coalition, once looking on and once for each `[[attack.forging]]` table:
    a Byzantine attack's `name` and its parameters.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    byzantine: tuple[float, ...] = ()
    start: int | None = added(None, ge=1, le=MOST)
    stop: int | None = added(None, ge=1, le=MOST)
    privacy: Parameters = Field(default_factory=dict)
    forging: tuple[Parameters, ...] = added(())

    @field_validator("byzantine", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) else [value]

    @field_validator("byzantine")
    @classmethod
    def _fractions(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for fraction in value:
            if not 0 <= fraction <= 1 or math.copysign(1, fraction) < 0:  # -0.0 drops the attack as 0 does
                raise ValueError(f"byzantine fraction {fraction:g} is not between 0 and 1")
        return value

    @model_validator(mode="after")
    def _starts_before_it_stops(self) -> "AttackEntry":
        if self.start is not None and self.stop is not None and self.start > self.stop:
            raise ValueError(f"start is {self.start}, but must be at most {self.stop}, the round of stop")
        return self

    @property
    def parameters(self) -> Parameters:
        return dict(self.model_extra or {})


class PrivacySettings(Numbers):
    """The `[privacy]` table: targets, rounds of training beforehand, and what inversions change in the federation."""

    model_config = ConfigDict(frozen=True, extra="allow")

    targets: int = Field(default=16, ge=1, le=MOST)
    trained: int = Field(default=0, ge=0, le=MOST)

    @property
    def federation(self) -> Parameters:
        return dict(self.model_extra or {})


class Ranking(Numbers):
    """The `[ranking]` table."""

    model_config = STRICT

    recovered_psnr: float = RECOVERED_PSNR  # dB from which a reconstructed image counts as recovered
