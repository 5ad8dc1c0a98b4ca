"""A leaderboard as one self-contained page: tables, charts and pictures inlined, every number with its records."""

from leaderboards.html.page import html

__all__ = ["html"]
