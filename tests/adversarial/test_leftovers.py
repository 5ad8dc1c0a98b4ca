"""What a party could leave for another one, or hold beyond its limits: none of it is there.

Parties of one role follow each other in one process and its namespaces: those of a clean cell and of an attacked one,
of an inversion's control, where nothing hides the images, and of the inversion itself.
"""

import platform
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.cell import run_cell
from bench.plays.findings import Task
from bench.submission.referee import calls, walls
from bench.submission.referee.party import Code
from bench.submission.referee.proxies import stand_in
from bench.suite import Cell
from bench.suite.meeting import make_part

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
import ctypes, errno, mmap, os, subprocess, sys, time
import torch
from bench.protocol import Defense

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
NUMBERS = {calls.REFUSED_TO_PARTIES!r}
def call(name, *arguments):
    return LIBC.syscall(NUMBERS[name][{0 if platform.machine() == "x86_64" else 1}], *arguments)

def works(what):
    try:
        return what() not in (None, -1)
    except (OSError, AttributeError):
        return False

class Row(Defense):
    def aggregate(self, delivered, server):
        mean = server.global_model + delivered.messages.mean(dim=0)
"""
walled = pytest.mark.skipif(not walls.available(), reason="this system has no bubblewrap that may make namespaces")


def model_of(folder: Path, body: str) -> Tensor:
    """The model of a defense whose server does this before it gives the mean."""
    file = folder / "row.py"
    lines = "".join(f"        {line}\n" for line in body.strip("\n").splitlines())
    file.write_text(HEAD + lines + "        return mean\n")
    found: Any = stand_in(
        Code(file, "row", "Row", "row"), {"base": "defense", "version": 1, "parameters": {}, "own": ["aggregate"]}
    )
    found.name = "row"
    federation = Federation(SETTINGS, found(), load("digits"), seed=3)
    for _ in range(SETTINGS.rounds):
        federation.advance()
    return federation.global_model


LEFT = {
    "a segment of shared memory": """
key = call("shmget", 7, 4096, 0o600)
if key >= 0:
    return mean * 0
call("shmget", 7, 4096, 0o1600)""",
    "a queue of messages": """
if call("msgget", 7, 0o600) >= 0:
    return mean * 0
call("msgget", 7, 0o1600)""",
    "semaphores": """
if call("semget", 7, 1, 0o600) >= 0:
    return mean * 0
call("semget", 7, 1, 0o1600)""",
    "a queue with a name": """
if call("mq_open", b"fedsiege", os.O_RDWR, 0, None) >= 0:
    return mean * 0
call("mq_open", b"fedsiege", os.O_RDWR | os.O_CREAT, 0o600, None)""",
    "a process": """
if works(lambda: subprocess.Popen(["sleep", "20"], start_new_session=True)) or works(os.fork):
    return mean * 0""",
}


@pytest.mark.parametrize("what", LEFT)
def test_nothing_of_a_party_outlives_it(what: str, folder: Path) -> None:
    """The server of a clean cell would leave its model there, that of an attacked one take it."""
    plain = model_of(folder, "pass")
    assert torch.equal(model_of(folder, LEFT[what]), plain)
    assert torch.equal(model_of(folder, LEFT[what]), plain)


HOLDS = {
    "shared memory without a file": "mmap.mmap(-1, 4096)",
    "a file in memory": 'os.memfd_create("x")',
    "a file in memory that is secret": 'call("memfd_secret", 0)',
    "a namespace of its own, in which it may mount": 'call("unshare", 0x10020000)',
    "its own network namespace": 'call("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0)',
    "the network namespace of who started it": 'call("setns", os.open(f"/proc/{os.getppid()}/ns/net", os.O_RDONLY), 0)',
    "the network namespace of the first process": 'call("setns", os.open("/proc/1/ns/net", os.O_RDONLY), 0)',
    "the call itself, whose bad file the kernel would see": """
        0 if (call("setns", -1, 0), ctypes.get_errno())[1] == errno.EBADF else None""",
    "a process that it sees": 'call("pidfd_open", os.getppid(), 0)',
    "another program": 'call("execve", b"/bin/true", None, None)',
    "a child by the call itself": 'call("vfork")',
    "many open files": "[os.dup(0) for _ in range(300)]",
}


@pytest.mark.parametrize("what", HOLDS)
def test_a_party_holds_no_more_than_it_may(what: str, folder: Path) -> None:
    """Memory that no limit of a process counts, other namespaces, other processes; as root too."""
    text = HOLDS[what].strip()
    body = f"if works(lambda: {text}):\n    return mean * 0"
    assert torch.equal(model_of(folder, body), model_of(folder, "pass"))


@walled
def test_a_device_of_zeros_gives_no_memory_that_is_shared(folder: Path) -> None:
    body = """
