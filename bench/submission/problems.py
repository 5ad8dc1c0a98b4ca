"""How a rule of the contract says what it found, and how a step that raises is told."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.submission.guards import Watch


class BrokenError(Exception):
    """The rule is broken, in one sentence without its full stop."""


class StepError(Exception):
    """A step raised, or gave what it must not, told in one sentence."""


class Note(Exception):  # noqa: N818  it is no error
    """Nothing is broken, but a reader should know."""


@contextmanager
def watched(watch: Watch, name: str) -> Iterator[None]:
    """What runs inside is watched as the step of that name; what it raises becomes a sentence that names it."""
    try:
        with watch.during(name):
            yield
    except StepError:
        raise
    except (Exception, SystemExit) as error:
        told = " ".join(str(error).split())[:300]
        raise StepError(f"{name} raised {type(error).__name__}: {told}") from error
