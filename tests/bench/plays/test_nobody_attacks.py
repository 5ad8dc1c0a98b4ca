"""Shares that round to nobody are refused; rounds whose sample holds more Byzantine clients than f are counted."""

from collections.abc import Callable
from typing import Any

import pytest

from attacks.backdoor import Backdoor
from attacks.dlg import DLG
from attacks.sign_flip import SignFlip
from bench.base.errors import BadInputError, require_somebody
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.roles import byzantine_by_round, participants_of
from bench.federation.settings import FederationSettings
from bench.plays.cell import run_cell
from bench.plays.inversion import watch
from bench.records import ByzantineCount, Record
from bench.runs.preflight import check_settings
from bench.suite import Cell, Suite
from defenses.fedavg import FedAvg

Make = Callable[..., Any]
FEDERATION = {"dataset": "digits", "clients": 10, "rounds": 3, "local_steps": 1, "lr": 0.1}


def cells(attack: dict[str, Any], **changes: Any) -> list[Cell]:
    content = {"name": "small", "title": "t", "seeds": [0], "federation": {**FEDERATION, **changes}}
    content["privacy"] = {"targets": 2}
    return Suite(**content, defense=[{"name": "dp_fedavg"}], attack=[attack]).cells()


def settings(**changes: Any) -> FederationSettings:
    return FederationSettings.model_validate(FEDERATION | changes)


@pytest.mark.parametrize(
    ("share", "total", "refused"),
    [(0.04, 10, True), (0.05, 10, True), (0.0, 10, False), (0.06, 10, False), (1e-300, 10, True), (1.0, 1, False)],
)
def test_a_positive_share_of_nobody(share: float, total: int, refused: bool) -> None:
    if not refused:
        require_somebody("share", share, total, "clients")
        return
    wanted = rf"share is {share!r}, but must be a share that rounds to at least one of the {total} clients"
    with pytest.raises(ValueError, match=wanted):
        require_somebody("share", share, total, "clients")


@pytest.mark.parametrize("b", [0.04, 0.05, [0.2, 0.01]])
def test_a_suite_in_which_nobody_is_byzantine_is_refused(b: object) -> None:
    told = r"suite 'small', row 'dp_fedavg', sign_flip b=0\.\d+: byzantine is .*must be a share .* 10 clients"
    with pytest.raises(BadInputError, match=told):
        cells({"name": "sign_flip", "byzantine": b})
    assert len(cells({"name": "sign_flip", "byzantine": [0.0, 0.06]})) == 2


@pytest.mark.parametrize("b", [-0.0, [0.2, -0.0]])
def test_a_negative_zero_drops_no_attack_silently(b: object) -> None:
    with pytest.raises(ValueError, match="byzantine fraction -0 is not between 0 and 1"):
        cells({"name": "sign_flip", "byzantine": b})


@pytest.mark.parametrize(
    ("attack", "changes", "told"),
    [
        ({"name": "collusion", "rho": 0.05}, {}, "rho is 0.05, but must be .* one of the 9 other clients"),
        ({"name": "subspace", "rho": 0.01}, {}, "rho is 0.01"),
        ({"name": "zero_shares", "rho": 0.01}, {}, "rho is 0.01"),
        ({"name": "audit", "rho": 0.1}, {"participation": 0.5}, "rho is 0.1, but must be .* 4 other clients"),
        ({"name": "backdoor", "share": 0.004, "byzantine": 0.2}, {}, "share is 0.004, .* 119 images of a client"),
        (
            {"name": "backdoor", "share": 0.02, "byzantine": 0.2},
            {"samples_per_client": 20},
            "share is 0.02, .* 20 images of a client",
        ),
    ],
    ids=str,
)
def test_other_shares_of_nobody_are_refused_before_anything_runs(
    attack: dict[str, Any], changes: dict[str, Any], told: str
) -> None:
    found = cells(attack, **changes)
    with pytest.raises(BadInputError, match=rf"suite 'small', row 'dp_fedavg', {attack['name']}.*: {told}"):
        check_settings("small", found, None)
    (name,) = {"rho", "share"} & set(attack)
    check_settings("small", cells({**attack, name: 0.6}, **changes), None)


@pytest.mark.parametrize("name", ["weight_decay", "clip_gradients"])
def test_inversions_of_other_steps_are_refused_before_anything_runs(name: str) -> None:
    found = cells({"name": "dlg"}, **{name: 0.1})
    with pytest.raises(BadInputError, match=rf"suite 'small', row 'dp_fedavg', dlg: {name} is 0\.1, but must be 0 in"):
        check_settings("small", found, None)
    check_settings("small", [cell for cell in found if not cell.is_privacy], None)
    with pytest.raises(ValueError, match=rf"{name} is 0\.1, but must be 0"):
        watch(Federation(settings(**{name: 0.1}), FedAvg(), load("digits"), 0), load("digits"), DLG(), 2)


def test_a_claim_that_unequal_weights_would_void_is_refused_in_training_and_audit(
    make_cell: Make, make_task: Make
) -> None:
    with pytest.raises(BadInputError, match=r"row 'dp_fedavg', clean: sizes is 'lognormal', but must be 'equal' under"):
        check_settings("small", cells({"name": "audit"}, sizes="lognormal"), None)
    for attack in (None, {"name": "audit"}):
        record = run_cell(make_task(make_cell({"name": "dp_fedavg"}, attack, sizes="lognormal"))).record
        assert record.status == "failed"
        assert record.error is not None
        assert "sizes is 'lognormal', but must be 'equal' under dp_fedavg" in record.error


