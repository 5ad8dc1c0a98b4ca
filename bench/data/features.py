"""Data sets of fixed features: made once from another data set, kept in the user's cache, shared by all processes.

Features are kept in float16, standardised: half the memory, and a last digit of the float64 that they are computed in
does not reach it, so that every processor makes the same. The file is mapped, so that processes share its pages.
"""

import functools
import json
import math
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.base.elementary import sqrt
from bench.base.errors import BadInputError
from bench.base.files import write_whole
from bench.data.datasets import CIFAR10, Dataset, Source, Split, cache_dir, digest_of, per_channel
from bench.data.scattering import num_channels, scattering

Transform = Callable[[Tensor], Tensor]
"""From images `(B, C, H, W)` in [0, 1] to their features `(B, K, ...)`."""

Kept = tuple[Tensor, dict[str, Any]]
"""Features (N, K, ...) float16, and what is said of them: `digest`, and `mean` and `std` of the channels."""

AT_ONCE = 8
"""Images of one call of a transform: what it makes of more leaves the cache."""

BLOCK = 500
"""Images that are standardised together."""

LINES = 10
"""How often it is told how far the making is."""

SCATTERING_VERSION = 1
"""Raised whenever one feature would be another number: what is kept in a cache is then made anew."""


def scattered(images: Tensor) -> Tensor:
    """The scattering transform of each colour: `(B, 81 C, H / 4, W / 4)`, float64, of images `(B, C, H, W)`."""
    channels: Tensor = scattering(images.flatten(0, 1)).unflatten(0, images.shape[:2])  # (B, C, 81, H / 4, W / 4)
    return channels.flatten(1, 2)


def scattered_shape(source: Source) -> tuple[int, ...]:
    channels, height, width = source.pixels.shape[1:]
    return channels * num_channels(), height // 4, width // 4


def featured(
    name: str,
    source: Source,
    digest: str,
    *,
    transform: Transform,
    shape_of: Callable[[Source], tuple[int, ...]],
    version: int,
) -> Dataset:
    """The data set of the features that `transform` makes of the images of `source`, whose digest is given.

    Each of the K channels is standardised by mean and standard deviation of the training split's. Raises
    `BadInputError` where the cache cannot be written.
    """
    path = cache_dir() / f"{name}-{digest}-v{version}.f16"
    order, shape = torch.cat(source.splits), shape_of(source)
    labels = source.labels[order]
    try:
        x, about = _kept(path, shape, labels) or _make(path, source, order, shape, labels, transform)
    except OSError as error:
        raise BadInputError(f"cannot keep the features of {name} in {path.parent}: {error.strerror}") from None
    parts = [len(split) for split in source.splits]
    train, validation, test = (Split(*pair) for pair in zip(x.split(parts), labels.split(parts), strict=True))
    mean, std = (torch.tensor(about[key]) for key in ("mean", "std"))
    return Dataset(name, train, validation, test, mean, std, about["digest"], source.class_names, images=False)


def _kept(path: Path, shape: tuple[int, ...], labels: Tensor) -> Kept | None:
    """What lies in the cache, None where that is nothing, or not what was put there."""
    try:
        about = json.loads(_about(path).read_text(encoding="utf-8"))
        x = _mapped(path, (len(labels), *shape), shared=False)
        whole = digest_of((x, labels)) == about["digest"] and {"mean", "std"} <= about.keys()
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RuntimeError):  # a file that is too short, or no JSON
        whole = False
    if not whole:
        _tell(f"{path} is damaged, and made anew")
        return None
    return x, about


def _make(
    path: Path, source: Source, order: Tensor, shape: tuple[int, ...], labels: Tensor, transform: Transform
) -> Kept:
    """Compute all features and keep them; whoever comes second waits for the first, and takes what that one made."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists() and (kept := _kept(path, shape, labels)) is not None:
            return kept
        part = path.with_suffix(".part")  # of somebody who was stopped, if it is there: the lock is ours
        _reserve(part, 2 * len(order) * math.prod(shape))
        x = _mapped(part, (len(order), *shape), shared=True)
        _fill(x, source, order, transform, path)
        mean, std = _moments(x[: len(source.splits[0])])
        for block in x.split(BLOCK):
            values = block.double()
            block.copy_((values - per_channel(mean, values)) / per_channel(std, values))
        about = {"digest": digest_of((x, labels)), "mean": mean.tolist(), "std": std.tolist()}
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
        write_whole(_about(path), json.dumps(about).encode())
        return x, about


def _fill(x: Tensor, source: Source, order: Tensor, transform: Transform, path: Path) -> None:
    """Write the features of all images into `x (N, K, ...)`, on as many threads as torch has, each of them its own."""
    threads, count = torch.get_num_threads(), len(order)

    def block(start: int) -> None:
        images = source.pixels[order[start : start + AT_ONCE]].double().div_(source.white)
        x[start : start + AT_ONCE] = transform(images)

    _tell(f"computing the features of {count} images, once: they are kept in {path}")
    torch.set_num_threads(1)  # a product's bits may depend on how many threads share it
    try:
        with ThreadPoolExecutor(threads) as pool:
            step = AT_ONCE * -(-count // (LINES * AT_ONCE))
            for done in range(0, count, step):
                list(pool.map(block, range(done, min(done + step, count), AT_ONCE)))
                _tell(f"features of {min(done + step, count)} of {count} images")
    finally:
        torch.set_num_threads(threads)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (K,) of each channel of `x (N, K, ...)`, from sums of float64; 1 for a constant."""
    total, squares, count = 0.0, 0.0, x.numel() // x.shape[1]
    for block in x.split(BLOCK):
        values = block.double().transpose(0, 1).flatten(1)
        total, squares = total + values.sum(dim=1), squares + values.square().sum(dim=1)
    mean = torch.as_tensor(total) / count
    variance = (torch.as_tensor(squares) / count - mean.square()).clamp(min=0)
    return mean.float(), torch.where(variance > 0, sqrt(variance), 1.0).float()


def _reserve(path: Path, size: int) -> None:
    """An empty file of that size, on a disk that has the room: to write into a mapped file on a full one would kill."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(handle)


def _mapped(path: Path, shape: tuple[int, ...], shared: bool) -> Tensor:
    """The file as a tensor of its pages; what is written into it goes to the file if `shared`."""
    if path.stat().st_size != 2 * math.prod(shape):
        raise ValueError(f"{path} is not of the size of {shape}")
    return torch.from_file(str(path), shared=shared, size=math.prod(shape), dtype=torch.float16).view(shape)


def _about(path: Path) -> Path:
    return path.with_suffix(".json")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


CIFAR10_SCATTERING = replace(
    CIFAR10,
    name="cifar10-scattering",
    source="cifar10",
    derived=functools.partial(featured, transform=scattered, shape_of=scattered_shape, version=SCATTERING_VERSION),
)
