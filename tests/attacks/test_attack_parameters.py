"""Every parameter of every attack reaches the function that it belongs to, or what it steers.

A forging attack played at a value that is not the default sends what its pure function gives of that value, which is
not what it gives of the default: a parameter that a class drops on the way fails here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks import analytic, class_fishing, dlg, inverting_gradients, spear
from attacks.adaptive import adaptive
from attacks.alie import alie
from attacks.alie_optimal import alie_optimal
from attacks.analytic import Analytic, ends
from attacks.audit import Audit
from attacks.backdoor import Backdoor, backdoor, stamp
from attacks.class_fishing import ClassFishing
from attacks.collusion import Collusion
from attacks.crash import crash
from attacks.dlg import DLG
from attacks.fang import fang
from attacks.free_rider import free_rider
from attacks.gaussian import gaussian
from attacks.hybrid_sparse import hybrid_sparse, most_salient
from attacks.inverting_gradients import InvertingGradients, direction_matcher
from attacks.ipm import ipm
from attacks.ipm_optimal import ipm_optimal
from attacks.label_shares import LabelShares
from attacks.membership_gradient import MembershipGradient
from attacks.membership_lira import MembershipLiRA
from attacks.membership_loss import MembershipLoss
from attacks.mimic import furthest, oja
from attacks.min_max import min_max
from attacks.min_sum import min_sum
from attacks.plug_and_play import PlugAndPlay
from attacks.poisonedfl import is_filtered, poisonedfl
from attacks.run_audit import OneRunAudit
from attacks.same_value import same_value
from attacks.sign_flip import sign_flip
from attacks.spear import Spear
from bench import models, registry
from bench.attacking.denoiser import denoise
from bench.attacking.directions import variation_slope
from bench.attacking.inversion import Observation
from bench.attacking.linear_layers import Layer, repeated_rows
from bench.attacking.poisoning import DataFacts
from bench.base import rng
from bench.data import Split, load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.models.base import one_hot
from bench.protocol import Alphabet, Setting
from bench.threat import (
    Attack,
    ByzantineAttack,
    ByzantineView,
    MembershipView,
    PropertyView,
    PublicFacts,
    RoundView,
    View,
)
from defenses.fedavg import FedAvg
from defenses.median import coordinate_median

H, F, D = 9, 3, 14
FACTS = DataFacts(10, torch.tensor([0.5]), torch.tensor([0.25]))


@dataclass(frozen=True)
class Sight:
    """What Byzantine clients see: honest and own messages, of a tight crowd far from zero where it is asked for."""

    tight: bool = False

    @property
    def rows(self) -> Tensor:
        source = torch.Generator().manual_seed(7)
        return (3.0 if self.tight else 0.2) + (0.01 if self.tight else 1.0) * torch.randn(
            H + F, D, generator=source, dtype=torch.float64
        )

    @property
    def honest(self) -> Tensor:
        return self.rows[:H]

    @property
    def own(self) -> Tensor:
        return self.rows[H:]

    @property
    def broadcast(self) -> Tensor:
        return torch.linspace(-1, 1.5, D, dtype=torch.float64)

    @property
    def draws(self) -> torch.Generator:
        return torch.Generator().manual_seed(0)

    @staticmethod
    def rule(messages: Tensor) -> Tensor:
        return coordinate_median(messages)


MakeView = Callable[..., ByzantineView]
Pure = Callable[[Sight, Any], Tensor]
"""The forged messages `(f, d)`, by functions alone, with a parameter at this value."""


def forge(attack: Any, sight: Sight, make: MakeView) -> Tensor:
    assert isinstance(attack, ByzantineAttack)
    known = {"broadcast": sight.broadcast, "aggregate": sight.rule, "updates": sight.own}
    return attack.forge(make(sight.honest, sight.own, Alphabet.REAL, **known))


def forge_later(attack: Any, sight: Sight, make: MakeView) -> Tensor:
    """The messages of a third round, in which the honest ones of the first two are swapped and turned round."""
    memory: dict[str, Tensor] = {}
    for honest in turned(sight.honest):
        view = make(honest, sight.own, Alphabet.REAL, broadcast=sight.broadcast, memory=memory)
        found: Tensor = attack.forge(view)
    return found


def turned(honest: Tensor) -> list[Tensor]:
    return [honest, -5 * honest.flip(0), 3 * honest.roll(4, 0)]


def poison(attack: Any, sight: Sight, make: MakeView) -> Tensor:
    """The images and labels of poisoned shards, and those that the attackers would show the model."""
    x, y = images()
    found = attack.poison(x, y, FACTS, sight.draws)
    shown = attack.goal(Split(x.flatten(0, 1), y.flatten()), FACTS)
    return in_one(*found, shown.x, shown.y)


def images() -> tuple[Tensor, Tensor]:
    x = torch.randn(F, 10, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(10).expand(F, 10)


def in_one(*tensors: Tensor) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in tensors])


@dataclass(frozen=True)
class Seam:
    """A value that is not the default, what is sent with it, the other parameters, and how the class is played."""

    value: Any
    pure: Pure
    given: dict[str, Any] = field(default_factory=dict)
    sight: Sight = Sight()
    play: Callable[[Any, Sight, MakeView], Tensor] = forge


def adaptive_seam(name: str, value: Any) -> Seam:
    return Seam(value, lambda see, value: adaptive(see.honest, F, see.rule, see.draws, **{name: value}, own=see.own))


def searched(attack: Callable[..., Tensor], name: str, value: Any) -> Seam:
    return Seam(value, lambda see, value: attack(see.honest, F, see.rule, **{name: value}))


def fang_seam(name: str, value: Any, tight: bool = False, **given: Any) -> Seam:
    def pure(see: Sight, value: Any) -> Tensor:
        p = {"against": "krum", "on": "model", "b": 2.0, "threshold": 1e-5, **given, name: value}
        base = see.broadcast if p["on"] == "model" and p["against"] != "krum" else torch.zeros(D, dtype=torch.float64)
        s = torch.sign(see.rule(see.rows))
        return fang(see.honest + base, F, see.draws, p["against"], s, p["b"], p["threshold"]) - base

    return Seam(value, pure, given, Sight(tight))


def flipped_model(see: Sight, c: float) -> Tensor:
    return sign_flip(see.broadcast + see.own, c) - see.broadcast


def flipped(see: Sight, on: str) -> Tensor:
    return flipped_model(see, 2.0) if on == "model" else sign_flip(see.own)


def mimicked(see: Sight, warmup: int) -> Tensor:
    """The client that is furthest along the direction of the first `warmup` rounds."""
    rounds = turned(see.honest)
    direction, mean = torch.randn(D, generator=see.draws, dtype=torch.float64), torch.zeros(D, dtype=torch.float64)
    for index, honest in enumerate(rounds[:warmup]):
        mean, direction = oja(honest, mean, direction, index)
        client = furthest(honest, direction)
    return rounds[-1][client].expand(F, -1)


def poisoned(name: str, value: Any) -> Seam:
    def pure(see: Sight, value: Any) -> Tensor:
        p = {"target": 0, "size": 3, "share": 0.5, name: value}
        x, y = images()
        chosen = torch.rand(F, 10, generator=see.draws).argsort(dim=1) < round(10 * p["share"])
        stamped, labels = stamp(x, p["size"], FACTS), torch.where(chosen, p["target"], y)
        others = y.flatten() != p["target"]
        shown = stamped.flatten(0, 1)[others]
        dirty = torch.where(chosen[..., None, None, None], stamped, x)
        return in_one(dirty, labels, shown, torch.full((len(shown),), p["target"]))

    return Seam(value, pure, play=poison)


def steered(see: Sight) -> list[Tensor]:
    """Broadcasts of five rounds, in which the model goes its own way."""
    return [step * see.broadcast.roll(step) for step in range(5)]


def forge_on_the_way(attack: Any, sight: Sight, make: MakeView) -> Tensor:
    memory: dict[str, Tensor] = {}
    for broadcast in steered(sight):
        found: Tensor = attack.forge(make(sight.honest, sight.own, Alphabet.REAL, broadcast=broadcast, memory=memory))
    return found


def poisonedfl_seam(name: str, value: Any, **given: Any) -> Seam:
    def pure(see: Sight, value: Any) -> Tensor:
        p = {"c": 8.0, "beta": 0.7, "period": 50, **given, name: value}
        way = steered(see)
        signs = torch.where(torch.rand(D, generator=see.draws, dtype=torch.float64) < 0.5, -1.0, 1.0).double()
        c, last, sent = p["c"], way[0], torch.zeros(D, dtype=torch.float64)
        for step, broadcast in enumerate(way):
            if step and step % p["period"] == 0:
                c, last = c * p["beta"] if is_filtered(signs, broadcast - last) else c, broadcast
            sent = poisonedfl(signs, broadcast - way[max(step - 1, 0)], sent, c)
        return sent.expand(F, -1)

    return Seam(value, pure, given, play=forge_on_the_way)


def hybrid_seam(name: str, value: Any) -> Seam:
    def pure(see: Sight, value: Any) -> Tensor:
        p = {"share": 0.005, "scale": 1.5, "z": None, "sign": "plus", name: value}
        mask = most_salient(see.broadcast, see.honest.mean(dim=0), p.pop("share"))
        return hybrid_sparse(see.honest, F, mask, **p)

    return Seam(value, pure)


SEAMS: dict[str, dict[str, Seam]] = {
    "adaptive": {"evaluations": adaptive_seam("evaluations", 4), "objective": adaptive_seam("objective", "deviation")},
    "alie": {
        "z": Seam(0.4, lambda see, z: alie(see.honest, F, z)),
        "ddof": Seam(1, lambda see, ddof: alie(see.honest, F, None, ddof)),
        "sign": Seam("minus", lambda see, sign: alie(see.honest, F, sign=sign)),
    },
    "alie_optimal": {
        "low": searched(alie_optimal, "low", 1.3),
        "high": searched(alie_optimal, "high", 0.7),
        "points": searched(alie_optimal, "points", 3),
        "ddof": searched(alie_optimal, "ddof", 1),
        "sign": searched(alie_optimal, "sign", "plus"),
    },
    "ascent": {"c": Seam(0.3, lambda see, c: -c * see.own)},
    "backdoor": {
        "target": poisoned("target", 4),
        "size": poisoned("size", 5),
        "share": poisoned("share", 0.2),
        "boost": Seam(2.5, lambda see, boost: backdoor(see.own, boost)),
    },
    "crash": {"kind": Seam("inf", lambda see, kind: crash(see.honest, F, kind))},
    "fang": {
        "against": fang_seam("against", "trimmed_mean"),
        "on": fang_seam("on", "update", against="trimmed_mean"),
        "b": fang_seam("b", 7.0, against="trimmed_mean"),
        "threshold": fang_seam("threshold", 0.2, tight=True),
    },
    "free_rider": {"s": Seam(0.5, lambda see, s: free_rider(torch.zeros(D, dtype=torch.float64), F, s, see.draws))},
    "gaussian": {"s": Seam(0.2, lambda see, s: gaussian(see.own, F, s, see.draws))},
    "hybrid_sparse": {
        "share": hybrid_seam("share", 0.4),
        "scale": hybrid_seam("scale", 7.0),
        "z": hybrid_seam("z", 0.9),
        "sign": hybrid_seam("sign", "minus"),
    },
    "ipm": {"epsilon": Seam(3.0, lambda see, epsilon: ipm(see.honest, F, epsilon))},
    "ipm_optimal": {
        "low": searched(ipm_optimal, "low", 1.3),
        "high": searched(ipm_optimal, "high", 0.7),
        "points": searched(ipm_optimal, "points", 3),
    },
    "mimic": {"warmup": Seam(1, mimicked, play=forge_later)},
    "min_max": {
        "perturbation": Seam("sign", lambda see, name: min_max(see.honest, F, name)),
        "sign": Seam("minus", lambda see, sign: min_max(see.honest, F, sign=sign)),
    },
    "min_sum": {
        "perturbation": Seam("unit", lambda see, name: min_sum(see.honest, F, name)),
        "sign": Seam("minus", lambda see, sign: min_sum(see.honest, F, sign=sign)),
    },
    "poisonedfl": {
        "c": poisonedfl_seam("c", 3.0),
        "beta": poisonedfl_seam("beta", 0.9, period=2),
        "period": poisonedfl_seam("period", 2),
    },
    "same_value": {"value": Seam(-3.0, lambda see, value: same_value(see.own, F, value))},
    "sign_flip": {"c": Seam(0.3, lambda see, c: sign_flip(see.own, c)), "on": Seam("model", flipped)},
}

DLG_FIELDS = ("label", "starts", "evaluations", "history", "matched", "agreement")
TRAINED: dict[str, dict[str, tuple[Any, dict[str, Any]]]] = {
    "a3fl": {
        "target": (4, {}),
        "size": (2, {}),
        "corner": (1, {}),
        "share": (0.75, {}),
        "boost": (2.5, {}),
        "searches": (12, {}),
        "rate": (0.3, {}),
        "balance": (5.0, {}),
        "every": (3, {"balance": 5.0}),
        "adversarial_steps": (2, {"balance": 5.0}),
    },
    "dba": {"target": (4, {}), "width": (2, {}), "gap": (1, {}), "share": (0.2, {}), "boost": (2.5, {})},
    "edge_case": {
        "edge": ("tail", {}),
        "source": (3, {}),
        "target": (4, {}),
        "share": (0.2, {}),
        "boost": (2.5, {}),
        "radius": (0.01, {}),
    },
    "model_replacement": {
        "target": (4, {}),
        "size": (5, {}),
        "share": (0.2, {}),
        "boost": (4.0, {}),
        "alpha": (0.5, {}),
        "bound": (0.1, {}),
        "passes": (2, {}),
        "step": (0.1, {}),
    },
    "neurotoxin": {"target": (4, {}), "size": (5, {}), "share": (0.2, {}), "boost": (2.5, {}), "ratio": (0.5, {})},
    "targeted_label_flip": {"source": (3, {}), "target": (4, {})},
}
"""Of attacks that poison, or train themselves: a value that is not the default, and the other parameters."""

ELSEWHERE: dict[str, dict[str, str]] = {
    **{name: dict.fromkeys(fields, "test_what_is_trained_depends_on_it") for name, fields in TRAINED.items()},
    "analytic": {"same": "test_analytic_compares_rows_up_to_same"},
    "audit": dict.fromkeys(("rho", "active", "direction", "runs", "dim"), "test_an_audit_says_what_it_was_given"),
    "class_fishing": dict.fromkeys(("target_class", "same"), "test_a_class_is_fished_and_read_as_the_parameters_say"),
    "dlg": {
        "label": "test_joint_labels_are_dummies_as_well",
        "starts": "test_each_start_of_dlg_gets_its_budget_and_history",
        "evaluations": "test_each_start_of_dlg_gets_its_budget_and_history",
        "history": "test_each_start_of_dlg_gets_its_budget_and_history",
        "matched": "test_a_loss_below_matched_ends_the_starts",
        "agreement": "test_losses_that_agree_end_the_starts",
    },
    "inverting_gradients": dict.fromkeys(
        ("steps", "starts", "lr", "momentum", "tv"), "test_signed_adam_gets_its_steps_rate_momentum_and_prior"
    ),
    "plug_and_play": dict.fromkeys(
        ("steps", "starts", "lr", "momentum", "tv", "weight", "sigma"),
        "test_signed_adam_gets_its_steps_rate_momentum_and_prior",
    ),
    "label_shares": dict.fromkeys(("rho", "by", "rehearsals"), "test_shares_are_told_as_the_parameters_say"),
    "membership_gradient": dict.fromkeys(("rho", "reference"), "test_membership_is_scored_as_its_parameters_say"),
    "membership_lira": dict.fromkeys(("on", "rehearsals"), "test_membership_is_scored_as_its_parameters_say"),
    "membership_loss": {"models": "test_membership_is_scored_as_its_parameters_say"},
    "spear": dict.fromkeys(("samples", "rejected", "least"), "test_spear_draws_filters_and_believes_as_it_was_told"),
    "run_audit": dict.fromkeys(("canaries", "canary"), "test_a_run_audit_says_what_it_was_given"),
    **{
        name: dict.fromkeys((*DLG_FIELDS, "rho"), "test_colluders_hand_on_what_dlg_was_given")
        for name in ("collusion", "subspace", "weighted_collusion", "zero_shares")
    },
}
"""Parameters of attacks on privacy: the test of this file that holds each."""

ATTACKS: dict[str, type[Attack]] = {
    name: cls
    for name in registry.names("attack")
    if (cls := registry.get("attack", name)).__module__ == f"attacks.{name}"
}
CASES = [(name, field) for name, seams in SEAMS.items() for field in seams]


def test_every_parameter_of_every_attack_has_a_line_here() -> None:
    held = {*CASES, *((name, field) for name, tests in ELSEWHERE.items() for field in tests)}
    there = {(name, field) for name, cls in ATTACKS.items() for field in cls.model_fields}
    missing, gone = there - held, held - there
    assert not missing, f"no test shows that these parameters have an effect, give each a line in SEAMS: {missing}"
    assert not gone, f"SEAMS has lines for parameters that are not there: {gone}"
    assert {test for tests in ELSEWHERE.values() for test in tests.values()} <= {*globals()}


@pytest.mark.parametrize(("name", "field"), CASES)
def test_a_forgery_of_the_class_is_the_pure_function_of_its_parameter(
    name: str, field: str, omniscient_view: MakeView
) -> None:
    seam, cls = SEAMS[name][field], ATTACKS[name]
    found = seam.play(cls(**{**seam.given, field: seam.value}), seam.sight, omniscient_view)
    default = seam.pure(seam.sight, cls.model_fields[field].get_default(call_default_factory=True))
    torch.testing.assert_close(found, seam.pure(seam.sight, seam.value), equal_nan=True)
    assert not torch.allclose(found, default, equal_nan=True), f"{field} of {seam.value} does what its default does"


def test_a_replaced_model_and_a_flipped_one_have_their_own_factors(omniscient_view: MakeView) -> None:
    see = Sight()
    replaced = forge(Backdoor(boost="replace"), see, omniscient_view)
    torch.testing.assert_close(replaced, backdoor(see.own, (H + F) / F))
    model = forge(ATTACKS["sign_flip"](c=0.3, on="model"), see, omniscient_view)
    torch.testing.assert_close(model, flipped_model(see, 0.3))


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in TRAINED.items() for field in fields])
def test_what_is_trained_depends_on_it(name: str, field: str) -> None:
    """Two rounds in which all attackers take part; what else they do is in the attack's own tests."""
    value, others = TRAINED[name][field]
    shape = {"clients": 10, "rounds": 2, "local_steps": 2, "batch_size": 8, "lr": 0.2, "dtype": "float64"}
    settings = FederationSettings.model_validate({"dataset": "digits", "model": "mlp", **shape})
    sent = []
    for given in ({}, {field: value}):
        fed = Federation(settings, FedAvg(), load("digits"), 0, ATTACKS[name](**others, **given), 0.4)
        fed.play()
        sent.append(fed.play().messages)
        assert torch.isfinite(sent[-1]).all()
    assert not torch.allclose(*sent), f"{field} of {value} does what its default does"


