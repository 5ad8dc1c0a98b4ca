"""The board of property inference: what stands in it, and who leads."""

import pytest

from bench.privacy.claims import PrivacyClaim
from bench.records import Privacy
from bench.suite import Cell


@pytest.fixture
def told(make):
    """A property record; `share` is the explained one, of a blind distance of a half."""

    def record(row, share, by="gradients", seed=0, composed=None):
        training = make(row, seed=seed)
        cell = Cell.model_validate(
            {
                **training.cell.model_dump(),
                "attack": {"name": "label_shares", "version": 1, "parameters": {"by": by}},
                "kind": "property",
                "targets": 10,
                "sweep": f"by={by}",
            }
        )
        metrics = {"explained": share, "label_tv": 0.5 * (1 - share), "blind_tv": 0.5}
        return training.model_copy(update={"cell": cell, "metrics": metrics, "privacy": Privacy(composed=composed)})

    return record


def test_a_cell_has_the_share_and_both_distances(told, make_boards, table):
    records = [told("fedavg", 0.7, seed=0), told("fedavg", 0.9, seed=1)]
    board = table(make_boards(records, seeds=2), "property")
    # the half width is 12.706, t with one degree of freedom, times the standard error of 0.1
    assert board.cell("fedavg", "label_shares by=gradients") == "80 ± 127 · 0.10 of 0.50"
    assert board.number("fedavg", "explained", "label_shares by=gradients") == pytest.approx(0.8)
    assert board.number("fedavg", "label_tv", "label_shares by=gradients") == pytest.approx(0.1)
    assert board.cell("fedavg", "composed") == "–"


def test_the_lowest_of_the_worst_columns_leads(told, make_boards, table):
    claim = PrivacyClaim(epsilon=3.0, delta=1e-6, unit="per client and run", source="a paper")
    records = [told("a", 0.1), told("a", 0.3, by="rehearsals"), told("b", 0.2, composed=claim)]
    records += [told("b", -0.1, by="rehearsals")]
    board = table(make_boards(records), "property")
    assert board.rows() == ["b", "a"]
    assert board.cell("a", "worst case") == "30 (label_shares by=rehearsals)"
    assert board.cell("b", "composed") == "ε = 3 per client and run"
    assert board.number("b", "rank") == 1
    assert board.number("b", "worst_explained") == pytest.approx(0.2)


def test_where_nobody_asked_there_is_no_board(make, make_boards, table):
    board = table(make_boards([make("krum")]), "property").board
    assert (len(board.text), len(board.data)) == (0, 0)


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.49, "nothing here"), (0.5, "labels told to label_shares by=gradients")]
)
def test_the_overall_board_says_where_labels_are_told(told, make, make_boards, table, share, verdict):
    overall = table(make_boards([make("a"), told("a", share)]), "overall")
    assert overall.cell("a", "what breaks it") == verdict
