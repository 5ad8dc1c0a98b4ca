"""Hybrid sparse: the authors' formula in numpy, the mask by hand and kept, ALIE where nothing is sparse, refusals."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from attacks.alie import alie
from attacks.hybrid_sparse import HybridSparse, hybrid_sparse, most_salient
from bench.protocol import Alphabet, Setting
from bench.threat import ByzantineView


def honest(n: int = 16, d: int = 40, seed: int = 0) -> Tensor:
    return 0.3 + torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("scale", [1.5, 20.0])
def test_it_is_the_authors_formula_on_minus_the_gradients(scale: float) -> None:
    """Of gradients: mean - (mask scale + (1 - mask) z) std, std with one degree of freedom less."""
    rows, f = honest(), 4
    mask = torch.zeros(40, dtype=torch.bool)
    mask[[3, 17]] = True
    n, gradients, m = 20, -rows.numpy(), mask.numpy().astype(float)
    s = np.floor(n / 2 + 1) - f
    z = norm.ppf((n - f - s) / (n - f))
    expected = gradients.mean(axis=0) - gradients.std(axis=0, ddof=1) * (m * scale + (1 - m) * z)
    forged = hybrid_sparse(rows, f, mask, scale=scale)
    assert forged.shape == (4, 40)
    np.testing.assert_allclose(forged.numpy(), np.tile(-expected, (4, 1)))


def test_without_a_mask_it_is_alie() -> None:
    rows, nothing = honest(), torch.zeros(40, dtype=torch.bool)
    for sign in ("plus", "minus"):
        torch.testing.assert_close(hybrid_sparse(rows, 4, nothing, sign=sign), alie(rows, 4, ddof=1, sign=sign))


def test_the_mask_by_hand() -> None:
    """|(w + u) u| = 3 * 1, 0 * 2, 2 * 2, 0.5 * 0.5, and 2 * 2 again."""
    w, u = torch.tensor([2.0, -2.0, 0.0, 1.0, 4.0]), torch.tensor([1.0, 2.0, 2.0, -0.5, -2.0])
    assert most_salient(w, u, 0.4).tolist() == [False, False, True, False, True]
    assert most_salient(w, u, 0.2).tolist() == [False, False, True, False, False]  # of equal ones the first
    assert most_salient(w, u, 1e-9).sum() == 1
    assert most_salient(w, u, 1.0).all()


def view(rows: Tensor, memory: dict[str, Tensor], alphabet: Alphabet = Alphabet.REAL) -> ByzantineView:
    d = rows.shape[1]
    setting = Setting(20, 20, d, 3, 0.1, None, 0.2, 1e-6)
    return ByzantineView(
        own=rows[:4],
        honest=rows,
        broadcast=torch.zeros(d, dtype=torch.float64),
        alphabet=alphabet,
        generator=torch.Generator(),
        setting=setting,
        memory=memory,
    )


def test_the_mask_of_the_first_round_stays() -> None:
    memory: dict[str, Tensor] = {}
    attack = HybridSparse(share=0.1, scale=9.0)
    attack.forge(view(honest(), memory))
    first = memory["mask"].clone()
    assert torch.equal(first, most_salient(torch.zeros(40, dtype=torch.float64), honest().mean(dim=0), 0.1))
    other = honest(seed=1)
    forged = attack.forge(view(other, memory))
    assert torch.equal(memory["mask"], first)
    assert torch.equal(forged, hybrid_sparse(other, 4, first, scale=9.0))


def test_votes_are_votes() -> None:
    votes = torch.sign(honest()).to(torch.int8)
    forged = HybridSparse().forge(view(votes, {}, Alphabet.TERNARY))
    assert forged.dtype == torch.int8
    assert set(forged.unique().tolist()) <= {-1, 0, 1}


def test_refusals() -> None:
    rows, mask = honest(), torch.zeros(40, dtype=torch.bool)
    for match, call in (
        ("mask is", lambda: hybrid_sparse(rows, 4, mask[:3])),
        ("honest is", lambda: hybrid_sparse(rows[:1], 1, mask)),
        ("scale is", lambda: hybrid_sparse(rows, 4, mask, scale=float("inf"))),
        ("share is", lambda: most_salient(rows[0], rows[1], 0.0)),
        ("change is", lambda: most_salient(rows[0], rows[1, :3], 0.5)),
    ):
        with pytest.raises(ValueError, match=match):
            call()