# -------------------------------------------------------------------------------------------- attacks on privacy

Watch = Callable[..., tuple[View, list[Observation], Tensor, Tensor]]


@pytest.fixture(scope="module")
def view(watch: Watch) -> View:
    """Four targets with a digit each, whose softmax regression the server sees undefended."""
    return watch(FedAvg(), model="softmax", rounds=1)[0]


@pytest.fixture
def starts_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Starts of DLG end at these losses, in units of the first guess's, without any work: the calls that were made."""

    def stub(*losses: float) -> list[Any]:
        calls: list[Any] = []

        def minimise(objective: Any, x: Tensor, evaluations: int, history: int, **given: Any) -> Any:
            loss = torch.full((len(x),), losses[len(calls)], dtype=torch.float64)
            calls.append(SimpleNamespace(x=x, evaluations=evaluations, history=history))
            return SimpleNamespace(x=x, loss=loss, trace=torch.ones(1, len(x), dtype=torch.float64))

        monkeypatch.setattr(dlg, "minimise", minimise)
        return calls

    return stub


def infer(attack: DLG, view: View) -> None:
    attack.infer(view, rng.generator(0, "attack"))


def test_each_start_of_dlg_gets_its_budget_and_history(view: View, starts_with: Callable[..., list[Any]]) -> None:
    calls = starts_with(0.9, 0.7, 0.5, 0.3, 0.1)
    infer(DLG(starts=5, evaluations=17, history=6), view)
    assert [(call.evaluations, call.history) for call in calls] == [(17, 6)] * 5


