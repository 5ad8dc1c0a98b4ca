"""Data sets as tensors: fixed splits, normalised once, with a digest that pins every pixel, label and index.

Nothing is ever chosen on the test split: hyperparameters, the round to report and the row to show are chosen on the
validation split, which is cut from the training data by a permutation that no seed changes.
"""

import contextlib
import functools
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import NoReturn
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor

from bench import registry
from bench.base.context import holding
from bench.base.elementary import sqrt
from bench.base.errors import BadInputError
from bench.base.events import LOADED
from bench.base.rng import generator, salted, shuffled

NUM_VALIDATION = 5_000  # of the training images of MNIST, Fashion-MNIST and CIFAR-10
SPLIT_SEED = 0  # a constant of the benchmark: all seeds of a cell see the same splits

NETWORK_FAULTS = (URLError, HTTPException, ConnectionError, TimeoutError)

CANONICAL = {
    "digits": "62408e99e2d11b86",
    "mnist": "b618bc125456ef9a",
    "fashion-mnist": "97ea7e1bb32bbf22",
    "cifar10": "2c9fa39d516f0ad0",
    "cifar100-sample": "14701defa735ce41",
}
"""The digest of each data set as its authors published it: nobody has another one of its name."""

PUBLISHED = {
    "MNIST/raw/train-images-idx3-ubyte": "ba891046e6505d7a",
    "MNIST/raw/train-labels-idx1-ubyte": "65a50cbbf4e906d7",
    "MNIST/raw/t10k-images-idx3-ubyte": "0fa7898d509279e4",
    "MNIST/raw/t10k-labels-idx1-ubyte": "ff7bcfd416de3373",
    "FashionMNIST/raw/train-images-idx3-ubyte": "c59f468a2f672dc8",
    "FashionMNIST/raw/train-labels-idx1-ubyte": "bad3541b69d91243",
    "FashionMNIST/raw/t10k-images-idx3-ubyte": "5b4141f0afbad91e",
    "FashionMNIST/raw/t10k-labels-idx1-ubyte": "0402a96d92fd2663",
    "cifar-10-batches-py/data_batch_1": "54636561a3ce25bd",
    "cifar-10-batches-py/data_batch_2": "766b2cef9fbc745c",
    "cifar-10-batches-py/data_batch_3": "0f00d98ebfb30b3e",
    "cifar-10-batches-py/data_batch_4": "3f7bb240661948b8",
    "cifar-10-batches-py/data_batch_5": "d91802434d8376bb",
    "cifar-10-batches-py/test_batch": "f53d8d457504f7cf",
    "cifar-10-batches-py/batches.meta": "f962466ef690d46b",
    "cifar-100-sample/cifar100_test_100.npz": "60db17a686d56022",
}
"""The start of each file's sha256; read only to say which one is not as it was published."""


@dataclass(frozen=True, eq=False)
class Split:
    """Samples `x` (N, ...), of images (N, C, H, W), float32, contiguous and normalised; labels `y` (N,), int64.

    Fixed features are in float16, as they are kept; who computes with a batch takes it to a type of its own.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> "Split":
        return Split(self.x.to(device), self.y.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits in one scale; shared by all that load it in a process, so never write into its tensors.

    `mean` and `std` (C,), of the first axis of a sample, are those of the training samples, pixels in [0, 1]. `digest`
    is the start of a sha256 over the raw samples, the labels and the split. `images` says whether samples are images
    with pixels in [0, 1], which gradient inversion is measured in.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    mean: Tensor
    std: Tensor
    digest: str
    class_names: tuple[str, ...]
    images: bool = True

    def to(self, device: torch.device) -> "Dataset":
        """The same on a device; kept there as long as this one lives in the process."""
        return self if self.train.x.device == device else _placed(self, device)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample; (C, H, W) of an image."""
        return tuple(self.train.x.shape[1:])

    def normalise(self, pixels: Tensor) -> Tensor:
        """Raw samples (..., *shape), pixels in [0, 1], in the scale of the splits."""
        return (pixels - self._broadcast(self.mean, pixels)) / self._broadcast(self.std, pixels)

    def denormalise(self, x: Tensor) -> Tensor:
        """The inverse of `normalise`: (..., *shape) with the data set's own images in [0, 1]; clamps nothing."""
        return x * self._broadcast(self.std, x) + self._broadcast(self.mean, x)

    def _broadcast(self, values: Tensor, like: Tensor) -> Tensor:
        return per_channel(values, like, len(self.shape))


