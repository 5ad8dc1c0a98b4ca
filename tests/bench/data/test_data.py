import dataclasses
import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch

from bench import registry
from bench.base.errors import BadInputError
from bench.data import Dataset, available, load
from bench.data import datasets as data

# name: shape, sizes of the splits, digest; a digest that moves means that old records no longer compare.
GOLDEN = {
    "digits": ((1, 8, 8), (1_197, 300, 300), 10, "62408e99e2d11b86"),
    "mnist": ((1, 28, 28), (55_000, 5_000, 10_000), 10, "b618bc125456ef9a"),
    "fashion-mnist": ((1, 28, 28), (55_000, 5_000, 10_000), 10, "97ea7e1bb32bbf22"),
    "cifar10": ((3, 32, 32), (45_000, 5_000, 10_000), 10, "2c9fa39d516f0ad0"),
    "cifar100-sample": ((3, 32, 32), (100, 100, 100), 100, "14701defa735ce41"),
}
DERIVED = {"cifar10-scattering"}  # made of another one, in minutes
# Means and deviations of the whole official training sets, as everybody quotes them.
QUOTED = {
    "mnist": ([0.1307], [0.3081]),
    "fashion-mnist": ([0.2860], [0.3530]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
}
rooted = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.data) for name in GOLDEN if name != "digits"]
)


