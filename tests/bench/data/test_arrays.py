"""Data sets of somebody's own: any shape and type, splits that nothing moves, a digest of every value, clear faults."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from bench.base.errors import BadInputError
from bench.data import from_arrays, from_torch

Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def made(shape: tuple[int, ...], count: int = 40, classes: int = 3, seed: int = 0) -> Arrays:
    draw = np.random.default_rng(seed)
    y = np.arange(count) % classes
    return draw.normal(2.0, 5.0, size=(count, *shape)), y


def values(x: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


@pytest.mark.parametrize("shape", [(5,), (7, 4), (1, 8, 8), (3, 8, 8), (2, 3, 4, 5)])
def test_samples_of_any_shape_are_normalised_by_the_training_samples_and_come_back(shape: tuple[int, ...]) -> None:
    train, test = made(shape), made(shape, 11, seed=1)
    found = from_arrays("mine", train, test)
    assert (found.shape, found.num_classes, found.class_names) == (shape, 3, ("0", "1", "2"))
    assert [len(split) for split in (found.train, found.validation, found.test)] == [36, 4, 11]
    assert found.mean.shape == found.std.shape == shape[:1]
    columns = found.train.x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(columns.mean(dim=1), torch.zeros(shape[0]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(columns.std(dim=1, correction=0), torch.ones(shape[0]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.denormalise(found.test.x), torch.tensor(test[0]).float(), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(found.normalise(torch.tensor(test[0]).float()), found.test.x, atol=1e-5, rtol=1e-5)
    assert torch.equal(found.test.y, torch.tensor(test[1]))
    assert found.images is False


def test_the_splits_are_parts_of_the_training_samples_and_move_with_nothing_but_the_name() -> None:
    train, test = made((5,)), made((5,), 11, seed=1)
    first, again, other = (from_arrays(name, train, test) for name in ("mine", "mine", "other"))
    assert torch.equal(first.train.x, again.train.x)
    assert first.digest == again.digest
    assert not torch.equal(first.train.y, other.train.y)
    parts = torch.cat([first.denormalise(split.x) for split in (first.train, first.validation)])
    order = parts[:, 0].argsort()
    whole = torch.tensor(train[0]).float()
    torch.testing.assert_close(parts[order], whole[whole[:, 0].argsort()], atol=1e-4, rtol=1e-5)


def test_validation_samples_that_are_given_are_those() -> None:
    train, held, test = (made((5,), count, seed=count) for count in (20, 6, 9))
    found = from_arrays("mine", train, test, validation=held, class_names=("a", "b", "c"))
    assert [len(split) for split in (found.train, found.validation, found.test)] == [20, 6, 9]
    torch.testing.assert_close(found.denormalise(found.validation.x), torch.tensor(held[0]).float(), atol=1e-4, rtol=0)
    assert found.class_names == ("a", "b", "c")


def test_bytes_are_pixels_and_a_constant_channel_is_no_division_by_zero() -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, 2, 4, 4)).astype(np.uint8)
    x[:, 1] = 51
    found = from_arrays("mine", (x, np.arange(30) % 2), (x[:5], np.arange(5) % 2))
    assert found.images
    assert found.mean[1] == pytest.approx(0.2)
    assert torch.equal(found.train.x[:, 1], torch.zeros_like(found.train.x[:, 1]))
    torch.testing.assert_close(found.denormalise(found.test.x), torch.tensor(x[:5]).float() / 255)


@pytest.mark.parametrize(("low", "images"), [(0.0, True), (-0.5, False)])
def test_images_are_those_whose_pixels_lie_between_0_and_1(low: float, images: bool) -> None:
    x = np.random.default_rng(0).uniform(low, 1.0, (30, 1, 8, 8))
    assert from_arrays("mine", (x, np.arange(30) % 2), (x, np.arange(30) % 2)).images is images


def test_every_value_label_and_type_is_in_the_digest() -> None:
    (x, y), test = made((5,)), made((5,), 11, seed=1)
    moved, other, bare = x.copy(), y.copy(), from_arrays("mine", (x, y), test).digest
    moved[3, 2] += 1e-9
    other[3] = (other[3] + 1) % 3
    digests = {
        from_arrays("mine", (moved, y), test).digest,
        from_arrays("mine", (x, other), test).digest,
        from_arrays("mine", (x.astype(np.float32), y), (test[0].astype(np.float32), test[1])).digest,
        from_arrays("mine", (x, y), (test[0][:-1], test[1][:-1])).digest,
        bare,
    }
    assert len(digests) == 5


def test_a_torch_data_set_and_an_iterable_give_what_arrays_give() -> None:
    (x, y), test = made((5,)), made((5,), 11, seed=1)
    wanted = from_arrays("mine", (x, y), test)
    pairs = TensorDataset(torch.tensor(x), torch.tensor(y))
    exam = [(torch.tensor(one), int(label)) for one, label in zip(*test, strict=True)]
    assert from_torch("mine", pairs, iter(exam)).digest == wanted.digest
    assert from_torch("mine", pairs, exam, validation=pairs).validation.y.tolist() == y.tolist()


def test_pictures_have_their_channels_first() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 6, 3)).astype(np.uint8)
    coloured = [(Image.fromarray(one), i % 2) for i, one in enumerate(pixels)]
    grey = [(Image.fromarray(one[..., 0]), i % 2) for i, one in enumerate(pixels)]
    found = from_torch("mine", coloured, coloured)
    assert found.shape == (3, 4, 6)
    torch.testing.assert_close(found.denormalise(found.test.x), torch.tensor(pixels).movedim(-1, 1).float() / 255)
    assert from_torch("mine", grey, grey).shape == (1, 4, 6)


X, Y = made((5,))
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "fewer labels": ({"train": (X, Y[:-1])}, r"train: samples \(N, \.\.\.\) and labels \(N,\) are wanted, and shapes"),
    "no samples": ({"test": (X[:0], Y[:0])}, r"test: samples \(N, \.\.\.\) and labels"),
    "labels of two axes": ({"train": (X, Y[:, None])}, r"train: samples .* shapes \(40, 5\) and \(40, 1\) were given"),
    "samples without a shape": ({"train": (X[:, 0], Y)}, r"train: samples .* shapes \(40,\) and \(40,\) were given"),
    "labels with fractions": ({"train": (X, Y + 0.5)}, "train: labels must be whole numbers from 0 on"),
    "negative labels": ({"train": (X, Y - 1)}, "train: labels must be whole numbers from 0 on"),
    "numbers that are none": ({"train": (X * np.nan, Y)}, "train: samples must be finite numbers"),
    "words": ({"train": (["a", "b"], [0, 1])}, r"train: give a pair of arrays, samples and labels \("),
    "no pair": ({"train": X}, r"train: give a pair of arrays, samples and labels \("),
    "two shapes": ({"test": made((4,))}, r"must have one shape and type, and some have \(4,\) torch\.float64 and"),
    "two types": ({"test": (X.astype(np.float32), Y)}, r"one shape and type, and some have \(5,\) torch\.float32 and"),
    "one class": ({"train": (X, 0 * Y), "test": (X, 0 * Y)}, "1 classes are too few for labels up to 0"),
    "too few names": ({"class_names": ("a", "b")}, "2 classes are too few for labels up to 2"),
    "one sample": ({"train": (X[:1], Y[:1])}, "one training sample is too few, as some are held back"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_does_not_fit_is_one_line(name: str) -> None:
    changes, told = FAULTS[name]
    with pytest.raises(BadInputError, match=rf"^data set 'mine'.*{told}") as raised:
        from_arrays("mine", **{"train": (X, Y), "test": (X, Y), **changes})
    assert "\n" not in str(raised.value)


def test_a_part_without_a_pair_is_one_line() -> None:
    with pytest.raises(BadInputError, match=r"^data set 'mine': a part of it is empty$"):
        from_torch("mine", [], [])
