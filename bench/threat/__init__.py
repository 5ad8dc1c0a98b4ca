"""Threat models, typed: who sees what of a transcript, and the kinds of attack that work on it."""

from bench.threat.attacks import (
    Asked,
    Attack,
    ByzantineAttack,
    ByzantineView,
    Ensemble,
    Game,
    PrivacyAttack,
    PrivacyAudit,
    sanitize,
)
from bench.threat.collusion import Saboteurs, check_collusion, choose_colluders
from bench.threat.membership import MembershipAttack, MembershipView, Sight
from bench.threat.property import PropertyAttack, PropertyView
from bench.threat.run_audits import RunAudit, RunGame, RunRound, check_canaries
from bench.threat.training import Batch, OwnTraining
from bench.threat.views import PublicFacts, Reconstruction, RoundTranscript, RoundView, View, server_view, strip

__all__ = [
    "Asked",
    "Attack",
    "Batch",
    "ByzantineAttack",
    "ByzantineView",
    "Ensemble",
    "Game",
    "MembershipAttack",
    "MembershipView",
    "OwnTraining",
    "PrivacyAttack",
    "PrivacyAudit",
    "PropertyAttack",
    "PropertyView",
    "PublicFacts",
    "Reconstruction",
    "RoundTranscript",
    "RoundView",
    "RunAudit",
    "RunGame",
    "RunRound",
    "Saboteurs",
    "Sight",
    "View",
    "check_canaries",
    "check_collusion",
    "choose_colluders",
    "sanitize",
    "server_view",
    "strip",
]