@pytest.mark.parametrize(("matched", "starts"), [(0.2, 1), (0.06, 2), (0.01, 3)])
def test_a_loss_below_matched_ends_the_starts(
    matched: float, starts: int, view: View, starts_with: Callable[..., list[Any]]
) -> None:
    calls = starts_with(0.1, 0.05, 0.02)
    infer(DLG(matched=matched), view)
    assert len(calls) == starts


@pytest.mark.parametrize(("agreement", "starts"), [(0.15, 2), (0.05, 3), (0.01, 4)])
def test_losses_that_agree_end_the_starts(
    agreement: float, starts: int, view: View, starts_with: Callable[..., list[Any]]
) -> None:
    calls = starts_with(0.5, 0.45, 0.44, 0.1)
    infer(DLG(starts=4, agreement=agreement), view)
    assert len(calls) == starts


@pytest.mark.parametrize(("label", "width"), [("inferred", 64), ("joint", 64 + 10)])
def test_joint_labels_are_dummies_as_well(
    label: Any, width: int, view: View, starts_with: Callable[..., list[Any]]
) -> None:
    calls = starts_with(0.9)
    infer(DLG(starts=1, label=label), view)
    assert calls[0].x.shape == (4, width)


VALUES: dict[str, Any] = {
    **{"label": "joint", "starts": 5, "evaluations": 17, "history": 6, "matched": 0.02, "agreement": 0.04},
    "rho": 0.75,
}


