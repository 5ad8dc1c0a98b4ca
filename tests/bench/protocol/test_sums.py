"""Rounds played in sums: the same model as with messages, or one drawn from the same distribution."""

from typing import Any, ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor

from attacks.sign_flip import SignFlip
from bench import registry
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.models.base import Model
from bench.protocol import Defense, Delivered, LocalRound, ServerRound, Setting, Sums, Upload, plays_in_sums
from bench.threat import ByzantineAttack, ByzantineView
from defenses.dp_fedavg import DPFedAvg
from defenses.dpbfl import DPBFL
from defenses.fedavg import FedAvg
from defenses.krum import Krum
from defenses.ldpbfl import LDPBFL
from defenses.median import Median
from defenses.niss import NISS
from defenses.rsa import RSA


class QuietDPFedAvg(DPFedAvg):
    """DP-FedAvg without its noise: clipping and p_k are left."""

    def sigma(self, setting: Setting) -> float:
        return 0.0

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(QuietDPFedAvg)


class QuietNISS(NISS):
    def sigma(self, setting: Setting) -> float:
        return 0.0

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(QuietNISS)


WITHOUT_NOISE: dict[str, Defense] = {
    "fedavg": FedAvg(),
    "dp_fedavg": QuietDPFedAvg(zeta=0.1),
    "niss": QuietNISS(zeta=0.1, num_shares=2, tau_squared=0.5),
    "rsa": RSA(),
    "dpbfl": DPBFL(gamma=0.0),
    "ldpbfl": LDPBFL(gamma=0.0),
}


class Seeing(ByzantineAttack):
    """Sends its own update back, and keeps what it was shown."""

    name: ClassVar[str] = "seeing"
    seen: list[Any] = Field(default_factory=list)

    def forge(self, view: ByzantineView) -> Tensor:
        self.seen.append(view)
        return view.own


class AllSeeing(Seeing):
    name: ClassVar[str] = "all_seeing"
    omniscient: ClassVar[bool] = True


class Doubling(FedAvg):
    """Changes what is sent, and says nothing of sums."""

    name: ClassVar[str] = "doubling"

    def upload(self, local: LocalRound) -> Upload:
        return Upload(2 * local.updates)


class DoublingInSums(Doubling):
    """The same, and says that the sum of what it sends is enough."""

    name: ClassVar[str] = "doubling_in_sums"

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(DoublingInSums)


class Renamed(FedAvg):
    """Changes nothing, and says nothing of sums either."""

    name: ClassVar[str] = "renamed"


class OtherServer(DPFedAvg):
    name: ClassVar[str] = "other_server"

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model


def federation(
    defense: Defense, attack: ByzantineAttack | None = None, byzantine: float = 0.3, seed: int = 0, **changes: Any
) -> Federation:
    given: dict[str, Any] = {"dataset": "digits", "clients": 10, "samples_per_client": 12, "rounds": 4, "lr": 0.3}
    settings = FederationSettings(
        **{**given, "local_steps": 2, "batch_size": 5, "assumed_byzantine": 0.3, "dtype": "float64", **changes}
    )
    return Federation(settings, defense, load("digits"), seed, attack, byzantine)


def models(found: Federation, in_sums: bool) -> list[Tensor]:
    """The global model after every round."""
    after = []
    for _ in range(found.settings.rounds):
        if in_sums:
            found.advance()
        else:
            found.play()
        after.append(found.global_model)
    return after


@pytest.mark.parametrize("attack", [None, SignFlip()], ids=["clean", "sign flip"])
@pytest.mark.parametrize("participation", [1.0, 0.5])
@pytest.mark.parametrize("name", list(WITHOUT_NOISE))
def test_without_noise_both_ways_give_the_same_models(
    name: str, participation: float, attack: ByzantineAttack | None
) -> None:
    defense = WITHOUT_NOISE[name]
    assert plays_in_sums(defense, federation(defense).setting)
    found = models(federation(defense, attack, participation=participation), in_sums=True)
    expected = models(federation(defense, attack, participation=participation), in_sums=False)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)
    assert float(found[-1].abs().max()) > 1e-3


@pytest.mark.parametrize("name", list(WITHOUT_NOISE))
def test_the_size_of_a_block_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = models(federation(WITHOUT_NOISE[name], SignFlip()), in_sums=True)
    monkeypatch.setattr(Model, "block_bytes", 1)  # a client a block
    single = models(federation(WITHOUT_NOISE[name], SignFlip()), in_sums=True)
    for mine, other in zip(single, whole, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_byzantine_clients_forge_together_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "block_bytes", 1)
    attack = Seeing()
    found = federation(FedAvg(), attack)
    played = federation(FedAvg()).play()
    found.advance()
    (view,) = attack.seen
    assert view.honest is None
    torch.testing.assert_close(view.own, played.updates[found.is_byzantine], rtol=0, atol=1e-12)


