"""The published claim cards: every one is played, its verdict is that of its records, and the page is of today."""

from collections import Counter
from pathlib import Path

import pytest

from bench.records import Store, contents, setting_hash
from bench.reproduce.cards import page
from bench.reproduce.cards.card import FOLDER, Card, published
from bench.reproduce.cards.evidence import collect, find
from bench.reproduce.cards.judge import Verdict

RESULTS = Path(__file__).parents[2] / "results"
CARDS = published()
PLAYED = {name: card for name, card in CARDS.items() if card.is_played}
every_played_card = pytest.mark.parametrize("card", PLAYED.values(), ids=PLAYED)


@pytest.fixture(scope="module")
def text() -> str:
    return (RESULTS / FOLDER / page.FILE).read_text()


def test_there_are_twenty_cards_of_the_field_that_are_played() -> None:
    assert len(PLAYED) >= 20


def test_the_page_is_that_of_the_cards_and_records() -> None:
    """Where this fails: python -m bench claims --no-run --results results."""
    assert (RESULTS / FOLDER / page.FILE).read_bytes() == page.markdown(list(CARDS.values()), RESULTS)


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_every_verdict_of_the_page_is_that_of_the_records(card: Card, text: str) -> None:
    found = find(card, RESULTS)
    section = text.split(f'<a id="{card.name}"></a>')[1].split("\n### ")[0]
    assert f"**{found.judged}**: {found.judged.reason}." in section
    assert found.judged.verdict is not Verdict.PENDING
    assert not (card.scaled_down and found.judged.verdict in (Verdict.HELD, Verdict.NOT))


@every_played_card
def test_every_cell_and_seed_has_exactly_one_record(card: Card) -> None:
    evidence = collect(card, RESULTS)
    store = Store(RESULTS, card.cells_suite.name)
    found = contents(store.folder)
    assert evidence.missing == 0
    assert found.problems == []
    wanted = {store.path(cell, seed) for cell in evidence.cells for seed in card.cells_suite.seeds_for(cell)}
    assert set(found.records) == wanted
    for path, record in found.records.items():
        assert record.setting == setting_hash(card.cells_suite, record.data_digest)
        assert path.stat().st_size < 10_000
        commit = record.environment.commit
        assert commit is not None
        assert not commit.endswith("-dirty")


def test_no_records_lie_there_of_a_card_that_is_gone() -> None:
    assert {path.name for path in (RESULTS / FOLDER).iterdir() if path.is_dir()} == set(PLAYED)


def test_a_refutation_names_a_record_that_is_there(text: str) -> None:
    lines = [page.line_of(find(card, RESULTS)) for card in CARDS.values()]
    refuted = [line for line in lines if line.record]
    assert all(line.verdict.startswith("refuted by ") and (RESULTS / line.record).is_file() for line in refuted)
    assert page.summary([*lines, *page.item_lines(RESULTS)]) in text


def test_no_card_without_a_source_has_a_verdict_by_numbers() -> None:
    unread = [find(card, RESULTS).judged.verdict for card in CARDS.values() if not card.is_read]
    assert Counter(unread) == {Verdict.UNREAD: len(unread)}


def test_the_items_of_the_two_papers_are_there(text: str) -> None:
    names = [line.claim for line in page.item_lines(RESULTS)]
    assert len(names) > 15
    assert all(name in text for name in names)