@pytest.mark.parametrize("name", ["collusion", "subspace", "weighted_collusion", "zero_shares"])
def test_colluders_hand_on_what_dlg_was_given(name: str) -> None:
    """Their work is DLG's own once the noise that they know is out."""
    attack = ATTACKS[name](**VALUES)
    assert isinstance(attack, Collusion)
    assert type(attack).infer is DLG.infer
    alone = attack.alone()
    assert type(alone) is DLG
    assert alone.model_dump() == {key: VALUES[key] for key in DLG_FIELDS}
    assert {*VALUES} == {*type(attack).model_fields}
    assert all(VALUES[key] != info.default for key, info in type(attack).model_fields.items())
    assert attack.collusion() == 0.75


def test_analytic_compares_rows_up_to_same(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one image that are off by a tenth agree up to a fifth of their length, and not up to a hundredth."""
    view = watch(FedAvg(), batch=2, model="mlp", rounds=1)[0]
    source = torch.Generator().manual_seed(0)
    bias = torch.rand(1, 6, generator=source, dtype=torch.float64) + 0.5
    inputs = torch.rand(2, 64, generator=source, dtype=torch.float64)[torch.tensor([0, 0, 0, 1, 1, 1])]
    inputs = inputs * (1 + 0.1 * torch.randn(inputs.shape, generator=source, dtype=torch.float64))
    layer, labels = Layer(bias[..., None] * inputs, bias), torch.zeros(1, 2, dtype=torch.long)
    found = {same: Analytic(same=same).batch(layer, view, labels) for same in (0.2, 0.01)}
    for same, images in found.items():
        torch.testing.assert_close(images, repeated_rows(layer, 2, same, *ends(view)))
    assert not torch.allclose(found[0.2], found[0.01])
    used: list[float] = []
    monkeypatch.setattr(analytic, "repeated_rows", lambda layer, count, same, *ends: used.append(same))
    Analytic(same=0.3).batch(layer, view, labels)
    assert used == [0.3]


def test_a_class_is_fished_and_read_as_the_parameters_say(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    view = watch(FedAvg(), batch=2, model="mlp", rounds=1)[0]
    facts, params = view.facts, view.rounds[0].broadcast
    for wanted in (4, 7):
        draws = torch.Generator().manual_seed(0)
        sent = ClassFishing(target_class=wanted).tampered(facts, params, view.mean_image, draws)
        assert class_fishing.fished_class(facts.model.split(sent)[-2]) == wanted
    used: list[float] = []

    def noted(layer: Layer, count: int, same: float, *ends: Tensor) -> Tensor:
        used.append(same)
        return torch.zeros(1, count, 64, dtype=torch.float64)

    monkeypatch.setattr(class_fishing, "repeated_rows", noted)
    monkeypatch.setattr(class_fishing, "without_noise", lambda layer, count: layer)
    monkeypatch.setattr(Spear, "read", lambda *given: None)
    layer = Layer(torch.ones(1, 6, 64, dtype=torch.float64), torch.ones(1, 6, dtype=torch.float64))
    ClassFishing(same=0.3).read(layer, 2, view, torch.ones(6, 65).double(), torch.Generator())
    assert used == [0.3]


def test_spear_draws_filters_and_believes_as_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    source = torch.Generator().manual_seed(0)
    errors = torch.randn(40, 3, generator=source, dtype=torch.float64).clamp(min=0)
    gradient = errors @ torch.rand(3, 9, generator=source, dtype=torch.float64)
    layer = torch.randn(40, 9, generator=source, dtype=torch.float64)
    asked: list[float] = []
    monkeypatch.setattr(spear, "silent_share", lambda units, rejected: asked.append(rejected) or 0.1)
    drawn: list[int] = []
    draw = spear.directions
    monkeypatch.setattr(
        spear, "directions", lambda left, count, source: drawn.append(count) or draw(left, count, source)
    )
    assert Spear(samples=3).read(gradient, layer, 3, 40, source) is None  # B - 1 = 2 rows need 4 draws
    assert drawn == []
    Spear(samples=5, rejected=0.01).read(gradient, layer, 3, 40, source)
    assert drawn == [5]
    assert asked == [1e-5, 0.01]
    solved = spear.Solution(torch.zeros(3, 8), 0.8, True)
    monkeypatch.setattr(Spear, "solve", lambda *given: solved)
    assert Spear(least=0.8).read(gradient, layer, 3, 40, source) is solved
    assert Spear(least=0.81).read(gradient, layer, 3, 40, source) is None


def penalised(view: View, images: Tensor, weight: float, sigma: float) -> Tensor:
    """What a denoiser takes of images `(T, B, C, H, W)`, per pixel and with its weight, in units of the images."""
    std, mean = view.facts.std[:, None, None], view.facts.mean[:, None, None]
    taken = [(one * std + mean - denoise(one * std + mean, sigma)) / std for one in images]
    return weight * torch.stack(taken) / images[0].numel()


@pytest.mark.parametrize(("weight", "sigma"), [(None, None), (30.0, 0.2)])
def test_signed_adam_gets_its_steps_rate_momentum_and_prior(
    weight: float | None, sigma: float | None, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class Adam(torch.optim.Adam):
        def __init__(self, images: list[Tensor], lr: float, betas: tuple[float, float], fused: bool) -> None:
            super().__init__(images, lr=lr, betas=betas, fused=fused)
            self.told, self.slopes, self.first = (lr, betas), list[Tensor](), images[0].clone()
            made.append(self)

        def step(self, closure: Any = None) -> Any:
            self.slopes.append(self.param_groups[0]["params"][0].grad.clone())
            return super().step(closure)

    monkeypatch.setattr(inverting_gradients.torch.optim, "Adam", Adam)
    given: dict[str, Any] = {"steps": 5, "starts": 3, "lr": 0.05, "momentum": 0.7, "tv": 0.02}
    attack = InvertingGradients(**given)
    if weight is not None and sigma is not None:
        attack = PlugAndPlay(**given, weight=weight, sigma=sigma)
    found = attack.infer(view, rng.generator(0, "attack"))
    assert [len(optimizer.slopes) for optimizer in made] == [5] * 3
    assert [optimizer.told for optimizer in made] == [(0.05, (0.7, 0.999))] * 3

    seen = inverting_gradients.observations(view, attack.estimates(view))
    matcher = direction_matcher(view.facts, seen[0], torch.arange(4))
    for optimizer in made:
        guess = optimizer.first
        slope = matcher(guess, one_hot(found.labels, 10, guess.dtype))[1][0]
        prior = 0.02 * variation_slope(guess)
        if weight is not None and sigma is not None:
            usual = prior + penalised(view, guess, 0.1, 0.05)
            prior = prior + penalised(view, guess, weight, sigma)
            assert not torch.equal((slope + prior).sign(), (slope + usual).sign())
        with_prior = (slope + prior).sign()
        torch.testing.assert_close(optimizer.slopes[0], with_prior)
        assert not torch.equal(with_prior, (slope + 1e-4 * variation_slope(guess)).sign())


def test_a_run_audit_says_what_it_was_given() -> None:
    attack = OneRunAudit(canaries=7, canary="sample")
    assert (attack.count(), attack.samples()) == (7, True)
    assert attack.directions(9, False, rng.generator(0, "canaries")).shape == (7, 9)
    assert (OneRunAudit().count(), OneRunAudit().samples()) == (100, False)


def test_an_audit_says_what_it_was_given() -> None:
    audit = Audit(rho=0.4, active=True, direction="coordinate", runs=20, dim=6)
    assert (audit.collusion(), audit.sabotages(), audit.size()) == (0.4, True, (20, 6))
    assert audit.canary(rng.generator(0, "canary")).tolist() == [1, 0, 0, 0, 0, 0]
    other = Audit()
    assert (other.collusion(), other.sabotages(), other.size()) == (0.0, False, (1000, 100))
    assert bool(other.canary(rng.generator(0, "canary")).all())


# --------------------------------------------------------------------------------------------- attacks on membership


@pytest.mark.parametrize(
    ("attack", "collusion", "sees"),
    [
        (MembershipGradient(rho=0.5), 0.5, "uploads"),
        (MembershipGradient(reference="none"), 0.0, "uploads"),
        (MembershipLiRA(on="uploads"), 0.0, "uploads"),
        (MembershipLiRA(rehearsals=6), 0.0, "broadcasts"),
        (MembershipLoss(models="all"), 0.0, "broadcasts"),
    ],
)
def test_membership_is_scored_as_its_parameters_say(attack: Any, collusion: float, sees: str) -> None:
    """Colluders and what is seen are told to the bench; any other parameter gives other scores than its default."""
    assert (attack.collusion(), attack.sees()) == (collusion, sees)
    if not collusion:
        assert not torch.allclose(scored(attack), scored(type(attack)()))


def scored(attack: Any) -> Tensor:
    """Scores of three targets with four candidates each in a run of two rounds, and its rehearsals."""

    def run(seed: int, rehearse: Any = None) -> MembershipView:
        draws = torch.Generator().manual_seed(seed)
        facts: Any = SimpleNamespace(model=models.build("softmax", (1, 2, 2), 10), alphabet=Alphabet.REAL)
        known = [torch.randn(50, generator=draws) for _ in range(3)]
        sent = [torch.randn(3, 50, generator=draws) for _ in range(2)]
        uploads = tuple(RoundView(at, known[at], one, torch.ones(3).long()) for at, one in enumerate(sent))
        return MembershipView(facts, x, y, tuple(known), uploads, rehearse)

    x = torch.randn(3, 4, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    y = torch.arange(12).reshape(3, 4) % 10
    found: Tensor = attack.infer(run(0, lambda index, inside: run(1 + index)), rng.generator(0, "attack"))
    return found


# --------------------------------------------------------------------------------------------- attacks on label shares


def test_shares_are_told_as_the_parameters_say() -> None:
    assert LabelShares(rho=0.5).collusion() == 0.5
    asked: list[int] = []

    def told(attack: LabelShares) -> Tensor:
        def rehearse(index: int) -> tuple[PropertyView, Tensor]:
            asked.append(index)
            return seen_of(1 + index), torch.eye(10, dtype=torch.float64)[index : index + 3]

        return attack.infer(replace(seen_of(0), rehearse=rehearse), rng.generator(0, "attack"))

    by_gradients = told(LabelShares())
    assert asked == []
    by_rehearsals = told(LabelShares(by="rehearsals", rehearsals=3))
    assert asked == [0, 1, 2]
    assert not torch.allclose(by_gradients, by_rehearsals)


def seen_of(seed: int) -> PropertyView:
    """Two rounds of three targets under a mean, uploads at random, and twenty images of the attacker's."""
    draws = torch.Generator().manual_seed(seed)
    setting = Setting(3, 3, 50, 2, 0.1, None, 0.0, 1e-6)
    facts = PublicFacts(
        models.build("softmax", (1, 2, 2), 10), setting, Alphabet.REAL, False, False, 0.0, 0.0, None, 1, 0.0,
        torch.zeros(1), torch.ones(1),
    )  # fmt: skip
    known = tuple(torch.randn(50, generator=draws) for _ in range(3))
    uploads = tuple(
        RoundView(at, known[at], torch.randn(3, 50, generator=draws), torch.ones(3).long()) for at in (0, 1)
    )
    x, y = torch.randn(20, 1, 2, 2, generator=draws), torch.arange(20) % 10
    return PropertyView(facts, x, y, torch.full((10,), 0.1, dtype=torch.float64), known, uploads)
