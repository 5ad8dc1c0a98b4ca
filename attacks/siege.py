"""The siege: one ensemble of attacks without parameters, played in whole runs, of which the worst counts.

As AutoAttack did for adversarial examples (Croce and Hein 2020), it takes the choice of the attack out of everybody's
hands. Its members cover kinds of attack, not names:

    flips of the update and of the model; noise; labels flipped
    mean + z sigma of the honest messages, either sign      ALIE, min-max, min-sum, and ALIE with z searched
    minus the mean                                          IPM, and with its factor searched
    directed deviation                                      Fang, against Krum and against the trimmed mean
    copies of one honest client                             mimic
    one direction through all rounds                        PoisonedFL; votes against all votes so far
    search within a round                                   adaptive; a look ahead over all of the above
    learning from round to round                            a bandit over all of the above

The attackers rehearse: a whole training with each member, in the same federation and with the same draws. They then
play the member that left the lowest accuracy on images of their own, the validation split. So the siege's accuracy is
the worst that any of its members reaches, up to the difference between those images and the test images. What it costs
is the same for every defense, and its record says it: rounds trained, and evaluations of the defense's rule.
"""

from collections.abc import Mapping

from torch import Tensor

from attacks.adaptive import Adaptive
from attacks.alie import ALIE
from attacks.alie_optimal import OptimalALIE
from attacks.fang import Fang
from attacks.gaussian import Gaussian
from attacks.ipm import IPM
from attacks.ipm_optimal import OptimalIPM
from attacks.label_flip import LabelFlip
from attacks.mimic import Mimic
from attacks.min_max import MinMax
from attacks.min_sum import MinSum
from attacks.poisonedfl import PoisonedFL
from attacks.sign_flip import SignFlip
from bench.attacking.campaigns import AllKnowing, Lookahead, OpposingVotes
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView, Ensemble

BLIND: dict[str, ByzantineAttack] = {
    "sign_flip": SignFlip(),
    "sign_flip on=model": SignFlip(on="model"),
    "gaussian": Gaussian(),
    "poisonedfl": PoisonedFL(),
}
"""What needs no message of others."""

GUESSED: dict[str, ByzantineAttack] = {
    "alie": ALIE(),
    "alie sign=minus": ALIE(sign="minus"),
    "min_max": MinMax(),
    "min_max sign=minus": MinMax(sign="minus"),
    "min_sum": MinSum(),
    "min_sum sign=minus": MinSum(sign="minus"),
    "ipm": IPM(),
}
"""What takes the honest messages, and asks nothing of the rule."""

SEEING: dict[str, ByzantineAttack] = {
    "mimic": Mimic(),
    "votes": OpposingVotes(),
    "fang against=krum": Fang(),
    "fang against=trimmed_mean": Fang(against="trimmed_mean"),
}
"""What else sees the honest messages."""

SEARCHING: dict[str, ByzantineAttack] = {
    "ipm_optimal": OptimalIPM(),
    "alie_optimal sign=both": OptimalALIE(sign="both"),
    "adaptive": Adaptive(),
}
"""What searches for the worst message of a round."""

RETRAINED: dict[str, ByzantineAttack] = {"label_flip": LabelFlip()}
"""What poisons data, and so cannot be chosen in the middle of a run."""


@register("attack", "siege")
class Siege(Ensemble):
    """Omniscient, and holds images of its own. In a single round, where there is no run to rehearse, it looks ahead."""

    omniscient, measures_damage = True, True

    def members(self) -> Mapping[str, ByzantineAttack]:
        arsenal = BLIND | GUESSED | SEEING
        return {
            **arsenal,
            **SEARCHING,
            **RETRAINED,
            "look ahead": Lookahead(arsenal=arsenal),
            "bandit": AllKnowing(arsenal=arsenal | SEARCHING),
        }

    def needs_updates(self) -> bool:
        return True

    def forge(self, view: ByzantineView) -> Tensor:
        return Lookahead(arsenal=BLIND | GUESSED | SEEING).forge(view)
