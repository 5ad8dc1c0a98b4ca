"""FLTrust: its definition in float64, forged rows, the server's own training, and what the engine hands over."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from attacks.sign_flip import SignFlip
from bench.base import rng
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.plays.metrics import accuracy_and_loss
from bench.protocol import Delivered, ServerRound, Setting
from defenses.fltrust import FLTrust, fltrust
from defenses.nnm import NNM


def by_definition(messages: Tensor, root: Tensor) -> Tensor:
    rows, root = messages.double(), root.double()
    trust = cosine_similarity(rows, root[None]).clamp(min=0)
    brought = rows / rows.norm(dim=1, keepdim=True) * root.norm()
    return (trust[:, None] * brought).sum(dim=0) / trust.sum()


def test_by_hand() -> None:
    """Root (0, 2). (0, 9) has trust 1, (3, 4) 0.8, (5, 0) and (1, -1) none: (1 (0, 2) + 0.8 (1.2, 1.6)) / 1.8."""
    messages = torch.tensor([[0.0, 9.0], [3.0, 4.0], [5.0, 0.0], [1.0, -1.0]], dtype=torch.float64)
    found = fltrust(messages, torch.tensor([0.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([0.96 / 1.8, 3.28 / 1.8], dtype=torch.float64))


def test_published_example() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    torch.testing.assert_close(fltrust(x, x[1]).double(), by_definition(x, x[1]), rtol=1e-6, atol=0)


@given(st.integers(1, 20), st.integers(0, 99))
def test_it_is_the_definition(n: int, seed: int) -> None:
    messages = torch.randn(n + 1, 30, generator=torch.Generator().manual_seed(seed))
    if float((messages[1:] @ messages[0]).max()) > 0:
        expected = by_definition(messages[1:], messages[0])
        torch.testing.assert_close(fltrust(messages[1:], messages[0]).double(), expected, rtol=1e-4, atol=1e-5)


@given(st.integers(1, 9), st.sampled_from([-1.0, -1e30, 1e30]))
def test_any_number_of_forged_rows_leaves_the_length_at_the_roots(f: int, size: float) -> None:
    """A forged row counts for its direction alone, and one that points back for nothing."""
    honest = 1 + torch.randn(3, 20, generator=torch.Generator().manual_seed(f))
    forged = torch.full((f, 20), size)
    found = fltrust(torch.cat([honest, forged]), honest.mean(dim=0))
    assert float(found.norm()) <= float(honest.mean(dim=0).norm()) * (1 + 1e-5)
    if size < 0:
        torch.testing.assert_close(found, fltrust(honest, honest.mean(dim=0)))


def test_where_nobody_is_trusted_and_where_the_root_is_zero_nothing_moves() -> None:
    assert fltrust(-torch.ones(3, 2), torch.ones(2)).tolist() == [0.0, 0.0]
    assert fltrust(torch.ones(3, 2), torch.zeros(2)).tolist() == [0.0, 0.0]
    assert fltrust(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([1.0, 0.0])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("root", [torch.ones(3), torch.tensor([1.0, torch.nan])], ids=["shape", "nan"])
def test_a_root_update_that_does_not_fit_is_refused(root: Tensor) -> None:
    with pytest.raises(ValueError, match="root_update"):
        fltrust(torch.ones(3, 2), root)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_nobody_is_trusted_the_zeros_are_of_the_messages_type(dtype: torch.dtype) -> None:
    for root in (torch.float32, torch.float64):
        found = fltrust(-torch.ones(3, 2, dtype=dtype), torch.ones(2, dtype=root))
        assert (found.dtype, found.tolist()) == (dtype, [0.0, 0.0])


def test_it_needs_a_server_with_images(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    server = server_round(make_setting(), torch.ones(2), 3)
    with pytest.raises(ValueError, match="root_update is None"):
        FLTrust().aggregate(Delivered(torch.ones(3, 2), torch.arange(3)), server)


# ----------------------------------------------------------------------------------------------------- in a federation


def test_the_root_update_is_training_on_images_of_the_validation_split(
    make_federation: Callable[..., Federation], digits: Dataset
) -> None:
    """One full-batch step from the broadcast, against autograd."""
    federation = make_federation(
        FLTrust(root_samples=50), local_steps=None, local_epochs=1, batch_size=1000, dtype="float64", lr=0.5
    )
    chosen = torch.randperm(len(digits.validation.y), generator=rng.generator(0, "root"))[:50]
    x, y = digits.validation.x[chosen].flatten(1).double(), digits.validation.y[chosen]
    for _ in range(2):
        w = federation.global_model.clone().requires_grad_()
        loss = cross_entropy(x @ w[:640].view(10, 64).T + w[640:], y)
        (gradient,) = torch.autograd.grad(loss, w)
        seen = federation._server_round(torch.ones(1)).root_update
        torch.testing.assert_close(seen, -0.5 * gradient, rtol=0, atol=1e-12)
        again = federation._server_round(torch.ones(1)).root_update
        assert torch.equal(again, seen)  # type: ignore[arg-type]
        federation.advance()


def test_it_learns_under_an_attacking_majority(make_federation: Callable[..., Federation], digits: Dataset) -> None:
    """12 of 20 clients flip their signs; also behind a pre-aggregation, which hands the root update on."""
    for defense in (FLTrust(), NNM(rule="fltrust")):
        byzantine = 0.6 if isinstance(defense, FLTrust) else 0.2
        federation = make_federation(defense, SignFlip(), byzantine, rounds=20, lr=0.5, assumed_byzantine=0.2)
        for _ in range(20):
            federation.advance()
        assert accuracy_and_loss(federation.model, federation.global_model, digits.test)[0] > 0.6


def test_the_record_says_how_many_images_and_too_many_are_refused(
    make_federation: Callable[..., Federation], make_setting: Callable[..., Setting]
) -> None:
    assert FLTrust(root_samples=30).derived(make_setting()) == {"root_samples": 30.0}
    with pytest.raises(ValueError, match="root_samples is 100000"):
        make_federation(FLTrust(root_samples=100_000))
