"""One record for a person: nothing missing, nothing taken for markup, nothing said that the record does not say."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.commands.one_record import BARS, _settings, print_record, sparkline
from bench.federation.settings import FederationSettings
from bench.plays.cell import run_cell
from bench.privacy.claims import PrivacyClaim
from bench.records import Cost, Environment, Privacy, Record
from bench.suite import Cell, Part

MACHINE = Environment(
    fedsiege="0.1.0", python="3.11", torch="2.4", numpy="2.0", machine="x86_64", device="cpu", threads=1, commit="abc"
)


def claim(**changes: Any) -> PrivacyClaim:
    given = {"epsilon": 10.0, "delta": 1e-4, "unit": "per upload", "source": "a paper, Theorem 1"}
    return PrivacyClaim(**{**given, **changes})


def record(cell_changes: dict[str, Any] | None = None, **changes: Any) -> Record:
    cell: dict[str, Any] = {
        "label": "krum",
        "defense": Part(name="krum", version=1, parameters={"num_selected": 3}),
        "attack": Part(name="sign_flip", version=1, parameters={"c": 2.0, "on": "update"}),
        "federation": FederationSettings(dataset="digits", clients=10, rounds=3, local_steps=1, lr=0.125),
        "byzantine": 0.2,
    }
    given: dict[str, Any] = {
        "suite": "tiny",
        "protocol": "0123456789abcdef",
        "data_digest": "fedcba",
        "setting": "s",
        "cell": Cell(**{**cell, **(cell_changes or {})}),
        "seed": 7,
        "status": "ok",
        "metrics": {"accuracy": 0.87654321, "loss": 0.5},
        "curve": [(1, 0.25), (3, 0.877)],
        "derived": {"sigma_k": 0.0625},
        "within_claim": True,
        "cost": Cost(round_seconds=0.001, upload_bytes=2600, peer_bytes=0, total_seconds=1.5),
        "environment": MACHINE,
        "finished_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return Record(**{**given, **changes})


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    def show(found: Record, path: Path = Path("folder/record.json")) -> str:
        print_record(found, path)
        return capsys.readouterr().out

    return show


def row(text: str, name: str) -> str:
    """The value of a table's row."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {name} ")]
    return line.split("│")[2].strip()


def test_a_training_record_is_told_whole(shown: Any) -> None:
    text = shown(record())
    assert text.startswith("krum x sign_flip b=0.2, seed 7: ok\n")
    assert row(text, "defense") == "krum num_selected=3"
    assert row(text, "attack") == "sign_flip c=2.0, on=update"
    assert row(text, "Byzantine clients") == "20%"
    assert (row(text, "lr"), row(text, "clients"), row(text, "suite")) == ("0.125", "10", "tiny")
    assert row(text, "derived sigma_k") == "0.0625"
    assert (row(text, "accuracy"), row(text, "loss")) == ("0.876543", "0.5")
    assert row(text, "claimed") == "nothing"
    assert (row(text, "upload_bytes"), row(text, "round_seconds")) == ("2600", "0.001")
    assert "round 1: 25.0% to round 3: 87.7%" in text
    words = " ".join(text.split())
    assert "protocol 0123456789abcdef, data fedcba, made 2026-01-02 03:04 UTC" in words
    assert "fedsiege 0.1.0 (abc), torch 2.4" in words


def test_a_record_beyond_the_claim_says_so(shown: Any) -> None:
    assert row(shown(record(within_claim=False)), "Byzantine clients") == "20%, beyond the defense's claim"


def test_a_record_that_failed_says_why_and_nothing_about_the_claim(shown: Any) -> None:
    text = shown(record(status="failed", error="ValueError: no way", metrics={}, curve=[], within_claim=None))
    assert "seed 7: failed" in text
    assert "ValueError: no way" in text
    assert row(text, "Byzantine clients") == "20%"
    assert "accuracy by round" not in text


def test_a_clean_record_has_no_attack(shown: Any) -> None:
    text = shown(record({"attack": None, "byzantine": 0.0}))
    assert text.startswith("krum x clean, seed 7: ok\n")
    assert "│ attack " not in text
    assert row(text, "Byzantine clients") == "0%"


def privacy_record() -> Record:
    attack = Part(name="collusion", version=1, parameters={"rho": 0.3})
    return record(
        {"attack": attack, "byzantine": 0.0, "rho": 0.3, "kind": "inversion", "targets": 4},
        metrics={"psnr": 31.4159, "recovered": 0.75},
        curve=[],
        trace=[12.5, 0.001, 0.25],
        files={"png": "abc-s7.png"},
    )


def test_a_privacy_record_names_its_targets_and_the_attacks_loss(shown: Any) -> None:
    text = shown(privacy_record())
    assert text.startswith("krum x collusion rho=0.3, seed 7: ok\n")
    assert row(text, "targets") == "4"
    assert row(text, "psnr") == "31.4159"
    assert "the attack's own loss: 12.5 at first, 0.001 at best" in text


def test_the_pictures_path_stands_in_one_line(shown: Any) -> None:
    """However long it is: somebody will copy it."""
    path = Path("a-long-folder-name") / ("b" * 90) / "abc-s7.json"
    text = shown(privacy_record(), path)
    assert any(str(path.with_suffix(".png")) in line for line in text.splitlines())


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("claimed", claim(), "epsilon 10 at delta 0.0001, per upload (a paper, Theorem 1)"),
        ("composed", claim(delta=0.0), "epsilon 10 at delta 0, per upload (a paper, Theorem 1)"),
        ("audited", claim(delta=None), "epsilon 10, per upload (a paper, Theorem 1)"),
        ("claimed", claim(epsilon=None, reason="no noise"), "none: no noise, per upload (a paper, Theorem 1)"),
    ],
    ids=["epsilon", "pure", "no delta", "reason"],
)
def test_a_claim_is_told_with_its_terms(shown: Any, kind: str, given: PrivacyClaim, expected: str) -> None:
    assert row(shown(record(privacy=Privacy(**{kind: given}))), kind) == expected


def test_what_looks_like_markup_is_shown_as_it_is(shown: Any) -> None:
    part = Part(name="krum", version=1, parameters={"note": "[red]a[/red]"})
    text = shown(record({"label": "[bold]row", "defense": part}, status="failed", error="[/] [blue]oh"))
    assert text.startswith("[bold]row x ")
    assert "[/] [blue]oh" in text
    assert "[red]a[/red]" in text


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([0.0], BARS[0]),
        ([1.0], BARS[-1]),
        ([0.0, 0.124, 0.126, 0.5, 0.99], f"{BARS[0]}{BARS[0]}{BARS[1]}{BARS[4]}{BARS[7]}"),
    ],
)
def test_a_curve_is_a_bar_a_value(values: list[float], bars: str) -> None:
    assert sparkline(values) == bars


@pytest.mark.parametrize(("count", "bars"), [(60, 60), (61, 31), (100, 50), (1000, 59)])
def test_a_long_curve_is_thinned_out(count: int, bars: int) -> None:
    assert len(sparkline([0.5] * count)) == bars


def test_the_byzantine_clients_are_counted(make_cell: Any, make_task: Any) -> None:
    attack = {"name": "sign_flip", "byzantine": 2 / 9}
    played = run_cell(make_task(make_cell({"name": "median"}, attack, assumed_byzantine=0.1))).record
    shown = _settings(played)
    assert shown["Byzantine clients"] == "22%: 2 of 9, 2 in a round at most"
    assert shown["rounds with more than f"] == "3 of 3, without one: 0"
