"""The record of one (cell, seed)."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from bench.base.numbers import STRICT, Numbers, added
from bench.privacy.claims import PrivacyClaim
from bench.records.identity import World, record_key
from bench.records.provenance import Environment
from bench.suite import Cell

SCHEMA_VERSION = 1

Status = Literal["ok", "diverged", "failed"]


class Privacy(BaseModel):
    """What the paper claims for one release, what that makes over a run, and what an audit cell measured at least."""

    model_config = STRICT

    claimed: PrivacyClaim | None = None
    composed: PrivacyClaim | None = None
    audited: PrivacyClaim | None = None


class Cost(BaseModel):
    """Seconds a round (all but evaluation), bytes that one client sends a round, seconds of the whole cell."""

    model_config = STRICT

    round_seconds: float | None = None
    upload_bytes: int | None = None
    peer_bytes: int | None = None
    total_seconds: float | None = None


class ByzantineCount(Numbers):
    """How many clients of a cell were Byzantine, and in how many rounds more of them, or none, were in the sample."""

    model_config = STRICT

    clients: int  # of all
    most: int  # in one round
    beyond_f: int  # rounds that held more than f, the number that defenses are told to assume
    absent: int  # rounds that held none
    majority: int | None = added(None)  # rounds in which they were more than half; counted where not all take part


class SingledOut(BaseModel):
    """A client with a role of its own under a rule, such as MoNNA's pivot, at the end of the run."""

    model_config = STRICT

    client: int
    byzantine: bool
    byzantine_rounds: int  # rounds in which who had the role was Byzantine


class Rehearsal(BaseModel):
    """What one member of a siege left: the last model's accuracy on the attackers' images and on the test split."""

    model_config = STRICT

    validation: float
    accuracy: float


class Siege(BaseModel):
    """What an ensemble of attacks rehearsed, each member a whole run, and which of them it then played."""

    model_config = STRICT

    chosen: str
    members: dict[str, Rehearsal]
    rounds: int  # trained, over all members
    evaluations: int  # of the defense's rule, by members that try what they might send


class Record(Numbers):
    """One (cell, seed), as the design lays it down."""

    model_config = STRICT

    schema_version: int = SCHEMA_VERSION
    suite: str
    protocol: str  # hash over everything that can change the numbers
    data_digest: str
    setting: str  # hash over the part of it that all cells of one board share
    cell: Cell
    seed: int
    status: Status
    error: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    curve: list[tuple[int, float]] = Field(default_factory=list)  # (round, accuracy on the test split)
    trace: list[float] = Field(
        default_factory=list
    )  # a privacy attack's own loss, median over its targets, thinned out evenly
    psnr: list[float] = Field(
        default_factory=list
    )  # of an inversion, image by image in the order of its picture, in dB
    control_psnr: list[float] = Field(default_factory=list)  # the same without a defense
    privacy: Privacy = Privacy()
    derived: dict[str, float] = Field(default_factory=dict)  # what the defense worked out: sigma_k, v, ...
    within_claim: bool | None = None  # whether the defense itself claims to stand the Byzantine clients of every round
    byzantine: ByzantineCount | None = None  # None where nobody attacks, and in records from before it was counted
    singled_out: dict[str, SingledOut] = added({})  # by role, the clients that a rule draws roles of their own for
    cost: Cost = Cost()
    environment: Environment
    files: dict[str, str] = Field(default_factory=dict)  # names of the images and arrays beside the record
    finished_at: datetime
    salt: str = added("")  # of all draws of a judged run; empty where they are public
    siege: Siege | None = added(None)  # of an ensemble of attacks
    roc: list[tuple[float, float]] = added([])  # of membership inference: (false, true) positive rates, thinned out
    success: list[tuple[int, float]] = added([])  # (round, a backdoor's success), of attacks in some rounds only
    sources: tuple[str, ...] = added(())  # sha256 of the submitted files that played, sorted

    @property
    def world(self) -> World:
        """What the run had beside its cell."""
        return World(self.salt, self.sources)

    @property
    def key(self) -> str:
        return record_key(self.cell, self.seed)
