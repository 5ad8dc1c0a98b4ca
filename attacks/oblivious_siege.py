"""The siege by attackers who see no message but their own: a second threat model, and a second attack.

Statistics that `siege` takes of the honest messages are here those of what the attackers' own clients would send, as
in Baruch et al. 2019. Nobody can search against the server's rule, so that there is no look ahead; a bandit over all
others learns from the broadcasts which of them the rule lets through.
"""

from collections.abc import Mapping

from torch import Tensor

from attacks.siege import BLIND, GUESSED, RETRAINED
from bench.attacking.campaigns import Controller, Guess
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView, Ensemble


@register("attack", "oblivious_siege")
class ObliviousSiege(Ensemble):
    """Oblivious, and holds images of its own. In a single round it plays what its bandit would begin with."""

    measures_damage = True

    def members(self) -> Mapping[str, ByzantineAttack]:
        arsenal = self._arsenal()
        return {**arsenal, **RETRAINED, "bandit": Controller(arsenal=arsenal)}

    def needs_updates(self) -> bool:
        return True

    def forge(self, view: ByzantineView) -> Tensor:
        return Controller(arsenal=self._arsenal()).forge(view)

    def _arsenal(self) -> dict[str, ByzantineAttack]:
        return BLIND | {f"{name} of its own": Guess(attack=attack) for name, attack in GUESSED.items()}
