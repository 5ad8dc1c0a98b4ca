"""Every parameter of every defense reaches the function that it belongs to, in each of the ways a round is played.

A class played at a value that is not the default gives what its pure function gives of that value, which is not what
it gives of the default: a parameter that a class drops on the way fails here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.federation.root import Root
from bench.federation.rounds import arrived
from bench.models import Model, build
from bench.privacy.analysis.gaussian import gaussian_sigma
from bench.privacy.papers.drawn_noise import niss_drawn_noise
from bench.privacy.papers.drawn_votes import randomized_sum
from bench.protocol import Defense, Delivered, LocalRound, ServerRound, Setting, SumDefense, clip, plays_in_sums
from bench.rules import RowRule, apply_weights
from bench.rules.gram import checked_gram
from defenses import deepsight
from defenses.arc import arc
from defenses.bucketing import bucketing
from defenses.centered_clipping import CenteredClipping, centered_clipping
from defenses.central_dp_fedavg import central_dp_fedavg
from defenses.clipped_clustering import clipped_clustering
from defenses.crfl import crfl
from defenses.deepsight import DeepSight
from defenses.dnc import dnc
from defenses.dp_fedavg import DPFedAvg
from defenses.dpbfl import analyze, randomize, shuffle
from defenses.flame import flame
from defenses.fldetector import FLDetector
from defenses.fltrust import FLTrust, fltrust
from defenses.foolsgold import FoolsGold, foolsgold
from defenses.foundation_fl import foundation_fl
from defenses.geometric_median import geometric_median
from defenses.krum import krum
from defenses.lasa import lasa
from defenses.meamed import meamed
from defenses.median import coordinate_median
from defenses.monna import monna
from defenses.multi_krum import multi_krum
from defenses.niss import exchange
from defenses.nnm import nnm
from defenses.norm_clipping import norm_clipping
from defenses.rlr import rlr
from defenses.rsa import sign_sum
from defenses.sign_majority import sign_majority
from defenses.signguard import signguard
from defenses.trimmed_mean import trimmed_mean
from defenses.weak_dp import weak_dp

N, M, F, LR = 25, 20, 4, 0.1
DIMS = (7, 40)
"""Fewer coordinates than clients, and more: the geometric median goes another way in each."""


@dataclass(frozen=True)
class Round:
    """The updates `(m, d)` and the broadcast `(d,)` of a round; a fresh generator for each role."""

    dim: int

    @property
    def updates(self) -> Tensor:
        """Of lengths that differ, about a common direction, four of them far away."""
        rows = torch.randn(M, self.dim, generator=self.draws("updates"), dtype=torch.float64)
        rows = 0.3 + rows * torch.linspace(0.3, 2, M, dtype=torch.float64)[:, None]
        rows[3::5] -= 2.5
        return rows

    @property
    def broadcast(self) -> Tensor:
        return torch.linspace(-1, 1.2, self.dim, dtype=torch.float64)

    @property
    def setting(self) -> Setting:
        return Setting(N, M, self.dim, 5, LR, None, F / M, 1e-6)

    @staticmethod
    def draws(role: str) -> torch.Generator:
        return torch.Generator().manual_seed(["updates", "noise", "channel", "server"].index(role))


Pure = Callable[[Round, Any], Tensor]
"""What the model becomes `(d,)` in a round, by functions alone, with a parameter at this value."""


@dataclass(frozen=True)
class Seam:
    """A value that is not the default, what the model becomes with it, and the other parameters that it takes.

    `sums`, where noise is drawn at the sum: what the model becomes in a round that is played in sums.
    """

    value: Any
    pure: Pure
    sums: Pure | None = None
    given: dict[str, Any] = field(default_factory=dict)


def change(function: Callable[[Tensor, Any], Tensor]) -> Pure:
    """A rule that gives the change of the model, of the updates and the value."""
    return lambda played, value: played.broadcast + function(played.updates, value)


def pre_aggregated(mixed: Callable[[Tensor], Tensor], other: str) -> dict[str, Seam]:
    """The rule of a pre-aggregation, another one than its default, and a rule's own parameters."""

    def clipped(x: Tensor, parameters: dict[str, Any]) -> Tensor:
        return centered_clipping(mixed(x), **parameters)

    return {
        "rule": Seam(other, change(lambda x, rule: RULES[rule](mixed(x)))),
        "parameters": Seam({"tau": 0.5, "iterations": 2}, change(clipped), given={"rule": "centered_clipping"}),
    }


RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "median": coordinate_median,
    "trimmed_mean": lambda x: trimmed_mean(x, F),
    "meamed": lambda x: meamed(x, F),
}


def in_buckets(x: Tensor, size: int = 2) -> Tensor:
    return bucketing(x, Round.draws("server"), size)


def dnc_seam(name: str, value: float, **given: float) -> Seam:
    def pure(x: Tensor, value: float) -> Tensor:
        return dnc(x, F, Round.draws("server"), **{**given, name: value})  # type: ignore[arg-type]

    return Seam(value, change(pure), given=given)


def crfl_seam(name: str, value: float, **given: float) -> Seam:
    def pure(played: Round, value: float) -> Tensor:
        p = {"rho": 15.0, "first": 2.0, "growth": 0.1, "sigma": 0.01, **given, name: value}
        rho = min(p["rho"], p["first"] + p["growth"])
        averaged = played.broadcast + played.updates.mean(dim=0)
        return crfl(averaged, Round.draws("server"), rho=rho, sigma=p["sigma"])

    return Seam(value, pure, given=given)


def lasa_of(name: str) -> Pure:
    return change(lambda x, value: lasa(x, **{name: value}))


def signguard_seam(name: str, value: float) -> Seam:
    return Seam(value, change(lambda x, value: signguard(x, Round.draws("server"), **{name: value})))


def weak(name: str) -> Pure:
    return change(lambda x, value: weak_dp(x, Round.draws("server"), **{name: value}))


def central(name: str) -> Pure:
    return change(lambda x, value: central_dp_fedavg(x, Round.draws("server"), **{name: value}))


# ------------------------------------------------------------------------------------- Gaussian noise, shared or not

GAUSSIAN: dict[str, Any] = {"epsilon": 10.0, "delta": 1e-4, "zeta": 3.0, "neighbours": "replace"}
NISS: dict[str, Any] = {
    **GAUSSIAN,
    "mechanism": "analytic",
    "unit_variance": 0.01,
    "num_shares": None,
    "tau_squared": 0.0,
    "scale": "coordinate",
    "dropout": 0.0,
}


def sigma_of(p: dict[str, Any]) -> float:
    sensitivity = (2 if p["neighbours"] == "replace" else 1) * p["zeta"] / M
    return gaussian_sigma(p["epsilon"], p["delta"], sensitivity, p.get("mechanism", "analytic") == "analytic")


def shares_of(p: dict[str, Any]) -> int:
    return p["num_shares"] or min(max(round(sigma_of(p) ** 2 / p["unit_variance"]), 1), M - 1)


def dp_fedavg_message(played: Round, p: dict[str, Any]) -> Tensor:
    x = clip(played.updates, p["zeta"]) / M
    noise = torch.randn(x.shape, generator=Round.draws("noise"), dtype=x.dtype)
    return played.broadcast + (x + sigma_of(p) * noise).sum(dim=0)


def dp_fedavg_sum(played: Round, p: dict[str, Any]) -> Tensor:
    noise = torch.randn(played.dim, generator=Round.draws("noise"), dtype=torch.float64)
    return played.broadcast + clip(played.updates, p["zeta"]).mean(dim=0) + sigma_of(p) * M**0.5 * noise


def niss_message(played: Round, p: dict[str, Any]) -> Tensor:
    noise = exchange(
        M,
        played.dim,
        sigma_of(p) ** 2,
        shares_of(p),
        p["tau_squared"],
        Round.draws("noise"),
        p["scale"],
        torch.float64,
    ).upload
    left = torch.randperm(M, generator=Round.draws("channel"))[round(p["dropout"] * M) :]
    return played.broadcast + (clip(played.updates, p["zeta"]) + M * noise)[left].mean(dim=0)


