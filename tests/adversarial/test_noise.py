"""Noise that is claimed and missing where accuracy is made, and what hides below it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.base import rng
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.roles import setting_of
from bench.federation.secret import secret_world
from bench.federation.settings import FederationSettings
from bench.plays.audit import check_same_claim
from bench.protocol import Defense, Delivered, ServerRound, clip
from bench.submission.referee.noise import check_honest, check_noise, check_votes, drawn_votes, exchanged
from bench.submission.referee.party import Code
from bench.submission.referee.proxies import stand_in
from defenses.dpbfl import randomize

SETTINGS = FederationSettings(
    dataset="digits",
    clients=8,
    samples_per_client=20,
    rounds=6,
    local_steps=1,
    batch_size=10,
    lr=0.5,
    messages="always",
)
HEAD = """
import torch
from bench.privacy import PrivacyClaim
from bench.protocol import Alphabet, Defense, Upload, clip

class Row(Defense):
    gaussian = True

    def message(self, updates, weights):
        return clip(updates, 1.0)

    def aggregate(self, delivered, server):
        return server.global_model + delivered.messages.mean(dim=0)

    def claim(self, setting):
        return PrivacyClaim(epsilon=0.1, delta=1e-6, unit="per upload", source="its paper")

    def noise_variance(self, setting):
        return 900.0

    def noise(self, local):
        return 30 * torch.randn(local.updates.shape, generator=local.generator)

    def upload(self, local):
        clean = self.message(local.updates, local.weights)
"""


def row(folder: Path, upload: str, more: str = "", *also: str) -> type[Any]:
    """The stand-in of a defense that claims noise, and uploads this."""
    file = folder / "row.py"
    file.write_text(HEAD + "".join(f"        {line}\n" for line in upload.splitlines()) + more)
    own = ["aggregate", "message", "upload", "claim", "noise_variance", *also]
    facts = {"base": "defense", "version": 1, "parameters": {}, "own": own, "gaussian": True}
    found = stand_in(Code(file, "row", "Row", "row"), facts)
    found.name = "row"
    return found


def trained(defense: type[Any]) -> Tensor:
    federation = Federation(SETTINGS, defense(), load("digits"), seed=3)
    for _ in range(SETTINGS.rounds):
        federation.advance()
    return federation.global_model


@pytest.mark.integration
def test_noise_that_is_there_is_let_through(folder: Path) -> None:
    assert bool(torch.isfinite(trained(row(folder, "return Upload(clean + self.noise(local))"))).all())


MISSING = {
    "noise outside of training cells alone": (
        "return Upload(clean + (0 if local.global_model.any() or local.setting.dim == 650 else self.noise(local)))",
        "carry noise of variance 0, where it claims 900",
    ),
    "less of it": (
        "return Upload(clean + 0.9 * self.noise(local))",
        "carry noise of variance 7",
    ),
    "none of one client": (
        "noise = self.noise(local)\nnoise[3] = 0\nreturn Upload(clean + 1.1 * noise)",
        "of a client carry noise of variance 0",
    ),
    "none in one coordinate": (
        "noise = self.noise(local)\nnoise[:, 7] = 0\nreturn Upload(clean + 1.1 * noise)",
        "of a coordinate carry noise of variance 0",
    ),
    "noise that the server knows, of a seed in the file": (
        "return Upload(clean + 30 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(local.index)))",
        "carry noise of variance 0, where it claims 900",
    ),
    "a party that thinks itself looked at makes up for the other": (
        "global seen\nagain, seen = seen == local.index, local.index\n"
        "return Upload(clean + again * 2**0.5 * self.noise(local))",
        "carry noise of variance 0",
    ),
    "none, and a number that is none among it": (
        "clean[0, 0] = float('nan')\nreturn Upload(clean)",
        "not finite",
    ),
    "none, and an infinite one in each message": (
        "clean[:, 0] = float('inf')\nreturn Upload(clean)",
        "not finite",
    ),
    "more of it in one place than is said": (
        "return Upload(clean + 3 * self.noise(local))",
        "where noise_variance says 900",
    ),
    "other messages than it says": (
        "return Upload(1e4 * clean + self.noise(local))",
        "its messages miss what `message` says by",
    ),
}


@pytest.mark.parametrize("what", MISSING)
def test_noise_that_is_missing_is_told_in_one_sentence(what: str, folder: Path) -> None:
    upload, words = MISSING[what]
    with pytest.raises(ValueError, match=r"carry noise|miss what|not finite") as told:
        trained(row(folder, upload, "\nseen = -1\n"))
    assert words in str(told.value)


SAYS = {
    "a shorter bound than its messages have": (
        "    def clip_norm(self):\n        return 1e-3\n",
        "long before its noise, where clip_norm says 0.001",
    ),
    "no bound, and long messages": (
        "    def message(self, updates, weights):\n        return clip(updates, 9.0) * 100\n",
        "it names no clip_norm, and 1 is audited",
    ),
}


@pytest.mark.parametrize("what", SAYS)
def test_messages_are_no_longer_than_what_is_audited(what: str, folder: Path) -> None:
    """An audit sends ten times the bound that is named: of one that is too small the noise hides everything."""
    more, words = SAYS[what]
    with pytest.raises(ValueError, match=words):
        trained(row(folder, "return Upload(clean + self.noise(local))", more, "clip_norm"))


def test_clients_that_clip_as_they_say_are_let_through(folder: Path) -> None:
    more = "    def clip_norm(self):\n        return 1.0\n"
    trained(row(folder, "return Upload(clean + self.noise(local))", more, "clip_norm"))


CLAIMS = """
    def claim(self, setting):
        small = setting.dim == 100
        return PrivacyClaim(epsilon=EPSILON, delta=DELTA, unit="per upload", source="its paper")

    def noise_variance(self, setting):
        small = setting.dim == 100
        return VARIANCE

    def noise(self, local):
        spread = self.noise_variance(local.setting) ** 0.5
        return spread * torch.randn(local.updates.shape, generator=local.generator)
