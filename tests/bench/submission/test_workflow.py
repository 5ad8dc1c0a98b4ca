"""The workflow of submissions: it cannot run here, but it is read, and its commands and paths are looked at."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.cli import app

ROOT = Path(__file__).parents[3]
FILE = ROOT / ".github" / "workflows" / "submission.yml"


@pytest.fixture
def workflow() -> Any:
    return yaml.safe_load(FILE.read_text())


def steps(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_it_may_only_read_and_has_no_secret(workflow: Any) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in workflow["jobs"].values())
    assert set(workflow[True]) == {"pull_request"}  # `on` is a truth value in YAML 1.1; never pull_request_target
    assert "secrets." not in FILE.read_text()
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout")]
    assert len(checkouts) == 2
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_it_runs_the_bench_of_the_base_on_the_files_of_the_pull_request(workflow: Any) -> None:
    commands = "\n".join(step["run"] for step in steps(workflow) if "run" in step)
    assert "pip install -e ./base" in commands
    assert "cd base && python -m bench verify" in commands
    assert "./head" not in commands.replace("../head/$row", "")
    for expression in re.findall(r"\$\{\{.*?\}\}", commands):
        pytest.fail(f"{expression} is pasted into a shell")


def test_its_commands_exist(workflow: Any) -> None:
    commands = "\n".join(step["run"] for step in steps(workflow) if "run" in step)
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"python -m bench ([\w-]+)", commands)) <= known


def test_its_scripts_are_shell(workflow: Any) -> None:
    for step in steps(workflow):
        if "run" in step:
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_rows_are_found_among_changed_files(workflow: Any) -> None:
    (script,) = (step["run"] for step in steps(workflow) if "grep -E" in step.get("run", ""))
    pattern = re.search(r"grep -E '(.*)'", script)
    assert pattern is not None
    changed = [
        "results/smoke/phocas/submission.toml",
        "results/smoke/phocas/clean/0123456789ab-s0.json",
        "results/smoke/median/loud/loud.py",
        "results/smoke/leaderboard.md",
        "results/smoke/$(reboot)/submission.toml",
        "bench/cli.py",
    ]
    done = subprocess.run(
        ["bash", "-c", f"grep -E '{pattern[1]}' | cut -d/ -f1-3 | sort -u"],
        input="\n".join(changed),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["results/smoke/median", "results/smoke/phocas"]
