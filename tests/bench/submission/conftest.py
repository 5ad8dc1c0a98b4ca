"""Fixtures of submissions: a subject from a file, and a results folder with a row that was really submitted."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.protocol import Defense
from bench.submission import checks, federated, guards
from bench.submission.probe import Subject
from bench.submit import Request, submit

HERE = Path(__file__).parent
PHOCAS = HERE.parents[2] / "docs" / "examples" / "phocas.py"


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
