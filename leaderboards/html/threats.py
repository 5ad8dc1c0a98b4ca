"""The threat models of a leaderboard, and what the page's filter chooses them by."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from bench.federation.settings import FederationSettings
from bench.records import Record
from bench.suite import kinds
from leaderboards.frame import columns, to_frame

KINDS = {kind.name: kind.words for kind in kinds.KINDS.values()}
"""What a kind of cell measures, for people."""


@dataclass(frozen=True)
class Threat:
    """A column: `b` only where clients forge, `rho` only where the server looks.

    `extra` says that somebody else's attack ran against some rows alone: the others do not miss it.
    """

    column: str
    kind: str
    attack: str
    b: float | None
    rho: float | None
    extra: bool = False

    @property
    def what(self) -> str:
        """What distinguishes it from the other columns of its attack."""
        return self.column.removeprefix(self.attack).strip()


@dataclass(frozen=True)
class Choices:
    """What each filter offers."""

    kinds: dict[str, str]
    attacks: Sequence[str]
    bs: Sequence[float]
    rhos: Sequence[float]


def threats(records: Sequence[Record], evaluations: Collection[str] = ()) -> dict[str, Threat]:
    """By column, in reading order; those of training first, audits last. `evaluations` are the extra ones."""
    if not records:
        return {}
    cells = {record.cell.column: record.cell for record in records}
    frame = to_frame(records)
    ordered = [column for kind in KINDS for column in columns(frame[frame["kind"] == kind])]
    results = {}
    for column in ordered:
        cell = cells[column]
        forging = cell.kind == "training"
        b, rho = (cell.byzantine, None) if forging else (None, cell.rho or 0.0)
        results[column] = Threat(column, cell.kind, cell.attack_name, b, rho, column in evaluations)
    return results


def shared(records: Iterable[Record]) -> dict[str, str]:
    """What all that is trained on the board has in common, so that no filter chooses it; by name, for people."""
    cells = [record.cell for record in records]
    settings = [cell.federation for cell in cells if cell.kind == "training"] or [cell.federation for cell in cells]
    said = {
        "data set": {one.dataset for one in settings},
        "partition": {_partition(one) for one in settings},
        "model": {one.model for one in settings},
        "clients": {_clients(one) for one in settings},
        "rounds": {str(one.rounds) for one in settings},
        "Byzantine share that defenses assume": {f"{one.assumed_byzantine:g}" for one in settings},
    }
    return {name: next(iter(values)) for name, values in said.items() if len(values) == 1}


def _partition(settings: FederationSettings) -> str:
    more = {
        "dirichlet": f" (alpha {settings.alpha:g})",
        "sorted": f" ({settings.shards_per_client} shards a client)",
        "similarity": f" ({settings.similarity:.0%} alike)",
    }
    return settings.partition + more.get(settings.partition, "")


def _clients(settings: FederationSettings) -> str:
    n, m = settings.clients, settings.participants
    return str(n) if n == m else f"{n}, {m} of them a round"


def choices(found: Iterable[Threat]) -> Choices:
    """Every value that at least one threat model has."""
    some = list(found)
    kinds = {threat.kind for threat in some}
    return Choices(
        kinds={kind: words for kind, words in KINDS.items() if kind in kinds},
        attacks=list(dict.fromkeys(threat.attack for threat in some)),
        bs=sorted({threat.b for threat in some if threat.b is not None}),
        rhos=sorted({threat.rho for threat in some if threat.rho is not None}),
    )
