"""What a rule's name means: ours first, which is the paper's as docs/conformance.md has it, then others in public use.

Each is a function of rows `(n, d)` and f, with the settings of the library's entry where it has some. Variants that no
rule of ours offers are written out here, in float64 and as plainly as can be, because nothing but a comparison uses
them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from scipy.special import ndtri
from torch import Tensor

from attacks.alie import alie
from attacks.ipm import ipm
from bench.rules.gram import gram_matrix
from defenses.arc import arc
from defenses.bulyan import bulyan
from defenses.caf import caf
from defenses.centered_clipping import centered_clipping
from defenses.cge import cge
from defenses.fedavg import weighted_mean
from defenses.geometric_median import geometric_median
from defenses.krum import Variant, krum, krum_weights
from defenses.mda import mda
from defenses.meamed import Meamed, meamed
from defenses.median import coordinate_median
from defenses.monna import monna
from defenses.multi_krum import multi_krum
from defenses.nnm import nnm
from defenses.norm_clipping import norm_clipping_weights
from defenses.smea import smea
from defenses.trimmed_mean import trimmed_mean

Rule = Callable[..., Tensor]

ENDLESS = 1000
"""Steps after which a loop is taken for one without an end."""


@dataclass(frozen=True)
class Meaning:
    """One meaning: how it is told, and the rule itself, `rule(rows, f, **settings)`."""

    told: str
    rule: Rule


@dataclass(frozen=True)
class Name:
    """All meanings of a name: the paper's, with where it stands, and the variants."""

    paper: str
    ours: Rule
    variants: tuple[Meaning, ...] = ()


def _no_f(rule: Callable[..., Tensor]) -> Rule:
    return lambda rows, f, **settings: rule(rows, **settings)


def _krum(variant: Variant, rows: Tensor, f: int) -> Tensor:
    return krum(rows, f, variant=variant)


def _multi_krum(variant: Variant, rows: Tensor, f: int) -> Tensor:
    return multi_krum(rows, f, variant=variant)


def _once_bulyan(rows: Tensor, f: int) -> Tensor:
    """Bulyan whose n - 2 f rows are those of the best Krum scores, all rows scored once."""
    if len(rows) < 4 * f + 3:
        raise ValueError("Bulyan needs n >= 4 f + 3")
    chosen = krum_weights(gram_matrix(rows), f, len(rows) - 2 * f) > 0
    return Meamed().over_coordinates(rows[chosen], 2 * f)


def _bulyan_by_order(rows: Tensor, f: int) -> Tensor:
    """Bulyan whose Krum looks at one neighbour at the least, and takes the first of equal scores."""
    if len(rows) < 4 * f + 3:
        raise ValueError("Bulyan needs n >= 4 f + 3")
    left, chosen = list(range(len(rows))), []
    for _ in range(len(rows) - 2 * f):
        away = (rows[left][:, None] - rows[left][None]).square().sum(dim=2).sort(dim=1).values
        neighbours = max(1, len(left) - f - 2)
        chosen.append(left.pop(int(away[:, 1 : neighbours + 1].sum(dim=1).argmin())))
    return Meamed().over_coordinates(rows[chosen], 2 * f)


def _lower_median(rows: Tensor, f: int) -> Tensor:
    return rows.median(dim=0).values


def _around_lower_median(rows: Tensor, f: int) -> Tensor:
    away = (rows - rows.median(dim=0).values).abs()
    nearest = away.topk(len(rows) - f, dim=0, largest=False).indices
    return rows.gather(0, nearest).mean(dim=0)


def _three_steps(rows: Tensor, f: int) -> Tensor:
    z = torch.zeros_like(rows[0])
    for _ in range(3):
        pull = 1 / torch.linalg.vector_norm(rows - z, dim=1).clamp(min=0.1)
        z = pull @ rows / pull.sum()
    return z


def _from_the_mean(rows: Tensor, f: int, *, tau: float = 10.0, iterations: int = 10) -> Tensor:
    start = rows.mean(dim=0)
    return start + centered_clipping(rows - start, tau=tau, iterations=iterations)


