"""What playing a cell takes and gives: the task, the parts built from it, the findings that go into its record."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bench import registry
from bench.base.errors import DivergedError as DivergedError
from bench.federation.engine import Federation
from bench.federation.roles import assumed_fraction, byzantine_by_round, setting_of
from bench.protocol import Defense, Setting
from bench.records import PUBLIC, ByzantineCount, Cost, Privacy, Siege, SingledOut, Status, World
from bench.suite import Cell, Part, kinds
from bench.threat import ByzantineAttack, MembershipAttack, PrivacyAttack, PrivacyAudit, PropertyAttack, RunAudit

AnyAttack = ByzantineAttack | PrivacyAttack | PrivacyAudit | RunAudit | MembershipAttack | PropertyAttack
"""The kinds of attack that cells are played with."""


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
    world: World = PUBLIC

    @cached_property
    def group(self) -> str:
        """Names the tasks that share work where one worker plays them in the suite's order; "" for none."""
        return kinds.of(self.cell).group(self.cell, self.seed)


@dataclass(frozen=True)
class Findings:
    """What playing a cell gave: the record's fields of the same names, and the images that belong beside it."""

    status: Status = "ok"
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    success: list[tuple[int, float]] = field(default_factory=list)
    trace: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    control_psnr: list[float] = field(default_factory=list)
    privacy: Privacy = field(default_factory=Privacy)
    derived: dict[str, float] = field(default_factory=dict)
    within_claim: bool | None = None
    singled_out: dict[str, SingledOut] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    siege: Siege | None = None
    roc: list[tuple[float, float]] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)


def build_defense(cell: Cell) -> Defense:
    """The cell's defense with its parameters."""
    defense: Defense = registry.get("defense", cell.defense.name)(**cell.defense.parameters)
    return defense


def build_attack(part: Part) -> AnyAttack:
    """An attack with its parameters."""
    attack: AnyAttack = registry.get("attack", part.name)(**part.parameters)
    return attack


def stated(defense: Defense, setting: Setting) -> dict[str, Any]:
    """What every record says of its defense: the claims, what it derived, whether it stands what nobody attacks."""
    return {
        "privacy": Privacy(claimed=defense.claim(setting), composed=defense.composed(setting)),
        "derived": defense.derived(setting),
        "within_claim": defense.tolerates(0.0, setting),
    }


def count_byzantine(cell: Cell, seed: int) -> ByzantineCount | None:
    """How many clients are Byzantine, and round by round how many of the sample attack; None where nobody forges."""
    if not cell.num_byzantine or not cell.forges:
        return None
    settings = cell.federation
    who = byzantine_by_round(settings, cell.byzantine, seed)
    counts = [count if index in cell.attacked_rounds else 0 for index, count in enumerate(who)]
    assumed = round(assumed_fraction(settings, cell.num_byzantine) * settings.participants)
    return ByzantineCount(
        clients=cell.num_byzantine,
        most=max(counts),
        beyond_f=sum(count > assumed for count in counts),
        absent=counts.count(0),
        majority=None if settings.participation == 1 else sum(2 * count > settings.participants for count in counts),
    )


def stands(cell: Cell, count: ByzantineCount, dim: int) -> bool:
    """Whether the defense claims to stand the Byzantine share of all clients, and that of every round's sample.

    Raises `ValueError` where it refuses the setting; `dim` is the number of the model's parameters.
    """
    defense, settings = build_defense(cell), cell.federation
    setting = setting_of(settings, dim, assumed_fraction(settings, count.clients))
    defense.start(setting)
    shares = (count.clients / settings.clients, count.most / settings.participants)
    return all(defense.tolerates(share, setting) for share in shares)


def cost_of(federation: Federation, seconds: float) -> Cost:
    """What the rounds played so far cost, `seconds` in all."""
    defense, setting = federation.defense, federation.setting
    return Cost(
        round_seconds=round(seconds / federation.round, 6),
        upload_bytes=defense.upload_bytes(setting),
        peer_bytes=defense.peer_bytes(setting),
    )
