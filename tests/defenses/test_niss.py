"""NISS as a defense: the number of shares, a client's own tau, what is uploaded, dropouts, claims."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.privacy.papers.noise_exchange import NoiseExchange
from bench.protocol import LocalRound, Setting
from defenses.dp_fedavg import clip
from defenses.niss import NISS


def local_round(setting: Setting, updates: Tensor, seed: int = 0, clients: list[int] | None = None) -> LocalRound:
    names = torch.arange(len(updates)) if clients is None else torch.tensor(clients)
    weights = torch.full((len(updates),), 1 / len(updates), dtype=updates.dtype)
    generator = torch.Generator().manual_seed(seed)
    return LocalRound(
        0, names, setting, torch.zeros(updates.shape[1], dtype=updates.dtype), updates, weights, generator
    )


def uploaded(defense: NISS, local: LocalRound) -> tuple[Tensor, NoiseExchange]:
    upload = defense.upload(local)
    assert isinstance(upload.peers, NoiseExchange)
    return upload.messages, upload.peers


@pytest.mark.parametrize(
    ("unit_variance", "expected"),
    [(1e-5, 19), (0.01, 2), (0.005, 4), (0.0187, 1), (1.0, 1)],
)
def test_v_is_the_ratio_of_variances_rounded_into_its_range(
    unit_variance: float, expected: int, make_setting: Callable[..., Setting]
) -> None:
    """sigma_k = .455265 * 2 * 3 / 20 at the paper's epsilon, so sigma_k^2 = .018654; m - 1 = 19 (errata N10)."""
    defense = NISS(unit_variance=unit_variance)
    assert defense.sigma(make_setting()) ** 2 == pytest.approx(0.018654, abs=1e-6)
    assert defense.v(make_setting()) == expected
    derived = defense.derived(make_setting())
    assert derived["num_shares"] == expected
    assert derived["share_variance"] == pytest.approx(0.018654 / expected, rel=1e-4)
    assert defense.peer_bytes(make_setting(dim=7)) == 4 * 7 * expected


def test_v_may_be_set_directly(make_setting: Callable[..., Setting]) -> None:
    assert NISS(num_shares=7).v(make_setting()) == 7


@pytest.mark.parametrize(
    ("parameters", "facts", "argument"),
    [
        ({}, {"participants": 1}, "participants"),
        ({"num_shares": 20}, {}, "num_shares"),
        ({"tau_squared": (0.1, 0.2)}, {}, "tau_squared"),
    ],
    ids=["alone", "more shares than peers", "a tau for some"],
)
def test_it_refuses_a_setting_that_it_cannot_work_in(
    parameters: dict[str, Any], facts: dict[str, Any], argument: str, make_setting: Callable[..., Setting]
) -> None:
    with pytest.raises(ValueError, match=argument):
        NISS(**parameters).start(make_setting(**facts))
    NISS(num_shares=19, tau_squared=(0.1,) * 20).start(make_setting())


