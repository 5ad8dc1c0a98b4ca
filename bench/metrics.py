"""What the bench measures with the truth in hand: accuracy of models, closeness of reconstructed images."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.data import Dataset, Split
from bench.errors import require
from bench.models import Model

EVALUATION_BATCH = 2000


def accuracy_and_loss(model: Model, params: Tensor, split: Split) -> tuple[float, float]:
    """Share of right answers, and mean cross-entropy, of the model `(d,)` on a split."""
    require(len(split.y) > 0, "split", "empty", "at least one image")
    right, loss = 0, 0.0
    for x, y in zip(split.x.split(EVALUATION_BATCH), split.y.split(EVALUATION_BATCH), strict=True):
        logits = model.logits(params, x.to(params.dtype))
        right += int((logits.argmax(dim=1) == y).sum())
        loss += float(F.cross_entropy(logits, y, reduction="sum"))
    return right / len(split.y), loss / len(split.y)


def image_metrics(images: Tensor, truth: Tensor, dataset: Dataset) -> dict[str, Tensor]:
    """MSE, PSNR (dB) and SSIM `(T,)` each of normalised images `(T, C, H, W)` against the truth, on pixels in [0, 1].

    SSIM uses a uniform 7x7 window (Wang et al. 2004's alternative), which an 8x8 image still holds.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    guess = dataset.denormalise(images).clamp(0, 1).double()  # float32 would cancel in SSIM's variances
    pixels = dataset.denormalise(truth).double()
    mse = (guess - pixels).square().flatten(1).mean(dim=1)
    psnr = -10 * torch.log10(mse.clamp(min=1e-10))  # 100 dB stands for an exact copy
    ssim = structural_similarity_index_measure(
        guess, pixels, gaussian_kernel=False, kernel_size=7, reduction="none", data_range=1.0
    )
    return {"mse": mse, "psnr": psnr, "ssim": ssim.reshape(-1)}


def matched(images: Tensor, truth: Tensor, dataset: Dataset) -> Tensor:
    """Reconstructions `(T, B, C, H, W)` in the order of the true images that they are nearest to, target by target.

    The order within a batch cannot be known, so each target's images are assigned to minimise the sum of their MSE.
    """
    if images.shape[1] == 1:
        return images
    from scipy.optimize import linear_sum_assignment  # here, because loading it takes long, and batches alone need it

    guess = dataset.denormalise(images).clamp(0, 1).flatten(2).double()
    pixels = dataset.denormalise(truth).flatten(2).double()
    distances = torch.cdist(pixels, guess).square().nan_to_num()  # of images that are no numbers any order will do
    assigned = [torch.from_numpy(linear_sum_assignment(matrix.numpy())[1]) for matrix in distances.cpu()]
    order = torch.stack(assigned).to(images.device)
    return images[torch.arange(len(images)).unsqueeze(1), order]


def labels_recovered(labels: Tensor, truth: Tensor) -> float:
    """The share of the true labels `(T, B)` that are among the inferred ones, each as often as it is there."""
    classes = 1 + int(torch.max(labels.max(), truth.max()))
    counts = [F.one_hot(found, classes).sum(dim=1) for found in (labels, truth)]
    return float(torch.minimum(*counts).sum()) / truth.numel()
