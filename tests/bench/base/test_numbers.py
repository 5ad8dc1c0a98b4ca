"""Numbers that users write: fields that came later leave what was written before as it is."""

import pytest
from pydantic import ValidationError

from bench.base.numbers import Numbers, added


class Old(Numbers):
    rate: float = 0.5


class New(Old):
    decay: float = added(0.0, ge=0)
    milestones: tuple[int, ...] = added(())


def test_an_added_field_at_its_default_is_not_written() -> None:
    assert New().model_dump() == Old().model_dump() == {"rate": 0.5}
    assert New().model_dump_json() == Old().model_dump_json()


def test_an_added_field_is_written_where_it_says_something() -> None:
    assert New(decay=0.1).model_dump() == {"rate": 0.5, "decay": 0.1}
    assert New(milestones=(3,)).model_dump(mode="json") == {"rate": 0.5, "milestones": [3]}
    assert New(**New(decay=0.1, milestones=(3,)).model_dump()) == New(decay=0.1, milestones=(3,))


def test_an_added_field_is_held_to_its_bounds() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        New(decay=-1.0)
