"""What a defense claims about its privacy, so that a record can stand it beside what was composed and audited."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PrivacyClaim(BaseModel):
    """A published guarantee: an epsilon, or the reason why there is none.

    `unit` says what one epsilon covers ("per upload", "per coordinate and round"), `source` names paper and theorem.
    A pydantic ValidationError (a ValueError) tells which field is wrong; infinite epsilons are a reason, not a number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    delta: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None
    unit: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _epsilon_or_reason(self) -> Self:
        if (self.epsilon is None) == (self.reason is None):
            raise ValueError("exactly one of epsilon and reason must be given: a number, or why there is none")
        return self
