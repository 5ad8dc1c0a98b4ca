"""What the bench tells Python's audit hooks (sys.audit), beside what the interpreter tells them itself."""

LOADED = "bench.data.load"
"""A data set is loaded; its argument is the name."""
