"""What the sides of a defense could tell each other beside messages, by what kernel and machine let them share."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.submission.referee import calls
from bench.submission.referee.again import asking_again
from bench.submission.referee.party import Code
from bench.submission.referee.proxies import stand_in

pytestmark = pytest.mark.integration

SETTINGS = FederationSettings(
    dataset="digits",
    clients=8,
    samples_per_client=20,
    rounds=2,
    local_steps=1,
    batch_size=10,
    lr=0.5,
    messages="always",
)
HEAD = f"""
import ctypes, fcntl, os
import torch
from bench.protocol import Defense, Upload

LIBC = ctypes.CDLL(None, use_errno=True)
FILE = open(os.__file__)
NUMBERS = {calls.REFUSED!r}
def call(name, *arguments):
    return LIBC.syscall(NUMBERS[name][{0 if platform.machine() == "x86_64" else 1}], *arguments)

class Row(Defense):
    def upload(self, local):
        said = int(local.updates.abs().sum() * 1000) + 1
        tell(said)
        return Upload(1e-30 * local.updates)

    def aggregate(self, delivered, server):
        return server.global_model + heard()
"""
CHANNELS = {
    "the place of a lock on a file that both may read": """
def tell(said):
    fcntl.lockf(FILE, fcntl.LOCK_SH, said, 1)
def heard():
    import struct
    asked = fcntl.fcntl(FILE, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
    kind, _, _, length, _ = struct.unpack("hhqqi4x", asked)
    return 0 if kind == fcntl.F_UNLCK else length
""",
    "a lock of a whole file": """
def tell(said):
    fcntl.flock(FILE, fcntl.LOCK_EX)
def heard():
    try:
        fcntl.flock(FILE, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 1
    return 0
""",
    "a key of the session": """
def tell(said):
    call("add_key", b"user", b"fedsiege", str(said).encode(), len(str(said)), -3)
def heard():
    key = call("request_key", b"user", b"fedsiege", None, 0)
    return 0 if key < 0 else 1
""",
    "a watch on who opens which file": """
WATCH = LIBC.inotify_init1(os.O_NONBLOCK)
if WATCH >= 0:
    LIBC.inotify_add_watch(WATCH, os.__file__.encode(), 0x20)
def tell(said):
    open(os.__file__).close()
def heard():
    try:
        return len(os.read(WATCH, 4096))
    except OSError:
        return 0
""",
}


def row(folder: Path, text: str, own: tuple[str, ...] = ("aggregate", "upload"), **facts: Any) -> type[Any]:
    file = folder / "row.py"
    file.write_text(text)
    known = {"base": "defense", "version": 1, "parameters": {}, "own": list(own), **facts}
    found = stand_in(Code(file, "row", "Row", "row"), known)
    found.name = "row"
    return found


def trained(defense: Any) -> Tensor:
    federation = Federation(SETTINGS, defense, load("digits"), seed=3)
    for _ in range(SETTINGS.rounds):
        federation.advance()
    return federation.global_model


@pytest.mark.parametrize("what", CHANNELS)
def test_no_side_hears_of_another_but_by_messages(what: str, folder: Path) -> None:
    """Next to nothing is sent; what the server would hear beside it moves its model. A refusal is as good."""
    played = row(folder, HEAD + CHANNELS[what])()
    first = Federation(SETTINGS, played, load("digits"), seed=3).global_model
    try:
        model = trained(played)
    except RuntimeError as error:
        assert "PermissionError" in str(error)  # noqa: PT017
    else:
        assert torch.equal(model, first)


LISTENS = """
import time
from bench.protocol import Defense, Upload

class Row(Defense):
    def upload(self, local):
        return Upload(local.updates)

    def aggregate(self, delivered, server):
        mean = delivered.messages.mean(dim=0)
        {before}
        return server.global_model + mean {heard}

BORN, CALLS = time.monotonic_ns(), []
"""


@pytest.mark.parametrize(
    ("before", "heard", "words"),
    [
        ("pass", "", None),
        ("server.memory.setdefault('first', mean)", "+ server.memory['first']", None),
        ("CALLS.append(mean)", "+ CALLS[0]", "its server gives another model"),  # attackers cannot imagine that
        ("pass", "* (time.monotonic_ns() % 1000)", "its server gives another model when it is asked again"),
        ("server.memory['x'] = mean * 0 + BORN % 1000", "", "its server gives another model"),
    ],
)
def test_a_server_that_hears_something_beside_its_messages_is_found(
    before: str, heard: str, words: str | None, folder: Path
) -> None:
    """By the clock, which stands for whatever processes of one machine tell each other by time or load."""
    played = row(folder, LISTENS.format(before=before, heard=heard))()
    with asking_again() as ask_again:
        trained(played)
        if words is None:
            ask_again()
        else:
            with pytest.raises(ValueError, match=words):
                ask_again()


REFUSES = """
import ctypes, errno
from bench.submission.referee.calls import REFUSED, refuse_calls
print(refuse_calls())
libc = ctypes.CDLL(None, use_errno=True)
for name, numbers in REFUSED.items():
    if numbers[PLACE] is not None:
        print(name, libc.syscall(numbers[PLACE], -1, 0, 0, 0, 0), ctypes.get_errno() == errno.EPERM)
"""


def test_calls_by_which_processes_find_each_other_are_refused() -> None:
    place = 0 if platform.machine() == "x86_64" else 1
    done = subprocess.run(
        [sys.executable, "-c", REFUSES.replace("PLACE", str(place))], capture_output=True, text=True, check=True
    )
    first, *told = done.stdout.splitlines()
    assert first == "True"
    assert len(told) >= 18
    assert all(line.endswith(" -1 True") for line in told)
