"""One's own class in a suite, from Python: it has the rows that a registered class would have, and nothing is left."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from torch import Tensor

import bench
from bench import registry
from bench.base.errors import BadInputError
from bench.protocol import Defense, Delivered, ServerRound
from defenses.fedavg import FedAvg

ROWS = """
[[defense]]
name = "fedavg"

[[attack]]
name = "sign_flip"
byzantine = [0.0, 0.25]
"""
NUMBERS = ["column", "seed", "status", "accuracy"]


class HalfStep(Defense):
    """Half of the mean."""

    share: float = 0.5

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + self.share * delivered.messages.mean(dim=0)


class Again(FedAvg):
    """The mean under another name."""


@pytest.fixture
def tiny(tmp_path: Path, tiny_suite: Callable[..., str]) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(tiny_suite(ROWS, seeds="[0, 1]", clients=8, assumed_byzantine=0.25))
    return str(path)


def test_a_class_of_one_s_own_stands_above_the_records_that_are_there(tiny: str, tmp_path: Path) -> None:
    shipped = bench.run(tiny, results=tmp_path / "results")
    before = sorted(tmp_path.rglob("*"))
    frame = bench.evaluate(Again, tiny, results=tmp_path / "results")
    assert list(frame["defense"]) == ["again"] * 4 + ["fedavg"] * 4
    mine, theirs = (frame[frame["defense"] == name][NUMBERS].reset_index(drop=True) for name in ("again", "fedavg"))
    pd.testing.assert_frame_equal(mine.sort_values(NUMBERS[:2]), theirs.sort_values(NUMBERS[:2]), check_like=True)
    assert set(shipped["key"]) == set(frame["key"][4:])
    assert sorted(tmp_path.rglob("*")) == before
    assert "again" not in registry.names("defense")


def test_parameters_labels_sweeps_and_a_federation_are_those_of_a_suite_s_table(tiny: str, tmp_path: Path) -> None:
    asked = {"seeds": [1], "attacks": ["sign_flip"], "results": tmp_path / "none"}
    frame = bench.evaluate(HalfStep, tiny, **asked, label="mine", share=[0.25, 1.0], federation={"lr": 0.1})
    assert set(frame["defense"]) == {"mine (share=0.25)", "mine (share=1.0)"}
    assert set(frame["seed"]) == {1}
    assert set(frame["status"]) == {"ok"}
    assert frame["accuracy"].nunique() > 1


def test_a_class_that_changed_is_played_anew(tiny: str, tmp_path: Path) -> None:
    """Under the same name and parameters: a record would not tell the two apart."""
    asked = {"seeds": [0], "results": tmp_path / "none"}
    first = bench.evaluate(HalfStep, tiny, **asked)

    class Whole(HalfStep):
        def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
            return server.global_model + delivered.messages.mean(dim=0)

    Whole.__name__ = "HalfStep"
    changed = bench.evaluate(Whole, tiny, **asked)
    assert list(first["key"]) == list(changed["key"])
    assert list(first["accuracy"]) != list(changed["accuracy"])


@pytest.mark.parametrize(
    ("given", "entry", "told"),
    [
        (HalfStep(), {}, "takes a subclass of bench.protocol.Defense, and was given HalfStep"),
        (Path, {}, "takes a subclass of bench.protocol.Defense"),
        (type("Krum", (FedAvg,), {}), {}, "defense name 'krum' is taken: give Krum another"),
        (HalfStep, {"shar": 0.5}, "shar"),
        (HalfStep, {"attacks": ["dlgg"]}, "dlgg"),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_one_line(
    tiny: str, given: object, entry: dict[str, object], told: str
) -> None:
    with pytest.raises(BadInputError, match=told) as raised:
        bench.evaluate(given, tiny, **entry)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    assert not {"half_step", "again"} & set(registry.names("defense"))


def test_one_name_or_seed_may_stand_for_a_list_of_one(tiny: str, tmp_path: Path) -> None:
    one = bench.run(tiny, defenses="fedavg", attacks="clean", seeds=1, results=tmp_path / "results")
    assert list(one["column"]) == ["clean"]
    several = bench.run(tiny, defenses=["fedavg"], attacks=["clean"], seeds=[1], results=tmp_path / "results")
    pd.testing.assert_frame_equal(one, several)


@pytest.mark.parametrize("seeds", ["0,1", [0, 0], [0.5], [True], True, [], ["0"]])
def test_seeds_that_are_none_are_told_in_one_line(tiny: str, tmp_path: Path, seeds: object) -> None:
    for ask in (lambda: bench.run(tiny, seeds=seeds), lambda: bench.evaluate(Again, tiny, seeds=seeds)):  # type: ignore[arg-type]
        with pytest.raises(
            BadInputError, match=r"^seeds is .*, but must be whole numbers, each once, such as \[0, 1, 2\]$"
        ):
            ask()


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("nosuch", "there is no folder .*nosuch: give the one that runs write to"),
        ("results/tiny", "no records in .*tiny: they lie there as SUITE/ROW/ATTACK/RECORD.json"),
        ("tiny.toml", "there is no folder .*tiny.toml"),
    ],
)
def test_a_folder_without_records_is_told_in_one_line(tiny: str, tmp_path: Path, folder: str, told: str) -> None:
    (tmp_path / "results" / "tiny").mkdir(parents=True)
    with pytest.raises(BadInputError, match=told):
        bench.load(tmp_path / folder)
