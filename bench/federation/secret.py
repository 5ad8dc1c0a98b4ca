"""Secret worlds: rounds that a verifier plays to judge submitted code, in which marks and low bits are of no use.

There Byzantine clients know how honest ones encode their updates and send what they forge in the same way; what nobody
sent under a name has no place, and what claims noise reaches the server with a little more of it.
"""

from contextlib import AbstractContextManager
from contextvars import ContextVar

from bench.base.context import holding

_secret: ContextVar[bool] = ContextVar("secret", default=False)


def secret_world(secret: bool = True) -> AbstractContextManager[None]:
    """Rounds in here are those of a secret world."""
    return holding(_secret, secret)


def is_secret() -> bool:
    """Whether the present rounds are."""
    return _secret.get()
