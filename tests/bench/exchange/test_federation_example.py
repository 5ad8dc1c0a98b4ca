"""The small federation of docs/examples, whole: real processes over Flower's gRPC, as a reader runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="Flower is not installed: pip install 'fedsiege[flower]'")

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "flower_federation" / "federation.py"


@pytest.mark.slow
def test_fedavg_falls_the_rule_holds_and_only_noise_hides_the_pictures() -> None:
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True)
    found = re.findall(r"accuracy (\d+)%, (\d) of 8 pictures", done.stdout)
    (fallen, seen), (held, seen_too), (noisy, hidden) = ((int(one), int(other)) for one, other in found)
    assert fallen < 30
    assert held > 80
    assert noisy > 60
    assert seen == seen_too == 8
    assert hidden <= 2