def niss_sum(played: Round, p: dict[str, Any]) -> Tensor:
    noise = niss_drawn_noise(
        dim=played.dim,
        num_honest=M,
        num_clients=M,
        share_variance=sigma_of(p) ** 2 / shares_of(p),
        num_shares=shares_of(p),
        tau_squared=p["tau_squared"],
        per_share=p["scale"] == "share",
        generator=Round.draws("noise"),
    )
    return played.broadcast + clip(played.updates, p["zeta"]).mean(dim=0) + noise


def noisy(
    name: str,
    value: Any,
    defaults: dict[str, Any],
    by_messages: Pure,
    in_sums: Pure,
    **given: Any,
) -> Seam:
    def pure(step: Pure) -> Pure:
        return lambda played, value: step(played, {**defaults, **given, name: value})

    return Seam(value, pure(by_messages), pure(in_sums), given)


def dp_fedavg_seam(name: str, value: Any, **given: Any) -> Seam:
    return noisy(name, value, {**GAUSSIAN, "mechanism": "analytic"}, dp_fedavg_message, dp_fedavg_sum, **given)


def behind_noise(parameter: str) -> Pure:
    """`parameter`, the rule or what it takes, behind the uploads of `dp_fedavg`: on updates with noise."""

    def pure(played: Round, value: Any) -> Tensor:
        x = clip(played.updates, GAUSSIAN["zeta"])
        noise = torch.randn(x.shape, generator=Round.draws("noise"), dtype=x.dtype)
        x = x + M * sigma_of(GAUSSIAN) * noise
        return played.broadcast + (RULES[value](x) if parameter == "rule" else centered_clipping(x, **value))

    return pure


def niss_seam(name: str, value: Any, **given: Any) -> Seam:
    return noisy(name, value, NISS, niss_message, niss_sum, **{"tau_squared": 0.5, **given})


# ---------------------------------------------------------------------------------------------------------- RSA, votes

RSA: dict[str, float] = {"penalty": 0.02, "kappa": 4.0, "weight_decay": 0.0}


def rsa_step(played: Round, p: dict[str, float], z: Tensor) -> Tensor:
    w = played.broadcast
    return w - p["kappa"] * LR / M * (p["weight_decay"] * w + p["penalty"] * z)


def rsa_seam(name: str, value: float) -> Seam:
    def pure(played: Round, value: float) -> Tensor:
        z = sign_sum(played.broadcast, played.broadcast + played.updates)
        return rsa_step(played, {**RSA, name: value}, z)

    return Seam(value, pure)


def dpbfl_seam(name: str, value: float, shuffled: bool) -> Seam:
    def by_messages(played: Round, value: float) -> Tensor:
        p = {**RSA, "gamma": 0.283, name: value}
        votes = randomize(torch.sign(-played.updates).to(torch.int8), p["gamma"], Round.draws("noise"))
        sent = shuffle(votes, Round.draws("channel")) if shuffled else votes
        return rsa_step(played, p, analyze(sent, p["gamma"]))

    def in_sums(played: Round, value: float) -> Tensor:
        p = {**RSA, "gamma": 0.283, name: value}
        x = -played.updates
        counts = torch.stack([(x > 0).sum(dim=0), (x < 0).sum(dim=0)]).double()
        return rsa_step(played, p, randomized_sum(counts, M, p["gamma"], Round.draws("noise")) / (1 - p["gamma"]))

    return Seam(value, by_messages, in_sums)


def votes(played: Round, server_lr: float) -> Tensor:
    return played.broadcast - server_lr * sign_majority(-played.updates)


# ------------------------------------------------------------------------------------------------------------ the table

