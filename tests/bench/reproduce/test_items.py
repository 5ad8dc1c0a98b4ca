"""The items: the issue's table, each with a statement of its paper and suites that ship and are valid."""

import itertools
import math

import pytest

from bench import registry, suite
from bench.base.errors import BadInputError
from bench.privacy.analysis.gaussian import gaussian_sigma
from bench.privacy.papers.shuffle import robustness_bound, shuffle_gamma
from bench.reproduce import dpbfl_fig8, dpbfl_fig10, niss_fig3
from bench.reproduce.evidence import papers_suite
from bench.reproduce.items import choose, items
from bench.reproduce.papers import stated
from bench.suite import Cell
from defenses.dp_fedavg import DPFedAvg

WANTED = {
    "niss": {"fig3", "fig4", "theorem2", "theorem3"},
    "dpbfl": {
        *(f"table{at}" for at in (1, 2, 3)),
        *(f"fig{at}" for at in range(3, 12)),
        *(f"theorem{at}" for at in (2, 3, 5)),
    },
}
USED = sorted({dpbfl_fig8.SUITE, *(name for item in items() for form in item.forms for name in form.suites)})
every_suite = pytest.mark.parametrize("name", USED)


def test_every_item_of_both_papers_is_there_once() -> None:
    assert {paper: {item.name for item in choose([paper])} for paper in WANTED} == WANTED
    assert len({item.id for item in items()}) == len(items()) == sum(map(len, WANTED.values()))


def test_every_item_has_its_papers_statement_and_place() -> None:
    assert set(stated()) == {item.id for item in items()}
    for item in items():
        said = stated()[item.id]
        assert said.place.startswith(f"{item.paper.upper()} paper, section ")
        assert item.rule.rstrip().endswith(".")


def test_the_full_form_comes_first_and_every_form_has_evidence() -> None:
    for item in items():
        assert item.forms[0].name == "in full"
        assert all(form.suites or form.experiments for form in item.forms)


def test_items_are_chosen_by_paper_and_name() -> None:
    assert [item.id for item in choose(only=["table3"])] == ["dpbfl-table3"]
    assert [item.id for item in choose(only=["fig3"])] == ["niss-fig3", "dpbfl-fig3"]
    assert [item.id for item in choose(["niss"], ["fig3"])] == ["niss-fig3"]


@pytest.mark.parametrize(("papers", "only"), [(["dpbl"], []), ([], ["tabel1"]), (["niss"], ["table1"])])
def test_an_unknown_paper_or_item_is_bad_input(papers: list[str], only: list[str]) -> None:
    with pytest.raises(BadInputError, match=r"'(dpbl|tabel1|table1)'"):
        choose(papers, only)


# ------------------------------------------------------------------------------------------------------------- suites


def test_the_shipped_suites_of_papers_are_those_that_items_use() -> None:
    assert sorted(name for name in suite.shipped() if "/" in name) == [f"papers/{name}" for name in USED]


@every_suite
def test_a_suite_states_how_its_values_were_found(name: str) -> None:
    text = suite.shipped()[f"papers/{name}"].read_text()
    told = ("python -m bench tune", "not searched", "Not searched", "All values are the paper's", "the paper's epsilon")
    assert any(one in text for one in told)


def test_items_share_the_cells_that_they_share() -> None:
    """Table 1's Dirichlet rows are Fig. 4's MNIST rows; Fig. 3 and 4 have the same clean runs."""
    cells = {name: {cell.hash for cell in papers_suite(name).cells()} for name in USED}
    assert len(cells["dpbfl-table1"] & cells["dpbfl-fig4"]) == 16
    assert len(cells["dpbfl-fig3"] & cells["dpbfl-fig4"]) == 8
    assert len(cells["dpbfl-fig4"] & cells["dpbfl-fig7"]) == 16


def test_table_2_asks_every_defense_that_is_built_in() -> None:
    built_in = {
        name for name in registry.names("defense") if registry.get("defense", name).__module__.startswith("def")
    }
    awaited = {  # until the table is made again
        *("fldetector", "crfl", "rlr", "robust_dp_fedavg", "weak_dp"),
        *("signguard", "clipped_clustering", "lasa", "foundation_fl", "deepsight", "demoa"),
    }
    assert {entry.name for entry in papers_suite("dpbfl-table2").defense} == built_in - awaited


@pytest.mark.parametrize("n", [10_000, 50_000, 100_000])
def test_fig_10_has_the_gamma_of_every_epsilon_that_has_one(n: int) -> None:
    cells = papers_suite(f"dpbfl-fig10-n{n}").cells()
    found = sorted(float(cell.defense.parameters["gamma"]) for cell in cells if cell.defense.name == "dpbfl")
    feasible = [epsilon for epsilon in dpbfl_fig10.EPSILONS if epsilon > math.sqrt(42 * math.log(2e6) / (n - 1))]
    assert found == sorted(shuffle_gamma(n, epsilon, 1e-6) for epsilon in feasible)
    assert len(feasible) == {10_000: 5, 50_000: 6, 100_000: 7}[n]
    assert [dpbfl_fig10.epsilon_of(n, gamma) for gamma in reversed(found)] == feasible
    assert {cell.federation.clients for cell in cells} == {n}
    assert sum(robustness_bound(gamma) > 0.2 for gamma in found) == len(found)


