"""Cases of parametrized tests: the quick ones are one of each kind, the slow ones more of the same."""

import pytest
from _pytest.mark import ParameterSet


def slow(*values: object) -> ParameterSet:
    """A further case of a kind that a quick one stands for already."""
    return pytest.param(*values, marks=pytest.mark.slow)
