"""ClippedClustering (Li, Ngai and Voigt 2023): clip to the median of all lengths so far, average the larger cluster.

Messages are clipped to the median of the lengths of all messages of all rounds. Then agglomerative clustering with
average linkage parts them in two by their cosines, and the mean of the larger cluster counts.

The paper is "An experimental study of Byzantine-robust aggregation schemes in federated learning" (arXiv 2302.07173).
From its authors' code (lishenghui/blades, `fllib/aggregators/clippedclustering.py`); of the paper the abstract was at
hand.
"""

import math

import torch
from pydantic import Field
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, check_finite
from bench.registry import register
from bench.rules import apply_weights, checked_gram, norms_of, squared_distances
from bench.rules.gram import check_square


def cosine_distances(messages: Tensor) -> Tensor:
    """1 - cosine `(n, n)`, float64, of the messages `(n, d)`; 1 where one of the two is zero.

    (|u - v|^2 - (|u| - |v|)^2) / (2 |u| |v|), which does not cancel where two point nearly the same way.
    """
    gram = checked_gram(messages, origin=True)
    squares = squared_distances(gram)
    norms = sqrt(squares[-1, :-1])
    product = norms[:, None] * norms[None, :]
    apart = (squares[:-1, :-1] - (norms[:, None] - norms[None, :]).square()) / (2 * product)
    return torch.where(product > 0, apart, 1.0).clamp(0, 2).fill_diagonal_(0)


def larger_cluster(distances: Tensor) -> Tensor:
    """Rows `(k,)` of the larger of two clusters by average linkage; of two equal ones that of the first message."""
    check_square(distances, "distances")
    n = len(distances)
    if n == 1:
        return torch.zeros(1, dtype=torch.long, device=distances.device)
    tree = linkage(squareform(distances.cpu().numpy(), checks=False), method="average")
    other = torch.from_numpy(cut_tree(tree, n_clusters=[2])[:, 0]).to(distances.device) != 0  # 0 is the first message's
    return (other if 2 * int(other.sum()) > n else ~other).nonzero()[:, 0]


def clipped_clustering(messages: Tensor, *, history: Tensor | None = None, most: float = 1e5) -> Tensor:
    """The mean `(d,)` of the larger cluster of the messages `(n, d)`, which are clipped to the median length.

    The median is over the lengths of the messages and those of `history (k,)`, and `most` at most.
    Raises `ValueError` unless `most` is positive, and messages and history are finite.
    """
    require(0 < most < math.inf, "most", most, "positive and finite")
    norms = norms_of(messages)
    known = norms.new_zeros(0) if history is None else history.to(norms)
    require(known.dim() == 1, "history", tuple(known.shape), "(k,) lengths")
    check_finite(known, "history")
    bound = torch.cat([known, norms]).quantile(0.5).clamp(max=most)
    weights = torch.zeros_like(norms)
    chosen = larger_cluster(cosine_distances(messages))  # which no clipping changes
    weights[chosen] = torch.where(norms > bound, bound / norms, 1.0)[chosen] / len(chosen)
    return apply_weights(weights, messages)


@register("defense", "clipped_clustering")
class ClippedClustering(Defense):
    """ClippedClustering; the server remembers lengths, and not whose they were."""

    breakdown = 0.5  # the larger cluster is that of the most

    most: float = Field(default=1e5, gt=0)  # max_tau

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        messages, memory = delivered.messages, server.memory
        history = memory.get("lengths", messages.new_zeros(0, dtype=torch.float64))
        change = clipped_clustering(messages, history=history, most=self.most)
        memory["lengths"] = torch.cat([history, norms_of(messages)])
        return server.global_model + change