def test_an_upload_is_the_weighted_clipped_update_and_the_noise(make_setting: Callable[..., Setting]) -> None:
    updates = torch.randn(20, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    defense = NISS(zeta=0.5, num_shares=3, tau_squared=0.4)
    messages, noise = uploaded(defense, local_round(make_setting(), updates))
    torch.testing.assert_close(messages - noise.upload, clip(updates, 0.5) / 20)
    assert not torch.allclose(messages, clip(updates, 0.5) / 20)


def test_the_noise_has_the_variance_that_the_claim_needs(
    make_setting: Callable[..., Setting], has_variance: Callable[[Tensor, float], bool]
) -> None:
    """Each client's own noise is N(0, sigma_k^2): exact, false alarm 1e-9."""
    defense = NISS(num_shares=3)
    _, noise = uploaded(defense, local_round(make_setting(), torch.zeros(20, 5000, dtype=torch.float64)))
    assert has_variance(noise.own, defense.sigma(make_setting()) ** 2)


def test_a_clients_tau_goes_with_its_name(make_setting: Callable[..., Setting]) -> None:
    """Of clients 1, 3 and 5 only client 3 distrusts its peers."""
    tau_squared = (9.0, 0.0, 9.0, 2.0, 9.0, 0.0)
    defense = NISS(num_shares=2, tau_squared=tau_squared)
    setting = make_setting(num_clients=6, participants=3)
    _, noise = uploaded(defense, local_round(setting, torch.zeros(3, 9, dtype=torch.float64), clients=[1, 3, 5]))
    unscaled = torch.stack([noise.shares(client).got.sum(dim=0) for client in range(3)])
    torch.testing.assert_close(noise.received[[0, 2]], unscaled[[0, 2]])
    assert not torch.allclose(noise.received[1], unscaled[1], rtol=0.01)


@pytest.mark.parametrize(("dropout", "arrived"), [(0.0, 20), (0.1, 18), (0.5, 10)])
def test_dropouts_never_arrive(dropout: float, arrived: int) -> None:
    messages = torch.arange(40.0).reshape(20, 2)
    delivered = NISS(dropout=dropout).deliver(messages, torch.Generator().manual_seed(0))
    assert delivered.senders is not None
    assert len(delivered.messages) == len(delivered.senders.unique()) == arrived
    assert torch.equal(delivered.messages, messages[delivered.senders])


def test_dropouts_leave_the_noise_that_is_derived(make_setting: Callable[..., Setting]) -> None:
    """6 clients, 2 shares, 2 dropouts: 2 d (m - d) / (m - 1) sigma_k^2 over 600 random graphs (errata N9).

    6 standard errors of independent exchanges: false alarm 2e-9.
    """
    setting = make_setting(num_clients=6, participants=6)
    defense = NISS(num_shares=2, dropout=1 / 3)
    squares = []
    for seed in range(600):
        messages, _ = uploaded(defense, local_round(setting, torch.zeros(6, 100), seed))
        delivered = defense.deliver(messages, torch.Generator().manual_seed(10_000 + seed))
        squares.append(delivered.rows.sum(dim=0).double().square().mean())
    found, error = torch.stack(squares).mean(), torch.stack(squares).std() / math.sqrt(600)
    expected = defense.derived(setting)["dropout_variance"]
    assert expected == pytest.approx(2 * 2 * 4 / 5 * defense.sigma(setting) ** 2)
    assert abs(float(found) - expected) < 6 * float(error)


def test_without_dropouts_nothing_is_left(make_setting: Callable[..., Setting]) -> None:
    assert NISS().derived(make_setting())["dropout_variance"] == 0


@pytest.mark.parametrize(
    ("scale", "tau_squared", "rho"),
    [
        ("coordinate", 0.0, "0.5"),
        ("coordinate", 0.6, "0.8"),
        ("coordinate", 1.0, "1"),
        ("coordinate", 3.0, "1"),
        ("coordinate", (1.0,) * 19 + (0.2,), "0.6"),
        ("share", 0.0, "0.5"),
        ("share", 3.0, "0.8"),
    ],
    ids=str,
)
def test_the_claim_says_how_many_colluders_it_stands(
    scale: Any, tau_squared: Any, rho: str, make_setting: Callable[..., Setting]
) -> None:
    """Theorem 3: rho <= (1 + tau^2) / 2; one factor a share: (1 + tau^2) / (2 + tau^2) (errata N3)."""
    defense, setting = NISS(scale=scale, tau_squared=tau_squared), make_setting()
    claim, composed = defense.claim(setting), defense.composed(setting)
    assert claim.epsilon == 10.0
    assert f"rho = {rho} " in claim.source
    assert claim.colluders == composed.colluders == pytest.approx(float(rho))


def test_the_claim_says_that_it_holds_on_average(make_setting: Callable[..., Setting]) -> None:
    """Errata N4: 20 shares, all known at tau^2 = 1, leave 0.22 to 0.23 of sigma^2 in the worst of 7,850 coordinates."""
    setting = make_setting(num_clients=30, participants=30, dim=7850)
    source = NISS(num_shares=20, tau_squared=1.0).claim(setting).source
    assert "on average: there the worst of 7,850 coordinates keeps 0.23 sigma^2" in source
    assert "corrected" in NISS(num_shares=20, tau_squared=1.0, scale="share").claim(setting).source
    assert "each upload seen alone" in NISS(num_shares=20).composed(setting).source


@pytest.mark.parametrize("tau_squared", [-0.5, (0.1,) * 19 + (-0.5,)], ids=["common", "of one client"])
def test_a_negative_tau_is_refused_before_training(tau_squared: Any, make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match="tau_squared"):
        NISS(tau_squared=tau_squared).start(make_setting())


@pytest.mark.parametrize(("dropout", "fine"), [(0.95, True), (0.99, False)])
def test_a_federation_from_which_everybody_drops_out_is_refused(
    dropout: float, fine: bool, make_setting: Callable[..., Setting]
) -> None:
    """round(0.99 * 20) = 20: nothing would arrive, and the mean of nothing is not a model."""
    if fine:
        NISS(dropout=dropout).start(make_setting())
    else:
        with pytest.raises(ValueError, match="dropout"):
            NISS(dropout=dropout).start(make_setting())