def _changed(root: Path, file: str) -> bool:
    try:
        return hashlib.sha256((root / file).read_bytes()).hexdigest()[:16] != PUBLISHED.get(file)
    except OSError:
        return True


@functools.lru_cache(maxsize=4)
def _placed(dataset: Dataset, device: torch.device) -> Dataset:
    train, validation, test = (split.to(device) for split in (dataset.train, dataset.validation, dataset.test))
    mean, std = dataset.mean.to(device), dataset.std.to(device)
    return replace(dataset, train=train, validation=validation, test=test, mean=mean, std=std)


@dataclass(frozen=True)
class Source:
    """What a reader returns: all images (N, C, H, W) uint8, labels (N,), and the indices of the three splits."""

    pixels: Tensor
    labels: Tensor
    splits: tuple[Tensor, Tensor, Tensor]
    class_names: tuple[str, ...]
    white: int = 255  # the value of a pixel at full intensity


Derive = Callable[[str, Source, str], Dataset]
"""From a name, what was read and its digest to a data set."""


@dataclass(frozen=True)
class DatasetSpec:
    """A known data set: `read(root, download)` finds `files` in `folder` of the root; no folder means embedded.

    What is `derived` from another data set is made of its name, of the images that were read and of their digest.
    """

    name: str
    read: Callable[[Path, bool], Source]
    folder: str = ""
    files: tuple[str, ...] = ()
    downloadable: bool = True
    source: str = ""  # the data set whose images it is made of, where it is not its own
    derived: Derive | None = None

    def missing(self, root: Path) -> list[str]:
        return [file for file in self.files if not (root / self.folder / file).is_file()]

    def changed(self, root: Path) -> list[str]:
        """The files that are not as they were published."""
        return [file for file in self.files if _changed(root, f"{self.folder}/{file}")]


def available() -> dict[str, str]:
    """Name and one line of every data set that `load` knows."""
    return registry.summaries("dataset")


_adopted: dict[str, Dataset] = {}


def adopt(dataset: Dataset) -> None:
    """Let `load` give this data set in this process where no root is named, in place of a download."""
    _adopted[dataset.name] = dataset


def load(name: str, root: str | Path | None = None) -> Dataset:
    """The data set `name`, memoised: from a torchvision root (`root`, else FEDSIEGE_DATA), adopted, or a download.

    A given root is only read; the download goes to the user's cache (XDG_CACHE_HOME or ~/.cache). Embedded data sets
    and those of somebody's own need no root and look at none. Raises `BadInputError` if the name is unknown, or the
    data missing or damaged.
    """
    sys.audit(LOADED, name)
    return _change.get()(_loaded(name, root))


def _as_it_is(dataset: Dataset) -> Dataset:
    return dataset


_change: ContextVar[Callable[[Dataset], Dataset]] = ContextVar("change", default=_as_it_is)


def changed(change: Callable[[Dataset], Dataset]) -> AbstractContextManager[None]:
    """In here `load` gives what `change` makes of a data set; the digest stays that of what was read."""
    return holding(_change, change)


def _loaded(name: str, root: str | Path | None) -> Dataset:
    known = registry.get("dataset", name)
    given = root or os.environ.get("FEDSIEGE_DATA")
    if name in _adopted and not (given and isinstance(known, DatasetSpec)):
        return _adopted[name]
    if not isinstance(known, DatasetSpec):
        return _own(name, known)
    return _load(known, Path(given).expanduser().resolve() if given and known.folder else None)


def in_a_root(name: str) -> bool:
    """Whether a data set is read from a data root; others are embedded, or somebody's own."""
    known = registry.get("dataset", name)
    return isinstance(known, DatasetSpec) and bool(known.folder)


def embedded(name: str) -> bool:
    """Whether every installation has the data set."""
    known = registry.get("dataset", name)
    return isinstance(known, DatasetSpec) and not known.folder


@functools.cache
def _own(name: str, made: Dataset | Callable[[], Dataset]) -> Dataset:
    """What somebody registered: a data set, or the function that makes it; every fault of theirs is one line."""
    try:
        with torch.device("cpu"):
            result = made if isinstance(made, Dataset) else made()
    except BadInputError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise BadInputError(f"data set {name!r} cannot be made: {type(error).__name__}: {text}") from error
    if not isinstance(result, Dataset):
        wanted = "a bench.data.Dataset, such as bench.data.from_arrays makes"
        raise BadInputError(f"data set {name!r} is {type(result).__name__}, but its function must return {wanted}")
    return replace(result, name=name)


