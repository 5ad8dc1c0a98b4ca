"""What a parameter may be given, by its name: well-formed values, and wild ones where a caller from outside may err.

All parameters of one call are drawn for one `World`, so that shapes fit together unless a wild value breaks them.
"""

import math

import numpy as np
import torch
from hypothesis import strategies as st

from bench import models
from bench.attacking.directions import cosine_slope
from bench.attacking.inversion import Observation
from bench.attacking.linear_layers import Layer
from bench.attacking.poisoning import DataFacts
from bench.protocol import Alphabet
from bench.rules.gram import DOUBLE_ERROR, norms_of, squared_distances
from tests.fuzz.makers import (
    aggregate,
    array,
    dataset,
    flag,
    frame,
    generator,
    gram,
    gram_with_origin,
    labels,
    layer,
    layer_that_learns,
    literal,
    magnitudes,
    moderate,
    nonzero,
    perhaps,
    real,
    scores,
    setting,
    split,
    whole,
)
from tests.fuzz.world import EXTREME, MODERATE, REALS, Maker

PARAMETERS: dict[str, Maker] = {
    "aggregate": aggregate,
    "against": literal("krum", "trimmed_mean"),
    "alpha": real(0.01, 10),
    "alphabet": lambda world: world.one_of(*Alphabet),
    "analytic": flag,
    "argument": lambda world: "messages",
    "at_least": whole(0, 3),
    "b": real(1.01, 5, 2.0),
    "block": lambda world: np.sort(world.tensor(world.d, world.n).numpy(), axis=1),
    "boost": real(0.1, 10),
    "bound": real(0.01, 10, 3.0),
    "broadcast": perhaps(lambda world: world.vector(world.d)),
    "bucket_size": whole(1, 4, 0, -1, 99),
    "byzantine_fraction": real(0, 0.49),
    "c": real(0.1, 10, 2.0),
    "centre": perhaps(lambda world: world.vector(world.d)),
    "change": lambda world: world.vector(world.d),
    "confidence": real(0.5, 0.999, 0.95),
    "count": lambda world: world.draw(st.integers(0, world.n)),
    "dataset": dataset,
    "ddof": whole(0, 1, -1, 8),
    "delta": real(1e-12, 0.999, 1e-5, 1e-6),
    "device": lambda world: "cpu",
    "diagonal": lambda world: world.one_of(0.0, math.inf, -1.0),
    "dim": whole(1, 6, 0, -1),
    "direction": lambda world: world.vector(world.d),
    "distances": lambda world: squared_distances(gram(world)),
    "dtype": lambda world: world.one_of(*REALS, torch.int64) if world.strays() else world.dtype,
    "epsilon": real(0.001, 50, 0.5, 10.0),
    "error": lambda world: DOUBLE_ERROR,
    "evaluations": whole(1, 12, 0, -1),
    "filter_fraction": real(0, 2, 1.0),
    "forged": lambda world: world.rows(),
    "frame": frame,
    "gamma": real(0, 0.999, 0.283),
    "generator": generator,
    "gaussian": flag,
    "global_model": lambda world: world.vector(world.d),
    "gram": gram,
    "history": perhaps(lambda world: world.rows()),
    "high": real(0.2, 100, 100.0),
    "honest": lambda world: world.rows(),
    "images": lambda world: world.tensor(2, 2, 1, 8, 8, dtype=torch.float32),
    "indices": lambda world: torch.randint(0, 1, (world.n, 3), generator=generator(world)),
    "iterations": whole(1, 4, 0, -1),
    "kappa": real(0.1, 5, 1.0),
    "kept": lambda world: world.draw(st.integers(1, world.n)),
    "kind": literal("nan", "inf", "silence"),
    "labels": labels,
    "lambda_n": real(0.1, 5, 1.0),
    "lambda_s": real(0.1, 5, 1.0),
    "layers": lambda world: world.one_of((), (models.Layer("w", (1, world.d), slice(0, world.d)),)),
    "layer": layer,
    "local_models": lambda world: world.rows(),
    "low": real(0.01, 0.2, 0.1),
    "matrix": lambda world: world.rows() if world.strays() else gram(world),
    "mean": lambda world: world.tensor(world.d),
    "messages": lambda world: world.rows(),
    "metric": lambda world: world.one_of("score", "missing"),
    "model": lambda world: models.build("softmax", (1, 2, 2), 3),
    "most": real(0.1, 1e6, 1e5),
    "mute": perhaps(lambda world: torch.zeros(4, world.count(4, 4, 3), dtype=torch.bool)),
    "n": whole(1, 10**6, 0, -1, 10**15),
    "name": lambda world: "steps",
    "noise_level": real(0, 1, 0.001),
    "noise_multiplier": real(0.1, 50, 1.0),
    "nonzero": whole(0, 10**6, -1),
    "norm": perhaps(real(0.1, 10)),
    "norms": lambda world: norms_of(world.tensor(world.n, world.d)),
    "nu": real(1e-9, 1, 1e-6),
    "num_byzantine": lambda world: (
        world.one_of(-1, -5, 4, 9, 50) if world.strays() else world.one_of(0, 0, 0, 1, 1, 2, 3)
    ),
    "num_classes": whole(3, 5, 0, -1, 1),
    "num_clients": whole(2, 9, -1, 0, 1),
    "num_honest": whole(0, 9, -1, 50),
    "num_iterations": whole(1, 3, 0, -1),
    "num_rows": lambda world: 9,
    "num_selected": whole(1, 3, -1, 0, 9),
    "num_synthetic": perhaps(whole(0, 5, -1)),
    "num_shares": lambda world: world.one_of(0, -1, 50) if world.strays() else world.one_of(1, 1, 2, 3, 8),
    "objective": literal("descent", "deviation"),
    "origin": flag,
    "others": lambda world: ["both"],
    "own": lambda world: world.rows(),
    "participants": whole(1, 3, 0, -1, 99),
    "part": lambda world: world.rows(),
    "params": lambda world: world.tensor(15, kinds=(*MODERATE, *EXTREME)),
    "per_share": flag,
    "perturbation": literal("unit", "std", "sign"),
    "pivot": whole(0, 3, -1, 50),
    "point": lambda world: world.tensor(world.d),
    "points": whole(2, 4, 1, 0, -1),
    "canaries": whole(10, 100, 0, -1),
    "correct": whole(0, 5, -1, 99),
    "guesses": whole(5, 10, -1, 0, 999),
    "included": lambda world: np.arange(world.n) % 2 == 0,
    "theta": real(0.5, 10, 4.0),
    "rank": lambda world: world.draw(st.integers(1, min(world.n, world.d))),
    "releases": whole(0, 10**6, -1, 10**15, 10**15 + 1),
    "rho": lambda world: array(world, 0, 1),
    "root_update": lambda world: world.vector(world.d),
    "rounds": whole(0, 9),
    "row": lambda world: world.vector(world.d),
    "rows": lambda world: torch.arange(world.n),
    "s": real(0.001, 10),
    "same": real(0.001, 0.1, 0.01),
    "samples_per_client": perhaps(whole(1, 9, 0, -1)),
    "sampling_rate": real(0.001, 1, 1.0),
    "scale": literal("coordinate", "share"),
    "scheme": literal("iid", "sorted", "dirichlet", "similarity"),
    "score": lambda world: lambda factor: world.one_of(1.0, math.inf, -factor, factor),
    "scores_with": scores,
    "scores_without": scores,
    "scores": lambda world: world.vector(world.n),
    "seed": whole(-5, 2**64),
    "seen": lambda world: Observation(
        world.tensor(world.d), world.tensor(2, world.d), 0.1, sign=True, offset=world.tensor(world.d)
    ),
    "sensitivity": real(0.001, 100, 1.0),
    "setting": setting,
    "shards_per_client": whole(1, 3, 0, -1),
    "share_variance": real(0, 10),
    "shares": lambda world: world.tensor(2, world.n, world.d),
    "sigma": real(0, 100, 1.0),
    "sigma_squared": lambda world: array(world, 0, 10),
    "similarity": real(0, 1, 0.5),
    "sign": literal("plus", "minus"),
    "signs": lambda world: world.rows() if world.strays() else torch.sign(world.tensor(world.n, world.d)),
    "size": whole(1, 3, 0, -1, 50),
    "source": generator,
    "sparsity": real(0, 0.99, 0.3),
    "split": split,
    "square": lambda world: world.tensor(kinds=(*MODERATE, *EXTREME)),
    "steps": whole(0, 10**4, -1, 10**15, 10**15 + 1),
    "subsample": whole(1, 9, 0, -1),
    "successes": lambda world: np.arange(world.n),
    "tail": lambda world: world.draw(st.floats(0.001, 0.5)),
    "targets": lambda world: world.tensor(world.n, world.d),
    "tau": real(0.01, 20, 10.0),
    "tau_squared": lambda world: array(world, 0, 5),
    "tensor": lambda world: world.rows(),
    "threshold": real(1e-6, 1, 1e-5),
    "tolerance": real(1e-9, 1, 1e-6),
    "trials": lambda world: world.n + 1,
    "truth": lambda world: world.tensor(2, 2, 1, 8, 8, dtype=torch.float32),
    "updates": lambda world: world.tensor(world.n, world.d, kinds=(*MODERATE, "huge", "subnormal")),
    "value": lambda world: world.draw(st.floats()),
    "values": lambda world: world.tensor(world.n, world.n),
    "variant": literal("paper", "one_neighbour_more", "unsquared", "fourth_power", "fourth_power_sum"),
    "vector": lambda world: world.tensor(world.d),
    "vectors": lambda world: world.tensor(world.n, world.d),
    "votes": lambda world: Layer(*(torch.sign(part) for part in layer(world))),
    "width": real(0.01, 3, 0.0),
    "weights": lambda world: magnitudes(world.vector(world.n)),
    "x": lambda world: world.tensor(2, 1, 4, 4, dtype=torch.float32),
    "y": lambda world: labels(world),
    "z": real(0, 5, 1.0),
    "zeta": real(0.1, 5, 3.0),
}
"""By parameter."""