@pytest.fixture(autouse=True)
def _no_root_and_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may depend on the user's root, fill the user's cache or wait for a server."""

    def offline(*_: object, **__: object) -> None:
        raise URLError("offline")

    monkeypatch.delenv("FEDSIEGE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", offline)
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)


def spec_of(name: str) -> data.DatasetSpec:
    found = registry.get("dataset", name)
    assert isinstance(found, data.DatasetSpec)
    return found


def fault(name: str, root: Path | None = None) -> str:
    with pytest.raises(BadInputError) as caught:
        load(name, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check(dataset: Dataset) -> None:
    shape, sizes, num_classes, digest = GOLDEN[dataset.name]
    splits = (dataset.train, dataset.validation, dataset.test)
    assert dataset.shape == shape
    assert tuple(len(split) for split in splits) == sizes
    assert dataset.num_classes == len(dataset.class_names) == num_classes
    assert dataset.digest == digest
    for split in splits:
        assert split.x.shape == (len(split), *shape)
        assert split.x.dtype == torch.float32
        assert split.x.is_contiguous()
        assert split.y.shape == (len(split),)
        assert split.y.dtype == torch.int64
        assert split.y.unique().numel() == num_classes  # every class is in every split
        assert split.y.max() < num_classes
        pixels = dataset.denormalise(split.x[:100])
        assert -1e-6 <= pixels.min() < pixels.max() <= 1 + 1e-6
        torch.testing.assert_close(dataset.normalise(pixels), split.x[:100], atol=1e-5, rtol=0)
    channels = dataset.train.x.double() if len(dataset.train) < 10_000 else dataset.train.x
    torch.testing.assert_close(channels.mean(dim=(0, 2, 3)).float(), torch.zeros(shape[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(channels.std(dim=(0, 2, 3)).float(), torch.ones(shape[0]), atol=1e-4, rtol=0)


def test_digits() -> None:
    dataset = load("digits")
    check(dataset)
    pixels = torch.cat([dataset.denormalise(split.x) for split in (dataset.train, dataset.validation, dataset.test)])
    torch.testing.assert_close(pixels * 16, (pixels * 16).round(), atol=1e-4, rtol=0)


@rooted
def test_a_data_set_under_a_root(name: str, data_root: Path) -> None:
    dataset = load(name, data_root)
    check(dataset)
    if name in QUOTED:  # ours leave the validation images out
        torch.testing.assert_close(dataset.mean, torch.tensor(QUOTED[name][0]), atol=2e-3, rtol=0)
        torch.testing.assert_close(dataset.std, torch.tensor(QUOTED[name][1]), atol=2e-3, rtol=0)


@pytest.mark.data
def test_the_splits_are_those_of_torchvision(data_root: Path) -> None:
    from torchvision.datasets import MNIST

    dataset, official = load("mnist", data_root), MNIST(data_root, train=False)
    pixels = dataset.denormalise(dataset.test.x)[:, 0] * 255
    torch.testing.assert_close(pixels, official.data.float(), atol=1e-3, rtol=0)
    assert torch.equal(dataset.test.y, official.targets)


@pytest.mark.parametrize(("name", "num_train"), [("digits", 1_797), ("mnist", 60_000)])
def test_the_split_is_a_fixed_permutation(name: str, num_train: int) -> None:
    order = data.permutation(name, num_train)
    torch.manual_seed(1)
    torch.rand(3)
    assert torch.equal(order, data.permutation(name, num_train))
    assert torch.equal(order.sort().values, torch.arange(num_train))


def test_splits_are_disjoint_and_cover_the_digits() -> None:
    rows = torch.cat(data._read_digits(Path(), False).splits)
    assert torch.equal(rows.sort().values, torch.arange(1_797))


def test_the_digest_pins_pixels_labels_and_split() -> None:
    source = data._read_digits(Path(), False)
    train, validation, test = source.splits
    pixels, labels = source.pixels.clone(), source.labels.clone()
    pixels[5, 0, 3, 3] ^= 1
    labels[5] += 1
    variants = [
        source,
        data.Source(pixels, source.labels, source.splits, source.class_names),
        data.Source(source.pixels, labels, source.splits, source.class_names),
        data.Source(source.pixels, source.labels, (test, validation, train), source.class_names),
        data.Source(source.pixels, source.labels, (train[:-1], validation, test), source.class_names),
    ]
    assert len({data._digest(variant) for variant in variants}) == len(variants)


def test_a_data_set_is_loaded_once(tmp_path: Path) -> None:
    assert load("digits") is load("digits")
    assert load("digits") is load("digits", tmp_path / "absent")  # embedded: looks at no root


@pytest.mark.data
def test_the_root_may_come_from_the_environment(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIEGE_DATA", str(data_root))
    assert load("cifar100-sample") is load("cifar100-sample", f"{data_root}/../{data_root.name}")


def test_available_describes_each_data_set_in_one_line() -> None:
    assert [name for name in available() if name not in DERIVED] == list(GOLDEN)
    assert all(0 < len(line) < 100 and "\n" not in line for line in available().values())


def test_an_unknown_name_gets_the_nearest() -> None:
    message = fault("fashion_mnist")
    assert "'fashion_mnist'" in message
    assert "fashion-mnist" in message
    assert all(name in fault("?") for name in GOLDEN)


def test_a_root_must_exist(tmp_path: Path) -> None:
    assert f"{tmp_path / 'absent'} is not a directory" in fault("mnist", tmp_path / "absent")


@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "digits"])
def test_a_root_without_the_data_set(name: str, tmp_path: Path) -> None:
    message = fault(name, tmp_path)
    assert message.startswith(f"{name} not found under {tmp_path}: expected {tmp_path / spec_of(name).folder}")
    assert "FEDSIEGE_DATA" in message


def test_the_missing_file_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "mnist", b"any")
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    message = fault("mnist", tmp_path)
    assert "t10k-labels-idx1-ubyte" in message
    assert "train-images" not in message


def fill(root: Path, name: str, content: bytes) -> None:
    spec = spec_of(name)
    (root / spec.folder).mkdir(parents=True)
    for file in spec.files:
        (root / spec.folder / file).write_bytes(content)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "digits"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x00", b"\x00\x00\x08\x03\x00\x00\x00\x09", b"\xff" * 64, b"PK\x03\x04cut", gzip.compress(b"x" * 99)],
    ids=["empty", "two-bytes", "header-cut", "ones", "zip-cut", "gzip"],
)
def test_damaged_files(name: str, content: bytes, tmp_path: Path) -> None:
    fill(tmp_path, name, content)
    assert fault(name, tmp_path).startswith(f"{name} under {tmp_path / spec_of(name).folder} is damaged")


@rooted
def test_a_truncated_file(name: str, data_root: Path, tmp_path: Path) -> None:
    spec = spec_of(name)
    folder = tmp_path / spec.folder
    folder.mkdir(parents=True)
    for file in spec.files:
        (folder / file).symlink_to((data_root / spec.folder / file).resolve())
    cut = folder / spec.files[-1]
    content = cut.read_bytes()
    cut.unlink()
    cut.write_bytes(content[: len(content) // 2])
    assert fault(name, tmp_path).startswith(f"{name} under {folder} is damaged")


@pytest.fixture
def copied(data_root: Path, tmp_path: Path) -> Callable[[str, str], Path]:
    """A root with links to a data set's files, but for one, which is a copy: its path."""

    def copy(name: str, file: str) -> Path:
        folder = tmp_path / spec_of(name).folder
        folder.mkdir(parents=True)
        for one in spec_of(name).files:
            (folder / one).symlink_to((data_root / spec_of(name).folder / one).resolve())
        content = (folder / file).read_bytes()
        (folder / file).unlink()
        (folder / file).write_bytes(content)
        return folder / file

    return copy


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize(("place", "what"), [(-1, "one pixel, or one label"), (0, "the header")])
@pytest.mark.parametrize("file", ["t10k-labels-idx1-ubyte", "train-images-idx3-ubyte"])
def test_a_flipped_bit_is_refused_and_its_file_named(
    name: str, file: str, place: int, what: str, copied: Callable[[str, str], Path], tmp_path: Path
) -> None:
    path = copied(name, file)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    message = fault(name, tmp_path)
    assert message.startswith(f"{name} under {path.parent} is damaged or unreadable: fetch {file} again (")
    assert not message.rstrip(")").endswith((":", " ")), what


