"""Small runs: the suites of the papers on digits, a few clients and rounds, one seed."""

from collections.abc import Callable

import pytest

from bench import suite
from bench.reproduce import command, cost, dpbfl_fig8, dpbfl_fig11, evidence
from bench.suite import Suite

SMALL = ("dataset=digits", "clients=20", "samples_per_client=16", "rounds=4", "eval_every=2", "batch_size=8")


@pytest.fixture
def shrink(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Every suite of the papers with these changes, which are by default those of `SMALL`."""

    def apply(*changes: str) -> None:
        def small(name: str) -> Suite:
            wanted = [one for one in changes or SMALL if "niss-fig4" in name or not one.startswith("dlg.")]
            return suite.load(f"papers/{name}", wanted).model_copy(update={"seeds": (0,)})

        for module in (command, cost, evidence, dpbfl_fig8, dpbfl_fig11):
            monkeypatch.setattr(module, "papers_suite", small)

    return apply


@pytest.fixture
def _small_suites(shrink: Callable[..., None]) -> None:
    shrink()
