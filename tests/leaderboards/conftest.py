"""Synthetic records: small factories, each record a minute younger than the one made before it."""

import itertools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.federation.settings import FederationSettings
from bench.privacy.claims import PrivacyClaim
from bench.records import Cost, Environment, Privacy, Record
from bench.suite import Cell, Part
from leaderboards.boards import Board, Leaderboard, build
from leaderboards.frame import select

MACHINE = Environment(
    fedsiege="0.1.0",
    python="3.11.7",
    torch="2.4.0",
    numpy="2.0.0",
    machine="x86_64",
    device="cpu",
    threads=1,
    commit=None,
    arithmetic="portable",
)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTES = itertools.count()


def _record(cell: Cell, seed: int, fields: dict[str, Any]) -> Record:
    age = {"finished_at": NOON + timedelta(minutes=next(MINUTES))}
    common = {
        "suite": "tiny",
        "protocol": "p",
        "data_digest": "d",
        "setting": "s",
        "status": "ok",
        "environment": MACHINE,
    }
    return Record(**{**common, **age, "cell": cell, "seed": seed, **fields})


def _part(name: str, parameters: dict[str, Any]) -> Part:
    return Part(name=name, version=1, parameters=parameters)


def _federation(**changes: Any) -> FederationSettings:
    return FederationSettings(dataset="digits", clients=10, rounds=5, local_steps=1, lr=0.1, **changes)


def training(
    row: str,
    attack: str | None = None,
    b: float = 0.2,
    accuracy: float | None = 0.9,
    seed: int = 0,
    defense: dict[str, Any] | None = None,
    strength: dict[str, Any] | None = None,
    federation: dict[str, Any] | None = None,
    sweep: str = "",
    **fields: Any,
) -> Record:
    """A training cell; `defense` and `strength` are the parameters of defense and attack."""
    cell = Cell(
        label=row,
        defense=_part(row, defense or {}),
        attack=_part(attack, strength or {}) if attack else None,
        federation=_federation(**federation or {}),
        byzantine=b if attack else 0.0,
        sweep=sweep,
    )
    return _record(cell, seed, {"metrics": {} if accuracy is None else {"accuracy": accuracy}, **fields})


def leak(
    row: str,
    attack: str = "dlg",
    rho: float | None = None,
    recovered: float = 0.0,
    psnr: float = 8.0,
    ssim: float = 0.25,
    control: float = 1.0,
    noise: float | None = None,
    seed: int = 0,
    images: int = 4,
    sweep: str = "",
    defense: dict[str, Any] | None = None,
    strength: dict[str, Any] | None = None,
    federation: dict[str, Any] | None = None,
    **fields: Any,
) -> Record:
    """An inversion; `noise` is the ratio of noise left."""
    parameters = {**(strength or {}), **({} if rho is None else {"rho": rho}), **({"sweep": sweep} if sweep else {})}
    cell = Cell(
        label=row,
        defense=_part(row, defense or {}),
        attack=_part(attack, parameters),
        federation=_federation(model="lenet", **federation or {}),
        rho=rho,
        kind="inversion",
        targets=4,
        sweep=sweep,
    )
    metrics = {"images": float(images), "recovered": recovered, "psnr": psnr, "ssim": ssim, "label_recovered": 0.5}
    metrics |= {"control_recovered": control, "control_psnr": 40.0, "control_ssim": 1.0}
    metrics |= {"blind_recovered": 0.0, "blind_psnr": 11.0, "blind_ssim": 0.5}
    if noise is not None:
        metrics["residual_noise_ratio"] = noise
    return _record(cell, seed, {"metrics": metrics, **fields})


def audit(
    row: str,
    epsilon: float,
    rho: float | None = None,
    active: bool = False,
    claimed: PrivacyClaim | None = None,
    upload: float | None = None,
    seed: int = 0,
    defense: dict[str, Any] | None = None,
    **fields: Any,
) -> Record:
    """An audit with its lower bounds: `epsilon` in the unit of what is `claimed`, and `upload` for a whole one."""
    cell = Cell(
        label=row,
        defense=_part(row, defense or {}),
        attack=_part("audit", {"rho": rho or 0.0, "active": active}),
        federation=_federation(),
        rho=rho,
        kind="audit",
        sweep="active=True" if active else "",
    )
    stated = claimed or claim(10.0)
    proved = stated.model_copy(update={"epsilon": epsilon, "reason": None, "source": "audit of 500 games"})
    metrics = {"epsilon_audited": epsilon, "epsilon_audited_upload": epsilon if upload is None else upload}
    metrics |= {"audit_runs": 500.0, "true_positive_rate": 0.75, "false_positive_rate": 0.001}
    privacy = Privacy(claimed=stated, audited=proved)
    return _record(cell, seed, {"metrics": metrics, "privacy": privacy, **fields})