SEAMS: dict[str, dict[str, Seam]] = {
    "arc": pre_aggregated(lambda x: arc(x, F), "median"),
    "bucketing": {
        **pre_aggregated(in_buckets, "meamed"),
        "bucket_size": Seam(5, change(lambda x, size: coordinate_median(in_buckets(x, size)))),
    },
    "centered_clipping": {
        "tau": Seam(0.7, change(lambda x, tau: centered_clipping(x, tau=tau))),
        "iterations": Seam(
            3, change(lambda x, count: centered_clipping(x, tau=0.7, iterations=count)), given={"tau": 0.7}
        ),
    },
    "central_dp_fedavg": {"zeta": Seam(0.5, central("zeta")), "z": Seam(2.5, central("z"))},
    "crfl": {
        "rho": crfl_seam("rho", 0.5),
        "first": crfl_seam("first", 0.2),
        "growth": crfl_seam("growth", 0.5, first=0.1),
        "sigma": crfl_seam("sigma", 0.3),
    },
    "demoa": pre_aggregated(lambda x: x, "meamed"),
    "dnc": {
        "num_iterations": dnc_seam("num_iterations", 4, subsample=3, filter_fraction=2.5),
        "subsample": dnc_seam("subsample", 2, filter_fraction=2.5),
        "filter_fraction": dnc_seam("filter_fraction", 0.5),
    },
    "dp_fedavg": {
        "epsilon": dp_fedavg_seam("epsilon", 2.0),
        "delta": dp_fedavg_seam("delta", 0.01),
        "zeta": dp_fedavg_seam("zeta", 0.5),
        "neighbours": dp_fedavg_seam("neighbours", "add_remove"),
        "mechanism": dp_fedavg_seam("mechanism", "classical", epsilon=0.5),
    },
    "dpbfl": {
        "gamma": dpbfl_seam("gamma", 0.6, shuffled=True),
        **{name: dpbfl_seam(name, 3.1, shuffled=True) for name in RSA},
    },
    "flame": {
        "noise_level": Seam(
            0.5,
            lambda played, level: (
                played.broadcast
                + flame(played.updates, Round.draws("server"), broadcast=played.broadcast, noise_level=level)
            ),
        )
    },
    "clipped_clustering": {"most": Seam(0.5, change(lambda x, most: clipped_clustering(x, most=most)))},
    "foundation_fl": {
        **pre_aggregated(foundation_fl, "median"),
        "num_synthetic": Seam(3, change(lambda x, count: trimmed_mean(foundation_fl(x, count), F))),
    },
    "foolsgold": {"kappa": Seam(0.2, change(lambda x, kappa: foolsgold(x, kappa=kappa)))},
    "geometric_median": {
        "nu": Seam(3.0, change(lambda x, nu: geometric_median(x, nu=nu))),
        "tolerance": Seam(0.3, change(lambda x, tolerance: geometric_median(x, tolerance=tolerance))),
    },
    "krum": {
        "num_selected": Seam(3, change(lambda x, count: krum(x, F, count))),
        "variant": Seam("fourth_power_sum", change(lambda x, name: krum(x, F, 2, name)), given={"num_selected": 2}),
    },
    "lasa": {
        name: Seam(value, lasa_of(name)) for name, value in (("sparsity", 0.6), ("lambda_n", 3.0), ("lambda_s", 3.0))
    },
    "ldpbfl": {
        "gamma": dpbfl_seam("gamma", 0.6, shuffled=False),
        **{name: dpbfl_seam(name, 3.1, shuffled=False) for name in RSA},
    },
    "monna": {"pivot": Seam(3, change(lambda x, pivot: monna(x, F, pivot=pivot or 0)))},
    "multi_krum": {
        "num_selected": Seam(3, change(lambda x, count: multi_krum(x, F, count))),
        "variant": Seam("fourth_power_sum", change(lambda x, name: multi_krum(x, F, None, name))),
    },
    "niss": {
        "epsilon": niss_seam("epsilon", 2.0),
        "delta": niss_seam("delta", 0.01),
        "zeta": niss_seam("zeta", 0.5),
        "neighbours": niss_seam("neighbours", "add_remove"),
        "mechanism": niss_seam("mechanism", "classical", epsilon=0.5),
        "unit_variance": niss_seam("unit_variance", 0.002),
        "num_shares": niss_seam("num_shares", 7),
        "tau_squared": noisy("tau_squared", 1.5, NISS, niss_message, niss_sum),
        "scale": niss_seam("scale", "share"),
        "dropout": niss_seam("dropout", 0.3),
    },
    "nnm": pre_aggregated(lambda x: nnm(x, F), "median"),
    "norm_clipping": {"bound": Seam(0.4, change(lambda x, bound: norm_clipping(x, bound=bound)))},
    "rlr": {"share": Seam(0.9, change(lambda x, share: rlr(x, theta=share * M)))},
    "robust_dp_fedavg": {
        "epsilon": dp_fedavg_seam("epsilon", 2.0, rule="fedavg"),
        "delta": dp_fedavg_seam("delta", 0.01, rule="fedavg"),
        "zeta": dp_fedavg_seam("zeta", 0.5, rule="fedavg"),
        "neighbours": dp_fedavg_seam("neighbours", "add_remove", rule="fedavg"),
        "mechanism": dp_fedavg_seam("mechanism", "classical", epsilon=0.5, rule="fedavg"),
        "rule": Seam("trimmed_mean", behind_noise("rule")),
        "parameters": Seam(
            {"tau": 0.5, "iterations": 2}, behind_noise("parameters"), given={"rule": "centered_clipping"}
        ),
    },
    "rsa": {name: rsa_seam(name, 3.1) for name in RSA},
    "sign_majority": {"server_lr": Seam(0.2, votes)},
    "signguard": {
        "low": signguard_seam("low", 0.8),
        "high": signguard_seam("high", 1.1),
        "coordinates": signguard_seam("coordinates", 0.6),
    },
    "weak_dp": {"bound": Seam(0.4, weak("bound")), "sigma": Seam(0.3, weak("sigma"))},
}

