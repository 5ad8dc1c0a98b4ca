"""The settings of a federation: what they refuse, and what follows from them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.federation.settings import FederationSettings, check_inverted

GIVEN: dict[str, Any] = {"dataset": "digits", "clients": 10, "rounds": 3, "local_steps": 1, "lr": 0.1}


def settings(**changes: Any) -> FederationSettings:
    return FederationSettings(**{**GIVEN, **changes})


@pytest.mark.parametrize(
    ("clients", "participation", "expected"),
    [
        (10, 1.0, 10),
        (10, 0.3, 3),
        (10, 0.25, 2),  # half to even, as Python rounds
        (10, 0.35, 4),
        (7, 0.5, 4),
        (100, 0.101, 10),
        (3, 0.9, 3),
        (10, 0.01, 1),
        (1, 1e-9, 1),
    ],
)
def test_participants_are_rounded_and_at_least_one(clients: int, participation: float, expected: int) -> None:
    assert settings(clients=clients, participation=participation).participants == expected


@given(st.integers(1, 1000), st.floats(0, 1, exclude_min=True))
def test_participants_are_between_one_and_all(clients: int, participation: float) -> None:
    found = settings(clients=clients, participation=participation).participants
    assert 1 <= found <= clients
    assert found == 1 or abs(found - participation * clients) <= 0.5


@pytest.mark.parametrize(("epochs", "steps"), [(None, None), (1, 1)])
def test_either_epochs_or_steps(epochs: int | None, steps: int | None) -> None:
    with pytest.raises(ValidationError, match="give either local_epochs or local_steps"):
        settings(local_epochs=epochs, local_steps=steps)


def test_one_schedule_of_the_learning_rate() -> None:
    with pytest.raises(ValidationError, match="give either lr_decay or lr_milestones"):
        settings(lr_decay=20.0, lr_milestones=[1])
    assert settings(lr_milestones=[]).model_dump() == settings().model_dump()
    for milestones in ([0, 3], [3, 2], [2, 2], [-1]):
        with pytest.raises(ValidationError, match="must be rounds from 1 on, each later than the last"):
            settings(lr_milestones=milestones)


@pytest.mark.parametrize("name", ["weight_decay", "clip_gradients"])
def test_inversions_read_plain_gradients(name: str) -> None:
    check_inverted(settings())
    with pytest.raises(ValueError, match=rf"^{name} is 0\.1, but must be 0 in \[privacy\]"):
        check_inverted(settings(**{name: 0.1}))


def test_clients_of_different_sizes_take_as_many_steps() -> None:
    with pytest.raises(ValidationError, match="sizes is 'lognormal', but must be 'equal' with local_epochs"):
        settings(sizes="lognormal", local_steps=None, local_epochs=1)
    with pytest.raises(ValueError, match=r"^sizes is 'dirichlet', but must be 'equal' in \[privacy\]"):
        check_inverted(settings(sizes="dirichlet"))


@pytest.mark.parametrize(("epochs", "steps"), [(2, None), (None, 5)])
def test_one_length_of_training_is_kept(epochs: int | None, steps: int | None) -> None:
    found = settings(local_epochs=epochs, local_steps=steps)
    assert (found.local_epochs, found.local_steps) == (epochs, steps)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("partition", "random"),
        ("shards_per_client", 0),
        ("alpha", 0.0),
        ("alpha", -1.0),
        ("clients", 0),
        ("clients", 2.5),
        ("samples_per_client", 0),
        ("participation", 0.0),
        ("participation", 1.01),
        ("participation", -0.5),
        ("rounds", 0),
        ("local_steps", 0),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", -0.1),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", "fast"),
        ("lr_decay", 0.0),
        ("assumed_byzantine", -0.1),
        ("assumed_byzantine", 1.0),
        ("delta", 0.0),
        ("delta", 1.0),
        ("eval_every", 0),
        ("dtype", "float16"),
        ("learning_rate", 0.1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**{field: value})
    (error,) = caught.value.errors()
    assert error["loc"] == (field,)


def test_epochs_out_of_range_are_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        settings(local_epochs=0, local_steps=None)
    assert caught.value.errors()[0]["loc"] == ("local_epochs",)


@pytest.mark.parametrize("field", ["dataset", "clients", "rounds", "lr"])
def test_what_has_no_default_must_be_given(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        FederationSettings(**{key: value for key, value in GIVEN.items() if key != field})


def test_the_ends_of_the_ranges_are_allowed() -> None:
    found = settings(participation=1.0, assumed_byzantine=0.0, clients=1, rounds=1, batch_size=1, samples_per_client=1)
    assert (found.participation, found.assumed_byzantine, found.clients) == (1.0, 0.0, 1)


def test_settings_are_frozen() -> None:
    found = settings()
    with pytest.raises(ValidationError, match="frozen"):
        found.lr = 1.0  # type: ignore[misc]
    assert found.lr == 0.1