def test_the_engine_refuses_them_as_well(make_cell: Make, make_task: Make) -> None:
    with pytest.raises(ValueError, match=r"byzantine is 0\.04"):
        Federation(settings(), FedAvg(), load("digits"), 0, SignFlip(), 0.04)
    with pytest.raises(ValueError, match=r"share is 0\.001"):
        Federation(settings(), FedAvg(), load("digits"), 0, Backdoor(share=0.001), 0.2)
    for attack in ({"name": "collusion", "rho": 0.05}, {"name": "audit", "rho": 0.05}):
        cell = make_cell({"name": "dp_fedavg"}, attack)
        record = run_cell(make_task(cell)).record
        assert record.status == "failed"
        assert record.error is not None
        assert "rho is 0.05" in record.error


# -------------------------------------------------------------------------------------------------------- the count


def played(cell: Cell, seed: int) -> list[int]:
    """The Byzantine participants of each round, as the engine has them."""
    federation = Federation(cell.federation, FedAvg(), load("digits"), seed, SignFlip(), cell.byzantine)
    return [int(federation.is_byzantine[transcript.participants].sum()) for transcript in federation.rounds()]


def test_a_record_counts_the_byzantine_clients_round_by_round(make_cell: Make, make_task: Make) -> None:
    """20 clients, a quarter of them a round, b = 0.2, so that f = 1 of 5."""
    cell = make_cell(
        {"name": "trimmed_mean"}, {"name": "sign_flip", "byzantine": 0.2},
        clients=20, participation=0.25, rounds=8, assumed_byzantine=0.2, local_steps=1,
    )  # fmt: skip
    seen = {}
    for seed in range(4):
        counts = played(cell, seed)
        assert byzantine_by_round(cell.federation, 0.2, seed) == counts
        record = run_cell(make_task(cell, seed=seed)).record
        beyond = sum(count > 1 for count in counts)
        told = {"most": max(counts), "beyond_f": beyond, "majority": sum(2 * count > 5 for count in counts)}
        assert record.byzantine == ByzantineCount(clients=4, absent=counts.count(0), **told)
        assert record.within_claim is (beyond == 0)
        seen[record.within_claim] = beyond
    assert max(seen.values()) > 0


def test_without_sampling_every_round_holds_all_of_them(make_cell: Make, make_task: Make) -> None:
    record = run_cell(make_task(make_cell({"name": "krum"}, {"name": "sign_flip", "byzantine": 2 / 9}))).record
    assert record.byzantine == ByzantineCount(clients=2, most=2, beyond_f=0, absent=0)
    assert record.within_claim is True
    assert run_cell(make_task(make_cell({"name": "krum"}))).record.byzantine is None


@pytest.mark.parametrize(("assumed", "oracle", "beyond"), [(0.1, False, 3), (0.1, True, 0), (0.3, False, 0)])
def test_f_is_what_the_defense_is_told(
    make_cell: Make, make_task: Make, assumed: float, oracle: bool, beyond: int
) -> None:
    told = {"assumed_byzantine": assumed, "oracle_f": oracle}
    cell = make_cell({"name": "median"}, {"name": "sign_flip", "byzantine": 2 / 9}, **told)
    found = run_cell(make_task(cell)).record.byzantine
    assert found is not None
    assert found.beyond_f == beyond


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_cell_that_breaks_off_still_says_whether_it_is_beyond_the_claim(
    make_cell: Make, make_task: Make, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    def fall(*given: Any) -> None:
        raise RuntimeError("broken")

    if status == "failed":
        monkeypatch.setattr("bench.federation.engine.Federation._finish", fall)
    for assumed, within in ((0.1, False), (0.25, True)):
        cell = make_cell({"name": "trimmed_mean"}, {"name": "sign_flip", "byzantine": 2 / 9}, assumed_byzantine=assumed,
                         **({"lr": 1e38} if status == "diverged" else {}))  # fmt: skip
        record = run_cell(make_task(cell)).record
        assert (record.status, record.within_claim) == (status, within)
        assert record.byzantine is not None


def test_participants_are_a_sorted_sample_of_the_round() -> None:
    some = settings(clients=100, participation=0.05)
    drawn = [participants_of(some, 0, index).tolist() for index in range(2)]
    assert drawn[0] != drawn[1]
    assert all(names == sorted(set(names)) and len(names) == 5 for names in drawn)
    assert participants_of(settings(), 3, 7).tolist() == list(range(10))


def test_records_from_before_the_count_are_read(small_record: Record) -> None:
    content = small_record.model_dump(mode="json")
    del content["byzantine"]
    assert Record.model_validate(content).byzantine is None


@pytest.fixture
def small_record(make_cell: Make, make_task: Make) -> Record:
    record: Record = run_cell(make_task(make_cell({"name": "fedavg"}), seed=0)).record
    return record


def test_the_backdoors_share_is_at_least_one_image() -> None:
    with pytest.raises(ValueError, match="8 images of a client"):
        Backdoor(share=0.05).check_shard(8)
    Backdoor(share=0.07).check_shard(8)


def test_every_shipped_suite_has_somebody_to_attack() -> None:
    from bench import suite

    for name in suite.shipped():
        for cell in suite.load(name).cells():
            assert bool(cell.byzantine) == bool(cell.num_byzantine), (name, cell.column)