ELSEWHERE = {
    ("deepsight", "num_samples"): "test_deepsight_asks_models_of_so_many_samples",
    ("deepsight", "tau"): "test_deepsight_leaves_out_so_suspicious_clusters",
    ("centered_clipping", "memory"): "test_what_rules_remember_changes_their_second_round",
    ("fldetector", "window"): "test_fldetector_judges_after_so_many_rounds",
    ("foolsgold", "memory"): "test_what_rules_remember_changes_their_second_round",
    ("fltrust", "root_samples"): "test_fltrust_trains_on_so_many_images",
    ("dp_fedavg", "allow_large_epsilon"): "test_a_large_epsilon_is_allowed_where_it_is_asked_for",
    ("niss", "allow_large_epsilon"): "test_a_large_epsilon_is_allowed_where_it_is_asked_for",
    ("robust_dp_fedavg", "allow_large_epsilon"): "test_a_large_epsilon_is_allowed_where_it_is_asked_for",
}
"""Parameters that steer something else than a round's arithmetic, and the test of this file that holds them."""

DEFENSES: dict[str, type[Defense]] = {
    name: cls
    for name in registry.names("defense")
    if (cls := registry.get("defense", name)).__module__ == f"defenses.{name}"
}
CASES = [(name, field) for name, seams in SEAMS.items() for field in seams]


def built(name: str, field: str) -> Defense:
    seam = SEAMS[name][field]
    return DEFENSES[name](**{**seam.given, field: seam.value})


def expected(name: str, field: str, played: Round, pure: Pure | None = None) -> Tensor:
    """What the pure function gives of the value; it differs from what it gives of the default."""
    seam = SEAMS[name][field]
    pure = pure or seam.pure
    found = pure(played, seam.value)
    default = pure(played, DEFENSES[name].model_fields[field].get_default(call_default_factory=True))
    assert not torch.allclose(found, default), f"{name}'s {field} of {seam.value} does what its default does"
    return found


