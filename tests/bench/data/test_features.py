"""Data sets of features: what is kept, for whom it is made once, and what is made anew."""

import json
import threading
from pathlib import Path

import pytest
import torch

from bench.base.errors import BadInputError
from bench.data import Dataset, datasets, features
from bench.data.datasets import Source
from bench.data.features import featured, scattered, scattered_shape

COUNT = 60


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "fedsiege"


@pytest.fixture
def source() -> Source:
    draws = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (COUNT, 3, 4, 4), generator=draws, dtype=torch.uint8)
    order = torch.randperm(COUNT, generator=draws)
    return Source(pixels, torch.arange(COUNT) % 10, (order[:40], order[40:50], order[50:]), tuple("abcdefghij"))


class Counted:
    """A transform of images `(B, 3, 4, 4)` to `(B, 6, 4, 4)` that counts the images it was given."""

    def __init__(self) -> None:
        self.images = 0
        self.lock = threading.Lock()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        with self.lock:
            self.images += len(images)
        return torch.cat([images, images.square()], dim=1)


def made(source: Source, transform: features.Transform, digest: str = "d", version: int = 1) -> Dataset:
    return featured("tiny", source, digest, transform=transform, shape_of=lambda _: (6, 4, 4), version=version)


def test_channels_are_standardised_by_the_training_split_alone(source):
    dataset = made(source, Counted())
    assert dataset.train.x.dtype == torch.float16
    assert dataset.shape == (6, 4, 4)
    assert not dataset.images
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [40, 10, 10]
    values = dataset.train.x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(values.mean(dim=1), torch.zeros(6).double(), rtol=0, atol=2e-3)
    torch.testing.assert_close(values.std(dim=1, correction=0), torch.ones(6).double(), rtol=0, atol=2e-3)
    for split, rows in zip((dataset.train, dataset.validation, dataset.test), source.splits, strict=True):
        raw = Counted()(source.pixels[rows].double() / 255)
        torch.testing.assert_close(dataset.denormalise(split.x.double()), raw, rtol=0, atol=2e-3)
        assert torch.equal(split.y, source.labels[rows])


def test_what_is_kept_is_not_made_again(source, cache):
    transform = Counted()
    first, second = made(source, transform), made(source, transform)
    assert transform.images == COUNT
    assert first.digest == second.digest
    assert torch.equal(first.test.x, second.test.x)
    assert not list(cache.glob("*.part"))


@pytest.mark.parametrize("changed", [{"digest": "other"}, {"version": 2}])
def test_another_source_or_another_version_is_made_for_itself(source, changed):
    transform = Counted()
    made(source, transform)
    made(source, transform, **changed)
    assert transform.images == 2 * COUNT


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [
        lambda kept: damage(next(kept.glob("*.f16"))),
        lambda kept: next(kept.glob("*.f16")).write_bytes(b"short"),
        lambda kept: next(kept.glob("*.json")).write_text("{"),
        lambda kept: next(kept.glob("*.json")).write_text(json.dumps({"digest": "0"})),
    ],
    ids=["a bit", "cut short", "no JSON", "another digest"],
)
def test_what_is_damaged_is_told_and_made_anew(source, cache, capsys, harm):
    whole = made(source, Counted())
    expected = whole.train.x.clone()
    harm(cache)
    transform = Counted()
    again = made(source, transform)
    assert transform.images == COUNT
    assert "is damaged, and made anew" in capsys.readouterr().err
    assert (again.digest, torch.equal(again.train.x, expected)) == (whole.digest, True)


def test_a_run_that_was_stopped_leaves_nothing_that_is_taken_for_whole(source, cache):
    def stopped(images: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(source, stopped)
    assert not list(cache.glob("*.f16"))
    transform = Counted()
    made(source, transform)
    assert transform.images == COUNT


def test_two_at_once_make_it_once(source):
    transform, found = Counted(), []
    workers = [threading.Thread(target=lambda: found.append(made(source, transform).digest)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert transform.images == COUNT
    assert len(found) == 3
    assert len(set(found)) == 1


def test_threads_change_no_bit(source, monkeypatch, tmp_path):
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(threads)))
            found.append(featured("s", source, "d", transform=small, shape_of=lambda _: (3, 4, 4), version=1).digest)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def small(images: torch.Tensor) -> torch.Tensor:
    return images @ images.mT


def test_a_full_disk_is_one_line_and_leaves_nothing(source, cache, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(BadInputError, match=r"cannot keep the features of tiny in .*: No space left on device"):
        made(source, Counted())
    assert not list(cache.glob("*.part"))
    assert not list(cache.glob("*.f16"))


def test_cifar10_has_243_channels_and_no_images_of_its_own(monkeypatch):
    source = Source(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.zeros(4), (), ())
    assert scattered_shape(source) == (243, 8, 8)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = scattered(pixels)
    assert found.shape == (2, 243, 8, 8)
    # Channel 81 c + k is feature k of colour c.
    torch.testing.assert_close(found[:, 81:162], scattered(pixels[:, 1:2]), rtol=0, atol=1e-12)


def test_a_changed_source_is_refused_before_anything_is_made(monkeypatch, source):
    spec = features.CIFAR10_SCATTERING
    monkeypatch.setattr(datasets, "_read", lambda *_: source)
    with pytest.raises(BadInputError, match="but 2c9fa39d516f0ad0 as published"):
        datasets._made(spec, Path("/nowhere"))
