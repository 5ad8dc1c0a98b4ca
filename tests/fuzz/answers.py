"""What makes an answer right, function by function: shape and type of what comes back, its range, its hull.

Values so large that their squares or sums overflow the number type may give what is not finite; where all is moderate
the answer must be finite, and lie where the function says.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

Call = dict[str, Any]
Shape = Callable[[Call], tuple[int, ...]]

HULLS = {
    f"defenses.{name}"
    for name in (
        *(
            "bulyan.bulyan",
            "caf.caf",
            "cge.cge",
            "dnc.dnc",
            "fedavg.weighted_mean",
            "geometric_median.geometric_median",
        ),
        *("krum.krum", "mda.mda", "meamed.meamed", "median.coordinate_median", "monna.monna", "multi_krum.multi_krum"),
        *("smea.smea", "trimmed_mean.trimmed_mean", "bucketing.bucketing", "nnm.nnm"),
    )
}
"""Their answers lie, coordinate by coordinate, between the smallest and the largest message."""

HULLS_WITH_ORIGIN = {
    "defenses.arc.arc",
    "defenses.clipped_clustering.clipped_clustering",
    "defenses.signguard.signguard",
    "defenses.centered_clipping.centered_clipping",
    "defenses.foolsgold.foolsgold",
    "defenses.norm_clipping.norm_clipping",
}
"""The same with the zero vector as one more message."""


def per_coordinate(of: str) -> Shape:
    return lambda call: tuple(call[of].shape[-1:])


def like(of: str) -> Shape:
    return lambda call: tuple(call[of].shape)


def rows_of(of: str) -> Shape:
    return lambda call: (len(call[of]),)


def square(of: str, more: int = 0) -> Shape:
    return lambda call: (len(call[of]) + more,) * 2


def forged(of: str = "honest") -> Shape:
    return lambda call: (call["num_byzantine"], call[of].shape[-1])


def layer_inputs(*count: str) -> Shape:
    return lambda call: (2, *(call[name] for name in count), call["layer"].weight.shape[2])


def _copies(number: int | None, num_messages: int) -> int:
    return num_messages // 2 if number is None else number


SHAPES: dict[str, Shape] = {
    "attacks.adaptive.adaptive": forged(),
    "attacks.adaptive.strongest_votes": forged(),
    "attacks.adaptive.unit": like("vector"),
    "attacks.alie.alie": forged(),
    "attacks.alie_optimal.alie_optimal": forged(),
    "bench.attacking.linear_layers.class_means": lambda call: tuple(call["layer"].weight.shape),
    "bench.attacking.linear_layers.combined": layer_inputs(),
    "bench.attacking.linear_layers.gradient_signs": lambda call: tuple(call["seen"].target.shape),
    "bench.attacking.linear_layers.repeated_rows": layer_inputs("count"),
    "bench.attacking.linear_layers.stacked": lambda call: (
        *call["layer"].bias.shape,
        call["layer"].weight.shape[2] + 1,
    ),
    "bench.attacking.linear_layers.unexplained": lambda call: (2,),
    "attacks.ascent.ascent": like("own"),
    "attacks.backdoor.backdoor": like("own"),
    "attacks.backdoor.stamp": like("x"),
    "attacks.crash.crash": forged(),
    "attacks.fang.beyond_extremes": forged(),
    "attacks.fang.fang": forged(),
    "attacks.free_rider.free_rider": forged("change"),
    "attacks.gaussian.gaussian": forged(),
    "attacks.inverting_gradients.cosine_distance": rows_of("vectors"),
    "bench.attacking.directions.lengths": lambda call: (len(call["vectors"]), 1),
    "bench.attacking.directions.soft_signs": like("values"),
    "attacks.inverting_gradients.total_variation": rows_of("images"),
    "bench.attacking.directions.variation_slope": like("images"),
    "attacks.hybrid_sparse.hybrid_sparse": forged(),
    "attacks.hybrid_sparse.most_salient": like("change"),
    "attacks.ipm.ipm": forged(),
    "attacks.ipm_optimal.ipm_optimal": forged(),
    "attacks.label_flip.label_flip": like("y"),
    "attacks.mimic.mimic": forged(),
    "attacks.poisonedfl.poisonedfl": like("change"),
    "bench.plays.metrics.right_answers": lambda call: (len(call["split"].y),),
    "attacks.min_max.min_max": forged(),
    "attacks.min_sum.min_sum": forged(),
    "attacks.same_value.same_value": forged(),
    "attacks.sign_flip.sign_flip": like("own"),
    "attacks.subspace.project_out": like("estimate"),
    "attacks.weighted_collusion.noise_left": like("squares"),
    "bench.attacking.forging.in_range": like("forged"),
    "bench.attacking.forging.mean_row": per_coordinate("honest"),
    "bench.attacking.forging.most_harmful": lambda call: (2, call["honest"].shape[1]),
    "bench.attacking.forging.perturbed": forged(),
    "bench.attacking.forging.squared_length": lambda call: (),
    "bench.privacy.audit.clopper_pearson_upper": rows_of("successes"),
    **{
        f"bench.privacy.papers.noise_sharing.{name}": lambda call: np.broadcast_shapes(
            *(np.shape(each) for each in call.values())
        )
        for name in (
            *("niss_collusion_variance", "niss_max_colluders", "niss_max_colluders_scalar"),
            *("niss_min_tau_squared", "niss_min_tau_squared_scalar"),
        )
    },
    "bench.attacking.forging.copies": forged("row"),
    "bench.attacking.forging.fit": like("forged"),
    "bench.plays.metrics.matched": like("images"),
    "bench.plays.metrics.ssim": rows_of("images"),
    "bench.data.partitions.class_counts": lambda call: (len(call["indices"]), call["num_classes"]),
    "bench.data.partitions.client_sizes": lambda call: (call["num_clients"],),
    "bench.privacy.papers.drawn_noise.niss_drawn_noise": lambda call: (call["dim"],),
    "bench.protocol.defense.clip": like("updates"),
    "bench.rules.gram.checked_gram": lambda call: (len(call["messages"]) + call.get("origin", False),) * 2,
    "bench.base.rng.shuffled": lambda call: (call["count"],),
    "bench.rules.base.apply_weights": per_coordinate("messages"),
    "bench.rules.gram.distances_to": rows_of("messages"),
    "bench.rules.gram.gram_matrix": lambda call: (len(call["messages"]) + call.get("origin", False),) * 2,
    "bench.rules.base.mean_of": lambda call: (call["num_rows"],),
    "bench.rules.gram.norms_of": rows_of("messages"),
    "bench.rules.gram.nearest_sums": rows_of("gram"),
    "bench.rules.gram.squared_distances": like("gram"),
    "bench.rules.gram.squared_distances_from": rows_of("gram"),
    "bench.rules.gram.sum_of_smallest": rows_of("values"),
    "defenses.arc.arc": like("messages"),
    "defenses.arc.arc_scales": like("norms"),
    "defenses.bucketing.bucketing": lambda call: (
        -(-len(call["messages"]) // call.get("bucket_size", 2)),
        call["messages"].shape[1],
    ),
    "defenses.bulyan.bulyan_selection": lambda call: (len(call["gram"]) - 2 * call["num_byzantine"],),
    "defenses.centered_clipping.centered_clipping_weights": lambda call: (len(call["gram"]) - 1,),
    "defenses.central_dp_fedavg.noisy": like("mean"),
    "defenses.cge.cge_weights": like("norms"),
    "defenses.clipped_clustering.cosine_distances": square("messages"),
    "defenses.foundation_fl.extreme_scores": rows_of("messages"),
    "defenses.foundation_fl.foundation_fl": lambda call: (
        len(call["messages"]) + _copies(call.get("num_synthetic"), len(call["messages"])),
        call["messages"].shape[1],
    ),
    "defenses.lasa.deviations": like("values"),
    "defenses.lasa.sign_balance": rows_of("part"),
    "defenses.lasa.sparsified": like("messages"),
    "defenses.signguard.largest_cluster": rows_of("points"),
    "defenses.signguard.mean_shift": rows_of("points"),
    "defenses.signguard.sign_shares": lambda call: (len(call["messages"]), 3),
    "defenses.dnc.outlier_scores": rows_of("gram"),
    "defenses.dpbfl.randomize": like("signs"),
    "bench.privacy.papers.drawn_votes.randomized_sum": per_coordinate("counts"),
    "defenses.dpbfl.shuffle": like("messages"),
    "defenses.flame.cosine_distances": square("messages"),
    "defenses.fldetector.fldetector": rows_of("scores"),
    "defenses.fldetector.hessian_product": like("vectors"),
    "defenses.foolsgold.foolsgold_weights": lambda call: (len(call["gram"]) - 1,),
    "defenses.geometric_median.geometric_median_weights_of": rows_of("messages"),
    "defenses.meamed.mean_around_median": rows_of("block"),
    "defenses.meamed.nearest_to_the_median": rows_of("block"),
    "defenses.monna.monna_weights": like("distances"),
    "defenses.nnm.nnm": like("messages"),
    "defenses.nnm.nnm_matrix": like("gram"),
    "defenses.norm_clipping.norm_clipping_weights": like("norms"),
    "defenses.rsa.sign_sum": per_coordinate("local_models"),
    "defenses.secure_aggregation.secure_aggregation": lambda call: (1, call["messages"].shape[1]),
    **{
        f"defenses.{name}_weights": rows_of("gram")
        for name in ("caf.caf", "geometric_median.geometric_median", "krum.krum", "mda.mda", "smea.smea")
    },
}
"""Of functions that give a tensor or an array; an aggregate of messages is `(d,)` without being named here."""

VARY = {
    "defenses.flame.majority_cluster",
    "defenses.clipped_clustering.larger_cluster",
    "bench.data.partitions.partition",
    "bench.attacking.directions.soft_signs",
}
"""How many numbers they give hangs on the values, or they may give what is no number: of zeros, for one."""

RANGES: dict[str, tuple[float, float]] = {
    "attacks.fang.krum_lambda": (0.0, math.inf),
    "bench.plays.metrics.labels_recovered": (0.0, 1.0),
    "bench.privacy.analysis.gaussian.gaussian_delta": (0.0, 1.0),
    "bench.privacy.analysis.local.gamma_for_local_epsilon": (0.0, 1.0),
    "bench.privacy.papers.shuffle.robustness_bound": (0.0, 0.5),
    "bench.privacy.papers.shuffle.shuffle_gamma": (0.0, 1.0),
    "bench.privacy.papers.shuffle.theorem1_gamma": (0.0, 1.0),
}
"""Of functions that give one number; all others of `bench.privacy` give one that is not negative."""


def check(name: str, call: Call, answer: Any) -> None:
    """Raise `AssertionError` unless the answer to a call is right, as far as it can be told without computing it."""
    if isinstance(answer, Tensor | np.ndarray):
        _check_tensor(name, call, answer)
    elif isinstance(answer, float) and (name in RANGES or name.startswith("bench.privacy.")):
        low, high = RANGES.get(name, (0.0, math.inf))
        assert low <= answer <= high, f"{answer} is not between {low} and {high}"


def is_moderate(call: Call) -> bool:
    """Whether all numbers of all tensors are finite, and their squares far from overflowing."""
    tensors = [value for value in call.values() if isinstance(value, Tensor) and value.is_floating_point()]
    return all(bool((tensor.abs() < 1e16).all()) for tensor in tensors)


def _check_tensor(name: str, call: Call, answer: Tensor | np.ndarray) -> None:
    if name not in VARY:
        expected = SHAPES.get(name, per_coordinate("messages") if "messages" in call else None)
        assert expected is not None, f"say in tests/fuzz/fuzz_answers.py which shape {name} gives"
        assert tuple(answer.shape) == expected(call), f"shape {tuple(answer.shape)}, not {expected(call)}"
    if isinstance(answer, np.ndarray):
        return
    given = call.get("messages", call.get("honest"))
    if isinstance(given, Tensor) and answer.dim() and name.startswith(("defenses.", "attacks.")) and name not in SHAPES:
        assert answer.dtype == given.dtype or not given.is_floating_point(), f"{answer.dtype} of {given.dtype}"
    if not is_moderate(call) or not _is_finite_call(call):
        return
    if name not in VARY:
        assert bool(torch.isfinite(answer.double()).all()), f"not finite: {answer}"
    if name in HULLS | HULLS_WITH_ORIGIN and not str(call.get("variant")).endswith("_sum"):
        start = call.get("centre")  # of centered clipping, the origin where it is None
        _check_hull(
            call["messages"] if start is None else torch.cat([call["messages"], start[None]]),
            answer,
            name in HULLS_WITH_ORIGIN and start is None,
        )


def _is_finite_call(call: Call) -> bool:
    """Whether an attack was asked for anything but finite messages."""
    scalars = [value for value in call.values() if isinstance(value, float)]
    return call.get("kind") not in ("nan", "inf") and all(abs(value) < 1e16 for value in scalars)


def _check_hull(messages: Tensor, answer: Tensor, origin: bool) -> None:
    rows = torch.cat([messages, torch.zeros_like(messages[:1])]) if origin else messages
    slack = 1e-5 if messages.dtype is torch.float32 else 1e-10
    # A weight that is 0 but for rounding lets in that share of the longest row.
    room = slack * rows.abs().amax(dim=0)
    assert bool((answer <= rows.amax(dim=0) + room).all()), f"above all messages: {answer} of {messages}"
    assert bool((answer >= rows.amin(dim=0) - room).all()), f"below all messages: {answer} of {messages}"
