"""Performance tracking, `python -m bench perf`: a history of normalised times, and the smoke suite's numbers beside it.

A benchmark under `tests/performance` times its function through `Tracker`, which times two calibration kernels around
every round. `run` plays the whole set several times, `statistics` turns the rounds into one figure with its spread,
`history` keeps it, `compare` judges it against an older one, `report` and `plot` show it. `accuracy` re-runs the smoke
suite and compares its records with the committed ones.
"""
