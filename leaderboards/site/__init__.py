"""The static site: an index, boards, a page for each defense and each attack, the papers' evidence, documentation."""

from leaderboards.site.build import build

__all__ = ["build"]