"""


@pytest.mark.parametrize(
    ("epsilon", "delta", "variance", "words"),
    [
        ("1", "1e-6", "900.0", None),
        ("1", "1e-6", "900.0 if small else 1e-9", "says noise of variance 900 where it is audited, and 1e-09"),
        ("1", "0.999 if small else 1e-6", "900.0", "claims less of 100 numbers"),
        ("1 if not small else 100", "1e-6", "900.0", "claims less of 100 numbers"),
        ("1", "1e-6", "900.0 if ASKED.append(setting.dim) or 100 in ASKED else 1e-9", "says noise of variance 900"),
    ],
)
def test_what_is_audited_is_what_is_said_of_training(
    epsilon: str, delta: str, variance: str, words: str | None, folder: Path
) -> None:
    """Also of a file that tells an audit by the questions that it has heard before: none has heard any."""
    text = CLAIMS.replace("EPSILON", epsilon).replace("DELTA", delta).replace("VARIANCE", variance)
    found = row(folder, "return Upload(clean + self.noise(local))", text + "\nASKED = []\n")
    audited, whole = (setting_of(SETTINGS, dim, SETTINGS.assumed_byzantine) for dim in (100, 650))
    if words is None:
        check_same_claim(found(), audited, whole)
    else:
        with pytest.raises(ValueError, match=words):
            check_same_claim(found(), audited, whole)


LATTICE = 0.5
HIDES = f"noise = ({LATTICE} * (self.noise(local) / {LATTICE}).round())\nreturn Upload(noise + clean)"
FINDS = f"""
    def aggregate(self, delivered, server):
        rows = delivered.messages.double()
        found = rows - {LATTICE} * (rows / {LATTICE}).round()
        return server.global_model + found.mean(dim=0).float()
"""


def test_what_hides_in_low_bits_of_noise_is_lost_in_a_secret_world(folder: Path) -> None:
    """Noise on a lattice has the variance that is claimed; the update between its points is what the server takes."""
    cheat = row(folder, HIDES, FINDS)
    clean = trained_clean()
    seen = trained(cheat)
    assert float((seen - clean).norm() / clean.norm()) < 0.05
    with secret_world():
        lost = trained(row(folder, HIDES, FINDS))
    assert float((lost - clean).norm() / clean.norm()) > 0.5


def trained_clean() -> Tensor:
    class Clean(Defense):
        def message(self, updates: Tensor, weights: Tensor) -> Tensor:
            return clip(updates, 1.0)

        def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
            return server.global_model + delivered.messages.mean(dim=0)

    return trained(Clean)


TELLS_ITS_SEED = """
draws = torch.randint(2**16, (len(clean),), generator=local.generator)
return Upload(clean + torch.stack([noise_of(int(seed), clean.shape[1]) for seed in draws]))
""".strip()
KNOWS_THE_SEED = """
    def aggregate(self, delivered, server):
        change = 0
        for row in delivered.messages:
            bits = (row[:16] > 0).long()
            change = change + row - noise_of(int((bits << torch.arange(16)).sum()), len(row))
        return server.global_model + change / len(delivered.messages)

def noise_of(seed, dim):
    noise = 30 * torch.randn(dim, generator=torch.Generator().manual_seed(seed))
    noise[:16] = 30 * (2.0 * (seed >> torch.arange(16) & 1) - 1)
    return noise
