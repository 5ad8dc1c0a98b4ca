"""What there is to run, by kind, with a line each; nothing here imports torch."""

from bench import registry
from bench.base.errors import BadInputError
from bench.base.names import unknown
from bench.suite import loading as suite

OF_WHICH: dict[str, registry.Kind] = {f"{kind}s": kind for kind in registry.KINDS}
KINDS = (*OF_WHICH, "suites")


def listing(kind: str | None = None) -> dict[str, dict[str, str]]:
    """Names and lines of one kind, or of all."""
    if kind is not None and kind not in KINDS:
        raise BadInputError(unknown("kind of thing to list", kind, KINDS))
    return {name: _entries(name) for name in ([kind] if kind else KINDS)}


def _entries(kind: str) -> dict[str, str]:
    return suite.titles() if kind == "suites" else registry.summaries(OF_WHICH[kind])
