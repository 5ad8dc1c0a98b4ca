"""Subspace: colluders project a target's upload on the complement of the noise shares that they sent to it (errata N2).

With one scalar s_i a share, as NISS's Algorithm 2 prints it, all that the shares r_i add to the upload lies in the span
of the r_i, which the colluders know. Without that span, v of d directions, none of it is left; what shares of others
add is white in the rest. With s drawn for each coordinate the span says nothing, and the projection gains nothing.
"""

import torch
from torch import Tensor

from attacks.collusion import Collusion
from bench.registry import register
from bench.threat import RoundView, View, strip


def project_out(estimate: Tensor, shares: Tensor) -> Tensor:
    """Messages `(T, d)` without their part in the span of the known shares `(T, v, d)`; rows of zeros are no shares."""
    r = shares.double()
    inside = r @ estimate.double().unsqueeze(-1)
    coefficients = torch.linalg.pinv(r @ r.mT, hermitian=True) @ inside
    known = (r.mT @ coefficients).squeeze(-1).to(estimate.dtype)
    return torch.sub(estimate, known)


def recover(seen: RoundView) -> Tensor:
    """The targets' messages `(T, d)` without the colluders' share of the noise, whatever s was."""
    known = strip(seen)
    return known if seen.each_got is None else project_out(known, seen.each_got)


@register("attack", "subspace")
class Subspace(Collusion):
    """Collusion that knows how the shares were scaled: by one number each."""

    single_shares = True

    def estimates(self, view: View) -> list[Tensor]:
        return [recover(seen) for seen in view.rounds]
