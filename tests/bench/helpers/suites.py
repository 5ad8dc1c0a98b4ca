"""Texts of suite files with some seconds of work, and settings of their federations."""

import tomllib
from typing import Any

TINY = """
name = "tiny"
title = "a tiny suite"
seeds = {seeds}

[federation]
dataset = "digits"
clients = {clients}
samples_per_client = 20
rounds = 2
local_steps = 1
batch_size = 10
lr = 0.5
assumed_byzantine = {assumed_byzantine}

[privacy]
targets = 2
model = "lenet"
samples_per_client = 1
batch_size = 1
lr = 0.1
dtype = "float64"
"""
ROWS = """
[[defense]]
name = "median"

[[defense]]
name = "dp_fedavg"

[[attack]]
name = "sign_flip"
byzantine = [0.0, 0.16]

[[attack]]
name = "dlg"
starts = 1
evaluations = 20

[tune.median]
lr = [0.1, 0.5]
"""
"""Two defenses, a forging and a curious attack, a search: six records with one seed."""

FAULTS = """
name = "faults"
title = "cells in which somebody dies"
seeds = [0, 1]
[federation]
dataset = "digits"
clients = 6
samples_per_client = 10
rounds = 5
local_steps = 1
batch_size = 5
lr = 0.5
assumed_byzantine = 0.17
[[defense]]
name = "mortal"
tag = [1, 2, 3, 4, 5, 6]
[[attack]]
name = "sign_flip"
byzantine = [0.17]
"""
"""24 cells: six rows of a plugin's defense, a clean and an attacked column, two seeds; each a moment's work."""

FIVE_ROUNDS: dict[str, Any] = tomllib.loads(FAULTS)["federation"]
"""The federation of those cells."""


def faults(defense: str = "mortal", tags: str = "[1, 2, 3, 4, 5, 6]", seeds: str = "[0, 1]") -> str:
    """The same suite with fewer rows or seeds; of one row without tags where it is another defense."""
    text = FAULTS.replace("[0, 1]", seeds)
    if defense == "mortal":
        return text.replace("[1, 2, 3, 4, 5, 6]", tags)
    return text.replace("mortal", defense).replace("tag = [1, 2, 3, 4, 5, 6]\n", "")
