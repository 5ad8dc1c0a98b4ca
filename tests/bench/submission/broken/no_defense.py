"""Holds nothing that could be submitted."""

ANSWER = 42
