"""The papers' tables, figures and theorems: ours beside theirs, each with a verdict that a stated rule gives."""
