"""Partitions: which samples of a split each client holds; equally many for all, unless sizes are asked for.

Clients batch as one tensor: where they hold different numbers, a row repeats its client's samples to the longest's end.

Where the clients together need more samples than there are, samples are drawn with replacement; else no sample is held
twice. Clients are exchangeable: no row of a partition is special by its place.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

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
    sizes: Indices | None = None  # (n,), where clients do not all hold `size`

    @property
    def each(self) -> Indices:
        """How many samples each client gets, (n,)."""
        return np.full(self.num_clients, self.size) if self.sizes is None else self.sizes

    @property
    def total(self) -> int:
        return int(self.each.sum())

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
    sizes: Tensor | None = None,
) -> Tensor:
    """Indices (num_clients, s) int64 into a split with `labels` (N,), each row in random order.

    `sizes` (num_clients,) from `client_sizes` gives each client as many; s is then the largest of them, and a shorter
    client's row repeats its samples in their order.

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
    if sizes is not None:
        whole = sizes.dtype == torch.int64 and sizes.shape == (num_clients,) and bool((sizes >= 1).all())
        require(whole, "sizes", sizes.tolist(), f"{num_clients} integers >= 1, one a client")
    size = shard_size(len(labels), num_clients, samples_per_client)
    _require_count("samples_per_client", size)

    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device).item()
    rng = np.random.default_rng(int(seed))
    _, classes = np.unique(labels.cpu().numpy(), return_inverse=True)
    deal = Deal(
        classes, num_clients, size, shards_per_client, alpha, rng, similarity, None if sizes is None else sizes.numpy()
    )
    dealt = SCHEMES[scheme](deal)
    if sizes is None:
        return torch.from_numpy(rng.permuted(dealt.reshape(num_clients, size), axis=1))
    rows = np.split(dealt, np.cumsum(deal.each)[:-1])
    return torch.from_numpy(np.stack([np.resize(rng.permutation(row), deal.each.max()) for row in rows]))


def client_sizes(
    law: str, num_clients: int, mean: int, generator: torch.Generator, *, spread: float = 1.0, alpha: float = 0.5
) -> Tensor:
    """How many samples each client holds, (num_clients,) int64: `mean` on average, at least 1.

    Laws of a client's share: `lognormal`, exp(spread z) of a standard normal z (FedLab's unbalanced split);
    `dirichlet`, from Dir(alpha, ..., alpha) (NIID-Bench's quantity skew). Takes one draw from `generator`. Raises
    `ValueError` for an unknown law or an argument out of range.
    """
    if law not in LAWS:
        raise ValueError(unknown("law of sizes", law, LAWS))
    _require_count("num_clients", num_clients)
    _require_count("mean", mean)
    for argument, value in (("spread", spread), ("alpha", alpha)):
        require(math.isfinite(value) and value > 0, argument, value, "in (0, inf)")
    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device).item()
    shares = LAWS[law](np.random.default_rng(int(seed)), num_clients, spread, alpha)
    quotas = shares / shares.sum() * num_clients * (mean - 1)
    sizes = np.floor(quotas).astype(np.int64)
    more = num_clients * (mean - 1) - int(sizes.sum())
    sizes[np.argsort(sizes - quotas, kind="stable")[:more]] += 1  # largest remainders
    return torch.from_numpy(1 + sizes)


def _lognormal(rng: np.random.Generator, num_clients: int, spread: float, alpha: float) -> NDArray[np.float64]:
    logs = spread * rng.standard_normal(num_clients)
    return np.asarray(np.exp(logs - logs.max()))


def _dirichlet_shares(rng: np.random.Generator, num_clients: int, spread: float, alpha: float) -> NDArray[np.float64]:
    return rng.dirichlet(np.full(num_clients, alpha))


LAWS: dict[str, Callable[[np.random.Generator, int, float, float], NDArray[np.float64]]] = {
    "lognormal": _lognormal,
    "dirichlet": _dirichlet_shares,
}


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
    return _draw(deal)


