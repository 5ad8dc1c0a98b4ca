"""DPBFL Table 1: RSA and DPBFL under sign flips, by gamma and Byzantine fraction."""

import itertools
from collections.abc import Mapping, Sequence

from bench.privacy.papers.shuffle import robustness_bound
from bench.reproduce.drawing import Panel, accuracy_by_round
from bench.reproduce.evidence import Evidence, Runs, column
from bench.reproduce.item import Exhibit, Form, Item, Judged, Line, Verdict

ATTACK = "sign_flip"
CLOSE = 3.0
COIN_TOSS = 60.0
KEPT, LOST = 0.8, 0.5
"""A cell is kept from this share of its row's clean accuracy on, and lost below that one."""
RULE = (
    f"reproduced where every accuracy on Dirichlet 0.2 is within {CLOSE:g} points of the paper's, one that is lost "
    f"there (below 10 %) where ours is below 15 %, and RSA at b = 50 %, a coin toss, where it is below {COIN_TOSS:g} "
    f"%; in shape where ours keeps {KEPT:.0%} of its row's clean accuracy wherever the paper's does, is below "
    f"{LOST:.0%} of it wherever the paper's is, and no larger gamma does better under attack by more than {CLOSE:g} "
    "points; else not reproduced."
)
Accuracies = Mapping[str, Sequence[float]]


def verdict(ours: Accuracies, paper: Accuracies, byzantine: Sequence[float]) -> Judged:
    """The rule, on accuracies in % by row and Byzantine fraction; the rows' gammas grow."""
    far, other, order = [], [], []
    for row, printed in paper.items():
        for b, mine, theirs in zip(byzantine, ours[row], printed, strict=True):
            place = f"{row} at b = {b:.0%}"
            if not _close(mine, theirs, coin_toss=row == "rsa" and b == 0.5):
                far.append(f"{place} has {mine:.1f}, not {theirs:.1f}")
            state, wanted = fate(mine, ours[row][0]), fate(theirs, printed[0])
            if state != wanted:
                other.append(f"{place} is {state} here and {wanted} in the paper ({mine:.1f}, not {theirs:.1f})")
    rows = list(paper)
    for smaller, larger in itertools.pairwise(rows):
        for b, one, two in zip(byzantine, ours[smaller], ours[larger], strict=True):
            if b > 0 and two > one + CLOSE and fate(one, ours[smaller][0]) == "kept":
                order.append(f"{larger} is above {smaller} at b = {b:.0%}")
    if not far:
        return Judged(Verdict.REPRODUCED, f"all {len(rows) * len(byzantine)} accuracies")
    if not other and not order:
        return Judged(Verdict.SHAPE, f"the same cells are kept and lost; {len(far)} numbers differ: {'; '.join(far)}")
    agreed = len(rows) * len(byzantine) - len(other)
    text = f"{agreed} of {len(rows) * len(byzantine)} cells are kept or lost as in the paper"
    return Judged(Verdict.NOT, "; ".join([text, *other, *order]))


def fate(accuracy: float, clean: float) -> str:
    """`kept`, `lost`, or `neither`."""
    return "kept" if accuracy >= KEPT * clean else "lost" if accuracy < LOST * clean else "neither"


def _close(mine: float, theirs: float, coin_toss: bool) -> bool:
    if coin_toss:
        return mine < COIN_TOSS
    return mine < 15 if theirs < 10 else abs(mine - theirs) <= CLOSE


def build(evidence: Evidence) -> Exhibit:
    runs, byzantine = evidence.only, evidence.stated.number("byzantine")
    paper: dict[str, list[float]] = evidence.stated.number("accuracy")
    ours = {row: [runs.percent(row, ATTACK, b) for b in byzantine] for row in paper}
    iid = {row: row.replace("dpbfl", "dpbfl, IID") if "dpbfl" in row else f"{row}, IID" for row in paper}
    judged = verdict(ours, paper, byzantine)
    at = byzantine.index(0.4)
    second = next(row for row in paper if "0.283" in row)
    measured = (
        f"at b = 40 %: RSA {runs.accuracy('rsa', ATTACK, 0.4).text()}, DPBFL at gamma = 0.283 "
        f"{runs.accuracy(second, ATTACK, 0.4).text()} (the paper {paper[second][at]}), IID "
        f"{runs.accuracy(iid[second], ATTACK, 0.4).text()} %; {runs.seeds}"
    )
    lines = [line for row in paper for line in _lines(row, iid[row], runs, paper[row], byzantine)]
    numbers = [
        {
            "partition": where,
            "row": row,
            "byzantine": b,
            "paper": theirs,
            "accuracy": 100 * result.mean,
            "half_width": 100 * result.half_width,
            "seeds": result.seeds,
        }
        for row in paper
        for where, name in (("dirichlet", row), ("iid", iid[row]))
        for b, theirs in zip(byzantine, paper[row], strict=True)
        if (result := runs.accuracy(name, ATTACK, b))
    ]
    return Exhibit(
        measured=measured,
        settings=f"{settings(runs)}, sign flips of the honest signs",
        judged=judged,
        lines=lines,
        numbers=numbers,
        plot=lambda: _plot(runs, paper, iid, byzantine),
        caption="Test accuracy in %, mean and 95 % t interval; the bound is Definition 2's 1 - 1 / (2 - gamma).",
    )


def settings(runs: Runs) -> str:
    """The federation in a few words, for all items on it."""
    result = runs.suite.federation
    data = {cell.federation.dataset for cell in runs.cells}
    clients = sorted({cell.federation.clients for cell in runs.cells})
    many = f"{clients[0]:,}" if len(clients) == 1 else f"{clients[0]:,} to {clients[-1]:,}"
    return (
        f"{', '.join(sorted(data))}, {result.model}, {many} clients, batch {result.batch_size}, "
        f"{result.rounds} rounds, {runs.seeds}"
    )


def _lines(row: str, iid: str, runs: Runs, printed: Sequence[float], byzantine: Sequence[float]) -> list[Line]:
    gamma = float(row.split("gamma=")[1].rstrip(")")) if "gamma" in row else 0.0
    head = {"row": row, "bound": f"{robustness_bound(gamma):.3f}"}
    told = {"paper": [f"{value:.2f}" for value in printed]}
    told |= {
        where: [runs.accuracy(name, ATTACK, b).text() for b in byzantine]
        for where, name in (("ours, Dirichlet 0.2", row), ("ours, IID", iid))
    }
    return [
        {**head, "whose": whose, **{f"b = {b:.0%}": value for b, value in zip(byzantine, values, strict=True)}}
        for whose, values in told.items()
    ]


def _plot(runs: Runs, paper: Accuracies, iid: Mapping[str, str], byzantine: Sequence[float]) -> bytes:
    names = list(paper)
    panels = [
        [
            Panel(
                f"{where}, b = {b:.0%}",
                {row: runs.curve(rename[row], column(ATTACK, b)) for row in names},
                {row: paper[row][at] for row in names} if where == "Dirichlet 0.2" else {},
            )
            for at, b in enumerate(byzantine)
        ]
        for where, rename in (("Dirichlet 0.2", {row: row for row in names}), ("IID", iid))
    ]
    return accuracy_by_round(panels, names)


ITEMS = (
    Item(
        "dpbfl-table1",
        "dpbfl",
        "Table 1: accuracy of RSA and DPBFL",
        RULE,
        (Form("in full", ("dpbfl-table1",)),),
        build,
    ),
)
