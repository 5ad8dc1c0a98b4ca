"""Fixtures of submissions: a subject from a file, and a results folder with a row that was really submitted."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.protocol import Defense
from bench.submission import checks, federated, guards
from bench.submission import folder as folders
from bench.submission.probe import Subject
from bench.submit import Request, submit

HERE = Path(__file__).parent
PHOCAS = HERE.parents[2] / "docs" / "examples" / "phocas.py"

LOUD = '''"""Sends what it would have sent, and many times as much."""

from torch import Tensor

from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


@register("attack", "loud")
class Loud(ByzantineAttack):
    times: float = 20.0

    def forge(self, view: ByzantineView) -> Tensor:
        return -self.times * view.own
'''


@pytest.fixture(scope="session")
def loud() -> str:
    """The source of an attack that somebody submits as `loud.py`."""
    return LOUD


@pytest.fixture(scope="session")
def sign_anew() -> Callable[[Path], None]:
    """After a change to a submitted source: put its new digest into the submission beside it."""

    def put(source: Path) -> None:
        submission = folders.load(source.parent)
        assert submission is not None
        file, digest = source.with_name(folders.FILE), folders.Source(source, source.read_bytes()).digest
        file.write_text(file.read_text().replace(submission.sha256, digest))

    return put


@pytest.fixture
def subject_of(_registry: None) -> Iterator[Callable[[Path], Subject]]:
    """The defense in a file, loaded in this process and watched but for audited events."""
    watch = guards.Watch("")

    def load(path: Path) -> Subject:
        spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        (cls,) = (
            found
            for found in vars(module).values()
            if isinstance(found, type) and issubclass(found, Defense) and found.__module__ == module.__name__
        )
        return checks.fitting(Subject(cls, {}, 0.4, watch))

    with federated.loading_noted(watch):
        yield load


@pytest.fixture(scope="session")
def _submitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("submitted") / "results"
    report = submit(Request(str(PHOCAS), "smoke", results, quiet=True, workers=1), lambda line: None)
    assert (report.ran, report.unfinished, report.failed) == (4, 0, False)
    return results


@pytest.fixture
def submitted(_submitted: Path, tmp_path: Path) -> Path:
    """A copy of a results folder in which phocas was submitted to the suite smoke."""
    return Path(shutil.copytree(_submitted, tmp_path / "results"))