def _summed_cge(rows: Tensor, f: int) -> Tensor:
    return (len(rows) - f) * cge(rows, f)


def _caf_of_all(rows: Tensor, f: int) -> Tensor:
    """CAF whose deviations are over the largest of all rows, those too that are out; exact eigenvectors."""
    kept = torch.ones(len(rows), dtype=rows.dtype)
    best, smallest = rows.mean(dim=0), float("inf")
    steps = 0
    while float(kept.sum()) > len(rows) - 2 * f:
        steps += 1
        if steps > ENDLESS:
            raise ValueError("where the furthest row is out already, the weights may never sink below n - 2 f")
        mean = kept @ rows / kept.sum()
        away = rows - mean
        values, vectors = torch.linalg.eigh(away.T @ (kept[:, None] * away) / kept.sum())
        if float(values[-1]) < smallest:
            best, smallest = mean, float(values[-1])
        deviations = (away @ vectors[:, -1]).square()
        if float(deviations.max()) == 0:
            break
        kept = kept * (1 - deviations / deviations.max())
    return best


def _clipped(rows: Tensor, f: int, *, bound: float = 2.0) -> Tensor:
    norms = torch.linalg.vector_norm(rows, dim=1)
    return (norm_clipping_weights(norms, bound) * len(rows))[:, None] * rows


def _beta_trimmed(rows: Tensor, f: int) -> Tensor:
    """At each end a share f / n is cut, counted in floating point: `int(f / n * n)` may be f - 1."""
    return trimmed_mean(rows, int(f / len(rows) * len(rows)))


def _floating_arc(rows: Tensor, f: int) -> Tensor:
    """ARC that cuts `int(2 f / n (n - f))` rows, counted in floating point."""
    norms = torch.linalg.vector_norm(rows, dim=1)
    cut = int((2 * f / len(rows)) * (len(rows) - f))
    bound = norms.sort(descending=True).values[cut]
    scales: Tensor = (bound / norms.clamp(min=torch.finfo(rows.dtype).tiny)).clamp(max=1)
    return rows * scales[:, None]


def _attack(rows: Tensor, f: int, *, rule: Callable[..., Tensor], **settings: Any) -> Tensor:
    forged: Tensor = rule(rows, max(f, 1), **settings)
    row: Tensor = forged[0]
    return row


def _alie_of_one(rows: Tensor, f: int, *, sign: float = 1.0, ddof: int = 0, **settings: Any) -> Tensor:
    mean = rows.mean(dim=0)
    return mean + sign * (alie(rows, max(f, 1), ddof=ddof, **settings)[0] - mean)