def _sorted(deal: Deal) -> Indices:
    """Sorted by label, cut into shards, the shards dealt at random (McMahan et al. 2017, section 3; the NISS paper)."""
    samples = _draw(deal)
    samples = samples[np.argsort(deal.labels[samples], kind="stable")]
    shards = deal.rng.permutation(deal.num_clients * deal.shards_per_client)
    # The shards of a client differ by one sample where their number does not divide its size.
    whose, which = shards // deal.shards_per_client, shards % deal.shards_per_client
    owners = np.repeat(whose, (deal.each[whose] + which) // deal.shards_per_client)
    return samples[np.argsort(owners, kind="stable")]


def _similarity(deal: Deal) -> Indices:
    """A share of alike data, the rest sorted by label (Karimireddy et al. 2020, SCAFFOLD: s% similarity).

    ByzFL's gamma-similarity is the same, but that there every client's samples of either kind may be one more.
    """
    samples, alike = _draw(deal), np.rint(deal.similarity * deal.each).astype(np.int64)
    shared, rest = np.split(samples, [alike.sum()])
    rest = rest[np.argsort(deal.labels[rest], kind="stable")]
    clients = deal.rng.permutation(deal.num_clients)  # whose runs follow each other
    owners = np.concatenate(
        [np.repeat(np.arange(deal.num_clients), alike), np.repeat(clients, (deal.each - alike)[clients])]
    )
    return np.concatenate([shared, rest])[np.argsort(owners, kind="stable")]


def _dirichlet(deal: Deal) -> Indices:
    """Class proportions of a client from Dir(alpha * class frequencies) (Hsu, Qi and Brown 2019).

    One client after another draws its class counts, without replacement while the data suffices, and renormalises over
    the classes that are left; the samples are then dealt by one sort. If all data is dealt, the clients that draw last
    take what is left: their skew is that of the remains.
    """
    frequencies = np.bincount(deal.labels)
    concentration = np.maximum(deal.alpha * (frequencies / len(deal.labels)), np.finfo(float).tiny)
    proportions = deal.rng.dirichlet(concentration, size=deal.num_clients)
    if not deal.fits:
        counts = deal.rng.multinomial(deal.each, proportions)
    elif deal.sizes is None:
        counts = _counts_without_replacement(proportions, concentration, frequencies, deal)
        counts = deal.rng.permutation(counts)  # a client's place must not tell how late it drew
    else:
        order, counts = deal.rng.permutation(deal.num_clients), np.empty(proportions.shape, dtype=np.int64)
        ordered = replace(deal, sizes=deal.sizes[order])
        counts[order] = _counts_without_replacement(proportions[order], concentration, frequencies, ordered)

    slots = np.repeat(np.tile(np.arange(len(frequencies)), deal.num_clients), counts.ravel())
    order = deal.rng.permutation(len(deal.labels))
    pools = np.split(order[np.argsort(deal.labels[order], kind="stable")], np.cumsum(frequencies)[:-1])
    taken = counts.sum(axis=0)
    drawn = [p[:k] if deal.fits else deal.rng.choice(p, k) for p, k in zip(pools, taken, strict=True)]
    indices = np.empty(deal.total, dtype=np.int64)
    indices[np.argsort(slots, kind="stable")] = np.concatenate(drawn)
    return indices


def _counts_without_replacement(
    proportions: NDArray[np.float64], concentration: NDArray[np.float64], frequencies: Indices, deal: Deal
) -> Indices:
    """Class counts (n, K) of the clients, who draw one after another from pools of `frequencies` (K,) samples.

    Drawing sample by sample and renormalising at each exhaustion is the same in law as drawing all at once, rejecting
    what exceeds a pool, and drawing the rejected again from the classes that are left.
    """
    left = frequencies.copy()
    counts = np.zeros(proportions.shape, dtype=np.int64)
    for own, wanted, size in zip(counts, proportions, deal.each.tolist(), strict=True):
        missing = size
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


# Each gives the samples (total,) of one client after another.
SCHEMES: dict[str, Callable[[Deal], Indices]] = {
    "iid": _iid,
    "sorted": _sorted,
    "dirichlet": _dirichlet,
    "similarity": _similarity,
}
