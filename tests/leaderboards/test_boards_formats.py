"""Markdown, CSV, LaTeX and JSON: well formed, and the same numbers in all."""

import io
import json
import math
import re

import pandas as pd
import pytest

from bench.records import Cost, Privacy
from leaderboards.formats import FORMATS

GOLDEN = """\
# Leaderboard: tiny

Two defenses.

## Overall: a rank in each, no mixed score

| defense   | robustness      | privacy                  | utility         | Pareto   | what breaks it                 |
|:----------|:----------------|:-------------------------|:----------------|:---------|:-------------------------------|
| median    | 1 (worst 60.0%) | –                        | 2 (clean 80.0%) |          | nothing here                   |
| mean      | 2 (worst 10.0%) | 1 (worst 100% recovered) | 1 (clean 90.0%) | yes      | sign_flip b=0.4; leaks to dlg  |
"""


@pytest.fixture
def golden_leaderboard(make, make_leak, make_boards, make_claim):
    cost = Cost(round_seconds=0.0042, upload_bytes=163, peer_bytes=26_000)
    claims = Privacy(claimed=make_claim(10.0), composed=make_claim(None, "not here"))
    records = [make("mean", accuracy=value, seed=seed, cost=cost) for seed, value in enumerate((0.85, 0.9, 0.95))]
    records += [make("mean", "sign_flip", 0.4, 0.1, seed, within_claim=False) for seed in range(3)]
    records += [make_leak("mean", recovered=1.0, psnr=31.25, ssim=0.875, seed=seed) for seed in range(3)]
    records += [make("noisy", accuracy=0.8, seed=seed, privacy=claims) for seed in range(3)]
    records += [make("noisy", "sign_flip", 0.4, 0.6, seed) for seed in range(2)]
    records += [make("noisy", "sign_flip", 0.4, None, 2, status="diverged", error="not finite after round 3")]
    records += [make_leak("noisy", ssim=-0.001, noise=0.5 + seed / 4, seed=seed) for seed in range(3)]
    return make_boards(records, seeds=3)

def test_p(golden_leaderboard):
    for f in FORMATS.values(): print(f(golden_leaderboard))