def _alie_of_all(rows: Tensor, f: int) -> Tensor:
    n = len(rows) + f
    supporters = max(1, n // 2 + 1 - f)
    return alie(rows, max(f, 1), float(ndtri((n - supporters) / n)))[0]


MEANINGS: dict[str, Name] = {
    "fedavg": Name("McMahan et al. 2017", _no_f(weighted_mean)),
    "krum": Name(
        "Blanchard et al. 2017, section 4",
        partial(_krum, "paper"),
        (
            Meaning("n - f - 1 neighbours, one more than the paper's n - f - 2", partial(_krum, "one_neighbour_more")),
            Meaning("n - f - 1 neighbours, distances not squared", partial(_krum, "unsquared")),
            Meaning("distances squared twice", partial(_krum, "fourth_power")),
        ),
    ),
    "multi_krum": Name(
        "Blanchard et al. 2017, n - f rows selected by one scoring",
        partial(_multi_krum, "paper"),
        (
            Meaning(
                "n - f - 1 neighbours, one more than the paper's n - f - 2", partial(_multi_krum, "one_neighbour_more")
            ),
            Meaning("n - f - 1 neighbours, distances not squared", partial(_multi_krum, "unsquared")),
        ),
    ),
    "bulyan": Name(
        "El Mhamdi et al. 2018: Krum chooses one row at a time, out of those that remain",
        bulyan,
        (
            Meaning("all rows scored once, the n - 2 f best taken together, none scored again", _once_bulyan),
            Meaning(
                "one at a time, by one neighbour at the least, of equal scores the first: at f <= 2 the rows' order "
                "decides the last choices",
                _bulyan_by_order,
            ),
        ),
    ),
    "median": Name(
        "Yin et al. 2018, of an even count the mean of the middle two",
        _no_f(coordinate_median),
        (Meaning("of an even count the lower one of the middle two", _lower_median),),
    ),
    "trimmed_mean": Name(
        "Yin et al. 2018",
        trimmed_mean,
        (Meaning("a share f / n is cut, which floating point may round to f - 1 values", _beta_trimmed),),
    ),
    "meamed": Name(
        "Xie et al. 2018",
        meamed,
        (Meaning("around the lower one of the middle two", _around_lower_median),),
    ),
    "geometric_median": Name(
        "Pillutla et al. 2022, converged",
        _no_f(geometric_median),
        (Meaning("three steps from zero with nu = 0.1, wherever that ends", _three_steps),),
    ),
    "centered_clipping": Name(
        "Karimireddy et al. 2021, from zero",
        _no_f(centered_clipping),
        (Meaning("from the mean of the rows, not from a point that no row moves", _from_the_mean),),
    ),
    "cge": Name("Gupta and Vaidya 2020, as a mean", cge, (Meaning("the sum of the rows, not the mean", _summed_cge),)),
    "monna": Name("Farhadkhani et al. 2023, the first row for a pivot", monna),
    "mda": Name("El Mhamdi et al. 2020", mda),
    "smea": Name("Allouah et al. 2023", smea),
    "caf": Name(
        "Allouah et al. 2025, algorithm 2",
        caf,
        (Meaning("deviations over the largest of all rows, those too that are out", _caf_of_all),),
    ),
    "nnm": Name("Allouah et al. 2023", nnm),
    "bucketing": Name("Karimireddy et al. 2022", lambda rows, f: rows),
    "clipping": Name("every row at most as long as a bound", _clipped),
    "arc": Name(
        "Allouah et al. 2025",
        arc,
        (Meaning("how many rows are cut is counted in floating point", _floating_arc),),
    ),
    "ipm": Name("Xie et al. 2020: -epsilon times the honest mean", partial(_attack, rule=ipm)),
    "alie": Name(
        "Baruch et al. 2019: mean + z sigma of updates, the authors' sigma over n",
        _alie_of_one,
        (
            Meaning("mean - z sigma, on gradients' sign", partial(_alie_of_one, sign=-1.0)),
            Meaning("sigma over n - 1", partial(_alie_of_one, ddof=1)),
            Meaning("z from (n - s) / n, not from the honest clients' (n - f - s) / (n - f)", _alie_of_all),
            Meaning("mean - z sigma with sigma over n - 1", partial(_alie_of_one, sign=-1.0, ddof=1)),
        ),
    ),
    "sign_flip": Name(
        "each attacker's own message times -c (DPBFL paper, section 5); no honest message is seen",
        lambda rows, f: -2 * rows[0],
        (Meaning("minus the mean of the honest messages", lambda rows, f: -rows.mean(dim=0)),),
    ),
    "mimic": Name(
        "Karimireddy et al. 2022: the client furthest along a direction learnt in a warm-up",
        lambda rows, f: rows[0] * float("nan"),
        (Meaning("always the first client, no direction is learnt", lambda rows, f: rows[0]),),
    ),
    "gaussian": Name("N(0, s^2) noise, a draw for each attacker", lambda rows, f: rows[0] * 0),
}


def with_settings(rule: Rule, settings: Mapping[str, Any]) -> Callable[[Tensor, int], Tensor]:
    """The rule with those of the settings that it takes."""

    def played(rows: Tensor, f: int) -> Tensor:
        try:
            return rule(rows, f, **settings)
        except TypeError:
            return rule(rows, f)

    return played
