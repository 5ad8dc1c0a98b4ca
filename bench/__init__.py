"""FedSiege's engine: everything that all cells of the attack-and-defense matrix share."""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.base import arithmetic

if TYPE_CHECKING:
    from bench.exchange.rule import rule as rule
    from bench.notebook import evaluate as evaluate
    from bench.notebook import load as load
    from bench.notebook import run as run

__version__ = "1.0.0a1"

arithmetic.start()  # before anything imports torch or numpy
BESIDE = ("attacks", "defenses", "leaderboards")
"""Our packages with names that a folder of somebody's own may have too."""


def _import_beside(name: str, root: str) -> None:
    """Import a package from the folder in which this one lies, whatever comes first on the path.

    Raises `ImportError` where another package of that name is imported already.
    """
    if (there := sys.modules.get(name)) is not None:
        result = next(iter(getattr(there, "__path__", ())), getattr(there, "__file__", None))
        if Path(result or "").resolve() != Path(root, name).resolve():
            raise ImportError(f"fedsiege has a package {name!r}, and {result} was imported under that name before it")
        return
    spec = PathFinder.find_spec(name, [root])
    if spec is None or spec.loader is None:
        raise ImportError(f"fedsiege is not whole: there is no package {name!r} in {root}")
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)


for _name in BESIDE:
    _import_beside(_name, str(Path(__file__).parents[1]))


def __getattr__(name: str) -> Any:
    """What a notebook or a training loop calls, imported when it is first used: the command line starts at once."""
    if name == "rule":
        from bench.exchange.rule import rule

        return rule
    if name in ("run", "evaluate", "load"):
        from bench.base import systems

        systems.check()
        from bench import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