def local_round(played: Round) -> LocalRound:
    weights = torch.full((M,), 1 / M, dtype=torch.float64)
    return LocalRound(
        0, torch.arange(M), played.setting, played.broadcast, played.updates, weights, Round.draws("noise")
    )


def server_round(played: Round, weights: Tensor) -> ServerRound:
    clients = torch.arange(len(weights))
    return ServerRound(0, played.setting, played.broadcast, weights, Round.draws("server"), clients=clients)


def test_every_parameter_of_every_defense_has_a_line_here() -> None:
    held = {*CASES, *ELSEWHERE}
    there = {(name, field) for name, cls in DEFENSES.items() for field in cls.model_fields}
    missing, gone = there - held, held - there
    assert not missing, f"no test shows that these parameters have an effect, give each a line in SEAMS: {missing}"
    assert not gone, f"SEAMS has lines for parameters that are not there: {gone}"
    assert {*ELSEWHERE.values()} <= {*globals()}


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize(("name", "field"), CASES)
def test_a_round_of_the_class_is_the_pure_function_of_its_parameter(name: str, field: str, dim: int) -> None:
    played, defense = Round(dim), built(name, field)
    defense.start(played.setting)
    local = local_round(played)
    delivered = defense.deliver(defense.upload(local).messages, Round.draws("channel"))
    found = defense.aggregate(delivered, server_round(played, arrived(delivered, local.weights)))
    torch.testing.assert_close(found, expected(name, field, played))


@pytest.mark.parametrize(("name", "field"), CASES)
def test_so_is_a_round_in_sums(name: str, field: str) -> None:
    played, defense = Round(7), built(name, field)
    if not plays_in_sums(defense, played.setting):
        assert (
            not isinstance(defense, SumDefense) or field == "dropout" or getattr(defense, "rule", "fedavg") != "fedavg"
        )
        return
    assert isinstance(defense, SumDefense)
    local = local_round(played)
    total = defense.drawn_sum(defense.summary(local), M, played.setting, Round.draws("noise"))
    found = defense.step(total, server_round(played, local.weights))
    torch.testing.assert_close(found, expected(name, field, played, SEAMS[name][field].sums))


@pytest.mark.parametrize(("name", "field"), [case for case in CASES if issubclass(DEFENSES[case[0]], RowRule)])
def test_so_are_the_weights_that_a_row_rule_makes_of_a_gram_matrix(name: str, field: str) -> None:
    """As a pre-aggregation asks for them."""
    played, rule = Round(40), built(name, field)
    assert isinstance(rule, RowRule)
    weights = rule.weights(checked_gram(played.updates, rule.origin), F)
    found = played.broadcast + apply_weights(weights, played.updates)
    torch.testing.assert_close(found, expected(name, field, played))


FACTS: dict[str, Callable[[Defense], Any]] = {
    "zeta": lambda defense: defense.clip_norm(),
    "penalty": lambda defense: defense.local_penalty(),
    "gamma": lambda defense: defense.random_share(),
    "root_samples": lambda defense: defense.num_root_samples(),
}
"""What the engine and attackers ask a defense for, by the parameter that tells it."""


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, cls in DEFENSES.items() for field in FACTS if field in cls.model_fields]
)
def test_what_is_asked_of_a_defense_is_its_parameter(name: str, field: str) -> None:
    value = 0.75 if field != "root_samples" else 3
    assert FACTS[field](DEFENSES[name](**{field: value})) == value


def test_what_rules_remember_changes_their_second_round() -> None:
    first, second = Round(7).updates, Round(7).updates.roll(1, dims=1)
    cases: list[tuple[Defense, Tensor, Tensor]] = [
        (
            CenteredClipping(tau=0.7, memory=True),
            centered_clipping(second, tau=0.7, centre=centered_clipping(first, tau=0.7)),
            centered_clipping(second, tau=0.7),
        ),
        (FoolsGold(memory=True), foolsgold(second, history=first + second), foolsgold(second)),
    ]
    for rule, remembered, forgotten in cases:
        server = server_round(Round(7), torch.full((M,), 1 / M, dtype=torch.float64))
        for sent in (first, second):
            found = rule.aggregate(Delivered(sent, torch.arange(M)), server) - server.global_model
        torch.testing.assert_close(found, remembered)
        assert not torch.allclose(found, forgotten)