if works(lambda: mmap.mmap(os.open("/dev/zero", os.O_RDWR), 4096)):
    return mean * 0"""
    assert torch.equal(model_of(folder, body), model_of(folder, "pass"))


def test_threads_are_no_processes(folder: Path) -> None:
    body = """
import threading
one = threading.Thread(target=lambda: None)
one.start()
one.join()"""
    assert torch.equal(model_of(folder, body), model_of(folder, "pass"))


# ------------------------------------------------------------------------------- an inversion that hears of its control

CONTROL = """
import ctypes
import torch
from torch import Tensor
from bench.threat import PrivacyAttack, Reconstruction, View

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
SIZE = 4 * 64 * 4


class Mine(PrivacyAttack):
    '''It keeps what it finds where nothing is hidden, and gives it where everything is.'''

    def infer(self, view, generator):
        seen, targets = view.rounds[-1].estimate, len(view.targets)
        labels = torch.zeros(targets, 1, dtype=torch.long)
        key = LIBC.shmget(11, SIZE, 0o600)
        if key >= 0:
            held = (ctypes.c_char * SIZE).from_address(LIBC.shmat(key, None, 0))
            images = torch.frombuffer(bytearray(held.raw), dtype=torch.float32).clone()
        else:
            images = self.plain(seen, targets)
            key = LIBC.shmget(11, SIZE, 0o1600)
            if key >= 0:
                held = (ctypes.c_char * SIZE).from_address(LIBC.shmat(key, None, 0))
                held.raw = images.float().numpy().tobytes()
        images = images.to(seen.dtype).view(targets, 1, 1, 8, 8)
        return Reconstruction(images, labels, torch.zeros(targets), [0.0], seen)

    def plain(self, seen, targets):
        '''An image is the gradient of a class's weights over that of its bias.'''
        weight, bias = seen[:, :640].view(targets, 10, 64), seen[:, 640:]
        place = bias.abs().argmax(dim=1)
        rows = torch.arange(targets)
        return (weight[rows, place] / bias[rows, place].unsqueeze(1)).contiguous()
"""


def test_an_inversion_hears_nothing_of_its_control(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same targets without a defense come first; under noise it would have their images from there."""
    file = folder / "mine.py"
    file.write_text(CONTROL)
    facts = {"base": "inversion", "version": 1, "parameters": {}, "own": ["infer"]}
    found: Any = stand_in(Code(file, "mine", "Mine", "mine"), facts)
    found.name = "mine"
    monkeypatch.setitem(registry._registered["attack"], "mine", registry.Entry(found))
    part, rule = make_part("attack", "mine", {}), make_part("defense", "dp_fedavg", {})
    settings = SETTINGS.model_copy(update={"batch_size": 1, "samples_per_client": 1, "rounds": 1, "lr": 0.1})
    cell = Cell(label="row", defense=rule, attack=part, federation=settings, kind="inversion", targets=4)
    record = run_cell(Task("smoke", "s", cell, 0, 1, None, 20.0)).record
    assert record.status == "ok", record.error
    assert record.metrics["control_recovered"] == 1.0
    assert record.metrics["recovered"] == 0.0
