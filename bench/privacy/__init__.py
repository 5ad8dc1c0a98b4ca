"""Accounting of what defenses claim, composition over releases, and audits of what an adversary measures."""

from bench.privacy.analysis.compose import compose_gaussian, compose_local
from bench.privacy.analysis.gaussian import gaussian_delta, gaussian_epsilon, gaussian_sigma
from bench.privacy.analysis.local import gamma_for_local_epsilon, local_epsilon
from bench.privacy.audit import audit_epsilon, audit_gaussian_epsilon
from bench.privacy.claims import PrivacyClaim
from bench.privacy.papers.blanket import compose_shuffle
from bench.privacy.papers.noise_sharing import (
    niss_aggregate_variance,
    niss_collusion_variance,
    niss_max_colluders,
    niss_max_colluders_scalar,
    niss_min_tau_squared,
    niss_min_tau_squared_scalar,
    niss_worst_coordinate,
)
from bench.privacy.papers.shuffle import (
    analyzer_variance,
    minimum_shuffle_epsilon,
    robustness_bound,
    shuffle_claim_conditions,
    shuffle_epsilon,
    shuffle_gamma,
    theorem1_gamma,
)
from bench.privacy.sampling import busiest_client, compose_hidden_draws

__all__ = [
    "PrivacyClaim",
    "analyzer_variance",
    "audit_epsilon",
    "audit_gaussian_epsilon",
    "busiest_client",
    "compose_gaussian",
    "compose_hidden_draws",
    "compose_local",
    "compose_shuffle",
    "gamma_for_local_epsilon",
    "gaussian_delta",
    "gaussian_epsilon",
    "gaussian_sigma",
    "local_epsilon",
    "minimum_shuffle_epsilon",
    "niss_aggregate_variance",
    "niss_collusion_variance",
    "niss_max_colluders",
    "niss_max_colluders_scalar",
    "niss_min_tau_squared",
    "niss_min_tau_squared_scalar",
    "niss_worst_coordinate",
    "robustness_bound",
    "shuffle_claim_conditions",
    "shuffle_epsilon",
    "shuffle_gamma",
    "theorem1_gamma",
]
