"""What clients keep: the same in a file as in memory, and nothing is left of the file."""

import mmap
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.base import memory
from bench.base.errors import BadInputError
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.kept import Kept
from bench.federation.settings import FederationSettings

FIRST = torch.linspace(-1, 1, 1000)


@pytest.fixture(params=[memory.MEMORY, memory.DISK])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setenv(memory.WHERE, request.param)
    found = Kept(20, FIRST)
    assert found.bytes_on_disk == (4 * 20_000 if request.param == memory.DISK else 0)
    return found


def test_rows_start_as_the_first_one_and_stay_as_they_were_put(kept: Kept) -> None:
    wanted = FIRST.repeat(20, 1)
    some = torch.tensor([3, 4, 19])
    assert torch.equal(kept.take(some), wanted[some])
    kept.put(some, wanted[some] + 1)
    wanted[some] += 1
    block = slice(2, 9)
    kept.put(block, kept.take(block).mul_(2))
    wanted[block] *= 2
    kept.put(slice(5, 5), kept.take(slice(5, 5)))
    kept.put(torch.tensor([0]), torch.zeros(1, 1000))
    wanted[0] = 0
    assert torch.equal(kept.take(torch.arange(20)), wanted)


def test_a_row_that_is_put_first_is_not_started_later(kept: Kept) -> None:
    kept.put(torch.tensor([7]), torch.full((1, 1000), 5.0))
    assert bool((kept.take(slice(6, 8))[1] == 5).all())
    assert torch.equal(kept.take(slice(6, 8))[0], FIRST)


def test_the_file_has_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(memory.WHERE, memory.DISK)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert Kept(20, FIRST).bytes_on_disk > mmap.PAGESIZE
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory.WHERE, memory.DISK)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**25))
        with pytest.raises(BadInputError, match=r"takes 0.0373 GiB, .* has 0.0312: set TMPDIR .*FEDSIEGE_KEPT=memory"):
            Kept(10_000, FIRST)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BadInputError, match=r"cannot hold .*No space left on device"):
        Kept(20, FIRST)


def test_it_goes_to_disk_beyond_a_quarter_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(memory.WHERE, raising=False)
    monkeypatch.setattr(memory, "machine_bytes", lambda: 4 * 80_000)
    assert Kept(20, FIRST).bytes_on_disk == 0
    assert Kept(21, FIRST).bytes_on_disk == 84_000


def test_a_place_that_is_none_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory.WHERE, "dsk")
    with pytest.raises(BadInputError, match=r"'dsk'.*disk"):
        memory.kept_where()


def test_the_machine_has_memory_and_a_container_may_have_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    memory.machine_bytes.cache_clear()
    whole = memory.machine_bytes()
    for text, wanted in (("1048576\n", 2**20), ("max\n", None), (f"{2**62}\n", None)):
        memory.machine_bytes.cache_clear()
        limit = tmp_path / "memory.max"
        limit.write_text(text)
        monkeypatch.setattr(memory, "LIMIT", limit)
        assert memory.machine_bytes() == (wanted or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    memory.machine_bytes.cache_clear()
    assert whole > 2**20


def played(place: str, defense: str, monkeypatch: pytest.MonkeyPatch, **changes: object) -> list[Tensor]:
    monkeypatch.setenv(memory.WHERE, place)
    settings = {
        "dataset": "digits",
        "clients": 30,
        "samples_per_client": 20,
        "rounds": 3,
        "local_steps": 2,
        "batch_size": 8,
        "lr": 0.5,
        **changes,
    }
    attack = registry.get("attack", "sign_flip")()
    found = Federation(
        FederationSettings.model_validate(settings), registry.get("defense", defense)(), load("digits"), 0, attack, 0.3
    )
    models = []
    for _ in range(3):
        found.advance()
        models.append(found.global_model)
    return models if found.kept is None else [*models, found.kept]


@pytest.mark.parametrize("participation", [1.0, 0.6])
@pytest.mark.parametrize(("defense", "momentum"), [("rsa", 0.0), ("dpbfl", 0.0), ("fedavg", 0.9), ("krum", 0.9)])
def test_rounds_are_the_same_to_the_bit(
    defense: str, momentum: float, participation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"participation": participation, "momentum": momentum}
    here, there = (played(place, defense, monkeypatch, **changes) for place in (memory.MEMORY, memory.DISK))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.view(torch.int32), other.view(torch.int32))
