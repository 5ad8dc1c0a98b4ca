"""The workflow that tries other libraries' rules knows every extra that the package has for them."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.exchange.foreign.libraries import LIBRARIES

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def workflow() -> Any:
    return yaml.safe_load((ROOT / ".github" / "workflows" / "extras.yml").read_text())


def test_each_library_has_a_job_with_its_extra(workflow: Any) -> None:
    [job] = workflow["jobs"].values()
    played = {row["library"]: row["extra"] for row in job["strategy"]["matrix"]["include"]}
    assert set(played) == {name for name, library in LIBRARIES.items() if library.module}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for library, extra in played.items():
        assert any(requirement.startswith(library) for requirement in extras[extra])


def test_a_failing_command_before_a_pipe_fails_the_job(workflow: Any) -> None:
    assert workflow["defaults"] == {"run": {"shell": "bash"}}
