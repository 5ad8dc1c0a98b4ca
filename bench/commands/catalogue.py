"""What there is to run, by kind, with a line each; nothing here imports torch."""

from bench import registry
from bench.base.errors import BadInputError
from bench.base.names import unknown
from bench.suite import loading as suite

KINDS = ("defenses", "attacks", "datasets", "models", "suites")


def listing(kind: str | None = None) -> dict[str, dict[str, str]]:
    """Names and lines of one kind, or of all."""
    if kind is not None and kind not in KINDS:
        raise BadInputError(unknown("kind of thing to list", kind, KINDS))
    return {name: _entries(name) for name in ([kind] if kind else KINDS)}


def _entries(kind: str) -> dict[str, str]:
    if kind == "defenses":
        return registry.summaries("defense")
    if kind == "attacks":
        return registry.summaries("attack")
    return {"datasets": registry.DATASETS, "models": registry.MODELS}.get(kind) or suite.titles()