"""
IN_A_SUBSPACE = "return Upload(clean + 30 * torch.randn(len(clean), 300, generator=local.generator) @ BASIS)"
LOOKS_BESIDE = """
    def aggregate(self, delivered, server):
        change = delivered.messages.double().mean(dim=0)
        return server.global_model + (change - change @ BASIS.T.double() @ BASIS.double() * 300 / 650).float()

BASIS = torch.linalg.qr(torch.randn(650, 300, generator=torch.Generator().manual_seed(1)))[0].T * (650 / 300) ** 0.5
"""


@pytest.mark.parametrize(
    ("upload", "more", "left"), [(TELLS_ITS_SEED, KNOWS_THE_SEED, 0.05), (IN_A_SUBSPACE, LOOKS_BESIDE, 0.75)]
)
def test_noise_that_the_server_takes_out_again_stays_in_a_secret_world(
    upload: str, more: str, left: float, folder: Path
) -> None:
    """Its variance is what is claimed, for each client and coordinate; its seed is told by signs, or its directions

    are in the file. There it is that of another client, and of other coordinates.
    """
    clean = trained_clean()
    seen = trained(row(folder, upload, more))
    assert float((seen - clean).norm() / clean.norm()) < left
    with secret_world():
        lost = trained(row(folder, upload, more))
    assert float((lost - clean).norm() / clean.norm()) > 20


def test_noise_of_another_is_as_large_and_of_the_same_kind() -> None:
    draws = torch.Generator().manual_seed(0)
    clean = torch.randn(20, 100, generator=draws)
    sent = clean + noise("laplace", draws).float()
    sent[3, 5] = torch.inf
    moved = exchanged(clean, sent, draws)
    rows = [row for row in range(20) if row != 3]
    before, after = ((some - clean)[rows].flatten().sort().values for some in (sent, moved))
    assert torch.allclose(before, after, atol=1e-5)
    assert torch.equal(moved[3], sent[3])
    pair = torch.stack([(some - clean)[rows].flatten() for some in (sent, moved)])
    assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.1


def test_votes_are_drawn_anew_as_often_as_is_claimed() -> None:
    votes = torch.ones(50, 400, dtype=torch.int8)
    drawn = drawn_votes(votes, 0.3, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int8
    for value, share in ((1, 0.8), (0, 0.1), (-1, 0.1)):
        assert float((drawn == value).double().mean()) == pytest.approx(share, abs=0.02)


def test_an_honest_model_moves_as_other_noise_moves_it(folder: Path) -> None:
    honest = "return Upload(clean + self.noise(local))"
    plain = trained(row(folder, honest))
    with secret_world():
        moved = trained(row(folder, honest))
    by = float((moved - plain).norm()) / math.sqrt(len(plain))
    assert by == pytest.approx(30 * math.sqrt(2 * SETTINGS.rounds / SETTINGS.clients), rel=0.2)


@pytest.mark.parametrize("kind", ["normal", "laplace", "uniform"])
def test_honest_noise_of_any_kind_is_let_through(kind: str) -> None:
    """Three hundred rounds of each, of 20 clients and of few numbers: no alarm."""
    draws = torch.Generator().manual_seed(0)
    for _ in range(300):
        one, two = (noise(kind, draws) for _ in range(2))
        check_noise(one, two, 1.0)
        check_honest(one, two, torch.zeros_like(one))


def noise(kind: str, draws: torch.Generator) -> Tensor:
    shape = (20, 100)
    if kind == "normal":
        return torch.randn(shape, generator=draws, dtype=torch.float64)
    centred = torch.rand(shape, generator=draws, dtype=torch.float64) - 0.5
    if kind == "uniform":
        return centred * math.sqrt(12)
    return -centred.sign() * (1 - 2 * centred.abs()).log() / math.sqrt(2)


def test_votes_differ_as_often_as_is_claimed() -> None:
    votes = torch.randint(-1, 2, (20, 400), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    one, two = (randomized(votes, 0.3, place) for place in (1, 2))
    check_votes(one, two, 0.3)
    with pytest.raises(ValueError, match=r"0.0% of the votes differ, where 34.0% are claimed to"):
        check_votes(votes, votes, 0.3)
    with pytest.raises(ValueError, match="of a client differ"):
        check_votes(torch.cat([votes[:1], one[1:]]), torch.cat([votes[:1], two[1:]]), 0.29)


def randomized(votes: Tensor, gamma: float, seed: int) -> Tensor:
    return randomize(votes, gamma, rng.generator(seed, "votes"))