@functools.cache
def _load(spec: DatasetSpec, root: Path | None) -> Dataset:
    with torch.device("cpu"):  # wherever the caller's tensors are made
        return _made(spec, root)


def _made(spec: DatasetSpec, root: Path | None) -> Dataset:
    name = spec.name
    source = _read(spec, root) if spec.folder else spec.read(Path(), False)
    digest, of = _digest(source), spec.source or name
    if digest != CANONICAL.get(of, digest):
        _refuse(spec, root, f"its digest is {digest}, but {CANONICAL[of]} as published")
    if spec.derived is not None:
        return spec.derived(name, source, digest)
    mean, std = _moments(source)
    train, validation, test = (_split(source, rows, mean, std) for rows in source.splits)
    return Dataset(name, train, validation, test, mean, std, digest, source.class_names)


def _read(spec: DatasetSpec, given: Path | None) -> Source:
    """The images from a root or by download; every fault of file or network becomes one line."""
    root = given or cache_dir()
    try:
        if given is None:
            return _download(spec, root)
        _check_files(spec, root)
        return spec.read(root, False)
    except BadInputError:
        raise
    except Exception as error:  # a reader of damaged files may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
        if given is None and (isinstance(error, NETWORK_FAULTS) or spec.missing(root)):
            message = f"cannot download {spec.name} (no network?): set FEDSIEGE_DATA or --data to a torchvision root"
            raise BadInputError(f"{message} ({reason})") from error
        _refuse(spec, given, reason)


def _refuse(spec: DatasetSpec, given: Path | None, reason: str) -> NoReturn:
    """Say which files are not as they were published, and how to mend that."""
    if not spec.folder:
        raise BadInputError(f"{spec.name} is not as published: install scikit-learn anew, which brings it ({reason})")
    root = given or cache_dir()
    files = ", ".join(spec.changed(root)) or "its files"
    cure = f"fetch {files} again" if given else f"delete it to download it again, {files} not being as published"
    raise BadInputError(f"{spec.name} under {root / spec.folder} is damaged or unreadable: {cure} ({reason})")


def _check_files(spec: DatasetSpec, root: Path) -> None:
    if not root.is_dir():
        raise BadInputError(f"data root {root} is not a directory: set FEDSIEGE_DATA or --data to a torchvision root")
    if missing := spec.missing(root):
        other = ", or to none to download it" if spec.downloadable else ""
        raise BadInputError(
            f"{spec.name} not found under {root}: expected {root / spec.folder} with {', '.join(missing)}; "
            f"set FEDSIEGE_DATA or --data to a root that has it{other}"
        )


def _download(spec: DatasetSpec, root: Path) -> Source:
    if not spec.downloadable:
        file = Path(spec.folder, spec.files[0])
        raise BadInputError(f"{spec.name} has no download: set FEDSIEGE_DATA or --data to a root that has {file}")
    from filelock import FileLock

    root.mkdir(parents=True, exist_ok=True)
    told = io.StringIO()  # what torchvision prints is no output of ours
    # Workers that start together must not unpack over one another.
    with FileLock(root / f"{spec.name}.lock"), contextlib.redirect_stdout(told):
        try:
            return spec.read(root, True)
        except RuntimeError as error:  # before 0.21 torchvision only prints what the reason is
            raise RuntimeError(f"{error} {told.getvalue()}") from error


def cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedsiege"


def _moments(source: Source) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of the training pixels in [0, 1], from exact counts: alike on all machines."""
    train = source.pixels[source.splits[0]]
    values = torch.arange(256, dtype=torch.float64) / source.white
    shares = torch.stack([torch.bincount(plane.flatten(), minlength=256) for plane in train.unbind(dim=1)]).double()
    shares /= shares.sum(dim=1, keepdim=True)
    mean = shares @ values
    std = sqrt((shares @ values.square()) - mean.square())
    return mean.float(), std.float()


def _split(source: Source, rows: Tensor, mean: Tensor, std: Tensor) -> Split:
    x = source.pixels[rows].float().div_(source.white)  # in place: CIFAR-10 is 0.6 GB as float32
    return Split(x.sub_(per_channel(mean, x)).div_(per_channel(std, x)), source.labels[rows])


def per_channel(values: Tensor, like: Tensor, axes: int = 3) -> Tensor:
    """`(C, 1, ...)`, a value for each entry of a sample's first axis, in the type and on the device of `like`."""
    return values.to(like).view(-1, *[1] * (axes - 1))


