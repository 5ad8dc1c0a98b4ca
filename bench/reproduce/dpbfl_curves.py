"""DPBFL Fig. 3, 4, 6 and 7: accuracy by round, by gamma or by scheme, on MNIST and Fashion-MNIST."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.reproduce.dpbfl_table1 import KEPT, LOST, fate, settings
from bench.reproduce.drawing import Panel, accuracy_by_round
from bench.reproduce.evidence import Evidence, Runs, column
from bench.reproduce.item import Exhibit, Form, Item, Statement, judge
from bench.reproduce.papers import stated

BYZANTINE = (0.0, 0.3, 0.4, 0.5)
DATA = {"MNIST": "", "Fashion-MNIST": ", Fashion-MNIST"}
GAMMAS = ("rsa", "dpbfl (gamma=0.283)", "dpbfl (gamma=0.383)", "dpbfl (gamma=0.483)")
SCHEMES = ("dpbfl (gamma=0.283)", "rsa", "fedavg", "median", "krum")
DPBFL, RSA = GAMMAS[1], "rsa"
LITTLE, ALIKE, SLIGHTLY = 5.0, 5.0, 1.0
RULE = (
    "each sentence of the paper is a comparison of our mean accuracies of the last round on both data sets; in shape "
    f"where all of them hold, else not reproduced. Alike: within {ALIKE:g} points; slightly below: below, by at most "
    f"that; below or above: by more than {SLIGHTLY:g}; hardly suffers: at most {LITTLE:g} points lost to the "
    f"clean run; converges: at least {KEPT:.0%} of the clean accuracy; lost, failed, not robust: less "
    f"than {LOST:.0%} of it."
)


@dataclass(frozen=True)
class Place:
    """Accuracies in % of the schemes on one data set under one attack."""

    runs: Runs
    data: str
    attack: str

    def name(self, scheme: str) -> str:
        """The row of a scheme on this data set."""
        head, brace, gamma = scheme.partition(" (")
        return f"{head}{DATA[self.data]}{brace}{gamma}"

    def at(self, scheme: str, b: float) -> float:
        return self.runs.percent(self.name(scheme), self.attack, b)

    def fate(self, scheme: str, b: float) -> str:
        """`kept`, `lost`, or `neither`, by the clean accuracy of the row."""
        return fate(self.at(scheme, b), self.at(scheme, 0.0))

    def told(self, schemes: Sequence[str], b: float) -> str:
        return f"{self.data}: " + ", ".join(f"{scheme} {self.at(scheme, b):.1f}" for scheme in schemes)


def fig3(place: Place) -> list[Statement]:
    """Under Gaussian noise."""
    worst = max(GAMMAS, key=lambda row: place.at(row, 0.0) - place.at(row, 0.5))
    lost = place.at(worst, 0.0) - place.at(worst, 0.5)
    return [
        Statement(
            f"Gaussian noise at b = 50 % does little on {place.data}",
            lost <= LITTLE,
            f"at most {lost:.1f} points lost, by {worst}",
        )
    ]


def fig4(place: Place) -> list[Statement]:
    """Under sign flips."""
    little = max(place.at(row, 0.0) - place.at(row, 0.3) for row in GAMMAS)
    falling = [place.at(row, 0.4) for row in GAMMAS]
    return [
        Statement(f"b = 30 % does little on {place.data}", little <= LITTLE, f"at most {little:.1f} points lost"),
        Statement(
            f"DPBFL at gamma = 0.283 converges at b = 40 % on {place.data}",
            place.fate(DPBFL, 0.4) == "kept",
            f"{place.at(DPBFL, 0.4):.1f}, clean {place.at(DPBFL, 0.0):.1f}",
        ),
        Statement(
            f"the larger gammas are lost at b = 40 % on {place.data}",
            all(place.fate(row, 0.4) == "lost" for row in GAMMAS[2:]),
            place.told(GAMMAS[2:], 0.4),
        ),
        Statement(
            f"at b = 40 % accuracy falls with gamma on {place.data}",
            all(two <= one + SLIGHTLY for one, two in itertools.pairwise(falling)),
            place.told(GAMMAS, 0.4),
        ),
        Statement(
            f"DPBFL is lost at b = 50 % on {place.data}",
            all(place.fate(row, 0.5) == "lost" for row in GAMMAS[1:]),
            place.told(GAMMAS[1:], 0.5),
        ),
    ]


def fig6(place: Place) -> list[Statement]:
    """DPBFL slightly below RSA, above the rest."""
    results = []
    for b in BYZANTINE[1:]:
        gap = place.at(RSA, b) - place.at(DPBFL, b)
        results.append(
            Statement(
                f"at b = {b:.0%} DPBFL is slightly below RSA on {place.data}",
                0 <= gap <= ALIKE,
                place.told((DPBFL, RSA), b),
            )
        )
        others = [row for row in SCHEMES[2:] if place.at(row, b) + SLIGHTLY > place.at(DPBFL, b)]
        results.append(
            Statement(
                f"at b = {b:.0%} DPBFL is above FedAvg, median and Krum on {place.data}",
                not others,
                place.told((DPBFL, *SCHEMES[2:]), b),
            )
        )
    return results


def fig7(place: Place) -> list[Statement]:
    """Under sign flips."""
    alike = [place.at(row, 0.0) for row in (DPBFL, RSA, "median")]
    three = (DPBFL, RSA, "median")
    most = [place.at(row, 0.3) for row in ("fedavg", *three)]
    return [
        Statement(
            f"at b = 0 DPBFL, RSA and median are alike on {place.data}",
            max(alike) - min(alike) <= ALIKE,
            place.told(three, 0.0),
        ),
        Statement(
            f"at b = 0 they are below FedAvg and above Krum on {place.data}",
            place.at("fedavg", 0.0) > max(alike) and min(alike) > place.at("krum", 0.0),
            place.told(SCHEMES, 0.0),
        ),
        Statement(
            f"at b = 30 % FedAvg, DPBFL, RSA and median are alike and above Krum on {place.data}",
            max(most) - min(most) <= ALIKE and min(most) > place.at("krum", 0.3) + SLIGHTLY,
            place.told(SCHEMES, 0.3),
        ),
        Statement(
            f"at b = 40 % DPBFL is below RSA and like median on {place.data}",
            place.at(DPBFL, 0.4) < place.at(RSA, 0.4) - SLIGHTLY
            and abs(place.at(DPBFL, 0.4) - place.at("median", 0.4)) <= ALIKE,
            place.told(three, 0.4),
        ),
        Statement(
            f"at b = 40 % FedAvg has failed on {place.data}",
            place.fate("fedavg", 0.4) == "lost",
            place.told(("fedavg",), 0.4),
        ),
        Statement(
            f"at b = 50 % no scheme is robust on {place.data}",
            all(place.fate(row, 0.5) == "lost" for row in SCHEMES),
            place.told(SCHEMES, 0.5),
        ),
    ]


def build(
    evidence: Evidence,
    attack: str,
    schemes: Sequence[str],
    say: Callable[[Place], list[Statement]],
    marked: bool,
) -> Exhibit:
    runs = evidence.only
    places = [Place(runs, data, attack) for data in DATA]
    statements = [one for place in places for one in say(place)]
    lines = [
        {
            "data": place.data,
            "row": row,
            **{f"b = {b:.0%}": runs.accuracy(place.name(row), attack, b).text() for b in BYZANTINE},
        }
        for place in places
        for row in schemes
    ]
    numbers = [
        {
            "data": place.data,
            "row": row,
            "byzantine": b,
            "accuracy": 100 * result.mean,
            "half_width": 100 * result.half_width,
            "seeds": result.seeds,
        }
        for place in places
        for row in schemes
        for b in BYZANTINE
        if (result := runs.accuracy(place.name(row), attack, b))
    ]
    text = "; ".join(place.told(schemes, 0.4) for place in places)
    holding = sum(one.holds for one in statements)
    listed = "\n".join(f"- {'holds' if one.holds else 'does not hold'}: {one.text} ({one.found})" for one in statements)
    return Exhibit(
        measured=f"{holding} of {len(statements)} statements hold; last round at b = 40 %, {text}; {runs.seeds}",
        settings=settings(runs),
        judged=judge(statements),
        lines=lines,
        numbers=numbers,
        plot=lambda: _plot(places, schemes, marked),
        caption=f"Test accuracy of the last round in %, mean and 95 % t interval.\n\n{listed}",
    )


def _plot(places: Sequence[Place], schemes: Sequence[str], marked: bool) -> bytes:
    """Stars are Table 1's accuracies, where the rows are its own: MNIST under sign flips."""
    printed = stated()["dpbfl-table1"].number("accuracy")

    def marks(place: Place, at: int) -> dict[str, float]:
        mine = marked and place.data == "MNIST"
        return {row: printed[row][at] for row in schemes if row in printed} if mine else {}

    panels = [
        [
            Panel(
                f"{place.data}, b = {b:.0%}",
                {row: place.runs.curve(place.name(row), column(place.attack, b)) for row in schemes},
                marks(place, at),
            )
            for at, b in enumerate(BYZANTINE)
        ]
        for place in places
    ]
    return accuracy_by_round(panels, schemes)


def _item(
    number: int, title: str, attack: str, schemes: Sequence[str], say: Callable[[Place], list[Statement]]
) -> Item:
    made = partial(build, attack=attack, schemes=schemes, say=say, marked=attack == "sign_flip")
    name = f"dpbfl-fig{number}"
    return Item(name, "dpbfl", f"Fig. {number}: {title}", RULE, (Form("in full", (name,), heavy=number > 5),), made)


ITEMS = (
    _item(3, "gammas under Gaussian noise", "gaussian", GAMMAS, fig3),
    _item(4, "gammas under sign flips", "sign_flip", GAMMAS, fig4),
    _item(6, "schemes under Gaussian noise", "gaussian", SCHEMES, fig6),
    _item(7, "schemes under sign flips", "sign_flip", SCHEMES, fig7),
)
