"""LDPBFL (Ma et al., section 4.3): DPBFL without the shuffler; each message arrives under its sender's name."""

from typing import Any

from pydantic import model_validator

from bench.base.errors import require
from bench.privacy.analysis.compose import compose_local
from bench.privacy.analysis.local import gamma_for_local_epsilon, local_epsilon
from bench.privacy.claims import PrivacyClaim
from bench.protocol import Setting, Sums
from bench.registry import register
from defenses.dpbfl import NO_NOISE, RandomizedVotes


@register("defense", "ldpbfl")
class LDPBFL(RandomizedVotes):
    """DPBFL's randomizer and analyzer; the parameter is gamma, or `epsilon`, which gives gamma by Theorem 4."""

    @model_validator(mode="before")
    @classmethod
    def _gamma_from_epsilon(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if "epsilon" in parameters:
            require("gamma" not in parameters, "epsilon and gamma", "both given", "one of the two: Theorem 4 ties them")
            number = isinstance(parameters["epsilon"], int | float)
            require(number, "epsilon", parameters["epsilon"], "a positive number")
            others = {key: value for key, value in parameters.items() if key != "epsilon"}
            return {**others, "gamma": gamma_for_local_epsilon(parameters["epsilon"])}
        return parameters

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(LDPBFL)

    def claim(self, setting: Setting) -> PrivacyClaim:
        return PrivacyClaim(
            epsilon=local_epsilon(self.gamma) if self.gamma else None,
            delta=0.0,
            unit="per coordinate and round",
            source="DPBFL paper, Theorem 4",
            reason=None if self.gamma else NO_NOISE,
        )

    def composed(self, setting: Setting) -> PrivacyClaim:
        """All coordinates and rounds of the busiest client (errata D6): its own randomness alone."""
        rounds, delta = setting.busiest
        releases = setting.dim * rounds
        epsilon = compose_local(self.gamma, releases, delta) if self.gamma else None
        return self.over_a_run(epsilon, setting, f"{releases:,} ternary randomized responses", colluders=1.0)
