"""Every public function of the mathematics, with whatever shapes and numbers: `ValueError` or a right answer."""

import contextlib
import copy
import inspect
import math
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.privacy.claims import PrivacyClaim
from tests.fuzz.answers import check
from tests.fuzz.discovery import LEFT_OUT, argument_names, parameters, public_functions
from tests.fuzz.values import PARAMETERS, SPECIAL, maker
from tests.fuzz.world import World, worlds

FUNCTIONS = {name: function for name, function in public_functions().items() if name not in LEFT_OUT}
EXAMPLES, DEEP = 50, 1500

SLOW = {
    "bench.privacy.analysis.compose.compose_gaussian": 5,
    "bench.privacy.papers.blanket.compose_shuffle": 2,
    "bench.privacy.sampling.compose_hidden_draws": 10,
}
"""How many times fewer examples: a call takes tens of milliseconds."""

ROWS = {"messages", "honest", "updates", "local_models", "own", "gram", "direction", "history"}
"""Names of arguments that are matrices, or vectors, of one meaning everywhere."""

REFUSALS = (
    "the search for the smallest diameter is not over",
    "assumed Byzantine clients is ",  # of a setting
    "1 validation error for PrivacyClaim",
    "2 validation errors for PrivacyClaim",
    "no partition scheme named",
    "no law of sizes named",
)
"""Sentences that rightly name no argument."""


def test_every_parameter_has_values() -> None:
    """A new public function, or a new parameter, is fuzzed without being named; unless nobody knows with what."""
    missing = [
        f"{name}({parameter.name})"
        for name, function in FUNCTIONS.items()
        for parameter in parameters(function)
        if maker(name, parameter.name) is None
    ]
    assert missing == [], "say in tests/fuzz/fuzz_values.py what these may be given, or leave them out with a reason"


def test_nothing_is_listed_that_is_not_there() -> None:
    assert set(SPECIAL) <= set(public_functions())
    used = {parameter.name for function in FUNCTIONS.values() for parameter in parameters(function)}
    assert set(PARAMETERS) - used == set()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_value_error_or_a_right_answer(name: str) -> None:
    fuzz(name, max(5, EXAMPLES // SLOW.get(name, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_value_error_or_a_right_answer_many_times(name: str) -> None:
    fuzz(name, max(5, DEEP // SLOW.get(name, 1)))


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_tensor_that_requires_grad_is_refused_or_gives_an_answer(name: str) -> None:
    @settings(max_examples=max(2, 10 // SLOW.get(name, 1)), suppress_health_check=list(HealthCheck))
    @given(worlds())
    def once(world: World) -> None:
        positional, named = arguments(name, FUNCTIONS[name], world)
        with contextlib.suppress(ValueError):
            FUNCTIONS[name](*map(followed, positional), **{key: followed(value) for key, value in named.items()})

    once()


@pytest.mark.parametrize("name", sorted(name for name in FUNCTIONS if ROWS & set(argument_names(FUNCTIONS[name]))))
def test_messages_without_their_two_dimensions_are_refused(name: str) -> None:
    """One message alone, and a matrix of them in a stack: what works on rows says so, where it looks at them at all."""

    @settings(max_examples=5, suppress_health_check=list(HealthCheck))
    @given(worlds())
    def once(world: World) -> None:
        positional, named = arguments(name, FUNCTIONS[name], world)
        given = inspect.signature(FUNCTIONS[name]).bind(*positional, **named).arguments
        for argument in ROWS & set(given):
            value = given[argument]
            for turned in (value.flatten(), value[None], value[..., None]) if isinstance(value, Tensor) else ():
                bound = inspect.signature(FUNCTIONS[name]).bind(*positional, **named)
                bound.arguments[argument] = turned
                with contextlib.suppress(ValueError):
                    FUNCTIONS[name](*bound.args, **bound.kwargs)

    once()


@settings(max_examples=100)
@given(
    st.fixed_dictionaries(
        {}, optional={name: st.floats() | st.text() | st.none() for name in PrivacyClaim.model_fields}
    )
)
def test_a_privacy_claim_is_refused_or_holds_what_it_must(fields: dict[str, Any]) -> None:
    try:
        claim = PrivacyClaim(**fields)
    except ValueError:
        return
    assert (claim.epsilon is None) != (claim.reason is None)
    assert claim.epsilon is None or 0 <= claim.epsilon < math.inf


def fuzz(name: str, examples: int) -> None:
    """Call the function so many times; some calls must be answered."""
    function, outcomes = FUNCTIONS[name], Counter[str]()

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(worlds())
    def once(world: World) -> None:
        positional, named = arguments(name, function, world)
        outcomes[outcome(name, function, positional, named)] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflows: what comes of them is looked at
        once()
    assert outcomes["answered"], f"all {examples} calls were refused"


def arguments(name: str, function: Callable[..., Any], world: World) -> tuple[list[Any], dict[str, Any]]:
    """Values of all parameters; those with a default are left out now and then."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for parameter in parameters(function):
        make = maker(name, parameter.name)
        assert make is not None
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            positional += make(world)
        elif parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            positional.append(make(world))
        elif parameter.default is inspect.Parameter.empty or world.draw(st.booleans()):
            named[parameter.name] = make(world)
    return positional, named


def outcome(name: str, function: Callable[..., Any], positional: list[Any], named: dict[str, Any]) -> str:
    """Call it: `answered`, rightly and with its arguments left as they were, or `refused`, with a clear sentence."""
    bound = inspect.signature(function).bind(*positional, **named)
    before = copied(bound.arguments)
    try:
        answer = function(*positional, **named)
        told = ""
    except ValueError as error:
        told = str(error) or "nothing"
    if told:
        words = [parameter.name for other in neighbours(name) for parameter in parameters(other)]
        clear = " must be " in told and any(word in told for word in words)
        assert clear or told.startswith(REFUSALS), f"a ValueError that names no argument: {told!r}"
        return "refused"
    for argument, value in before.items():
        assert same(value, bound.arguments[argument]), f"{argument} was changed in place"
    bound.apply_defaults()
    check(name, bound.arguments, answer)
    return "answered"


def followed(value: Any) -> Any:
    """A tensor of real numbers as it comes out of a model that is trained."""
    return value.clone().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value


def neighbours(name: str) -> list[Callable[..., Any]]:
    """The public functions of the module, through which one may refuse what it was given."""
    return [function for other, function in FUNCTIONS.items() if other.rpartition(".")[0] == name.rpartition(".")[0]]


def copied(values: dict[str, Any]) -> dict[str, Any]:
    kept = (Tensor, np.ndarray, pd.DataFrame, list)
    return {name: copy.deepcopy(value) for name, value in values.items() if isinstance(value, kept)}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        equal_nan = one.is_floating_point()
        return one.dtype == other.dtype and bool(torch.allclose(one, other, rtol=0, atol=0, equal_nan=equal_nan))
    if isinstance(one, pd.DataFrame):
        return bool(one.equals(other))
    return bool(np.array_equal(np.asarray(one, dtype=float), np.asarray(other, dtype=float), equal_nan=True))
