"""Every item is built from records of its suite in small: a row, a table, numbers, a plot."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.reproduce import command, report
from bench.reproduce.item import Form, Verdict
from bench.reproduce.items import choose
from tests.bench.reproduce.conftest import SMALL
from tests.cases import slow

pytestmark = pytest.mark.integration


def built(results: Path, name: str, form: int, data_root: Path | None = None) -> report.Entry:
    """The item after a run of one of its forms."""
    (item,) = choose(only=[name])
    root = None if data_root is None else str(data_root)
    request = command.Request(only=(name,), results=results, workers=1, run=False, quiet=True, data_root=root)
    ran: Form = item.forms[form]
    command._run(ran, request)
    for experiment in ran.experiments:
        command._measure(experiment, request)
    (entry,) = command.reproduce(request).entries
    assert entry.form is ran
    return entry


def lines_of(results: Path, entry: report.Entry) -> list[str]:
    folder = results / "papers" / entry.item.id
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert len((folder / "table.csv").read_text().splitlines()) > 3
    assert f"({entry.item.id}/table.md)" in (results / "papers" / "README.md").read_text()
    return (folder / "table.md").read_text().splitlines()


@pytest.mark.parametrize(
    ("name", "form", "changes", "rows"),
    [
        ("dpbfl-fig3", 0, SMALL, 8),
        slow("dpbfl-fig4", 0, SMALL, 8),
        ("dpbfl-fig6", 0, SMALL, 10),
        slow("dpbfl-fig7", 0, SMALL, 10),
        slow("dpbfl-fig8", 0, SMALL, 5),
        ("dpbfl-fig9", 0, SMALL, 4),
        ("dpbfl-fig10", 2, ("dataset=digits", "rounds=1", "samples_per_client=1", "eval_every=1"), 2),
        ("dpbfl-fig11", 1, (*SMALL, "model=softmax", "local_steps=1"), 7),
    ],
)
def test_an_item_is_built(
    tmp_path: Path, shrink: Callable[..., None], name: str, form: int, changes: tuple[str, ...], rows: int
) -> None:
    shrink(*changes)
    entry = built(tmp_path, name, form)
    assert entry.verdict in set(Verdict) - {Verdict.PENDING, Verdict.REPRODUCED}
    lines = lines_of(tmp_path, entry)
    assert sum(line.startswith("| ") for line in lines) == rows + 1
    assert any("reduced form" in line.lower() for line in lines) == (form > 0)


@pytest.mark.data
@pytest.mark.parametrize(("form", "panels", "missing"), [slow(1, 8, 5 * 4 * 2), (2, 2, 0)])
def test_fig_3_of_niss_is_built_and_says_what_no_noise_survives(
    tmp_path: Path, shrink: Callable[..., None], data_root: Path, form: int, panels: int, missing: int
) -> None:
    """In so few rounds; with the largest noise a cell may diverge, which counts as nothing learnt.

    Four of the eight panels play X = 0.3 and 0.6 under one of six readings only.
    """
    shrink("model=softmax", "clients=20", "samples_per_client=20", "rounds=2", "local_epochs=1")
    entry = built(tmp_path, "niss-fig3", form, data_root)
    assert entry.verdict in set(Verdict) - {Verdict.PENDING}
    lines = [line for line in lines_of(tmp_path, entry) if line.startswith("| ")]
    assert len(lines) == 1 + 6 * panels
    assert all(f"| {name} " in "\n".join(lines) for name in ("2 zeta / d_k", "2 zeta p_k", "zeta", "2 zeta"))
    cells = [cell.strip() for line in lines[1:] for cell in line.split("|")[4:8]]
    assert cells.count("–") == missing


@pytest.mark.data
def test_fig_4_of_niss_is_built_of_a_short_attack(tmp_path: Path, shrink: Callable[..., None], data_root: Path) -> None:
    shrink("clients=12", "privacy.targets=2", "dlg.evaluations=6", "dlg.starts=1")
    entry = built(tmp_path, "niss-fig4", 0, data_root)
    assert entry.verdict is Verdict.NOT  # six evaluations bring no picture back
    assert "FedAvg has the lowest loss and its pictures come back (0% back" in entry.line()["verdict"]
    lines = lines_of(tmp_path, entry)
    assert sum(line.startswith("| ") for line in lines) == 10
    assert any("| 261 " in line for line in lines)  # the noise on the gradient at the paper's epsilon (N19)


def test_fig_11_has_a_worker_alone_and_every_row_s_own_values(tmp_path: Path, shrink: Callable[..., None]) -> None:
    shrink(*SMALL, "model=softmax", "local_steps=1")
    entry = built(tmp_path, "dpbfl-fig11", 1)
    text = "\n".join(lines_of(tmp_path, entry))
    assert text.count("| a worker alone") == 1
    assert "sgd: learning rate 0.2; rsa: learning rate 0.2, lambda " in text
    assert "; a worker alone " in entry.line()["we measured"]
    (item,) = choose(only=["fig11"])
    (experiment,) = item.forms[1].experiments
    (point,) = [one for one in experiment.points() if "cell" not in one]
    assert point["row"] == "a worker alone"
    alone = experiment.measure(point, 0, None)
    assert alone["rounds"] == [2, 4]
    assert alone["global model"] == alone["a worker's model"]
    assert len(experiment.points()) == 10


def test_fig_10_marks_what_cannot_be(tmp_path: Path, shrink: Callable[..., None]) -> None:
    shrink("dataset=digits", "rounds=1", "samples_per_client=1", "eval_every=1")
    entry = built(tmp_path, "dpbfl-fig10", 2)
    assert entry.verdict is Verdict.INFEASIBLE
    text = "\n".join(lines_of(tmp_path, entry))
    assert text.count("no mechanism") >= 2  # epsilon = 0.1 and 0.2 at n = 10,000
    assert "beyond the bound" in text  # LDPBFL's gammas at small epsilons
    assert "not run yet" in entry.line()["verdict"]  # the sentences about n = 50,000 and 100,000


@pytest.mark.parametrize("name", ["dpbfl-fig5", "dpbfl-theorem3"])
def test_plots_are_the_same_whenever_they_are_drawn(tmp_path: Path, name: str, data_root: Path) -> None:
    (item,) = choose(only=[name])
    request = command.Request(only=(name,), results=tmp_path, data_root=str(data_root), quiet=True)
    (entry,) = command.reproduce(request).entries
    assert entry.item is item
    assert report.files(entry) == report.files(entry)
    assert (tmp_path / "papers" / name / "plot.png").read_bytes() == report.files(entry)["plot.png"]
