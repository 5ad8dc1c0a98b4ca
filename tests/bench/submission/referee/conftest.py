"""Here processes of parties are interpreters of their own, behind the walls of this system."""

import subprocess
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from bench.submission import sandbox
from tests.bench.helpers.forks import Forked


@pytest.fixture(scope="module", autouse=True)
def _forked() -> Iterator[None]:
    """Processes that look at submitted code alone are forked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": Forked}))
        patch.setattr(sandbox, "walls", SimpleNamespace(prefix=lambda *given: ()))
        yield
