"""Noise that a submitted defense claims, measured on the messages that make its accuracy.

The same clients send twice, under two generators. What they hold cancels in the difference of the two, so that what is
left is noise, whatever the file says of its messages.
"""

import math

import torch
from scipy import stats
from torch import Tensor

from bench.base import rng

SIGMAS = 8.0
"""Standard errors by which noise may miss what is claimed: a false alarm in 10^15, of noise that is normal."""

MOST = 1.5
"""Times the claimed variance: noise that is larger in one cell than is said there may be missing in another."""

FALSE_ALARM = 1e-12
"""The chance, for each row and each coordinate, that normal noise is as small there as what is refused."""


def check_noise(first: Tensor, second: Tensor, variance: float, most: float = MOST) -> None:
    """Raise `ValueError` where two uploads `(m, d)` of the same clients differ by less than noise of this variance.

    So over all entries, for each client, and for each coordinate: half of the mean square of the difference is the
    variance, for independent draws. Over all it is no more than `most` times that either.
    """
    if variance <= 0:
        return
    half = (first.double() - second.double()).square() / 2
    result, spread = float(half.mean()), float(half.std()) if half.numel() > 1 else 0.0
    if result + SIGMAS * spread / math.sqrt(half.numel()) < variance:
        raise ValueError(f"its messages carry noise of variance {result:.4g}, where it claims {variance:.4g}")
    if result - SIGMAS * spread / math.sqrt(half.numel()) > most * variance:
        raise ValueError(f"its messages carry noise of variance {result:.4g}, where noise_variance says {variance:.4g}")
    for axis, what in ((1, "of a client"), (0, "of a coordinate")):
        count = half.shape[axis]
        least = variance * float(stats.chi2.ppf(FALSE_ALARM / half.numel(), count)) / count
        if (smallest := float(half.mean(dim=axis).min())) < least:
            raise ValueError(
                f"the messages {what} carry noise of variance {smallest:.4g}, where it claims {variance:.4g}"
            )


def check_votes(first: Tensor, second: Tensor, share: float) -> None:
    """The same for ternary uploads, of which this share of the entries is claimed to be drawn at random.

    An entry that stays with probability 1 - share, and is uniform on {-1, 0, 1} else, differs between two draws with
    probability 1 - (1 - 2 share / 3)^2 - 2 (share / 3)^2.
    """
    if share <= 0:
        return
    wanted = 1 - (1 - 2 * share / 3) ** 2 - 2 * (share / 3) ** 2
    differ = (first != second).double()
    for axis, what in ((None, ""), (1, " of a client"), (0, " of a coordinate")):
        shares = differ.mean().view(1) if axis is None else differ.mean(dim=axis)
        count = differ.numel() if axis is None else differ.shape[axis]
        least = float(stats.binom.ppf(FALSE_ALARM / differ.numel(), count, wanted)) / count
        if (smallest := float(shares.min())) < least:
            raise ValueError(
                f"between two draws {smallest:.1%} of the votes{what} differ, where {wanted:.1%} are claimed to"
            )


def check_lengths(messages: Tensor, clip_norm: float | None, weights: Tensor) -> None:
    """Raise `ValueError` where messages `(m, d)` without noise are longer than the bound that an audit goes by.

    Without a bound it holds a vector of length 1 against the noise. `weights (m,)` are what a message carries.
    """
    bound = 1.0 if clip_norm is None else clip_norm
    longest = float((torch.linalg.vector_norm(messages.double(), dim=1) / weights.double().clamp(min=1e-300)).max())
    if longest > bound * (1 + 1e-3):
        said = "it names no clip_norm, and 1 is audited" if clip_norm is None else f"clip_norm says {clip_norm:.4g}"
        raise ValueError(f"a message is {longest:.4g} long before its noise, where {said}")


def check_honest(sent: Tensor, again: Tensor, message: Tensor) -> None:
    """Raise `ValueError` where an upload `(m, d)` misses the message that it should hold by more than its noise does.

    What is compared is the part along the message; the noise is that by which another draw, `again`, is apart.
    """
    length = float(torch.linalg.vector_norm(message.double()))
    if length == 0:
        return
    missed = float(((sent.double() - message.double()) * message.double()).sum()) / length
    deviation = math.sqrt(float((sent.double() - again.double()).square().mean()) / 2)
    if abs(missed) > SIGMAS * deviation:
        off = abs(missed) / max(deviation, 1e-300)
        raise ValueError(f"its messages miss what `message` says by {off:.0f} standard deviations of their noise")


def exchanged(clean: Tensor, sent: Tensor, generator: torch.Generator) -> Tensor:
    """The messages `clean (m, d)` with the noise of `sent`, each with that of another client, of other coordinates.

    Noise that is drawn for each entry on its own is as good there; of any other, what tells it is lost. Messages that
    are not finite stay as they are.
    """
    usable = (torch.isfinite(clean).all(dim=1) & torch.isfinite(sent).all(dim=1)).nonzero()[:, 0]
    clients = rng.shuffled(len(usable), generator)
    places = rng.shuffled(clean.shape[1], generator)
    noise = (sent[usable].double() - clean[usable].double())[clients][:, places]
    result = sent.clone()
    result[usable] = (clean[usable].double() + noise).to(sent.dtype)
    return result


def drawn_votes(votes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """The votes `(m, d)` in {-1, 0, 1}, of which each is drawn anew, uniformly, with probability `share`."""
    drawn = torch.randint(-1, 2, votes.shape, generator=generator, dtype=votes.dtype)
    return torch.where(torch.rand(votes.shape, generator=generator) < share, drawn, votes)


def dithered(rows: Tensor, variance: float, generator: torch.Generator, cancels: bool) -> Tensor:
    """The rows with a hundredth of their noise's variance more: what lies in bits below the noise is lost.

    Where noise `cancels` in the sum, what is added does too.
    """
    added = torch.rand(rows.shape, generator=generator, dtype=torch.float64) - 0.5
    added *= math.sqrt(12 * variance / 100)
    if cancels:
        added -= added.mean(dim=0)
    return rows + added.to(rows.dtype)
