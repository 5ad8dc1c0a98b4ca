"""What the bench measures with the truth in hand: accuracy of models, closeness of reconstructed images."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.base.elementary import distances, log10
from bench.base.errors import require
from bench.data import Dataset, Split
from bench.models.base import Model

EVALUATION_BATCH = 2000

HELD = 500
"""Images of the validation split by which attackers measure what they do."""

SSIM_WINDOW = 7
"""Pixels on a side, scikit-image's default; an 8 x 8 image still holds four of them."""


def accuracy_and_loss(model: Model, params: Tensor, split: Split) -> tuple[float, float]:
    """Share of right answers, and mean cross-entropy, of the model `(d,)` on a split."""
    require(len(split.y) > 0, "split", "empty", "at least one image")
    right, loss = 0, 0.0
    for x, y in zip(split.x.split(EVALUATION_BATCH), split.y.split(EVALUATION_BATCH), strict=True):
        logits = model.logits(params, x.to(params.dtype))
        right += int((logits.argmax(dim=1) == y).sum())
        loss += float(F.cross_entropy(logits, y, reduction="sum"))
    return right / len(split.y), loss / len(split.y)


def right_answers(model: Model, params: Tensor, split: Split) -> Tensor:
    """Of which samples of a split `(N,)` bool the model `(d,)` gives the label."""
    batches = zip(split.x.split(EVALUATION_BATCH), split.y.split(EVALUATION_BATCH), strict=True)
    return torch.cat([model.logits(params, x.to(params.dtype)).argmax(dim=1) == y for x, y in batches])


def damage_on(model: Model, images: Split) -> Callable[[Tensor], float]:
    """The loss of a model `(d,)` on the first `HELD` of these images."""
    held = Split(images.x[:HELD], images.y[:HELD])
    return lambda params: accuracy_and_loss(model, params, held)[1]


def right_by_class(model: Model, params: Tensor, split: Split, classes: int) -> tuple[list[int], list[int]]:
    """Right answers of the model `(d,)` on a split, and images, of each class."""
    right, images = torch.zeros(classes, dtype=torch.int64), split.y.cpu().bincount(minlength=classes)
    for x, y in zip(split.x.split(EVALUATION_BATCH), split.y.split(EVALUATION_BATCH), strict=True):
        answers = model.logits(params, x.to(params.dtype)).argmax(dim=1)
        right += y[answers == y].cpu().bincount(minlength=classes)
    return right.tolist(), images.tolist()


def worst_class(right: Sequence[int], images: Sequence[int]) -> float:
    """The least recall of any class: the share of its images that are answered right; classes without one are none."""
    return min(hits / count for hits, count in zip(right, images, strict=True) if count)


def worst_tenth(right: Sequence[int], images: Sequence[int], held: Sequence[Sequence[int]]) -> float:
    """The mean accuracy of the tenth of clients with the lowest one, rounded up, from counts by class.

    q-FFL reports it of devices with test data of their own (Li, Sanjabi, Beirami and Smith 2020, table 1). Here a
    client's accuracy is over the test images, each class weighted as the client holds it, `held (n, C)`: what the
    model is worth to whoever has such data. Classes without a test image do not count, nor do clients with no others.
    Sums are exact, so that they are the same bits everywhere.
    """
    recall = [hits / count if count else 0.0 for hits, count in zip(right, images, strict=True)]
    results = []
    for mine in held:
        known = [own if count else 0 for own, count in zip(mine, images, strict=True)]
        if any(known):
            results.append(math.fsum(own * share for own, share in zip(known, recall, strict=True)) / sum(known))
    lowest = sorted(results)[: -(-len(results) // 10)]
    return math.fsum(lowest) / len(lowest)


def image_metrics(images: Tensor, truth: Tensor, dataset: Dataset) -> dict[str, Tensor]:
    """MSE, PSNR (dB) and `ssim`, `(T,)` each, of normalised images `(T, C, H, W)` against the truth."""
    guess = dataset.denormalise(images).clamp(0, 1).double()  # float32 would cancel in SSIM's variances
    pixels = dataset.denormalise(truth).double()
    mse = (guess - pixels).square().flatten(1).mean(dim=1)
    psnr = -10 * log10(mse.clamp(min=1e-10))  # 100 dB stands for an exact copy
    return {"mse": mse, "psnr": psnr, "ssim": ssim(guess, pixels)}


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """The mean structural similarity `(T,)` of images `(T, C, H, W)` of pixels in [0, 1] (Wang et al. 2004, eq. 13).

    As scikit-image has it by default, which papers quote: uniform windows of 7 x 7 that lie inside the image, sample
    covariances, the mean over windows and channels. Raises `ValueError` for images smaller than a window.
    """
    smallest = min(images.shape[-2:])
    require(smallest >= SSIM_WINDOW, "images", f"{smallest} pixels wide", f"at least {SSIM_WINDOW} wide and high")
    x, y = F.avg_pool2d(images, SSIM_WINDOW, stride=1), F.avg_pool2d(truth, SSIM_WINDOW, stride=1)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    xx, yy, xy = (
        sample * (F.avg_pool2d(product, SSIM_WINDOW, stride=1) - means)
        for product, means in ((images**2, x**2), (truth**2, y**2), (images * truth, x * y))
    )
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * x * y + c1) * (2 * xy + c2) / ((x**2 + y**2 + c1) * (xx + yy + c2))
    return similar.flatten(1).mean(dim=1)


def matched(images: Tensor, truth: Tensor, dataset: Dataset) -> Tensor:
    """Reconstructions `(T, B, C, H, W)` in the order of the true images that they are nearest to, target by target.

    The order within a batch cannot be known, so each target's images are assigned to minimise the sum of their MSE.
    """
    if images.shape[1] == 1:
        return images
    from scipy.optimize import linear_sum_assignment  # here, because loading it takes long, and batches alone need it

    guess = dataset.denormalise(images).clamp(0, 1).flatten(2).double()
    pixels = dataset.denormalise(truth).flatten(2).double()
    squares = distances(pixels, guess).square().nan_to_num().detach()  # of images that are no numbers any order will do
    assigned = [torch.from_numpy(linear_sum_assignment(matrix.numpy())[1]) for matrix in squares.cpu()]
    order = torch.stack(assigned).to(images.device)
    return images[torch.arange(len(images)).unsqueeze(1), order]


def labels_recovered(labels: Tensor, truth: Tensor) -> float:
    """The share of the true labels `(T, B)` that are among the inferred ones, each as often as it is there."""
    classes = 1 + int(torch.max(labels.max(), truth.max()))
    counts = [F.one_hot(result, classes).sum(dim=1) for result in (labels, truth)]
    return float(torch.minimum(*counts).sum()) / truth.numel()
