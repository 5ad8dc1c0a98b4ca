"""Plays rounds of a federation; knows no suite and no record."""