def test_everybody_may_be_byzantine() -> None:
    attack = Seeing()
    found = federation(FedAvg(), attack, byzantine=1.0)
    clean = federation(FedAvg())
    found.advance()
    clean.advance()
    torch.testing.assert_close(found.global_model, clean.global_model, rtol=0, atol=1e-12)
    assert len(attack.seen[0].own) == 10


def test_an_omniscient_attack_sees_messages() -> None:
    attack = AllSeeing()
    found = federation(FedAvg(), attack)
    found.advance()
    assert attack.seen[0].honest.shape == (7, found.model.dim)


@pytest.mark.parametrize("name", ["dp_fedavg", "dpbfl", "krum", "median"])
def test_messages_always_means_the_played_round(name: str) -> None:
    defense = registry.get("defense", name)()
    always = models(federation(defense, SignFlip(), messages="always", dtype="float32"), in_sums=True)
    expected = models(federation(defense, SignFlip(), dtype="float32"), in_sums=False)
    assert all(torch.equal(mine, other) for mine, other in zip(always, expected, strict=True))


def test_a_played_round_keeps_its_updates_and_an_advanced_one_gives_the_same_model() -> None:
    """`advance` may forge in place; `play` must not write into the transcript's updates."""
    played, clean = federation(Median(), SignFlip()).play(), federation(Median()).play()
    assert torch.equal(played.updates, clean.updates)
    assert not torch.equal(played.messages, played.updates)
    advanced, other = federation(Median(), SignFlip()), federation(Median(), SignFlip())
    advanced.advance()
    other.play()
    assert torch.equal(advanced.global_model, other.global_model)


@pytest.mark.parametrize(
    ("defense", "expected"),
    [
        (FedAvg(), True),
        (DPFedAvg(), True),
        (NISS(), True),
        (NISS(scale="share", tau_squared=0.3), True),
        (RSA(), True),
        (DPBFL(), True),
        (LDPBFL(), True),
        (NISS(dropout=0.2), False),
        (NISS(tau_squared=(0.1,) * 10), False),
        (Krum(), False),
        (Median(), False),
        (Renamed(), False),
        (Doubling(), False),
        (DoublingInSums(), True),
        (OtherServer(), False),
    ],
    ids=repr,
)
def test_who_plays_in_sums(defense: Defense, expected: bool) -> None:
    assert plays_in_sums(defense, federation(FedAvg()).setting) == expected


def test_a_subclass_that_changes_its_messages_is_played_as_it_says() -> None:
    expected = 2 * models(federation(FedAvg(), rounds=1), in_sums=False)[0]
    for defense in (Doubling(), DoublingInSums()):
        (found,) = models(federation(defense, rounds=1), in_sums=True)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_noise_drawn_at_the_sum_has_the_variance_of_all_messages() -> None:
    """DP-FedAvg, 7 honest clients of 10: 7 sigma_k^2; exact test, false alarm 1e-9."""
    from scipy.stats import chi2

    found, defense = federation(DPFedAvg(), SignFlip(), model="mlp"), DPFedAvg()
    quiet = federation(QuietDPFedAvg(zeta=0.1), SignFlip(), model="mlp")
    found.advance()
    quiet.advance()
    noise = found.global_model - quiet.global_model
    variance = 7 * defense.sigma(found.setting) ** 2
    low, high = chi2.ppf([5e-10, 1 - 5e-10], noise.numel())
    assert low < float(noise.square().sum()) / variance < high


def test_rounds_draw_their_own_noise() -> None:
    found = federation(DPFedAvg(), lr=1e-9)
    start = found.global_model
    first, second = models(found, in_sums=True)[:2]
    steps = torch.stack([first - start, second - first])
    assert float(torch.corrcoef(steps)[0, 1].abs()) < 0.3  # 650 coordinates: 7 sigma


# ------------------------------------------------------------------------------------------------------------ momentum


@pytest.mark.parametrize("in_sums", [True, False])
@pytest.mark.parametrize("participation", [1.0, 0.5])
def test_clients_send_the_running_mean_of_their_updates(in_sums: bool, participation: float) -> None:
    """v <- 0.9 v + 0.1 update, each client's own, moved only in rounds that it takes part in."""
    found = federation(FedAvg(), momentum=0.9, participation=participation)
    velocity = torch.zeros(10, found.model.dim, dtype=torch.float64)
    for _ in range(4):
        plain = federation(FedAvg(), participation=participation)
        plain.global_model, plain.round = found.global_model, found.round
        before, trained = found.global_model, plain.play()
        velocity[trained.participants] = 0.9 * velocity[trained.participants] + 0.1 * trained.updates
        if in_sums:
            found.advance()
        else:
            torch.testing.assert_close(found.play().messages, velocity[trained.participants], rtol=0, atol=1e-12)
        expected = before + velocity[trained.participants].mean(dim=0)
        torch.testing.assert_close(found.global_model, expected, rtol=0, atol=1e-12)


def test_momentum_is_refused_where_clients_keep_models() -> None:
    with pytest.raises(ValueError, match=r"momentum is 0\.5, but must be 0 under rsa"):
        federation(RSA(), momentum=0.5)
