"""The suite parser, with shipped suites changed at random and with any text: one clear line, or cells that hold."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import registry
from bench.base.errors import BadInputError
from bench.federation.settings import FederationSettings
from bench.runs.preflight import check_settings
from bench.suite import Suite, load, shipped
from tests.fuzz.trees import TEXTS, Tree, damages, mutations, toml

FILES = [path.read_bytes() for path in shipped().values()]
SMALL = [tomllib.loads(content.decode()) for content in FILES if len(content) < 3000]
"""Small enough to make hundreds of them."""

EXAMPLES, DEEP = 150, 4000

fast = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
deep = settings(max_examples=DEEP, suppress_health_check=list(HealthCheck))

VALUES = TEXTS | st.sampled_from(["1", "0", "-1", "nan", "1e999", "[]", "[1, 2]", '"x"', "{}", "true", "2 # x", '"""'])
KEYS = st.sampled_from([*FederationSettings.model_fields, "privacy.targets", "krum.num_selected", "fedavg.x", "seeds"])


def test_nothing_is_refused_that_is_shipped() -> None:
    """The trees that are changed are right as they stand, also as this folder writes them."""
    for tree in SMALL:
        assert Suite(**tomllib.loads(toml(tree))).cells()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("suites") / "some.toml"


@fast
@given(tree=mutations(SMALL))
def test_a_changed_suite(file: Path, tree: Tree) -> None:
    parse(file, toml(tree).encode())


@fast
@given(content=damages(FILES) | st.binary(max_size=60) | TEXTS.map(str.encode))
def test_a_damaged_file(file: Path, content: bytes) -> None:
    parse(file, content)


@fast
@given(change=st.builds("{}={}".format, KEYS | TEXTS, VALUES) | TEXTS)
def test_a_change_from_the_command_line(change: str) -> None:
    with refused():
        hold(load("smoke", [change]))


@pytest.mark.slow
@deep
@given(tree=mutations(SMALL))
def test_many_changed_suites(file: Path, tree: Tree) -> None:
    parse(file, toml(tree).encode())


@pytest.mark.slow
@deep
@given(content=damages(FILES) | st.binary(max_size=200) | TEXTS.map(str.encode))
def test_many_damaged_files(file: Path, content: bytes) -> None:
    parse(file, content)


def parse(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with refused():
        hold(load(str(file)))


@contextmanager
def refused() -> Iterator[None]:
    """`BadInputError` with something to say is as good as an answer."""
    told = "nothing was refused"
    try:
        yield
    except BadInputError as error:
        told = str(error)
    assert told.strip()


def hold(suite: Suite) -> None:
    """What is true of every suite that is taken; its cells, where the data is at hand, pass the preflight or not."""
    cells = suite.cells()
    assert len({cell.hash for cell in cells}) == len(cells)
    assert all(0 <= cell.byzantine <= 1 for cell in cells)
    assert len(set(suite.seeds)) == len(suite.seeds)
    if all(cell.federation.dataset == "digits" and cell.federation.model in registry.names("model") for cell in cells):
        check_settings(suite.name, cells, None)