SPECIAL: dict[str, dict[str, Maker]] = {
    "attacks.alie.alie": {"z": perhaps(real(-5, 5, 1.0))},
    "bench.privacy.one_run.judge_run": {"scores": lambda world: world.vector(world.n).double().numpy()},
    "attacks.alie_optimal.alie_optimal": {"sign": literal("plus", "minus", "both")},
    "attacks.alie.alie_z": {"num_clients": whole(3, 50, -1, 0, 2)},
    "bench.attacking.linear_layers.class_means": {
        "counts": lambda world: torch.ones(2, world.n, dtype=torch.float64).tril(),
        "scale": lambda world: torch.ones(2, 1, dtype=torch.float64),
    },
    "bench.attacking.linear_layers.repeated_rows": {
        "count": lambda world: world.draw(st.integers(1, 3)),
        "lowest": lambda world: torch.full((world.d,), -1.0, dtype=torch.float64),
        "highest": lambda world: torch.full((world.d,), 1.0, dtype=torch.float64),
    },
    "bench.attacking.linear_layers.unexplained": {
        "inputs": lambda world: world.tensor(2, 3, world.d, dtype=torch.float64),
        "layer": layer_that_learns,
    },
    "attacks.ascent.ascent": {"gradient": lambda world: world.tensor(world.d), "own": lambda world: world.rows()},
    "attacks.backdoor.stamp": {"data": lambda world: DataFacts(3, torch.tensor([0.5]), torch.tensor([0.25]))},
    "attacks.fang.beyond_extremes": {
        "s": lambda world: torch.sign(world.vector(world.d)),
        "honest": lambda w: w.tensor(w.n, w.d),
    },
    "attacks.fang.fang": {"direction": perhaps(lambda world: world.vector(world.d))},
    "attacks.fang.krum_lambda": {"s": lambda w: torch.sign(w.tensor(w.d)), "honest": lambda w: w.tensor(w.n, w.d)},
    "attacks.adaptive.adaptive": {"own": perhaps(lambda world: world.rows())},
    "attacks.hybrid_sparse.hybrid_sparse": {
        "honest": lambda w: w.tensor(max(2, w.n), w.d),
        "mask": lambda w: torch.arange(w.d) % 2 == 0,
        "scale": real(-20, 20, 1.5),
        "z": perhaps(real(-5, 5, 1.0)),
        "sign": literal("plus", "minus"),
    },
    "attacks.hybrid_sparse.most_salient": {
        "broadcast": lambda world: world.tensor(world.d),
        "share": real(0.001, 1, 0.005),
    },
    "attacks.mimic.oja": {
        "honest": lambda w: w.tensor(w.n, w.d),
        "direction": lambda w: w.tensor(w.d, kinds=("normal",)),
    },
    "bench.attacking.directions.soft_signs_slope": {
        "distance": lambda world: cosine_slope(world.tensor(world.n, world.d)),
        "lr": lambda world: 0.1,
        "offset": lambda world: world.tensor(world.d),
    },
    "attacks.min_max.min_max_gamma": {"honest": moderate, "p": nonzero},
    "attacks.min_sum.min_sum_gamma": {"honest": moderate, "p": nonzero},
    "attacks.poisonedfl.is_filtered": {
        "signs": lambda world: torch.sign(world.tensor(world.d)),
        "moved": lambda world: world.tensor(world.d),
    },
    "attacks.poisonedfl.poisonedfl": {
        "signs": lambda world: torch.sign(world.tensor(world.d)),
        "change": lambda world: world.tensor(world.d),
        "last": lambda world: world.tensor(world.d),
    },
    "attacks.subspace.project_out": {
        "estimate": lambda world: world.tensor(2, world.d),
        "shares": lambda world: world.tensor(2, world.n, world.d),
    },
    "attacks.weighted_collusion.noise_left": {
        "squares": lambda world: world.tensor(2, world.d).square(),
        "num_sent": lambda world: torch.tensor([0, world.n]),
        "num_got": lambda world: torch.tensor([world.n, 0]),
        "tau_squared": lambda world: world.tensor(2).square(),
        "num_shares": lambda world: world.n,
        "share_variance": real(0.01, 10, 1.0),
    },
    "bench.attacking.forging.check_honest": {"signs": flag},
    "bench.attacking.forging.check_number": {"argument": lambda world: "value", "value": real(-5, 5)},
    "bench.attacking.forging.deviation": {"honest": moderate},
    "bench.attacking.forging.most_harmful": {
        "forged": lambda world: lambda factor: factor * torch.ones(2, world.d, dtype=world.dtype),
        "honest": moderate,
    },
    "bench.attacking.forging.perturbed": {"largest": lambda world: lambda honest, mean, p: 1.0},
    "bench.attacking.forging.spread": {"honest": moderate},
    "bench.plays.metrics.image_metrics": {
        name: lambda world: world.tensor(2, 1, 8, 8, dtype=torch.float32) for name in ("images", "truth")
    },
    "bench.plays.metrics.ssim": {
        name: lambda world: world.tensor(2, 1, 8, 9, dtype=torch.float64).clamp(0, 1) for name in ("images", "truth")
    },
    "bench.plays.metrics.labels_recovered": {
        name: lambda world: torch.randint(0, 3, (2, world.d), generator=generator(world))
        for name in ("labels", "truth")
    },
    "bench.data.partitions.class_counts": {
        "labels": lambda world: torch.randint(0, 3, (5,), generator=generator(world)),
        "indices": lambda world: torch.randint(0, 5, (world.n, 3), generator=generator(world)),
    },
    "bench.data.partitions.client_sizes": {
        "law": literal("lognormal", "dirichlet"),
        "mean": whole(1, 9, 0, -1),
        "spread": real(0.01, 3, 1.0),
    },
    "bench.data.partitions.partition": {
        "num_clients": whole(1, 9, 0, -1),
        "sizes": perhaps(lambda world: torch.randint(1, 5, (world.one_of(1, 2, 3),), generator=generator(world))),
    },
    "bench.data.partitions.shard_size": {"num_samples": whole(1, 60, 0, -1)},
    "bench.privacy.analysis.compose.require_count_and_delta": {"count": whole(0, 10**15, -1, 10**15 + 1)},
    "bench.privacy.papers.drawn_noise.niss_drawn_noise": {"tau_squared": real(0, 5)},
    "bench.privacy.papers.noise_sharing.niss_worst_coordinate": {"tau_squared": real(0, 5), "rho": real(0, 1)},
    "bench.protocol.defense.check_matrix": {"signs": flag},
    "bench.protocol.defense.check_messages": {"signs": flag},
    "bench.protocol.defense.all_finite": {"values": lambda world: world.tensor(world.n, kinds=(*MODERATE, *EXTREME))},
    "bench.base.rng.derive_seed": {"labels": lambda world: world.draw(st.lists(st.text() | st.integers(), max_size=3))},
    "bench.base.rng.fork": {"labels": lambda world: world.draw(st.lists(st.text() | st.integers(), max_size=3))},
    "bench.base.rng.generator": {"labels": lambda world: world.draw(st.lists(st.text() | st.integers(), max_size=3))},
    "bench.rules.base.apply_weights": {
        "messages": lambda world: world.tensor(world.n, world.d),
        "weights": lambda world: world.tensor(world.n),
    },
    "bench.rules.gram.distances_to": {"messages": lambda world: world.tensor(world.n, world.d)},
    "bench.rules.gram.gram_matrix": {
        "messages": lambda world: world.tensor(world.n, world.d, kinds=(*MODERATE, "huge"))
    },
    "bench.rules.gram.nearest_sums": {
        "count": lambda world: world.draw(st.integers(0, world.n - 1)),
        "power": lambda world: world.one_of(1, 2),
    },
    "bench.rules.gram.squared_distances_from": {"row": lambda world: world.draw(st.integers(0, world.n - 1))},
    "bench.rules.gram.norms_of": {"messages": lambda world: world.tensor(world.n, world.d, kinds=(*MODERATE, "huge"))},
    "defenses.centered_clipping.centered_clipping_weights": {"gram": gram_with_origin},
    "defenses.central_dp_fedavg.noisy": {"mean": lambda world: world.tensor(world.d)},
    "bench.rules.base.exact_sum": {"messages": lambda world: torch.sign(world.tensor(world.n, world.d)).to(torch.int8)},
    "bench.privacy.papers.drawn_votes.randomized_sum": {
        "counts": lambda world: torch.randint(0, 2, (2, world.d), generator=generator(world)).to(world.dtype)
    },
    "defenses.clipped_clustering.clipped_clustering": {
        "history": perhaps(lambda world: world.tensor(3).double().abs())
    },
    "defenses.clipped_clustering.larger_cluster": {
        "distances": lambda world: torch.cdist(world.tensor(world.n, 2).double(), torch.zeros(world.n, 2).double())
    },
    "defenses.lasa.deviations": {"values": lambda world: world.tensor(world.n).double()},
    **{
        f"defenses.signguard.{name}": {"points": lambda world: world.tensor(world.n, 3).double().clamp(-1e6, 1e6)}
        for name in ("bandwidth", "largest_cluster", "mean_shift")
    },
    "defenses.signguard.signguard": {
        "low": real(0, 0.5, 0.1),
        "high": real(1.0, 9.0, 3.0),
        "coordinates": real(0.05, 1, 0.1),
    },
    "defenses.fedavg.weighted_mean": {"weights": perhaps(lambda world: magnitudes(world.vector(world.n)))},
    "defenses.flame.cosine_distances": {
        "messages": lambda world: world.tensor(world.n, world.d),
        "broadcast": lambda world: world.tensor(world.d),
    },
    "defenses.fldetector.hessian_product": {
        name: lambda world: world.tensor(world.n, world.d) for name in ("steps", "changes", "vectors")
    },
    "defenses.fldetector.higher_cluster": {"scores": lambda world: world.tensor(world.n).double()},
    "defenses.foolsgold.foolsgold_weights": {"gram": gram_with_origin},
    "defenses.meamed.nearest_to_the_median": {
        "block": lambda world: world.tensor(world.d, world.n).sort(dim=1).values,
        "kept": lambda world: world.draw(st.integers(1, world.n)),
    },
    "defenses.monna.monna_weights": {"distances": lambda world: norms_of(world.tensor(world.n, world.d))},
    "defenses.multi_krum.multi_krum": {"num_selected": perhaps(whole(1, 3, -1, 0, 9))},
    "defenses.niss.exchange": {
        "sigma_squared": lambda world: world.number(0, 10) if world.draw(st.booleans()) else world.tensor(4).abs(),
        "tau_squared": lambda world: world.number(0, 5) if world.draw(st.booleans()) else world.tensor(4).abs(),
        "num_clients": lambda world: world.one_of(-1, 0, 1) if world.strays() else world.one_of(4, 4, 4, 2, 6),
    },
}
"""What a function takes instead, where a name means something else there, or where its caller has checked already."""


def maker(function: str, parameter: str) -> Maker | None:
    """The one for a parameter of a function, by full name; None where there is none."""
    return SPECIAL.get(function, {}).get(parameter) or PARAMETERS.get(parameter)
