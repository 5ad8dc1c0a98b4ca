"""Defenses that die, hoard, linger or break their contract, as a package of its own gives them to workers.

What they do beyond FedAvg hangs on the environment, not on their parameters, so that the records of a run with faults
and of one without are to be equal.
"""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import torch
from pydantic import PrivateAttr
from torch import Tensor

from bench.protocol import Delivered, ServerRound
from bench.registry import register
from defenses.fedavg import FedAvg

FAULTS = "FEDSIEGE_TEST_FAULTS"
"""A folder: each cell leaves a file there for the fault that it has had, and has it once."""

KINDS = "FEDSIEGE_TEST_KINDS"
"""Who dies of a fault, by commas: worker, server (of forks), driver."""

PAUSE = "FEDSIEGE_TEST_PAUSE"
"""Seconds that each round takes longer."""


@register("defense", "mortal")
class Mortal(FedAvg):
    """FedAvg; in one round of each cell, the first time it is played, somebody is killed as by `kill -9`."""

    tag: int = 0
    _cell: str = PrivateAttr("")

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        time.sleep(float(os.environ.get(PAUSE, "0")))
        if folder := os.environ.get(FAULTS):
            self._perhaps_die(Path(folder), delivered.messages, server)
        return super().aggregate(delivered, server)

    def _perhaps_die(self, folder: Path, messages: Tensor, server: ServerRound) -> None:
        """The first round's messages tell the cell; from that its victim and its round are drawn."""
        if server.index == 0:
            self._cell = hashlib.sha256(f"{self.tag} {messages.tolist()}".encode()).hexdigest()[:12]
            with (folder / "started.log").open("a") as log:
                log.write(f"{self._cell} {os.getpid()}\n")
        kinds = [kind for kind in os.environ.get(KINDS, "").split(",") if kind]
        number = int(self._cell, 16)
        if not kinds or server.index != number % server.setting.rounds:
            return
        kind = kinds[number // 7 % len(kinds)]
        with contextlib.suppress(FileExistsError):
            os.close(os.open(folder / f"{self._cell}.had", os.O_CREAT | os.O_EXCL))
            (folder / f"{self._cell}.{kind}").touch()
            driver = multiprocessing.parent_process()
            victim = {"worker": os.getpid(), "server": os.getppid(), "driver": driver.pid if driver else None}[kind]
            assert victim is not None
            os.kill(victim, signal.SIGKILL)


@register("defense", "doomed")
class Doomed(FedAvg):
    """FedAvg whose worker dies in every first round: `how` is a signal's number, or minus an exit code."""

    how: int = 9

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        if self.how < 0:
            os._exit(-self.how)
        os.kill(os.getpid(), self.how)
        return super().aggregate(delivered, server)


@register("defense", "hoarder")
class Hoarder(FedAvg):
    """FedAvg that fills `mebibytes` and then lingers for `seconds`."""

    mebibytes: int = 0
    seconds: float = 0.0

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        hoard = torch.ones(self.mebibytes, 2**18)
        time.sleep(self.seconds)
        assert len(hoard) == self.mebibytes
        return super().aggregate(delivered, server)


def die_at(step: int, suite: str, results: str) -> None:
    """Run a suite in this process, and be killed before its `step`-th operation on the results folder.

    Where that is a rename, the file to be renamed is cut in half first, as a power failure may leave it.
    """
    import sys

    from bench.runs.jobs import run_suite

    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate"):
            return
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike) or not str(os.fspath(path)).startswith(results):
            return
        count += 1
        if count == step:
            if event == "os.rename":
                os.truncate(path, Path(os.fsdecode(path)).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    run_suite(suite, results=Path(results), workers=1, quiet=True)