def boards(records: Iterable[Record], seeds: int = 1, **options: Any) -> Leaderboard:
    """The leaderboard of these records."""
    return build("tiny", "two defenses", seeds, select(records), **options)


class Table:
    """A board by its name, to look things up in."""

    def __init__(self, leaderboard: Leaderboard, name: str) -> None:
        self.board: Board = next(board for board in leaderboard.boards if board.name == name)

    def cell(self, row: str, column: str, by: str = "defense") -> str:
        text = self.board.text
        return str(text.loc[text[by] == row, column].item())

    def rows(self) -> list[str]:
        return list(self.board.text["defense"])

    def number(self, row: str, metric: str, column: str | None = None, part: str = "mean") -> Any:
        data = self.board.data
        chosen = data[(data["defense"] == row) & (data["metric"] == metric)]
        chosen = chosen[chosen["column"].isna()] if column is None else chosen[chosen["column"] == column]
        return chosen[part].item()


def claim(epsilon: float | None, reason: str | None = None, delta: float | None = 1e-6, **fields: Any) -> PrivacyClaim:
    stated = {"epsilon": epsilon, "delta": delta, "unit": "per upload", "source": "a paper, Theorem 1"}
    return PrivacyClaim.model_validate({**stated, "reason": reason, **fields})


def matrix() -> list[Record]:
    """Two defenses against everything, three seeds, one failed and one diverged."""
    cost = Cost(round_seconds=0.0123, upload_bytes=2600, peer_bytes=0)
    claims = Privacy(claimed=claim(10.0), composed=claim(None, "a sampled client is not accounted for"))
    noises = {"bare": None, "noisy": 1.0}
    records = []
    for row, seed in itertools.product(noises, range(3)):
        drop = 0.1 if row == "noisy" else 0.0
        privacy = claims if row == "noisy" else Privacy()
        records.append(training(row, accuracy=0.9 - drop + 0.01 * seed, seed=seed, cost=cost, privacy=privacy))
        for b in (0.2, 0.4):
            fields = {"seed": seed, "within_claim": row == "noisy"}
            if (row, b, seed) == ("noisy", 0.4, 1):
                fields |= {"accuracy": None, "status": "failed", "error": "ValueError: no"}
            else:
                fields |= {"accuracy": 0.8 - b - drop + 0.02 * seed}
            records.append(training(row, "sign_flip", b, **fields))
        share = 1.0 if row == "bare" else 0.0
        noise = noises[row]
        records.append(leak(row, recovered=share, psnr=9.0 + 20 * share, seed=seed, noise=noise))
        records.append(leak(row, "collusion", 0.6, share, 9.0 + 20 * share, seed=seed, noise=noise and noise / 2))
    for rho, seed in itertools.product((None, 0.6, 1.0), range(3)):
        records.append(
            audit("noisy", 4.0 + 8 * (rho or 0.0) + seed, rho, claimed=claim(10.0, colluders=0.6), seed=seed)
        )
    return records


@pytest.fixture(scope="session")
def make() -> Callable[..., Record]:
    return training


@pytest.fixture(scope="session")
def make_leak() -> Callable[..., Record]:
    return leak


@pytest.fixture(scope="session")
def make_audit() -> Callable[..., Record]:
    return audit


@pytest.fixture(scope="session")
def make_boards() -> Callable[..., Leaderboard]:
    return boards


@pytest.fixture(scope="session")
def table() -> type[Table]:
    return Table


@pytest.fixture(scope="session")
def make_claim() -> Callable[..., PrivacyClaim]:
    return claim


@pytest.fixture(scope="session")
def whole_matrix() -> list[Record]:
    return matrix()
