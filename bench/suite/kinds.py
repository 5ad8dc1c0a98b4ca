"""The kinds of cells: what each of them makes of a row and an attack, and how it is played.

A new kind is a class here, a function in `bench.plays`, and a base class of attacks in `bench.threat` that names it.
Nothing here imports torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import ValidationError

from bench import registry
from bench.base.errors import BadInputError, require, require_somebody
from bench.base.explain import explain
from bench.base.files import digest
from bench.federation.settings import FederationSettings
from bench.suite.cell import Cell, KindName, Parameters, Part
from bench.suite.entries import AttackEntry, PrivacySettings
from bench.suite.meeting import Meeting, make_part, sweep


class Kind(ABC):
    """What a cell plays."""

    name: ClassVar[KindName]
    play: ClassVar[str]
    """`module:function` that plays a task on a data set, imported where a cell is played."""
    words: ClassVar[str]
    """What it measures, for a person."""
    order: ClassVar[int]
    """The longest are started first, so that workers end together."""
    forges: ClassVar[bool] = False
    """Whether its attacks take `byzantine`, the fractions of clients that forge."""
    watches: ClassVar[bool] = False
    """Whether its attacks take a privacy table: what they watch."""
    coalitions: ClassVar[bool] = False
    """Whether its attackers may be joined by Byzantine clients that forge."""
    on_cpu: ClassVar[bool] = False
    """Whether it is a CPU's work wherever the rest runs."""
    metrics_version: ClassVar[int | None] = None
    """The version of what is measured, where it has changed; it is part of the protocol."""
    preload: ClassVar[tuple[str, ...]] = ()
    """Modules that workers import once for all of its cells."""

    @abstractmethod
    def cells(self, met: Meeting, entry: AttackEntry) -> Iterator[Cell]:
        """The cells of a row and an attack with its parameters; none where they have nothing to play."""

    def check(self, entry: AttackEntry) -> None:
        """Raise `ValueError`, with what stands behind the attack's name, where its table has what it cannot take."""
        if self.forges and not entry.byzantine:
            raise ValueError("needs byzantine, the fractions of clients")
        if not self.forges and not self.coalitions and entry.byzantine:
            raise ValueError("forges nothing and takes no byzantine")
        if not self.forges and (entry.start, entry.stop) != (None, None):
            raise ValueError("forges nothing and takes no start or stop")
        if entry.privacy and not self.watches:
            raise ValueError("inverts nothing and takes no privacy table")
        if entry.forging and not self.coalitions:
            raise ValueError("inverts nothing and takes no forging table: its Byzantine clients send what it makes")
        if entry.forging and not any(entry.byzantine):
            raise ValueError("takes forging tables with byzantine, the fractions of clients that forge")

    def group(self, cell: Cell, seed: int) -> str:
        """Names the cells that share work where one worker plays them side by side; "" for none."""
        return ""

    def possible_colluders(self, settings: FederationSettings) -> int:
        """Of how many clients, its target among them, colluders are a fraction."""
        return settings.clients


class Training(Kind):
    """A training to its end, with or without Byzantine clients."""

    name = "training"
    play = "bench.plays.training:play"
    words = "accuracy under attack"
    order = 2
    forges = True

    def cells(self, met: Meeting, entry: AttackEntry) -> Iterator[Cell]:
        for b in entry.byzantine:
            if b > 0:  # at b = 0 every such attack is the clean run
                settings = met.federation()
                cell = met.cell(self.name, settings, byzantine=b, start=entry.start, stop=entry.stop)
                try:
                    require_somebody("byzantine", b, settings.clients, "clients")
                    first, rounds = entry.start or 1, settings.rounds
                    require(first <= rounds, "start", first, f"at most {rounds}, the rounds of the training")
                except ValueError as error:
                    raise BadInputError(
                        f"suite {met.suite.name!r}, row {met.label!r}, {cell.column}: {error}"
                    ) from None
                yield cell


class Watching(Kind):
    """An attacker who watches what clients send, alone or in a coalition with Byzantine ones."""

    watches = True

    def _watched(
        self, met: Meeting, entry: AttackEntry, settings: FederationSettings, told: list[str], watched: dict[str, int]
    ) -> Iterator[Cell]:
        """The cell of whoever watches alone; with Byzantine clients those of a coalition of each share."""
        if not entry.byzantine:
            yield met.cell(self.name, settings, told, **watched)
        for b in filter(None, entry.byzantine):
            yield from self._coalitions(met, entry, settings, told, b, watched)

    def _coalitions(
        self,
        met: Meeting,
        entry: AttackEntry,
        settings: FederationSettings,
        told: list[str],
        b: float,
        watched: dict[str, int],
    ) -> Iterator[Cell]:
        """The cells of a server and its Byzantine clients: looking on, and under each of the forging tables."""
        where = f"suite {met.suite.name!r}, row {met.label!r}, attack {entry.name!r}"
        try:
            require_somebody("byzantine", b, settings.clients, "clients")
            honest, targets = settings.clients - round(b * settings.clients), watched["targets"]
            require(targets <= honest, "privacy.targets", targets, f"at most the {honest} honest clients")
        except ValueError as error:
            raise BadInputError(f"{where}: {error}") from None
        if (rho := met.attack.parameters.get("rho")) is not None:
            if "rho" in entry.parameters and rho != b:
                raise BadInputError(f"{where}: rho is {rho:g}, but must be byzantine, {b:g}: colluders are who forges")
            met = replace(met, attack=make_part("attack", met.attack.name, {**met.attack.parameters, "rho": b}))
        yield met.cell(self.name, settings, told, byzantine=b, **watched)
        for table in entry.forging:
            for point, swept in sweep(f"forging of attack {entry.name!r}", table):
                forging = _forger(where, point)
                strengths = [f"{key}={point[key]}" for key in swept]
                yield met.cell(self.name, settings, [*told, *strengths], byzantine=b, forging=forging, **watched)


