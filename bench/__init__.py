"""FedSiege's engine: everything that all cells of the attack-and-defense matrix share."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.notebook import evaluate as evaluate
    from bench.notebook import load as load
    from bench.notebook import run as run

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What a notebook calls, imported when it is first used, so that the command line starts at once."""
    if name in ("run", "evaluate", "load"):
        from bench import systems

        systems.check()
        from bench import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
