"""Collusion: the server and a fraction rho of the other clients pool what they know, then invert what remains.

Against noise shares (NISS paper, section V-B) they take out the noise that the target sent to them, which they know,
and the expected part of what they sent to the target (s has mean 1). Out of a shuffled histogram they take their own
messages. Against everybody else they know nothing that the server does not.
"""

from pydantic import Field

from attacks.dlg import DLG
from bench.registry import register


@register("attack", "collusion")
class Collusion(DLG):
    """DLG on what a curious server and its colluders cannot explain."""

    rho: float = Field(default=0.3, ge=0, le=1)

    def collusion(self) -> float:
        return self.rho

    def alone(self) -> DLG:
        return DLG(**self.model_dump(exclude={"rho"}))
