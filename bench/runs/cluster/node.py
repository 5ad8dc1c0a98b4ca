"""What runs on a cluster's nodes: a process that plays one cell after the other, for a driver elsewhere."""

import hashlib
import os
import platform
import warnings
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import torch

from bench import registry
from bench.base.errors import BadInputError
from bench.base.ownfile import OwnFile
from bench.data import Dataset, Split, adopt, embedded, in_a_root, load
from bench.plays.cell import Outcome, run_cell
from bench.plays.findings import Task
from bench.registry import GROUPS
from bench.runs.workers import LOOK_SECONDS, Limits, WorkerLostError

CODE = ("bench", "attacks", "defenses")
"""The packages whose code plays a cell."""

Packed = dict[str, Any]
FACTS, SCALE, SPLITS = ("name", "digest", "class_names", "images"), ("mean", "std"), ("train", "validation", "test")
"""The fields of a data set: plain ones, tensors, pairs of tensors."""


@cache
def code_version() -> str:
    """The package's version and a digest over its code and the versions of packages that bring attacks and defenses.

    The same for the same files, wherever they lie and whatever commit they are of.
    """
    root, digest = Path(__file__).parents[3], hashlib.sha256()
    for path in sorted(path for name in CODE for path in (root / name).rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size} ".encode())
        digest.update(path.read_bytes())
    entries = [entry for group in GROUPS.values() for entry in entry_points(group=group)]
    more = sorted((one.group, one.name, one.value, one.dist.version if one.dist else "") for one in entries)
    digest.update(str(more).encode())
    return f"{version('fedsiege')}, code {digest.hexdigest()[:12]}"


def pack(dataset: Dataset) -> Packed:
    """The data set in arrays, which a node's processes can share without a copy; `unpack` is the inverse."""
    fields = vars(dataset)
    scale = {name: fields[name].numpy() for name in SCALE}
    splits = {name: (fields[name].x.numpy(), fields[name].y.numpy()) for name in SPLITS}
    return {**{name: fields[name] for name in FACTS}, **scale, **splits}


def unpack(packed: Packed) -> Dataset:
    """The data set in tensors on the arrays' own memory, which nobody writes to."""
    fields = {name: packed[name] for name in FACTS}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        fields |= {name: torch.from_numpy(packed[name]) for name in SCALE}
        fields |= {name: Split(*map(torch.from_numpy, packed[name])) for name in SPLITS}
    return Dataset(**fields)


class Player:
    """A process of a cluster, a Ray actor. What is the user's to mend is returned, as Ray would wrap what is raised."""

    def version(self) -> str:
        """Of the code here."""
        return code_version()

    def where(self) -> str:
        """The node that this is."""
        return platform.node()

    def take(self, files: Sequence[OwnFile]) -> BadInputError | None:
        """Load the driver's own files; what is wrong with one of them here."""
        try:
            for file in files:
                registry.take(file)
        except BadInputError as error:
            return error
        return None

    def digest(self, name: str) -> str | BadInputError | None:
        """Of the data set that cells find here: the node's own (FEDSIEGE_DATA); None where the driver is to send it."""
        if not embedded(name) and not (in_a_root(name) and os.environ.get("FEDSIEGE_DATA")):
            return None
        try:
            return load(name).digest
        except BadInputError as error:
            return error

    def adopt(self, packed: Packed) -> str:
        """Take the driver's data set, whose memory all players of the node share; its digest."""
        adopt(unpack(packed))
        return load(packed["name"]).digest

    def play(self, task: Task, limits: Limits) -> Outcome | BadInputError | WorkerLostError:
        """Play the cell; `WorkerLostError` where it takes too much memory: then it still runs, and this must end."""
        try:
            limits.check()
            return _watched(replace(task, data_root=None), limits)
        except BadInputError as error:
            return error


def _watched(task: Task, limits: Limits) -> Outcome | WorkerLostError:
    if limits.mebibytes is None:
        return run_cell(task)
    playing = ThreadPoolExecutor(1).submit(run_cell, task)
    while not wait([playing], LOOK_SECONDS, FIRST_COMPLETED).done:
        if (over := limits.out_of_memory(os.getpid())) is not None:
            return over
    return playing.result()
