"""DeepSight (Rieger et al. 2022): models are clustered by what they learnt, and suspicious clusters left out.

Three looks at what a client trained on. Its update of the last layer, class by class, tells which classes moved (NEUP,
the squared update energies over their sum) and how many of them count (threshold exceedings: a poisoned shard has few
labels). What its model answers to noise, over what the broadcast model answers (DDif), tells the same from outside. The
update of the last layer's bias tells a direction. HDBSCAN clusters by each of the three; how often two are apart is a
distance, by which it clusters once more. A cluster in which a third or more have half the median of exceedings or less
is left out, and so is who is in none. The others are clipped to the median length and averaged.

The authors published no code; of the paper the abstract was at hand. From two public implementations that agree on the
above: vio1etus/FLPoison, `aggregators/deepsight.py`, whose HDBSCAN and thresholds these are, and jiankeyan13/SafeFL,
`core/server/screener/deepsight_screener.py`, which takes probabilities for DDif, as here.
"""

import torch
from pydantic import Field
from sklearn.cluster import HDBSCAN
from torch import Tensor

from bench.base.elementary import distances
from bench.base.errors import require
from bench.models import Model
from bench.protocol import Defense, Delivered, ServerRound, Setting, check_messages
from bench.registry import register
from bench.rules import apply_weights, norms_of
from bench.rules.gram import check_square
from defenses.clipped_clustering import cosine_distances

SMALLEST_CLUSTER, NEIGHBOURS = 5, 4
"""What HDBSCAN takes: members of a cluster, and the neighbours, the point itself among them, that make a core."""

EPSILON = 1e-6
"""Added to the probabilities that DDif divides by."""

PART = 1000
"""Samples that are answered at once."""

SEEDS = 3
"""Sets of noise, each of which clusters by DDif on its own."""


def update_energies(weight: Tensor, bias: Tensor) -> Tensor:
    """NEUP `(n, C)`, float64: the squares of |b| + sum |w| of each class, from updates `(n, C, h)` and `(n, C)`.

    Over their sum; each class has as much where nothing moved.
    """
    fits = weight.dim() == 3 and weight.shape[:2] == bias.shape and bias.numel() > 0
    require(fits, "weight", tuple(weight.shape), f"(n, classes, h) for a bias {tuple(bias.shape)}")
    energies = bias.double().abs() + weight.double().abs().sum(dim=2)
    squares = (energies / energies.amax(dim=1, keepdim=True)).square()  # so that no square overflows
    shares = squares / squares.sum(dim=1, keepdim=True)
    return torch.where(shares.isfinite().all(dim=1, keepdim=True), shares, 1 / bias.shape[1])


def exceedings(energies: Tensor) -> Tensor:
    """How many classes of each client `(n,)` exceed max(1 %, 1 / C) of its largest NEUP, of `energies (n, C)`."""
    require(energies.dim() == 2 and energies.numel() > 0, "energies", tuple(energies.shape), "(n, classes)")
    border = max(0.01, 1 / energies.shape[1])
    return (energies > border * energies.amax(dim=1, keepdim=True)).sum(dim=1)


def division_differences(model: Model, params: Tensor, broadcast: Tensor, noise: Tensor) -> Tensor:
    """DDif `(n, C)`: the mean over `noise (S, ...)` of p_client / p_broadcast, of models `params (n, d)`."""
    expected = torch.softmax(model.logits(broadcast, noise).double(), dim=1) + EPSILON
    answers = [torch.softmax(model.logits(one, noise).double(), dim=1) / expected for one in params]
    return torch.stack([answer.mean(dim=0) for answer in answers]).nan_to_num()


def apart(gaps: Tensor) -> Tensor:
    """Whether two clients are in different clusters by HDBSCAN, `(n, n)` of 0 and 1, from their distances `gaps`.

    Who is in no cluster is with its like.
    """
    labels = _clusters(gaps, single=False)
    return (labels[:, None] != labels[None, :]).double()


