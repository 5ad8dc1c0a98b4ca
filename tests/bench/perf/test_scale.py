"""The parts of the script that measures how a round's cost grows with its clients."""

import time

import pytest

from tests.performance import scale
from tests.performance.scale import GIB, Cost, held, row, watched

STATUS = "Name:\tpython\nVmPeak:\t  9999 kB\nRssAnon:\t  2048 kB\nRssFile:\t   512 kB\nRssShmem:\t    1 kB\n"


def cost(later: float | None = 1.5) -> Cost:
    return Cost("dpbfl", "gaussian", 1_000_000, 2.0, later, 12.0, GIB, 3 * GIB, 29 * GIB)


def test_a_processs_own_memory_is_without_the_files_that_it_maps() -> None:
    assert held(STATUS) == 1024 * 2049
    assert held("Name: python\n") == 0
    assert held(scale.STATUS.read_text()) > 2**20


def test_the_highest_number_is_found() -> None:
    numbers = iter([1, 7, 3, *[2] * 10**6])
    with watched(lambda: next(numbers), every=0.001) as highest:
        time.sleep(0.1)
    assert highest == [7]


def test_a_row_shows_the_later_round_where_there_is_one() -> None:
    assert row(cost()) == "| `dpbfl` | `gaussian` | 1,000,000 | 2 | 1.5 | 2 | 12 | 1 | 3 | 29 |"
    assert row(cost(None)).startswith("| `dpbfl` | `gaussian` | 1,000,000 | 2 |  | 2 |")
    assert len(scale.HEAD.splitlines()[0].split("|")) == len(row(cost()).split("|"))


def test_rows_come_defense_by_defense(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def measured(*given: object) -> Cost:
        asked.append(given)
        return cost()

    monkeypatch.setattr(scale, "in_a_process", measured)
    scale.main(["--clients", "10", "20", "--defenses", "rsa", "fedavg", "--attacks", "sign_flip", "--rounds", "2"])
    assert asked == [(defense, "sign_flip", clients, 2) for defense in ("rsa", "fedavg") for clients in (10, 20)]
    assert capsys.readouterr().out.splitlines() == [*scale.HEAD.splitlines(), *[row(cost())] * 4]
