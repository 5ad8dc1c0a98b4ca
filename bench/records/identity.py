"""What a record is the record of: hashes of its protocol and its setting, and its key."""

from dataclasses import dataclass

from bench.base.files import digest
from bench.suite import RECOVERED_PSNR, Cell, Suite, kinds

PROTOCOL_VERSION = 3
"""The code version of the protocol: raised whenever the engine would give another number for the same cell."""


def record_key(cell: Cell, seed: int) -> str:
    """The record's file name without its ending."""
    return f"{cell.hash}-s{seed}"


@dataclass(frozen=True)
class World:
    """What a judged run has beside its cell: the salt of all its draws, and the sha256 of each submitted file.

    The salt is drawn when the file is known, and told when the run is over; `sources` are sorted. Shipped rows have
    neither: their draws are public, so that anybody can repeat them. What a verifier plays is `secret` besides
    (`bench.federation.secret`): no record of it is kept, and no hash names it.
    """

    salt: str = ""
    sources: tuple[str, ...] = ()
    secret: bool = False

    @property
    def content(self) -> dict[str, object]:
        return {"salt": self.salt, "sources": list(self.sources)}


PUBLIC = World()


def protocol_hash(cell: Cell, data_digest: str, recovered_psnr: float = RECOVERED_PSNR, world: World = PUBLIC) -> str:
    """Over everything that can change a cell's numbers: the cell, the data, the code version of the protocol.

    In a privacy cell also the version of its metrics, and the score from which an image counts as recovered, where it
    is not the usual one; of a judged run its world.
    """
    version = kinds.of(cell).metrics_version
    measured = [] if version is None else [{"metrics": version}]
    scored = [recovered_psnr] if cell.is_privacy and recovered_psnr != RECOVERED_PSNR else []
    judged = [] if world == PUBLIC else [world.content]
    return digest(cell.content, data_digest, PROTOCOL_VERSION, *measured, *scored, *judged)


def setting_hash(suite: Suite, data_digest: str) -> str:
    """Over what all cells of a board must share to stand side by side."""
    return digest(suite.setting_content(), data_digest, PROTOCOL_VERSION)
