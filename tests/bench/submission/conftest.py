"""Fixtures of submissions: a subject from a file, and what keeps processes from being started twice for one thing."""

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import registry
from bench.protocol import Defense
from bench.submission import checks, child, guards, sandbox
from bench.submission import folder as folders
from bench.submission.probe import Subject
from bench.submission.referee import party, walls
from bench.submission.sandbox import Bounds, Event, Finished
from tests.bench.helpers.forks import Forked, fork_hosts
from tests.bench.helpers.loads import loads_noted
from tests.bench.helpers.registry import copied

Job = Mapping[str, Any]

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


@pytest.fixture(scope="module", autouse=True)
def _forked() -> Iterator[None]:
    """Processes in which submitted code runs are forked from one that has imported torch and the bench.

    There are no walls around them: those are looked at in `referee`, in `tests/adversarial` and with the published row.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": Forked}))
        patch.setattr(sandbox, "walls", SimpleNamespace(prefix=lambda *given: ()))
        fork_hosts(patch.setattr, Forked)
        yield


@pytest.fixture
def _interpreters(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are interpreters of their own, as outside of tests."""
    monkeypatch.setattr(sandbox, "subprocess", subprocess)
    monkeypatch.setattr(sandbox, "walls", walls)
    monkeypatch.setattr(party, "subprocess", subprocess)
    monkeypatch.setattr(party, "walls", walls)


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

    with loads_noted(watch):
        yield load


@pytest.fixture(scope="module")
def _seen() -> dict[str, Finished]:
    return {}


@pytest.fixture
def seen_once(monkeypatch: pytest.MonkeyPatch, _seen: dict[str, Finished]) -> None:
    """What processes of their own find in a file is not looked for again where the same is asked of the same code.

    Comments do not count, nor do folders and digests; runs and replays are played whenever they are asked for.
    """
    real = sandbox.call

    def call(job: Job, packages: Sequence[Path], bounds: Bounds, **given: Any) -> Finished:
        if job["do"] not in ("inspect", "examine"):
            return real(job, packages, bounds, **given)
        code = ast.dump(ast.parse(Path(job["file"]).read_bytes()))
        asked = {name: value for name, value in job.items() if name not in ("file", "module")}
        key = json.dumps([code, asked, given.get("hash_seed")], sort_keys=True)
        if key not in _seen:
            _seen[key] = real(job, packages, bounds, **given)
        elif heard := given.get("heard"):
            for event in _seen[key].events:
                heard(event)
        return _seen[key]

    monkeypatch.setattr(sandbox, "call", call)


@pytest.fixture
def inspected_here(monkeypatch: pytest.MonkeyPatch, _registry: None) -> Iterator[None]:
    """Files are inspected in this process: what is refused, and in which words, is the same in a process of its own.

    Nothing is watched, because an audit hook would stay. Whatever comes after the inspection fails the test.
    """
    before = set(sys.modules)
    monkeypatch.setattr(guards, "refuse_network", lambda: None)
    monkeypatch.setattr(guards.Watch, "install", lambda watch: None)

    def call(job: Job, packages: Sequence[Path], bounds: Bounds, **given: Any) -> Finished:
        assert job["do"] == "inspect"
        events: list[Event] = []
        with monkeypatch.context() as patched:
            patched.setattr(registry, "_registered", copied())
            for package in packages:
                patched.syspath_prepend(package)
            child.look(dict(job), lambda event, **content: events.append({"event": event, **content}))
        return Finished([*events, {"event": "end"}], None)

    monkeypatch.setattr(sandbox, "call", call)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("fedsiege_submitted_"):
            del sys.modules[name]
