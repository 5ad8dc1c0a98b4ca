"""What can be told before anything runs: settings in which nothing that was asked for can work are bad input."""

from collections.abc import Iterable

from bench import models
from bench.attacking.poisoning import DataPoisoning
from bench.base.errors import BadInputError
from bench.data import load, shard_size
from bench.federation.roles import check_fits, setting_of
from bench.federation.settings import check_inverted
from bench.plays.findings import build_attack, build_defense
from bench.plays.membership import check_watched
from bench.plays.property import check_shared
from bench.suite import Cell, kinds
from bench.threat import ByzantineAttack, MembershipAttack, PropertyAttack, RunAudit, check_canaries, check_collusion


def check_settings(suite: str, cells: Iterable[Cell], data_root: str | None) -> None:
    """Raise `BadInputError` where an attack has too few clients or images, or every defense refuses its federation.

    Where some refuse and others do not, the others run, and the records of those that refuse say why. Where the defense
    is told the true number of Byzantine clients (`oracle_f`), that one is no fault of the suite: the record says that
    the defense does not claim to stand it, or failed.
    """
    dims: dict[tuple[str, str], int] = {}
    refusals: dict[tuple[str, str], str | None] = {}
    for cell in cells:
        settings = cell.federation
        where = f"suite {suite!r}, row {cell.label!r}, {cell.column}"
        if cell.targets > settings.clients:
            wanted = f"at most {settings.clients}, the clients"
            raise BadInputError(f"{where}: privacy.targets is {cell.targets}, but must be {wanted}")
        try:
            _check_attack(cell, data_root)
        except ValueError as error:
            raise BadInputError(f"{where}: {error}") from None
        about = (cell.defense.model_dump_json(), settings.model_dump_json())
        if settings.oracle_f:
            refusals[about] = None
        if about in refusals:
            continue
        kind = (settings.model, settings.dataset)
        if kind not in dims:
            dataset = load(settings.dataset, data_root)
            dims[kind] = models.build(settings.model, dataset.shape, dataset.num_classes).dim
        refusals[about] = None
        try:
            check_fits(settings, defense := build_defense(cell))
            defense.start(setting_of(settings, dims[kind], settings.assumed_byzantine))
        except ValueError as error:
            refusals[about] = f"{where}: {error}"
    told = [refusal for refusal in refusals.values() if refusal is not None]
    if told and len(told) == len(refusals):
        raise BadInputError(told[0])


def _check_attack(cell: Cell, data_root: str | None) -> None:
    """Raise `ValueError` where a share of the attack's, of clients or of images, is positive and rounds to none."""
    if cell.attack is None:
        return
    attack, settings = build_attack(cell.attack), cell.federation
    if cell.kind == "inversion" and not (dataset := load(settings.dataset, data_root)).images:
        others = f"data set {settings.dataset!r} has others, samples of shape {dataset.shape}"
        raise ValueError(f"an inversion takes images (C, H, W) with pixels in [0, 1], and {others}")
    if isinstance(attack, MembershipAttack):
        check_watched(settings, attack, cell.targets, len(load(settings.dataset, data_root).train))
    elif isinstance(attack, PropertyAttack):
        check_shared(settings, attack, cell.targets)
    elif isinstance(attack, DataPoisoning):
        images = len(load(settings.dataset, data_root).train)
        attack.check_shard(shard_size(images, settings.clients, settings.samples_per_client))
    elif isinstance(attack, RunAudit):
        check_canaries(attack.count(), settings.clients)
    elif not isinstance(attack, ByzantineAttack):
        check_collusion(attack.collusion(), kinds.of(cell).possible_colluders(settings))
        if cell.is_privacy:
            check_inverted(settings)