class Inversion(Watching):
    """An inversion of what clients upload."""

    name = "inversion"
    play = "bench.plays.inversion:play"
    words = "images recovered"
    order = 0
    coalitions = True
    metrics_version = 2
    """2: SSIM in windows inside the image, scikit-image's default; 1 also took windows over mirrored borders."""
    preload = ("torchvision.utils",)  # takes as long as all else together

    def cells(self, met: Meeting, entry: AttackEntry) -> Iterator[Cell]:
        for point, swept in sweep(f"privacy of attack {entry.name!r}", entry.privacy):
            try:
                privacy = PrivacySettings(**{**dict(met.suite.privacy), **point})
            except ValidationError as error:
                raise BadInputError(f"suite {met.suite.name!r}, privacy of {entry.name!r}: {explain(error)}") from None
            settings = met.federation(privacy.federation, where=f"privacy of {met.label}")
            told = [f"{key}={point[key]}" for key in swept]
            watched = {"targets": privacy.targets, "trained": privacy.trained}
            yield from self._watched(met, entry, settings, told, watched)

    def group(self, cell: Cell, seed: int) -> str:
        """Inversions of one federation and seed share controls and, without a defense's noise, reconstructions."""
        return digest(cell.federation.model_dump(mode="json"), seed)


class Audit(Kind):
    """The distinguishing game of an audit: thousands of rounds of a few small messages."""

    name = "audit"
    play = "bench.plays.audit:play"
    words = "audit of the claim"
    order = 1
    on_cpu = True

    def cells(self, met: Meeting, entry: AttackEntry) -> Iterator[Cell]:
        defense: Any = registry.get("defense", met.defense.name)
        if defense.claims_privacy():
            yield met.cell(self.name, met.federation())

    def possible_colluders(self, settings: FederationSettings) -> int:
        return settings.participants


class RunAudit(Kind):
    """An audit of a whole run: one training with many canaries, against the claim composed over it."""

    name = "run_audit"
    play = "bench.plays.run_audit:play"
    words = "audit of the whole run"
    order = 3
    on_cpu = True

    def cells(self, met: Meeting, entry: AttackEntry) -> Iterator[Cell]:
        defense: Any = registry.get("defense", met.defense.name)
        if defense.composes_privacy():
            yield met.cell(self.name, met.federation())


class Inference(Watching):
    """A training to its end, of which an attack tells something afterwards."""

    def check(self, entry: AttackEntry) -> None:
        super().check(entry)
        if others := sorted(set(entry.privacy) - {"targets"}):
            raise ValueError(f"watches the suite's own training: its privacy table takes targets, not {others[0]}")

    def cells(self, met: Meeting, entry: AttackEntry) -> Iterator[Cell]:
        for point, swept in sweep(f"privacy of attack {entry.name!r}", entry.privacy):
            try:
                targets = PrivacySettings(**{"targets": met.suite.privacy.targets, **point}).targets
            except ValidationError as error:
                raise BadInputError(f"suite {met.suite.name!r}, privacy of {entry.name!r}: {explain(error)}") from None
            told = [f"{key}={point[key]}" for key in swept]
            yield from self._watched(met, entry, met.federation(), told, {"targets": targets})


class Membership(Inference):
    """A training to its end, and an attack that tells afterwards who trained on which image."""

    name = "membership"
    play = "bench.plays.membership:play"
    words = "who trained on an image"
    order = 4
    coalitions = True


class Property(Inference):
    """A training to its end, and a server that tells afterwards what each client's images are like."""

    name = "property"
    play = "bench.plays.property:play"
    words = "what a client's images are like"
    order = 5


def _forger(where: str, table: Parameters) -> Part:
    """What a forging table says; `BadInputError` unless it is a Byzantine attack that plays one run."""
    name, parameters = table.get("name"), {key: value for key, value in table.items() if key != "name"}
    if not isinstance(name, str):
        raise BadInputError(f"{where}: a forging table needs the name of a Byzantine attack")
    attack: Any = registry.get("attack", name)
    if attack.plays != Training.name or hasattr(attack, "members"):
        raise BadInputError(
            f"{where}: {name!r} forges nothing in one run; take a Byzantine attack, such as 'sign_flip'"
        )
    return make_part("attack", name, parameters)


KINDS: dict[KindName, Kind] = {
    kind.name: kind for kind in (Training(), Inversion(), Audit(), RunAudit(), Membership(), Property())
}


def of(cell: Cell) -> Kind:
    """What a cell plays."""
    return KINDS[cell.kind]


def of_attack(attack: Any) -> Kind:
    """What cells of this class of attacks play."""
    name: KindName = attack.plays
    return KINDS[name]
