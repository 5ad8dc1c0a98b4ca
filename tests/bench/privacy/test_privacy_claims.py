"""A claim is a number or a reason, never both, and survives its JSON."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from bench.privacy.claims import PrivacyClaim

NUMBER: dict[str, Any] = {"epsilon": 1.468, "delta": 1e-6, "unit": "per coordinate and round", "source": "Corollary 1"}
REASON: dict[str, Any] = {**NUMBER, "epsilon": None, "reason": "needs epsilon < 1"}
LIMITED: dict[str, Any] = {**NUMBER, "colluders": 0.6, "neighbours": "add_remove"}


@pytest.mark.parametrize(
    "fields", [NUMBER, REASON, {**NUMBER, "delta": None}, {**NUMBER, "epsilon": 0.0, "delta": 0}, LIMITED]
)
def test_claims_survive_their_json(fields: dict[str, Any]) -> None:
    claim = PrivacyClaim(**fields)
    assert PrivacyClaim.model_validate_json(claim.model_dump_json()) == claim


def test_claims_written_before_they_named_colluders_are_read() -> None:
    old = PrivacyClaim(**NUMBER).model_dump(exclude={"colluders", "neighbours"})
    claim = PrivacyClaim.model_validate(old)
    assert (claim.colluders, claim.neighbours) == (1.0, "replace")


@pytest.mark.parametrize("fields", [{**NUMBER, "reason": "why"}, {**REASON, "reason": None}])
def test_exactly_one_of_epsilon_and_reason(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one of epsilon and reason must be given"):
        PrivacyClaim(**fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("epsilon", value) for value in (-1, math.inf, math.nan)),
        *(("delta", value) for value in (-1, 1, math.nan)),
        *((field, "") for field in ("unit", "source")),
        *(("colluders", value) for value in (-0.1, 1.1, math.nan)),
        ("neighbours", "both"),
        ("scope", "all"),
    ],
)
def test_fields_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=rf"(?m)^{field}$"):
        PrivacyClaim(**{**NUMBER, field: value})


def test_claims_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PrivacyClaim(**NUMBER).epsilon = 0.1  # type: ignore[misc]
