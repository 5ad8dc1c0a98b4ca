"""What there is to run, by kind: complete, a line each, and without importing torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import registry, suite
from bench.base.errors import BadInputError
from bench.commands import catalogue

ROOT = Path(__file__).parents[3]


def test_everything_is_listed_by_kind() -> None:
    found = catalogue.listing()
    assert tuple(found) == ("defenses", "attacks", "datasets", "models", "suites")
    assert set(found["defenses"]) == set(registry.names("defense"))
    assert set(found["attacks"]) == set(registry.names("attack"))
    assert set(found["datasets"]) == set(registry.names("dataset"))
    assert set(found["models"]) == set(registry.names("model"))
    assert set(found["suites"]) == set(suite.shipped())


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_one_kind_is_the_same_as_among_all(kind: str) -> None:
    assert catalogue.listing(kind) == {kind: catalogue.listing()[kind]}


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_every_name_has_one_line(kind: str) -> None:
    for name, line in catalogue.listing(kind)[kind].items():
        assert len(line) > 10, name
        assert line == line.strip()
        assert "\n" not in line


@pytest.mark.parametrize(("kind", "near"), [("defense", "defenses"), ("suits", "suites"), ("zzz", "known are attacks")])
def test_an_unknown_kind_gets_the_nearest(kind: str, near: str) -> None:
    with pytest.raises(BadInputError, match=rf"'{kind}': .*{near}"):
        catalogue.listing(kind)


def test_listing_imports_neither_torch_nor_anything_else_that_is_slow() -> None:
    code = (
        "import sys; from bench.commands import catalogue; catalogue.listing();"
        "print(sorted({'torch', 'sklearn', 'pandas', 'scipy', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
