"""A coalition: the server and its Byzantine clients as one attacker, who forge and look in one cell."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from bench.data import Dataset
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.findings import build_attack
from bench.plays.metrics import damage_on
from bench.protocol import Defense
from bench.suite import Cell, Part
from bench.threat import ByzantineAttack


@dataclass(frozen=True)
class Coalition:
    """The server's Byzantine clients, a fraction of all, and what they send; `forging` is empty where they look on."""

    byzantine: float = 0.0
    forging: str = ""  # the part of the cell as JSON, which can be hashed
    rounds: int = 0  # trained and watched, in all of which they forge

    @classmethod
    def of(cls, cell: Cell) -> Self:
        forging = "" if cell.forging is None else cell.forging.model_dump_json()
        return cls(cell.byzantine, forging, cell.trained + cell.federation.rounds)

    def federation(
        self,
        settings: FederationSettings,
        defense: Defense,
        dataset: Dataset,
        seed: int,
        members: Tensor | None = None,
    ) -> Federation:
        """With these clients in it, and nobody else who attacks; the seed says who they are, or `members (n,)`."""
        attack = build_attack(Part.model_validate_json(self.forging)) if self.forging else None
        assert attack is None or isinstance(attack, ByzantineAttack)
        who = self.byzantine if members is None else members
        federation = Federation(settings, defense, dataset, seed, attack, who, range(self.rounds))
        federation.damage = damage_on(federation.model, dataset.validation)
        return federation