def digest_of(parts: Iterable[Tensor]) -> str:
    """The start of a sha256 over the shapes and bytes of tensors, and the types of those that are no whole numbers."""
    digest = hashlib.sha256()
    for part in parts:
        kind = str(part.dtype) if part.is_floating_point() else ""
        digest.update(f"{kind}{tuple(part.shape)}".encode())
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _digest(source: Source) -> str:
    return digest_of((source.pixels, source.labels, *source.splits))


def permutation(name: str, size: int) -> Tensor:
    """The order of a data set's training samples, the last of which are for validation; no seed changes it."""
    with salted(""):  # the splits are the benchmark's, whatever is drawn on them
        return shuffled(size, generator(SPLIT_SEED, "split", name))


def _read_digits(root: Path, download: bool) -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = torch.from_numpy(digits.images).to(torch.uint8).unsqueeze(1)
    train, validation, test = torch.split(permutation("digits", len(pixels)), [1_197, 300, 300])
    names = tuple(str(name) for name in digits.target_names)
    return Source(pixels, torch.from_numpy(digits.target).long(), (train, validation, test), names, white=16)


def _read_torchvision(root: Path, download: bool, *, name: str, kind: str, num_train: int) -> Source:
    from torchvision import datasets

    official, test = (getattr(datasets, kind)(root, train=train, download=download) for train in (True, False))
    pixels = torch.cat([_channels_first(official.data), _channels_first(test.data)])
    labels = torch.cat([torch.as_tensor(official.targets), torch.as_tensor(test.targets)])
    sizes = (len(official.data), len(official.targets), len(test.data), len(test.targets))
    if sizes != (num_train, num_train, 10_000, 10_000) or not 0 <= labels.min() <= labels.max() < len(test.classes):
        raise ValueError(f"not {num_train} training and 10000 test images with a label each")  # MNIST has no checksums
    order = permutation(name, num_train)
    splits = (order[:-NUM_VALIDATION], order[-NUM_VALIDATION:], torch.arange(num_train, len(labels)))
    return Source(pixels, labels, splits, tuple(test.classes))


def _read_cifar100_sample(root: Path, download: bool) -> Source:
    with np.load(root / CIFAR100_SAMPLE / CIFAR100_SAMPLE_FILE) as sample:
        pixels = _channels_first(sample["images"])
        labels = torch.from_numpy(sample["fine_labels"]).long()
        names = tuple(str(name) for name in sample["fine_label_names"])
    everything = torch.arange(len(labels))
    return Source(pixels, labels, (everything, everything, everything), names)


def _channels_first(images: Tensor | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    """Grey (N, H, W) or coloured (N, H, W, C) images as (N, C, H, W)."""
    pixels = torch.as_tensor(images)
    return pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2).contiguous()


IDX_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
CIFAR100_SAMPLE, CIFAR100_SAMPLE_FILE = "cifar-100-sample", "cifar100_test_100.npz"

DIGITS = DatasetSpec("digits", _read_digits)
MNIST = DatasetSpec(
    "mnist",
    functools.partial(_read_torchvision, name="mnist", kind="MNIST", num_train=60_000),
    "MNIST/raw",
    IDX_FILES,
)
FASHION_MNIST = DatasetSpec(
    "fashion-mnist",
    functools.partial(_read_torchvision, name="fashion-mnist", kind="FashionMNIST", num_train=60_000),
    "FashionMNIST/raw",
    IDX_FILES,
)
CIFAR10 = DatasetSpec(
    "cifar10",
    functools.partial(_read_torchvision, name="cifar10", kind="CIFAR10", num_train=50_000),
    "cifar-10-batches-py",
    CIFAR10_FILES,
)
CIFAR100 = DatasetSpec(
    "cifar100-sample",
    _read_cifar100_sample,
    CIFAR100_SAMPLE,
    (CIFAR100_SAMPLE_FILE,),
    downloadable=False,
)
