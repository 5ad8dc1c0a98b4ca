"""What playing a cell takes and gives: the task, the parts built from it, the findings that go into its record."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bench import registry
from bench.errors import DivergedError as DivergedError
from bench.federation import Federation
from bench.protocol import Defense, Setting
from bench.records import Cost, Privacy, Status, digest
from bench.suite import Cell, Part
from bench.threat import ByzantineAttack, PrivacyAttack, PrivacyAudit


@dataclass(frozen=True)
class Task:
    """What a worker needs to make one record."""

    suite: str
    setting: str
    cell: Cell
    seed: int
    threads: int
    data_root: str | None
    recovered_psnr: float
    device: str = "cpu"

    @cached_property
    def group(self) -> str:
        """Names the inversions that share controls and, without a defense's noise, reconstructions; "" for other cells.

        A worker that plays them in the suite's order, defense by defense, does that work once.
        """
        if self.cell.kind != "inversion":
            return ""
        return digest(self.cell.federation.model_dump(mode="json"), self.seed)


@dataclass(frozen=True)
class Findings:
    """What playing a cell gave: the record's fields of the same names, and the images that belong beside it."""

    status: Status = "ok"
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    trace: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    control_psnr: list[float] = field(default_factory=list)
    privacy: Privacy = field(default_factory=Privacy)
    derived: dict[str, float] = field(default_factory=dict)
    within_claim: bool | None = None
    cost: Cost = field(default_factory=Cost)
    images: dict[str, bytes] = field(default_factory=dict)


def build_defense(cell: Cell) -> Defense:
    """The cell's defense with its parameters."""
    defense: Defense = registry.get("defense", cell.defense.name)(**cell.defense.parameters)
    return defense


def build_attack(part: Part) -> ByzantineAttack | PrivacyAttack | PrivacyAudit:
    """An attack with its parameters."""
    attack: ByzantineAttack | PrivacyAttack | PrivacyAudit = registry.get("attack", part.name)(**part.parameters)
    return attack


def stated(defense: Defense, setting: Setting, byzantine: float = 0.0) -> dict[str, Any]:
    """What every record says of its defense: the claims, what it derived, whether it claims to stand the attack."""
    return {
        "privacy": Privacy(claimed=defense.claim(setting), composed=defense.composed(setting)),
        "derived": defense.derived(setting),
        "within_claim": defense.tolerates(byzantine, setting),
    }


def cost_of(federation: Federation, seconds: float) -> Cost:
    """What the rounds played so far cost, `seconds` in all."""
    defense, setting = federation.defense, federation.setting
    return Cost(
        round_seconds=round(seconds / federation.round, 6),
        upload_bytes=defense.upload_bytes(setting),
        peer_bytes=defense.peer_bytes(setting),
    )