def _clusters(gaps: Tensor, single: bool) -> Tensor:
    check_square(gaps, "gaps")
    result = HDBSCAN(
        min_cluster_size=SMALLEST_CLUSTER,
        min_samples=NEIGHBOURS,
        metric="precomputed",
        allow_single_cluster=single,
        copy=True,
    ).fit_predict(gaps.cpu().numpy())
    return torch.from_numpy(result)


def accepted(gaps: Tensor, suspicious: Tensor, tau: float) -> Tensor:
    """Who counts, `(n,)` bool: members of clusters by `gaps (n, n)` of which fewer than tau are `suspicious`."""
    labels = _clusters(gaps, single=True)
    counts = torch.zeros_like(suspicious)
    for label in range(int(labels.max()) + 1):
        members = labels == label
        if int(suspicious[members].sum()) < tau * int(members.sum()):
            counts |= members
    return counts


def deepsight(messages: Tensor, energies: Tensor, biases: Tensor, differences: Tensor, *, tau: float = 1 / 3) -> Tensor:
    """The mean `(d,)` of the messages `(n, d)` of the clusters that count, clipped to the median length of all.

    By NEUP `energies (n, C)`, the `biases (n, C)` of the last layer, and DDif `differences (s, n, C)` under s sets of
    noise. Zeros where nobody counts.
    Raises `ValueError` unless there are at least five messages, tau is in (0, 1], and all is finite.
    """
    check_messages(messages)
    _check(len(messages), "messages")
    require(0 < tau <= 1, "tau", tau, "above 0 and at most 1")
    by_noise = torch.stack([apart(distances(one, one)) for one in differences]).mean(dim=0)
    ensemble = (by_noise + apart(distances(energies, energies)) + apart(cosine_distances(biases))) / 3
    moved = exceedings(energies).double()
    counts = accepted(ensemble, (moved <= moved.quantile(0.5) / 2).cpu(), tau).to(messages.device)
    if not bool(counts.any()):
        return torch.zeros_like(messages[0])
    norms = norms_of(messages)
    bound = norms.quantile(0.5)
    scale = torch.where(norms > bound, bound / norms, 1.0)
    return apply_weights(torch.where(counts, scale, 0.0) / counts.sum(), messages)


def _check(n: int, argument: str) -> None:
    require(n >= SMALLEST_CLUSTER, argument, n, f"at least {SMALLEST_CLUSTER}, the smallest cluster")


@register("defense", "deepsight")
class DeepSight(Defense):
    """DeepSight; the noise is uniform on [0, 1), drawn with the server's generator.

    It looks into the model: its last layer must be a weight and a bias, a row for each class.
    """

    breakdown = 0.5  # its medians, of exceedings and of lengths, are honest clients'

    num_samples: int = Field(default=20_000, ge=1)
    tau: float = Field(default=1 / 3, gt=0, le=1)

    def start(self, setting: Setting) -> None:
        _check(setting.participants, "participants")

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        messages, w, model = delivered.messages, server.global_model, server.model
        if model is None:
            raise ValueError("deepsight looks into the model, but nothing says what model it is")
        weight, bias = (messages[:, one.entries].unflatten(1, one.shape) for one in server.layers[-2:])
        differences = torch.stack([self._differences(model, w + messages, server) for _ in range(SEEDS)])
        return w + deepsight(messages, update_energies(weight, bias), bias, differences, tau=self.tau)

    def _differences(self, model: Model, params: Tensor, server: ServerRound) -> Tensor:
        """DDif `(n, C)` of one set of noise, which is drawn and answered in parts."""
        w, draws = server.global_model, server.generator
        total = params.new_zeros(len(params), model.num_classes, dtype=torch.float64)
        for start in range(0, self.num_samples, PART):
            size = min(PART, self.num_samples - start)
            noise = torch.rand(size, *model.input_shape, generator=draws, dtype=w.dtype, device=w.device)
            total += size / self.num_samples * division_differences(model, params, w, noise)
        return total
