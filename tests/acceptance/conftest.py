"""Published files do not change while their tests run: each is read once."""

from collections.abc import Iterator
from functools import cache

import pytest

from bench.records import folder, reading


@pytest.fixture(scope="module", autouse=True)
def _read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "read", cache(reading.read))
        yield
