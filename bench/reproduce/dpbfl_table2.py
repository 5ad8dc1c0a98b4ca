"""DPBFL Table 2: the feature table, with a row for every defense of our registry, each mark out of its records."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from bench.plays.findings import build_defense
from bench.protocol import Defense
from bench.reproduce.evidence import Evidence, Runs
from bench.reproduce.item import Exhibit, Form, Item, Judged, Line, Verdict

FRACTION = 0.2
LEAKING = 0.1
KEPT = 0.5
SLOW, BYTES = 10.0, 2.0
RULE = (
    f"a mark of ours says: efficient, where a round takes at most {SLOW:g} times FedAvg's seconds in the same suite "
    f"and a client sends at most {BYTES:g} times its bytes; defends, where DLG recovers less than {LEAKING:.0%} of the "
    f"images and recovers more of the undefended control's; Byzantine-robust, where {FRACTION:.0%} sign flips leave at "
    "least half of the row's clean accuracy. Reproduced where DPBFL and the counterparts of the paper's other schemes "
    "have its marks; in shape where DPBFL has; else not reproduced."
)
COLUMNS = {
    "tools": "tools",
    "efficient": "efficient",
    "inference": "defends against inference",
    "byzantine": "Byzantine-robust",
}
YES, NO = "yes", "no"
COUNTERPARTS = {"DPBFL": "dpbfl", "Practical Secure Aggregation": "secure_aggregation", "LDP-Fed": "dp_fedavg"}
"""The defenses of ours that do what the paper's schemes do: in LDP-Fed each client adds its own noise."""


@dataclass(frozen=True)
class Marks:
    """A row's marks and the numbers behind them."""

    tools: str
    efficient: bool
    inference: bool
    byzantine: bool
    seconds: float  # over FedAvg's
    bytes: float
    recovered: float
    control: float
    clean: float
    attacked: float

    def line(self, name: str) -> Line:
        return {
            "scheme": name,
            "whose": "ours",
            COLUMNS["tools"]: self.tools,
            COLUMNS["efficient"]: f"{_mark(self.efficient)} ({self.seconds:.1f} x time, {self.bytes:.2g} x bytes)",
            COLUMNS[
                "inference"
            ]: f"{_mark(self.inference)} ({self.recovered:.0%} of images, control {self.control:.0%})",
            COLUMNS["byzantine"]: f"{_mark(self.byzantine)} ({self.clean:.1%} to {self.attacked:.1%})",
        }

    def matches(self, printed: list[str]) -> bool:
        """Whether all marks are the paper's; a dash asks for nothing."""
        mine = [_mark(self.efficient), _mark(self.inference), _mark(self.byzantine)]
        return all(theirs in ("-", one) for one, theirs in zip(mine, printed[1:], strict=True))


def _mark(value: bool) -> str:
    return YES if value else NO


def opens_the_sum_alone(defense: Defense) -> bool:
    """Whether of all messages nothing reaches the server but one row, their sum."""
    messages = torch.tensor([[1.0, 2.0, 0.5], [3.0, -1.0, 0.0], [-2.0, 0.5, 4.0]])
    rows = defense.deliver(messages, torch.Generator().manual_seed(0)).messages
    return rows.shape == (1, 3) and torch.allclose(rows[0], messages.sum(dim=0))


def tools(defense: Defense) -> str:
    """As the paper names them: DP where the class makes a privacy claim, SMC where its channel opens the sum alone."""
    held = {"DP": defense.claims_privacy(), "SMC": opens_the_sum_alone(defense)}
    return "+".join(tool for tool, there in held.items() if there) or "–"


def marks(runs: Runs, name: str) -> Marks:
    """The row of a defense."""
    (clean,), (attacked,), (dlg,) = (runs.of(name, place) for place in ("clean", f"sign_flip b={FRACTION:g}", "dlg"))
    (base,) = runs.of("fedavg", "clean")
    kept = [record.metrics.get("accuracy", 0.0) for record in (clean, attacked)]
    seconds = (clean.cost.round_seconds or 0.0) / (base.cost.round_seconds or 1.0)
    sent = [(one.cost.upload_bytes or 0) + (one.cost.peer_bytes or 0) for one in (clean, base)]
    recovered, control = dlg.metrics.get("recovered", 1.0), dlg.metrics.get("control_recovered", 0.0)
    return Marks(
        tools=tools(build_defense(clean.cell)),
        efficient=clean.status == "ok" and seconds <= SLOW and sent[0] <= BYTES * sent[1],
        inference=dlg.status == "ok" and recovered < LEAKING < control,
        byzantine=clean.status == attacked.status == "ok" and kept[1] >= KEPT * kept[0],
        seconds=seconds,
        bytes=sent[0] / sent[1],
        recovered=recovered,
        control=control,
        clean=kept[0],
        attacked=kept[1],
    )


def verdict(ours: Mapping[str, Marks], paper: Mapping[str, list[str]]) -> Judged:
    """The rule, by the paper's schemes; `ours` holds those that have a counterpart."""
    same = [name for name, result in ours.items() if result.matches(paper[name])]
    other = [name for name in ours if name not in same]
    without = [name for name in paper if name not in ours]
    text = f"{len(same)} of {len(ours)} counterparts have the paper's marks; no counterpart of {', '.join(without)}"
    if not other:
        return Judged(Verdict.REPRODUCED, text)
    return Judged(Verdict.SHAPE if "DPBFL" in same else Verdict.NOT, f"{text}; other marks: {', '.join(other)}")


def build(evidence: Evidence) -> Exhibit:
    runs, paper = evidence.only, evidence.stated.number("schemes")
    results = {entry.name: marks(runs, entry.name) for entry in runs.suite.defense}
    lines = [
        {"scheme": name, "whose": "paper", **dict(zip(COLUMNS.values(), printed, strict=True))}
        for name, printed in paper.items()
    ]
    lines += [row.line(name) for name, row in results.items()]
    robust = [name for name, row in results.items() if row.byzantine and row.inference]
    return Exhibit(
        measured=f"of {len(results)} defenses, those that defend and are robust: {', '.join(robust) or 'none'}",
        settings=(
            "digits, 20 clients, softmax, 60 rounds with every message drawn; sign flips of factor 4; DLG on LeNet, 8 "
            "targets; 1 seed"
        ),
        judged=verdict({name: results[mine] for name, mine in COUNTERPARTS.items()}, paper),
        lines=lines,
        numbers=[{"scheme": name, **vars(row)} for name, row in results.items()],
        caption="Counterparts: " + ", ".join(f"{name}: {mine}" for name, mine in COUNTERPARTS.items()) + ". "
        "The tool is DP where the class makes a privacy claim, and SMC where the server gets the sum of the messages "
        "and nothing else. What SMC gives is played, not its masks and keys, which would cost time and bytes: the mark "
        "*efficient* of secure_aggregation says nothing of them.",
    )


ITEMS = (
    Item(
        "dpbfl-table2",
        "dpbfl",
        "Table 2: features",
        RULE,
        (Form("in full", ("dpbfl-table2",)),),
        build,
    ),
)
