"""The threads of numpy's and scipy's linear algebra."""

from threadpoolctl import threadpool_info

from bench.base.threads import blas_threads


def counts() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_inside_it_is_the_given_number_and_outside_what_it_was() -> None:
    with blas_threads(2):
        assert counts() == {2}
        with blas_threads(1):
            assert counts() == {1}
        assert counts() == {2}
