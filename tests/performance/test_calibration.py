"""The calibration kernels on their own: what this machine does in a second, in pytest-benchmark's table."""

from typing import Any

import pytest

from bench.perf.calibration import kernels

pytestmark = [pytest.mark.performance, pytest.mark.quick]


@pytest.mark.parametrize("name", ["matmul", "stream"])
def test_kernel(benchmark: Any, name: str) -> None:
    kernel = kernels()[name]
    benchmark.pedantic(kernel.run, rounds=50, warmup_rounds=3)
    benchmark.extra_info["rate"] = kernel.rate(benchmark.stats.stats.median)
    assert benchmark.stats.stats.median > 0
