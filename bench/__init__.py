"""FedSiege's engine: everything that all cells of the attack-and-defense matrix share."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.notebook import load as load
    from bench.notebook import run as run

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`bench.run` and `bench.load`, imported when they are first used, so that the command line starts at once."""
    if name in ("run", "load"):
        from bench import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
