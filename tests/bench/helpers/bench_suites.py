"""Texts of suite files with some seconds of work."""

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
