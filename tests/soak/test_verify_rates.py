"""A forged row: more accuracy in the last half of each curve, and nothing else."""

import json
from pathlib import Path

from tests.soak.verify_rates import ROOT, copy_row, forge


def test_a_forged_training_has_more_accuracy_in_its_last_half_and_an_inversion_is_as_it_was(tmp_path: Path) -> None:
    row = ROOT / "results" / "digits" / "fedavg"
    copy_row(row, tmp_path / "same", 0.0)
    copy_row(row, tmp_path / "forged", 0.02)
    kinds = set()
    for path in (tmp_path / "same").glob("*/*.json"):
        honest = json.loads(path.read_text())
        forged = json.loads((tmp_path / "forged" / path.parent.name / path.name).read_text())
        assert honest == json.loads((row / path.parent.name / path.name).read_text())
        kinds.add(honest["cell"]["kind"])
        if honest["cell"]["kind"] == "training":
            half = len(honest["curve"]) // 2
            assert forged["curve"][:half] == honest["curve"][:half]
            late = zip(honest["curve"][half:], forged["curve"][half:], strict=True)
            assert all(more[1] > value[1] or more[1] == 1 for value, more in late)
            assert forged["curve"][-1][1] == round(forged["metrics"]["accuracy"], 4)
            forged = forged | {"curve": honest["curve"], "metrics": honest["metrics"]}
        assert forged == honest
    assert kinds == {"training", "inversion"}


def test_a_run_that_failed_is_not_forged() -> None:
    failed = {"status": "failed", "curve": [[5, 0.5]], "metrics": {}}
    assert forge(failed, 0.02) == failed
