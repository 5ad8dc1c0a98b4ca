"""Claim cards: a claim of a paper as a TOML file, played, and judged by the rule that stands in it."""
