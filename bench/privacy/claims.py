"""What a defense claims about its privacy, so that a record can stand it beside what was composed and audited."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PrivacyClaim(BaseModel):
    """A published guarantee: an epsilon, or the reason why there is none.

    `unit` says what one epsilon covers ("per upload", "per coordinate and round"), `source` names paper and theorem.
    `colluders` is the largest fraction rho of the other clients in collusion with the server at which the claim is
    meant to hold; `neighbours` says whether one client's data is replaced, or is there or not. A pydantic
    ValidationError (a ValueError) tells which field is wrong; infinite epsilons are a reason, not a number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    delta: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None
    unit: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)] | None = None
    colluders: Annotated[float, Field(ge=0, le=1)] = 1.0
    neighbours: Literal["replace", "add_remove"] = "replace"

    @model_validator(mode="after")
    def _epsilon_or_reason(self) -> Self:
        if (self.epsilon is None) == (self.reason is None):
            raise ValueError("exactly one of epsilon and reason must be given: a number, or why there is none")
        return self
