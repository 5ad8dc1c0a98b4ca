"""LASA: the authors' loops in numpy, layers that are filtered apart, sparsity by hand, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from bench.models import Layer, build
from bench.protocol import Delivered, ServerRound, Setting
from defenses.lasa import LASA, deviations, lasa, sign_balance, sparsified

LAYERS = (Layer("w", (4, 3), slice(0, 12)), Layer("b", (4,), slice(12, 16)), Layer("v", (2, 2, 3, 1), slice(16, 28)))


def by_the_authors(rows: np.ndarray, sparsity: float, lambda_n: float, lambda_s: float) -> np.ndarray:
    """Their steps, client by client and layer by layer."""
    norms = np.linalg.norm(rows, axis=1)
    bound = np.sort(norms)[(len(norms) - 1) // 2]
    clipped = rows / norms[:, None] * np.minimum(norms, bound)[:, None]
    masked = np.concatenate([np.arange(12), np.arange(16, 28)])
    for row in clipped:
        sizes = np.abs(row[masked])
        border = np.sort(sizes)[::-1][int(len(sizes) * (1 - sparsity)) - 1]
        row[masked] *= (sizes > border) | (sparsity == 0)
    parts = []
    for layer in LAYERS:
        part = clipped[:, layer.entries]
        assume(np.abs(part).max(axis=1).min() > 0)
        lengths = np.linalg.norm(part, axis=1)
        balance = np.array([0.5 * (1 + np.sign(p).sum() / np.abs(np.sign(p)).sum() * (1 - sparsity)) for p in part])
        good = np.ones(len(rows), dtype=bool)
        for values, radius in ((lengths, lambda_n), (balance, lambda_s)):
            assume(np.ptp(values) > 1e-9)  # equal values are 0 / 0 there, or not, as the mean is rounded
            off = np.abs(values - np.median(values)) / np.std(values)
            assume(np.abs(off - radius).min() > 1e-6)
            good &= off < radius
        parts.append(part[good if good.any() else slice(None)].mean(axis=0))
    return np.concatenate(parts)


def messages(n: int, seed: int) -> Tensor:
    return 0.2 + torch.randn(n, 28, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 10_000), st.integers(3, 20), st.sampled_from([0.0, 0.3, 0.6]), st.sampled_from([0.7, 1.0, 2.0]))
def test_it_is_the_authors_loops(seed: int, n: int, sparsity: float, radius: float) -> None:
    """Entries are drawn, so that no two are equally large and no layer is empty."""
    rows = messages(n, seed)
    found = lasa(rows, layers=LAYERS, sparsity=sparsity, lambda_n=radius, lambda_s=1.3)
    expected = by_the_authors(rows.numpy().copy(), sparsity, radius, 1.3)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_who_is_off_in_one_layer_counts_in_the_others() -> None:
    """Six alike clients, one of them ten times as large in the bias: out there, and in everywhere else."""
    rows = 1 + 0.1 * torch.rand(6, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[0, 12:16] *= 10
    clipped = rows * (rows.norm(dim=1).sort().values[2] / rows.norm(dim=1)).clamp(max=1)[:, None]
    ours = lasa(rows, layers=LAYERS, sparsity=0.0, lambda_n=2.2, lambda_s=2.2)
    torch.testing.assert_close(ours[12:16], clipped[1:, 12:16].mean(dim=0))
    wide = lasa(rows, layers=LAYERS, sparsity=0.0, lambda_n=9.0, lambda_s=9.0)
    torch.testing.assert_close(wide, clipped.mean(dim=0))
    whole = lasa(rows, sparsity=0.0, lambda_n=9.0)
    torch.testing.assert_close(whole, clipped.mean(dim=0))


def test_the_smallest_weights_are_zero_and_biases_stay() -> None:
    layers = (Layer("w", (1, 4), slice(0, 4)), Layer("b", (1,), slice(4, 5)))
    rows = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.5]])
    assert sparsified(rows, layers, 0.25).tolist() == [[0, -4, 3, 0, 0.5]]  # what ties with the third largest is out
    assert sparsified(rows, layers, 0.8).tolist() == [[0, 0, 0, 0, 0.5]]
    assert sparsified(rows, layers[1:], 0.8).tolist() == rows.tolist()


def test_a_client_without_a_layer_has_as_many_of_each_sign() -> None:
    assert sign_balance(torch.tensor([[0.0, 0.0], [1.0, 2.0], [-1.0, 0.0], [1.0, -1.0]])).tolist() == [0, 1, -1, 0]
    assert deviations(torch.tensor([0.0, 0.0, 0.0, 4.0], dtype=torch.float64)).tolist() == pytest.approx(
        [0, 0, 0, 4 / 3**0.5], abs=1e-12
    )


def test_the_server_tells_it_the_layers() -> None:
    model = build("softmax", (1, 2, 3), 4)  # a weight (4, 6) and a bias (4,)
    rows = messages(9, 3)
    setting = Setting(9, 9, 28, 1, 0.1, None, 0.0, 1e-6)
    server = ServerRound(
        0,
        setting,
        torch.ones(28, dtype=torch.float64),
        torch.full((9,), 1 / 9),
        torch.Generator(),
        layers=model.layers,
    )
    found = LASA().aggregate(Delivered(rows, torch.arange(9)), server)
    assert torch.equal(found, 1 + lasa(rows, layers=model.layers))
    assert not torch.equal(found, 1 + lasa(rows))


def test_refusals() -> None:
    rows = messages(4, 0)
    for given_, match in (
        ({"sparsity": 1.0}, "sparsity is"),
        ({"lambda_n": 0.0}, "lambda_n is"),
        ({"lambda_s": float("inf")}, "lambda_s is"),
        ({"layers": LAYERS[:2]}, "layers is 16, but must be of 28"),
    ):
        with pytest.raises(ValueError, match=match):
            lasa(rows, **given_)  # type: ignore[arg-type]
