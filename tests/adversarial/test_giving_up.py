"""Attacks that fail themselves, so that what they were run against would count as 0."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.submission.referee.alone import check_alone
from bench.submission.submit import Request, submit
from bench.submission.verify import verify

GIVES_UP = """
import torch
from bench.registry import register
from bench.threat import ByzantineAttack

@register("attack", "gives_up")
class GivesUp(ByzantineAttack):
    def forge(self, view):
        seen = view.memory.get("seen", torch.zeros(1))
        view.memory["seen"] = seen + 1
        if float(seen) >= 5:
            raise ValueError("no more")
        return view.own
"""


@pytest.mark.slow
def test_an_attack_that_gives_up_wins_nothing(tmp_path: Path) -> None:
    """It keeps the contract, which plays two rounds, and would rank the row last."""
    file = tmp_path / "gives_up.py"
    file.write_text(GIVES_UP)
    request = Request(
        str(file),
        suite="smoke",
        results=tmp_path / "results",
        against=("krum",),
        byzantine=(0.4,),
        workers=1,
        quiet=True,
    )
    submit(request, tell=lambda line: None)
    [row] = verify(tmp_path / "results" / "smoke" / "krum" / "gives_up", sample=0).rows
    assert row.verdict == "NOT VERIFIED"
    assert any("it failed (ValueError: no more), which would count as 0 for the row" in one for one in row.problems)


def test_updates_that_are_no_numbers_are_an_attackers_own() -> None:
    """Byzantine clients may train to them; no client of the defense sends anything else for that."""
    kept, rows = torch.tensor([0, 1]), torch.tensor([[float("nan"), 1.0], [2.0, 3.0], [4.0, 5.0]])
    mixed: Any = torch.cat([rows[:2], -rows[2:]])
    check_alone({"messages": rows}, {"messages": mixed}, kept)
    for other in (rows.nan_to_num(), rows + 1):
        with pytest.raises(ValueError, match="what a client sends depends"):
            check_alone({"messages": rows}, {"messages": other}, kept)