@pytest.mark.parametrize("name", sorted({*niss_fig3.FULL, *niss_fig3.SHORT}))
def test_fig_3_has_every_reading_s_noise(name: str) -> None:
    """Of the small CNN only X = 1, and under the fitted noise what lies between."""
    cells = papers_suite(name).cells()
    for reading in niss_fig3.readings(cells[0].federation.dataset):
        few = cells[0].federation.model == "cnn_small" and reading.name != "none (a fit)"
        for partition, x in itertools.product(("iid", "sorted"), (1.0,) if few else (0.3, 0.6, 1.0)):
            (cell,) = [
                one
                for one in cells
                if (one.federation.partition, niss_fig3.x_of(one)) == (partition, x) and _epsilon(one, reading.epsilon)
            ]
            sigma = gaussian_sigma(float(cell.defense.parameters["epsilon"]), 1e-4, 2 * 3 / 30, analytic=False)
            assert sigma == pytest.approx(reading.sigma, rel=1e-4)


def _epsilon(cell: Cell, wanted: float) -> bool:
    return math.isclose(float(cell.defense.parameters["epsilon"]), wanted, rel_tol=1e-4)


def test_the_readings_have_the_noise_that_the_errata_names() -> None:
    """N10, N13: for Delta = 2 zeta / d_k, 2 zeta p_k, 2 eta zeta steps p_k (v = 6.8), zeta (v = 170), 2 zeta."""
    found = {reading.name: reading.sigma for reading in niss_fig3.readings("mnist")}
    assert found["2 zeta / d_k"] == pytest.approx(0.00434, abs=5e-6)
    assert found["none (a fit)"] == pytest.approx(0.0174, abs=5e-5)
    assert found["2 zeta p_k"] == pytest.approx(0.0869, abs=5e-5)
    assert found["zeta"] == pytest.approx(1.303, abs=5e-4)
    assert found["2 eta zeta steps p_k"] ** 2 / 0.01 == pytest.approx(6.8, abs=0.05)
    assert found["2 zeta"] ** 2 / 0.01 == pytest.approx(679, abs=1)


def test_a_reading_s_epsilon_gives_the_defense_its_noise() -> None:
    from bench.protocol import Setting

    setting = Setting(100, 30, 10, 5, 0.01, None, 0.4, 1e-4)
    for reading in niss_fig3.readings("mnist"):
        defense = DPFedAvg(epsilon=reading.epsilon, zeta=3.0, mechanism="classical", allow_large_epsilon=True)
        assert defense.sigma(setting) == pytest.approx(reading.sigma, rel=1e-12)


@pytest.mark.parametrize("name", ["dpbfl-fig6", "dpbfl-fig7"])
def test_the_values_on_mnist_are_those_of_the_suite_mnist(name: str) -> None:
    searched = {cell.label: cell for cell in suite.load("mnist").cells() if cell.attack is None}
    for cell in papers_suite(name).cells():
        if cell.attack is None and cell.federation.dataset == "mnist":
            mine, theirs = cell.federation, searched[cell.defense.name].federation
            assert (mine.lr, mine.lr_decay) == (theirs.lr, theirs.lr_decay)
            shared = searched[cell.defense.name].defense.parameters
            assert {key: cell.defense.parameters[key] for key in shared} == shared


def test_the_searches_of_fig_11_have_one_budget_and_hold_its_values() -> None:
    loaded = papers_suite("dpbfl-fig11-reduced")
    assert {math.prod(map(len, grid.values())) for grid in loaded.tune.values()} == {6}
    clean = {cell.label: cell for cell in loaded.cells() if cell.attack is None}
    for row, grid in loaded.tune.items():
        values = {**clean[row].federation.model_dump(), **clean[row].defense.parameters}
        assert all(values[key] in choices for key, choices in grid.items())
    rsa, mine = clean["rsa"], clean["dpbfl (gamma=0.283)"]
    assert mine.federation == rsa.federation
    assert mine.defense.parameters == {**rsa.defense.parameters, "gamma": 0.283}


def test_the_searches_of_fig_7_have_one_budget_and_hold_its_values() -> None:
    loaded = papers_suite("dpbfl-fig7")
    assert {math.prod(map(len, grid.values())) for grid in loaded.tune.values()} == {6}
    for cell in loaded.cells():
        values = {**cell.federation.model_dump(), **cell.defense.parameters}
        assert all(values[key] in choices for key, choices in loaded.tune[cell.defense.name].items())
