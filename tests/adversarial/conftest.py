"""What tests of dishonest files share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.submission.referee.party import end_all


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of one file that is written anew each time: the processes that see it start once."""
    yield tmp_path_factory.mktemp("dishonest")
    end_all()
