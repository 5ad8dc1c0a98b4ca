"""Partitions: which samples of a split each client holds; equally many for all, so that clients batch as one tensor.

Where the clients together need more samples than there are, samples are drawn with replacement; else no sample is held
twice. Clients are exchangeable: no row of a partition is special by its place.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.base.errors import require
from bench.base.names import unknown

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Deal:
    """What a scheme deals: samples with `labels` (N,), classes numbered 0 .. K - 1, `size` of them to each client."""

    labels: Indices
    num_clients: int
    size: int
    shards_per_client: int
    alpha: float
    rng: np.random.Generator
    similarity: float = 0.5

    @property
    def total(self) -> int:
        return self.num_clients * self.size

    @property
    def fits(self) -> bool:
        return self.total <= len(self.labels)


def partition(
    scheme: str,
    labels: Tensor,
    num_clients: int,
    samples_per_client: int | None,
    generator: torch.Generator,
    *,
    shards_per_client: int = 2,
    alpha: float = 0.2,
    similarity: float = 0.5,
) -> Tensor:
    """Indices (num_clients, s) int64 into a split with `labels` (N,), each row in random order.

    s is `samples_per_client`, or floor(N / num_clients), at least 1. Schemes: `iid`; `sorted`, in which a client holds
    `shards_per_client` runs of the label-sorted data; `dirichlet`, label skew that grows as `alpha` falls;
    `similarity`, in which that share of a client's samples is drawn at random and the rest one run of the label-sorted
    data. Takes one draw from `generator`, whatever the scheme. Raises `ValueError` for an unknown scheme or an argument
    out of range.
    """
    if scheme not in SCHEMES:
        raise ValueError(unknown("partition scheme", scheme, SCHEMES))
    fit = labels.dim() == 1 and len(labels) > 0 and not labels.is_floating_point()
    require(fit, "labels", f"{labels.dtype} of shape {tuple(labels.shape)}", "integers (N,) with N >= 1")
    _require_count("num_clients", num_clients)
    _require_count("shards_per_client", shards_per_client)
    require(math.isfinite(alpha) and alpha > 0, "alpha", alpha, "in (0, inf)")
    require(0 <= similarity <= 1, "similarity", similarity, "between 0 and 1")
    size = shard_size(len(labels), num_clients, samples_per_client)
    _require_count("samples_per_client", size)

    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device).item()
    rng = np.random.default_rng(int(seed))
    _, classes = np.unique(labels.cpu().numpy(), return_inverse=True)
    deal = Deal(classes, num_clients, size, shards_per_client, alpha, rng, similarity)
    return torch.from_numpy(rng.permuted(SCHEMES[scheme](deal), axis=1))


def shard_size(num_samples: int, num_clients: int, samples_per_client: int | None) -> int:
    """s, the samples of each client: as many as are asked for, or else an equal share of all, at least 1.

    Raises `ValueError` for a number below 1.
    """
    given = {"num_samples": num_samples, "num_clients": num_clients, "samples_per_client": samples_per_client}
    for argument, value in given.items():
        require(value is None or value >= 1, argument, value, "at least 1")
    return max(1, num_samples // num_clients) if samples_per_client is None else samples_per_client


def class_counts(labels: Tensor, indices: Tensor, num_classes: int) -> Tensor:
    """How many samples of each class each client holds, (n, num_classes) int64, for a partition `indices` (n, s)."""
    require(labels.numel() > 0, "labels", tuple(labels.shape), "not empty")
    largest = int(labels.max())
    require(largest < num_classes, "num_classes", num_classes, f"greater than the largest label, {largest}")
    cells = labels[indices] + num_classes * torch.arange(len(indices), device=indices.device)[:, None]
    return torch.bincount(cells.flatten(), minlength=len(indices) * num_classes).view(-1, num_classes)


def _iid(deal: Deal) -> Indices:
    """Shuffled and dealt."""
    return _draw(deal).reshape(deal.num_clients, deal.size)


def _sorted(deal: Deal) -> Indices:
    """Sorted by label, cut into shards, the shards dealt at random (McMahan et al. 2017, section 3; the NISS paper)."""
    samples = _draw(deal)
    samples = samples[np.argsort(deal.labels[samples], kind="stable")]
    shards = deal.rng.permutation(deal.num_clients * deal.shards_per_client)
    # The shards of a client differ by one sample where their number does not divide its size.
    lengths = (deal.size + np.arange(deal.shards_per_client)) // deal.shards_per_client
    owners = np.repeat(shards // deal.shards_per_client, lengths[shards % deal.shards_per_client])
    return samples[np.argsort(owners, kind="stable")].reshape(deal.num_clients, deal.size)


def _similarity(deal: Deal) -> Indices:
    """A share of alike data, the rest sorted by label (Karimireddy et al. 2020, SCAFFOLD: s% similarity).

    ByzFL's gamma-similarity is the same, but that there every client's samples of either kind may be one more.
    """
    samples, alike = _draw(deal), round(deal.similarity * deal.size)
    shared, rest = np.split(samples, [deal.num_clients * alike])
    rest = rest[np.argsort(deal.labels[rest], kind="stable")].reshape(deal.num_clients, deal.size - alike)
    return np.concatenate([shared.reshape(deal.num_clients, alike), deal.rng.permutation(rest)], axis=1)


def _dirichlet(deal: Deal) -> Indices:
    """Class proportions of a client from Dir(alpha * class frequencies) (Hsu, Qi and Brown 2019).

    One client after another draws its class counts, without replacement while the data suffices, and renormalises over
    the classes that are left; the samples are then dealt by one sort. If all data is dealt, the clients that draw last
    take what is left: their skew is that of the remains.
    """
    frequencies = np.bincount(deal.labels)
    concentration = np.maximum(deal.alpha * (frequencies / len(deal.labels)), np.finfo(float).tiny)
    proportions = deal.rng.dirichlet(concentration, size=deal.num_clients)
    if deal.fits:
        counts = _counts_without_replacement(proportions, concentration, frequencies, deal)
        counts = deal.rng.permutation(counts)  # a client's place must not tell how late it drew
    else:
        counts = deal.rng.multinomial(deal.size, proportions)

    slots = np.repeat(np.tile(np.arange(len(frequencies)), deal.num_clients), counts.ravel())
    order = deal.rng.permutation(len(deal.labels))
    pools = np.split(order[np.argsort(deal.labels[order], kind="stable")], np.cumsum(frequencies)[:-1])
    taken = counts.sum(axis=0)
    drawn = [p[:k] if deal.fits else deal.rng.choice(p, k) for p, k in zip(pools, taken, strict=True)]
    indices = np.empty(deal.total, dtype=np.int64)
    indices[np.argsort(slots, kind="stable")] = np.concatenate(drawn)
    return indices.reshape(deal.num_clients, deal.size)


def _counts_without_replacement(
    proportions: NDArray[np.float64], concentration: NDArray[np.float64], frequencies: Indices, deal: Deal
) -> Indices:
    """Class counts (n, K) of the clients, who draw one after another from pools of `frequencies` (K,) samples.

    Drawing sample by sample and renormalising at each exhaustion is the same in law as drawing all at once, rejecting
    what exceeds a pool, and drawing the rejected again from the classes that are left.
    """
    left = frequencies.copy()
    counts = np.zeros(proportions.shape, dtype=np.int64)
    for own, wanted in zip(counts, proportions, strict=True):
        missing = deal.size
        while missing:
            drawn = np.minimum(deal.rng.multinomial(missing, wanted), left)
            own += drawn
            left -= drawn
            missing -= int(drawn.sum())
            if missing:
                wanted = _among(left > 0, wanted, concentration, deal.rng)
    return counts


def _among(
    alive: NDArray[np.bool_],
    wanted: NDArray[np.float64],
    concentration: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The proportions `wanted` (K,) renormalised over the classes that are `alive`."""
    rest = np.where(alive, wanted, 0.0)
    if rest.sum() < 1e-290:  # underflow; the renormalised part of a Dirichlet is one itself, so draw that
        rest[alive] = rng.dirichlet(concentration[alive])
    rest /= rest.sum()
    return rest


def _draw(deal: Deal) -> Indices:
    """The samples (total,) that are dealt, in random order."""
    population = len(deal.labels)
    return (
        deal.rng.permutation(population)[: deal.total] if deal.fits else deal.rng.integers(population, size=deal.total)
    )


def _require_count(argument: str, value: int) -> None:
    require(isinstance(value, int) and value >= 1, argument, value, "an integer >= 1")


SCHEMES: dict[str, Callable[[Deal], Indices]] = {
    "iid": _iid,
    "sorted": _sorted,
    "dirichlet": _dirichlet,
    "similarity": _similarity,
}
