"""How many threads numpy's and scipy's linear algebra may use; torch has a number of its own."""

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _libraries() -> ThreadpoolController:
    """Those that are loaded at the first call; looking for them takes milliseconds, setting them microseconds."""
    import scipy.linalg  # noqa: F401, a library of its own beside numpy's

    return ThreadpoolController()


def blas_threads(count: int) -> AbstractContextManager[object]:
    """A context in which numpy and scipy compute on `count` threads.

    Small matrices are slower on two threads than on one, and many times so where the second core is busy.
    """
    limited: AbstractContextManager[object] = _libraries().limit(limits=count, user_api="blas")
    return limited