@pytest.mark.data
def test_a_flipped_pixel_of_the_cifar_100_sample_is_refused(copied: Callable[[str, str], Path], tmp_path: Path) -> None:
    """A file that loads, with sound checksums of its own."""
    path = copied("cifar100-sample", data.CIFAR100_SAMPLE_FILE)
    with np.load(path) as sample:
        arrays = dict(sample)
    arrays["images"][5, 3, 3, 0] ^= 1
    np.savez(path, **arrays)
    message = fault("cifar100-sample", tmp_path)
    assert f"fetch {data.CIFAR100_SAMPLE_FILE} again (its digest is " in message
    assert "but 14701defa735ce41 as published)" in message


def test_other_digits_of_scikit_learn_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = data._read_digits(Path(), False)
    source.pixels[5, 0, 3, 3] ^= 1
    other = data.DatasetSpec("digits", lambda root, download: source)
    with pytest.raises(BadInputError, match="digits is not as published: install scikit-learn anew"):
        data._made(other, None)


@pytest.mark.parametrize("error", [ZeroDivisionError("x\ny"), AttributeError("x"), AssertionError(), UnicodeError("x")])
def test_whatever_a_reader_raises_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def read(root: Path, download: bool) -> data.Source:
        raise error

    broken = registry.Entry(replace(spec_of("mnist"), read=read))
    monkeypatch.setitem(registry._registered["dataset"], "mnist", broken)
    fill(tmp_path, "mnist", b"any")
    message = fault("mnist", tmp_path)
    assert message.startswith(f"mnist under {tmp_path / 'MNIST/raw'} is damaged or unreadable: fetch train-images")
    assert type(error).__name__ in message


def test_the_published_digests_are_those_of_every_known_data_set() -> None:
    assert {name: golden[-1] for name, golden in GOLDEN.items()} == data.CANONICAL
    files = [f"{spec.folder}/{file}" for spec in map(spec_of, registry.SHIPPED["dataset"]) for file in spec.files]
    assert list(data.PUBLISHED) == list(dict.fromkeys(files))  # features are made of another data set's files


@rooted
def test_no_published_file_is_refused(name: str, data_root: Path) -> None:
    assert spec_of(name).changed(data_root) == []


def test_fewer_images_than_the_official_ones_are_damage(tmp_path: Path) -> None:
    images = b"\x00\x00\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (2, 28, 28)) + bytes(2 * 28 * 28)
    labels = b"\x00\x00\x08\x01" + (2).to_bytes(4, "big") + bytes(2)
    for file in data.IDX_FILES:
        path = tmp_path / "MNIST/raw" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images if "images" in file else labels)
    assert "not 60000 training" in fault("mnist", tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_no_root_and_no_network(name: str) -> None:
    message = fault(name)
    assert message.startswith(
        f"cannot download {name} (no network?): set FEDSIEGE_DATA or --data to a torchvision root"
    )
    assert "offline" in message


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert fault("mnist").startswith("cannot download mnist")


def test_a_damaged_cache_is_to_be_deleted(tmp_path: Path) -> None:
    fill(tmp_path / "cache/fedsiege", "mnist", b"cut")
    message = fault("mnist")
    assert "is damaged or unreadable: delete it to download it again" in message
    assert "train-images-idx3-ubyte" in message


def test_a_data_set_without_a_download() -> None:
    assert "cifar100-sample has no download" in fault("cifar100-sample")


@pytest.mark.data
def test_a_download_goes_to_the_cache_and_is_reused(
    data_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched = []

    def fetch(url: str, download_root: str, filename: str, md5: str) -> None:
        name = filename.removesuffix(".gz")
        (Path(download_root) / name).symlink_to((data_root / "MNIST/raw" / name).resolve())
        fetched.append(name)

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fetch)
    dataset = load("mnist")
    assert sorted(fetched) == sorted(data.IDX_FILES)
    assert dataset.digest == GOLDEN["mnist"][-1]
    assert (tmp_path / "cache/fedsiege/MNIST/raw").is_dir()


def test_what_a_download_prints_is_no_output_of_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """torchvision 0.19 prints what it downloads, in the middle of JSON."""
    asked: list[tuple[Path, bool]] = []

    def read(root: Path, download: bool) -> Any:
        print("Downloading http://example.org")
        asked.append((root, download))

    data._download(dataclasses.replace(spec_of("mnist"), read=read), tmp_path)
    assert asked == [(tmp_path, True)]
    assert capsys.readouterr().out == ""
