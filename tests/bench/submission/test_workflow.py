"""The workflow of submissions: it cannot run here, but it is read, and its commands and paths are looked at."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cli import app

WORKFLOWS = Path(__file__).parents[3] / ".github" / "workflows"
FILE = WORKFLOWS / "submission.yml"


@pytest.fixture
def workflow() -> Any:
    return yaml.safe_load(FILE.read_text())


def steps(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(workflow: Any) -> str:
    return "\n".join(step["run"] for step in steps(workflow) if "run" in step)


def test_it_may_only_read_and_has_no_secret(workflow: Any) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in workflow["jobs"].values())
    assert set(workflow[True]) == {"pull_request"}  # `on` is a truth value in YAML 1.1; never pull_request_target
    assert "secrets." not in FILE.read_text()
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout")]
    assert len(checkouts) == 2
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_it_runs_on_every_pull_request(workflow: Any) -> None:
    """A filter of paths looks at the first 300 files alone: a large pull request could go by."""
    assert workflow[True] == {"pull_request": None}


def test_it_runs_the_bench_of_the_base_on_the_files_of_the_pull_request(workflow: Any) -> None:
    told = commands(workflow)
    assert "pip install -e ./base" in told
    assert "cd base" in told
    assert 'python -m bench verify ../head --changed "$BASE"' in told
    assert told.count("head") == 1
    for expression in re.findall(r"\$\{\{.*?\}\}", told):
        pytest.fail(f"{expression} is pasted into a shell")


def test_what_fails_in_a_step_fails_it(workflow: Any) -> None:
    """`shell: bash` is `bash -eo pipefail`, where what stands before a pipe counts; and nothing goes on after it."""
    assert workflow["defaults"] == {"run": {"shell": "bash"}}
    assert "|| true" not in commands(workflow)
    judging = [step for step in steps(workflow) if "verify" in step.get("run", "")]
    assert len(judging) == 1
    assert not any("continue-on-error" in step for step in steps(workflow))
    assert not any("if" in step for step in judging)


def test_its_commands_exist(workflow: Any) -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"python -m bench ([\w-]+)", commands(workflow))) <= known


@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*.yml")), ids=lambda file: file.name)
def test_scripts_are_shell_and_actions_are_named_by_their_commit(file: Path) -> None:
    for step in steps(yaml.safe_load(file.read_text())):
        if "run" in step:
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
