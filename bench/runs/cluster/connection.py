"""To a Ray cluster, quickly and quietly, or not at all: whatever stands in the way is told in one line."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.base.errors import BadInputError
from bench.runs.cluster.driver import Cluster, Needs
from bench.runs.workers import Limits

CALM = {
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what Ray would print about nodes and workers; records and progress tell it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns that this will be the default
    "RAY_NUM_REDIS_GET_RETRIES": "1",  # tries to reach the cluster, in place of 20
    "RAY_py_gcs_connect_timeout_s": "10",  # of that try's last step, in place of 30
    "RAY_GCS_SERVER_REQUEST_TIMEOUT_SECONDS": "15",  # for this machine's node, in place of 60
}
"""Ray's environment variables, as far as the user has not set them; it reads them while it is imported."""

PATIENCE = 5.0
"""Seconds in which somebody must listen at the address."""


def connect(address: str, cpus: float, gpus: float, limits: Limits, most: int | None = None) -> Cluster:
    """The cluster at `auto` (one that this machine is a node of), HOST:PORT of its head, or `local` (a new one here).

    A cell takes `cpus` and `gpus` of a node, and its memory limit where it has one; `most` cells run at once. Raises
    `BadInputError` where Ray is not installed, nothing answers, or no node could ever hold a cell.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address  # as Ray has it
    if address not in ("auto", "local"):
        _check_address(address)
    ray = _ray()
    ours = not ray.is_initialized()  # a notebook may be connected already
    if ours:
        _enter(ray, address)
    cluster = Cluster(ray, Needs(cpus, gpus, limits.mebibytes), limits, most, ours)
    try:
        cluster.check()
    except BaseException:
        cluster.close()
        raise
    return cluster


def _ray() -> Any:
    for name, value in CALM.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise BadInputError(f"--ray needs Ray: pip install 'fedsiege[cluster]' ({error})") from None
    return ray


def _enter(ray: Any, address: str) -> None:
    here: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        with _nothing_on_stderr():
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL + 1, **here)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        ray.shutdown()
        why = " ".join(str(error).split())[:300]
        how = "start Ray on this machine first (ray start)" if address == "auto" else "is this machine a node of it?"
        raise BadInputError(f"--ray {address}: cannot enter a Ray cluster; {how} (Ray says: {why})") from None


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """What is not Python in Ray warns past `sys.stderr`, until it has found its own log."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _check_address(address: str) -> None:
    """Ray itself would try for minutes to reach an address where nobody listens."""
    host, _, port = address.rpartition(":")
    if "/" in address or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        wanted = "auto, local, or HOST:PORT of the head of a cluster that this machine is a node of"
        raise BadInputError(f"--ray is {address!r}, but must be {wanted}")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except OSError as error:
        raise BadInputError(f"--ray {address}: nobody answers there ({error.strerror or error})") from None
