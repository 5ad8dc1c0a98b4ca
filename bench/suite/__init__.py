"""From a TOML file to cells; nothing here imports torch."""

from bench.suite.cell import RECOVERED_PSNR, Cell, Parameters, Part
from bench.suite.entries import DefenseEntry
from bench.suite.loading import load, load_family, shipped
from bench.suite.meeting import make_part
from bench.suite.schema import Suite

__all__ = [
    "RECOVERED_PSNR",
    "Cell",
    "DefenseEntry",
    "Parameters",
    "Part",
    "Suite",
    "load",
    "load_family",
    "make_part",
    "shipped",
]
