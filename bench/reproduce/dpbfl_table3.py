"""DPBFL Table 3: the smallest epsilon that the shuffle protocol and the robustness bound leave together."""

from collections.abc import Mapping
from typing import Any

from bench.privacy.papers.shuffle import minimum_shuffle_epsilon, robustness_bound
from bench.reproduce.evidence import Evidence
from bench.reproduce.item import Exhibit, Form, Item, Judged, Verdict
from bench.reproduce.measurements import Experiment, Point
from bench.reproduce.papers import stated

ID = "dpbfl-table3"
RULE = (
    "reproduced where the double nearest to each printed number is ours, all digits; in shape where six digits agree; "
    "else not reproduced."
)


def points() -> tuple[Point, ...]:
    said = stated()[ID]
    b, delta = said.number("byzantine"), said.number("delta")
    return tuple({"n": int(n), "byzantine": b, "delta": delta} for n in said.number("epsilon"))


def measure(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """Epsilon, the gamma that gives it, and the bound of Definition 2 at that gamma."""
    b = point["byzantine"]
    gamma = 2 - 1 / (1 - b)
    return {
        "epsilon": minimum_shuffle_epsilon(point["n"], b, point["delta"]),
        "gamma": gamma,
        "bound": robustness_bound(gamma),
    }


def verdict(ours: Mapping[str, float], printed: Mapping[str, str]) -> Judged:
    """The rule, by n."""
    if all(ours[n] == float(text) for n, text in printed.items()):
        return Judged(
            Verdict.REPRODUCED,
            "all printed digits; an infimum, not attained: gamma = 0.75 puts b = 20 % on the bound (D2)",
        )
    if all(abs(ours[n] / float(text) - 1) < 1e-6 for n, text in printed.items()):
        return Judged(Verdict.SHAPE, "six digits agree")
    return Judged(Verdict.NOT, "the numbers differ")


def build(evidence: Evidence) -> Exhibit:
    printed: dict[str, str] = evidence.stated.number("epsilon")
    results = {str(one.point["n"]): one for one in evidence.measured[ID]}
    lines = [
        {
            "n": f"{int(n):,}",
            "paper": text,
            "ours": repr(results[n].only["epsilon"]),
            "gamma": f"{results[n].only['gamma']:g}",
            "b < bound": "yes" if results[n].point["byzantine"] < results[n].only["bound"] - 1e-12 else "no: equal",
        }
        for n, text in printed.items()
    ]
    judged = verdict({n: one.only["epsilon"] for n, one in results.items()}, printed)
    return Exhibit(
        measured=", ".join(line["ours"] for line in lines),
        settings="Corollary 1 with natural logarithms, at the gamma whose bound is b",
        judged=judged,
        lines=lines,
        numbers=[
            {"n": n, "paper": text, "epsilon": repr(results[n].only["epsilon"]), "gamma": results[n].only["gamma"]}
            for n, text in printed.items()
        ],
        caption=(
            "The infimum over the gammas that Definition 2 allows: at gamma = 0.75 itself b = 20 % is not below the "
            "bound."
        ),
    )


ITEMS = (
    Item(
        ID,
        "dpbfl",
        "Table 3: the smallest epsilon",
        RULE,
        (Form("in full", experiments=(Experiment(ID, measure, points),)),),
        build,
    ),
)