def test_fldetector_judges_after_so_many_rounds() -> None:
    """Pairs of rounds fill the window, then foretold rounds do: with the first, 2 window + 1 until somebody is out."""
    for window in (2, 4):
        server = server_round(Round(7), torch.full((M,), 1 / M, dtype=torch.float64))
        draws, played = torch.Generator().manual_seed(0), 0
        while "out" not in server.memory or not bool(server.memory["out"].any()):
            messages = torch.randn(M, 7, generator=draws, dtype=torch.float64)
            messages[:F] *= 20
            model = FLDetector(window=window).aggregate(Delivered(messages, torch.arange(M)), server)
            server, played = replace(server, global_model=model), played + 1
        assert played == 2 * window + 1


def test_fltrust_trains_on_so_many_images(make_federation: Callable[..., Federation], digits: Dataset) -> None:
    def next_model(count: int) -> Tensor:
        federation = make_federation(FLTrust(root_samples=count), dtype="float64")
        federation.play()
        return federation.global_model

    federation = make_federation(FLTrust(), dtype="float64")
    w, sent = federation.global_model, federation.play().messages
    for count in (100, 7):
        root = Root(digits, count, federation.model, federation.plan, 0, torch.float64).update(0, w, 0.1)
        torch.testing.assert_close(next_model(count), w + fltrust(sent, root))
    assert not torch.allclose(next_model(100), next_model(7))


@pytest.mark.parametrize("name", ["dp_fedavg", "niss", "robust_dp_fedavg"])
def test_a_large_epsilon_is_allowed_where_it_is_asked_for(name: str) -> None:
    given = {"mechanism": "classical", "epsilon": 4.0}
    with pytest.raises(ValueError, match="epsilon"):
        DEFENSES[name](**given)
    allowed = DEFENSES[name](**given, allow_large_epsilon=True)
    assert isinstance(allowed, DPFedAvg)
    setting = Round(7).setting
    assert allowed.sigma(setting) == pytest.approx(gaussian_sigma(4.0, 1e-4, 2 * 3.0 / M, analytic=False))


def asked_of_deepsight(defense: DeepSight, rows: Tensor) -> Tensor:
    """A round of `rows (20, d)` that go to a softmax regression of ten classes."""
    model = build("softmax", (1, 1, 4), 10)
    setting = Setting(M, M, model.dim, 1, LR, None, F / M, 1e-6)
    server = ServerRound(
        0,
        setting,
        torch.zeros(model.dim, dtype=torch.float64),
        torch.full((M,), 1 / M, dtype=torch.float64),
        Round.draws("server"),
        layers=model.layers,
        model=model,
    )
    return defense.aggregate(Delivered(rows, torch.arange(M)), server)


def test_deepsight_asks_models_of_so_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    answers = deepsight.division_differences

    def counting(model: Model, params: Tensor, broadcast: Tensor, noise: Tensor) -> Tensor:
        asked.append(len(noise))
        return answers(model, params, broadcast, noise)

    monkeypatch.setattr(deepsight, "division_differences", counting)
    asked_of_deepsight(DeepSight(num_samples=1003), Round(50).updates)
    assert asked == [1000, 3] * 3


def test_deepsight_leaves_out_so_suspicious_clusters() -> None:
    """Three of twelve clients of one cluster are suspicious: a quarter."""
    flagged = torch.zeros(12, dtype=torch.bool)
    flagged[:3] = True
    gaps = 1e-3 * (1 - torch.eye(12, dtype=torch.float64))
    assert [int(deepsight.accepted(gaps, flagged, tau).sum()) for tau in (0.2, 0.25, 0.3)] == [0, 0, 12]
