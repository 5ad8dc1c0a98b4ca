"""All items, in the order of the report."""

import importlib
from collections.abc import Iterable
from functools import cache

from bench.base.errors import BadInputError
from bench.base.names import unknown
from bench.reproduce.item import Item

PAPERS = ("niss", "dpbfl")
MODULES = (
    "niss_fig3",
    "niss_fig4",
    "niss_theorems",
    "dpbfl_table1",
    "dpbfl_table2",
    "dpbfl_table3",
    "dpbfl_curves",
    "dpbfl_fig5",
    "dpbfl_fig8",
    "dpbfl_fig9",
    "dpbfl_fig10",
    "dpbfl_fig11",
    "dpbfl_shuffle_sum",
    "dpbfl_theorem5",
)


@cache
def items() -> tuple[Item, ...]:
    """Those of every module's `ITEMS`."""
    modules = (importlib.import_module(f"bench.reproduce.{name}") for name in MODULES)
    return tuple(item for module in modules for item in module.ITEMS)


def choose(papers: Iterable[str] = (), only: Iterable[str] = ()) -> list[Item]:
    """The items of these papers and of these names, `table1` or `dpbfl-table1`; all by default.

    Raises `BadInputError` for a name that there is not.
    """
    papers, only = tuple(papers), tuple(only)
    for paper in papers:
        if paper not in PAPERS:
            raise BadInputError(unknown("paper", paper, PAPERS))
    results = [item for item in items() if not papers or item.paper in papers]
    for name in only:
        if not any(name in (item.id, item.name) for item in results):
            raise BadInputError(unknown("item", name, [known for item in results for known in (item.name, item.id)]))
    return [item for item in results if not only or {item.id, item.name} & set(only)]
