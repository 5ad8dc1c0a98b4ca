"""The public functions of the mathematics, found by looking, and those that are left out, each with the reason."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

PACKAGES = ("defenses", "attacks", "bench.privacy")
MODULES = (
    "bench.attacking.directions",
    "bench.attacking.forging",
    "bench.attacking.linear_layers",
    "bench.rules.gram",
    "bench.plays.metrics",
    "bench.data.partitions",
    "bench.rules.preaggregation",
    "bench.protocol.defense",
    "bench.base.rng",
    "bench.rules.base",
    "leaderboards.estimates",
)

VIEW = "takes what the engine makes of a transcript; attacks on whole views are played in tests/attacks"
OWN_STEP = "a step of one attack on images, scores or models of its own; tried in tests/attacks"
LEFT_OUT = {
    "attacks.analytic.ends": VIEW,
    "attacks.analytic.first_layers": VIEW,
    "attacks.analytic.halfway": VIEW,
    "attacks.analytic.of_classes": VIEW,
    "attacks.a3fl.with_trigger": OWN_STEP,
    **{f"attacks.class_fishing.{name}": VIEW for name in ("caught", "fish", "fished_class")},
    **{f"attacks.spear.{name}": OWN_STEP for name in ("directions", "greedy", "silent_share", "sparse")},
    "attacks.spear.sent_layers": VIEW,
    "attacks.dba.parts": OWN_STEP,
    "attacks.edge_case.edge_of": OWN_STEP,
    "attacks.imprint.best": VIEW,
    "attacks.imprint.thresholds": OWN_STEP,
    **{f"attacks.label_shares.{name}": VIEW for name in ("by_gradients", "by_rehearsals", "features", "class_answers")},
    "attacks.membership_gradient.beside_others": OWN_STEP,
    "attacks.membership_gradient.own_cosines": OWN_STEP,
    "attacks.membership_lira.lira": OWN_STEP,
    "attacks.model_replacement.model_replacement": OWN_STEP,
    "attacks.neurotoxin.neurotoxin": OWN_STEP,
    "attacks.neurotoxin.quiet": OWN_STEP,
    "attacks.membership_lira.random_half": OWN_STEP,
    "attacks.run_audit.cosines": OWN_STEP,
    "attacks.run_audit.share_of_sum": OWN_STEP,
    "attacks.targeted_label_flip.targeted_label_flip": OWN_STEP,
    "attacks.audit.beside_the_sum": VIEW,
    "attacks.audit.left_over": VIEW,
    "attacks.audit.target_tau_squared": VIEW,
    "attacks.audit.whitened": VIEW,
    "attacks.dlg.loss_unit": VIEW,
    "attacks.inverting_gradients.direction_matcher": VIEW,
    "attacks.subspace.recover": VIEW,
    "bench.attacking.forging.deployed": VIEW,
    "defenses.geometric_median.weights_at_the_end": "takes the state of its own search",
    "bench.rules.gram.over_distances": "takes a function of its own groups of rows; the rules that use it are tried",
    "bench.rules.gram.over_distances_of": "takes a function of its own groups of rows; the rules that use it are tried",
    **{
        f"bench.rules.gram.{name}": "a step of a choice; the rules that choose by it are tried"
        for name in ("alike", "copies", "decided", "first_lowest", "lowest", "lowest_rows", "pairs_of", "rounding")
    },
    "defenses.krum.score_error": "a step of a choice; the rules that choose by it are tried",
    **{
        f"bench.plays.metrics.{name}": "takes counts by class of a trained model; tried in tests/bench/plays"
        for name in ("right_by_class", "worst_class", "worst_tenth")
    },
    "bench.plays.metrics.damage_on": "gives a function of a trained model; attacks use it in tests/attacks",
    "bench.rules.preaggregation.rule_of": "takes a rule by its name; tried with every one in tests/defenses",
    "defenses.crfl.clipped": "takes a model, not messages; tried in tests/defenses/test_crfl.py",
    "defenses.crfl.crfl": "takes a model, not messages; tried in tests/defenses/test_crfl.py",
    **{
        f"defenses.deepsight.{name}": "takes what a look into a model gave; tried in tests/defenses/test_deepsight.py"
        for name in ("accepted", "apart", "deepsight", "division_differences", "exceedings", "update_energies")
    },
    "defenses.demoa.kept": "takes what a server remembers; tried in tests/defenses/test_demoa.py",
    "defenses.monna.around": "takes one of the rows; the rule around it is tried",
    "leaderboards.estimates.interval": "takes shares of images by seed; tried in tests/leaderboards",
    "leaderboards.estimates.of_values": "takes an array of a metric's values; tried in tests/leaderboards",
    "leaderboards.estimates.wilson": "takes a share of images; tried in tests/leaderboards",
    "bench.base.rng.salted": "gives a context; the worlds of submissions are tried in tests/adversarial",
    "bench.rules.base.names_of": "takes the server's side of a round; the rules that remember clients are tried",
    "bench.rules.preaggregation.require_rule": "takes a class; every registered one is tried in tests/defenses",
}
"""By full name."""


def modules() -> list[ModuleType]:
    """All modules with mathematics; a new file in one of the packages is among them."""
    found = [importlib.import_module(name) for name in MODULES]
    for name in PACKAGES:
        package = importlib.import_module(name)
        found += [importlib.import_module(each.name) for each in pkgutil.walk_packages(package.__path__, f"{name}.")]
    return found


def public_functions() -> dict[str, Callable[..., Any]]:
    """Functions that a module defines itself, without an underscore, by full name."""
    return {
        f"{module.__name__}.{name}": function
        for module in modules()
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
    }


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def argument_names(function: Callable[..., Any]) -> list[str]:
    return [parameter.name for parameter in parameters(function)]
