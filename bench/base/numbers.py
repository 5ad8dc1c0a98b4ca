"""Numbers that users write, validated."""

import math
from typing import Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

MOST, MOST_CLIENTS = 10**9, 10**7
"""The largest count of anything, and of clients: a larger one is a slip, and no memory holds it."""


STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
"""Of what is read and never changed: unknown keys are refused, and so are numbers that are none."""


_ADDED: dict[str, JsonValue] = {"added": True}


def added(default: Any, **constraints: Any) -> Any:
    """A field that came after records were published: it is written, and hashed, only where it is not its default.

    So every older record is still the record of its cell. The default must be what the code did before.
    """
    return Field(default=default, json_schema_extra=_ADDED, **constraints)


class Numbers(BaseModel):
    """Base of what users write: `rounds = true` is a fault there, where pydantic would read 1."""

    @model_serializer(mode="wrap")
    def _without_added_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All fields, but of the `added` ones only those that are not their default."""
        written: dict[str, Any] = write(self)
        for name, field in type(self).model_fields.items():
            if field.json_schema_extra is _ADDED and getattr(self, name) == field.get_default():
                written.pop(name, None)
        return written

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
