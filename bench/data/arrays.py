"""Data sets of somebody's own: from arrays or from any torch data set, of any shape, whole numbers or not."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.base.errors import BadInputError
from bench.data.datasets import Dataset, Split, digest_of, per_channel, permutation

Pair = tuple[Any, Any]
"""Samples (N, ...) and labels (N,): arrays, tensors, or lists of them."""

VALIDATION = 0.1
"""The share of the training samples that are held back for validation where none are given."""

WHITE = 255
"""A pixel of an image of bytes at full intensity."""


def from_arrays(
    name: str,
    train: Pair,
    test: Pair,
    *,
    validation: Pair | None = None,
    class_names: Sequence[str] = (),
) -> Dataset:
    """The data set of samples (N, ...) of any shape, each with a label: a whole number from 0 on.

    Images are (N, C, H, W); bytes (uint8) are taken for pixels from 0 to 255. All samples are normalised by mean and
    standard deviation of the training samples, for each channel or, of other samples, each entry of their first axis.
    Without `validation` a tenth of the training samples is held back, drawn by a permutation that the name alone
    decides. The digest pins every value, label and index. Raises `BadInputError`, in one line, for what does not fit.
    """
    given = {"train": _pair(name, "train", train), "test": _pair(name, "test", test)}
    if validation is None:
        order = permutation(name, len(given["train"][1]))
        held = max(1, round(VALIDATION * len(order)))
        if held == len(order):
            raise BadInputError(f"data set {name!r}: one training sample is too few, as some are held back")
        x, y = given["train"]
        given |= {"train": (x[order[:-held]], y[order[:-held]]), "validation": (x[order[-held:]], y[order[-held:]])}
    else:
        given["validation"] = _pair(name, "validation", validation)
    splits = [given[part] for part in ("train", "validation", "test")]
    _check_alike(name, splits)
    names = _class_names(name, class_names, max(int(y.max()) for _, y in splits))
    raw = [(x.float() / WHITE if x.dtype == torch.uint8 else x.float(), y) for x, y in splits]
    mean, std = _moments(raw[0][0])
    axes = raw[0][0].dim() - 1
    learn, held_back, exam = (Split((x - per_channel(mean, x, axes)) / per_channel(std, x, axes), y) for x, y in raw)
    images = axes == 3 and all(float(x.min()) >= 0 and float(x.max()) <= 1 for x, _ in raw)
    digest = digest_of(part for split in splits for part in split)
    return Dataset(name, learn, held_back, exam, mean, std, digest, names, images)


def from_torch(
    name: str,
    train: Iterable[Pair],
    test: Iterable[Pair],
    *,
    validation: Iterable[Pair] | None = None,
    class_names: Sequence[str] = (),
) -> Dataset:
    """The same from anything that gives pairs of a sample and its label, such as a `torch.utils.data.Dataset`.

    Each sample is asked for once and kept, so a transform that draws at random draws once. A sample is a tensor, an
    array or a picture; a picture's channels, which come last, are moved to the front.
    """
    parts = (train, test) if validation is None else (train, test, validation)
    pairs = [_collected(name, part) for part in parts]
    held = pairs[2] if validation is not None else None
    return from_arrays(name, pairs[0], pairs[1], validation=held, class_names=class_names)


def _collected(name: str, pairs: Any) -> Pair:
    indexed = hasattr(pairs, "__len__") and hasattr(pairs, "__getitem__")  # which may not say where it ends
    result = [pairs[i] for i in range(len(pairs))] if indexed else list(pairs)
    if not result:
        raise BadInputError(f"data set {name!r}: a part of it is empty")
    return torch.stack([_sample(x) for x, _ in result]), [int(y) for _, y in result]


def _sample(x: Any) -> Tensor:
    if isinstance(x, Tensor):
        return x
    values = torch.from_numpy(np.array(x))
    if isinstance(x, np.ndarray | list | tuple | int | float):
        return values
    return values.unsqueeze(0) if values.dim() == 2 else values.movedim(-1, 0)  # a picture


def _pair(name: str, part: str, given: Pair) -> tuple[Tensor, Tensor]:
    """Samples and labels as tensors; `BadInputError` where they are none, or do not belong together."""
    where = f"data set {name!r}, {part}"
    try:
        x, y = (torch.as_tensor(np.asarray(one) if isinstance(one, list | tuple) else one) for one in given)
    except (TypeError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise BadInputError(f"{where}: give a pair of arrays, samples and labels ({text})") from None
    if y.dim() != 1 or len(x) != len(y) or not len(y) or x.dim() < 2:
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise BadInputError(f"{where}: samples (N, ...) and labels (N,) are wanted, and shapes {shapes} were given")
    if y.is_floating_point() or y.is_complex() or int(y.min()) < 0:
        raise BadInputError(f"{where}: labels must be whole numbers from 0 on")
    if x.is_complex() or not bool(torch.isfinite(x).all()):
        raise BadInputError(f"{where}: samples must be finite numbers")
    return x.cpu().contiguous(), y.cpu().long()


def _check_alike(name: str, splits: Sequence[tuple[Tensor, Tensor]]) -> None:
    kinds = {(tuple(x.shape[1:]), str(x.dtype)) for x, _ in splits}
    if len(kinds) > 1:
        text = " and ".join(sorted(f"{shape} {dtype}" for shape, dtype in kinds))
        raise BadInputError(f"data set {name!r}: all samples must have one shape and type, and some have {text}")


def _class_names(name: str, given: Sequence[str], highest: int) -> tuple[str, ...]:
    result = tuple(map(str, given)) or tuple(map(str, range(highest + 1)))
    if len(result) <= highest or len(result) < 2:
        raise BadInputError(f"data set {name!r}: {len(result)} classes are too few for labels up to {highest}")
    return result


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each entry of a sample's first axis; 1 where it is a constant."""
    values = x.double().transpose(0, 1).flatten(1)
    mean, std = values.mean(dim=1), values.std(dim=1, correction=0)
    return mean.float(), torch.where(std > 0, std, 1.0).float()
