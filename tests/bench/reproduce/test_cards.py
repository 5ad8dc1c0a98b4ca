"""Claim cards: what a file may hold, each verdict from numbers made up for it, what boards refute, the command."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.base.errors import BadInputError
from bench.records import Record, Store, contents
from bench.reproduce.cards import evidence, page
from bench.reproduce.cards.card import Card, Statement, Term, Withstands, read
from bench.reproduce.cards.judge import Answer, Judged, Measured, Refutation, Verdict, judge
from bench.reproduce.cards.play import Request, play

Command = Callable[..., Any]
HEAD = """title = "A flip costs the median much"
paper = "Somebody 2020"
where = "abstract"
says = "It does"
source_read = "abstract"
"""
BODY = """
[[statement]]
text = "it costs at least 1 point"
left = { row = "median" }
right = { row = "median", column = "sign_flip b=0.4" }
at_least = 0.01

[suite]
seeds = [0, 1, 2]
[suite.federation]
dataset = "digits"
clients = 10
rounds = 4
local_steps = 1
batch_size = 8
lr = 0.5
assumed_byzantine = 0.4
[[suite.defense]]
name = "median"
[[suite.attack]]
name = "sign_flip"
byzantine = 0.4
c = 4.0
"""


def statement(**changes: Any) -> Statement:
    given = {"text": "it gains 10 points", "left": Term(row="a"), "at_least": 0.1, **changes}
    return Statement(**{key: value for key, value in given.items() if value is not None})


def card(**changes: Any) -> Card:
    suite = {"seeds": [0], "federation": {}, "defense": [], "attack": []}
    text = dict.fromkeys(("title", "paper", "where", "says", "source_read"), "t")
    return Card(**{"name": "mine", **text, "suite": suite, "statement": [statement()], **changes})


def verdict(values: tuple[float, ...], failed: int = 0, refuted: Refutation | None = None, **changes: Any) -> Judged:
    said = changes.pop("said", statement())
    return judge(card(statement=[said], **changes), [Measured(said, values, failed)], refuted)


ABOVE, BELOW, ACROSS = (0.20, 0.21, 0.22), (0.01, 0.02, 0.03), (0.05, 0.10, 0.15)
REFUTED = Refutation("siege b=0.2", "siege", "siege/a/siege/k-s0.json", 0.1, 0.9)


# ---------------------------------------------------------------------------------------------------------- the verdict


@pytest.mark.parametrize(
    ("values", "answer"),
    [(ABOVE, Answer.HOLDS), (BELOW, Answer.FAILS), (ACROSS, Answer.OPEN), (ABOVE[:1], Answer.OPEN), ((), Answer.OPEN)],
)
def test_a_statement_is_answered_by_its_whole_interval(values: tuple[float, ...], answer: Answer) -> None:
    assert Measured(statement(), values).answer is answer
    turned = statement(at_least=None, at_most=-0.1, right=Term(row="b"))
    assert Measured(turned, tuple(-one for one in values)).answer is answer


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9), st.floats(-1, 1))
def test_the_answer_is_that_of_scipy_s_interval(values: list[float], bound: float) -> None:
    error = float(stats.sem(values))
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error) if error else [values[0]] * 2
    said = statement(at_least=bound, right=Term(row="b"))
    found = Measured(said, tuple(values)).answer
    if min(abs(low - bound), abs(high - bound)) > 1e-9:
        assert found is (Answer.HOLDS if low > bound else Answer.FAILS if high < bound else Answer.OPEN)


def test_a_share_alone_is_never_told_beyond_100_percent() -> None:
    said = statement(metric="backdoor_success", at_least=0.9)
    assert Measured(said, (1.0, 0.97, 1.0)).text() == "99.0 [94.7, 100.0]"


def test_a_failed_seed_leaves_a_statement_open() -> None:
    assert verdict(ABOVE, failed=1).verdict is Verdict.OPEN
    assert "1 seeds failed" in verdict(ABOVE, failed=1).reason


@pytest.mark.parametrize(
    ("values", "full", "scaled"),
    [
        (ABOVE, Verdict.HELD, Verdict.SHAPE),
        (BELOW, Verdict.NOT, Verdict.NOT_IN_SHAPE),
        (ACROSS, Verdict.OPEN, Verdict.OPEN),
    ],
)
def test_a_setting_scaled_down_is_held_in_shape_at_most(
    values: tuple[float, ...], full: Verdict, scaled: Verdict
) -> None:
    assert verdict(values).verdict is full
    assert verdict(values, scaled_down="less").verdict is scaled


def test_another_number_than_theirs_is_the_shape() -> None:
    near, far = (statement(theirs=theirs, tolerance=0.02) for theirs in (0.2, 0.5))
    assert verdict(ABOVE, said=near).verdict is Verdict.HELD
    found = verdict(ABOVE, said=far)
    assert found.verdict is Verdict.SHAPE
    assert "21.0, not 50.0" in found.reason


def test_a_record_that_breaks_the_rule_refutes_what_was_held_and_what_is_open() -> None:
    for values in (ABOVE, ACROSS):
        found = verdict(values, refuted=REFUTED)
        assert found.verdict is Verdict.REFUTED
        assert str(found) == "refuted by siege b=0.2"
        assert found.record == REFUTED.record
    assert verdict(BELOW, refuted=REFUTED).verdict is Verdict.NOT  # its own cells say no already


def test_cards_that_are_not_judged_by_numbers() -> None:
    nothing: dict[str, Any] = {"suite": None, "statement": []}
    assert judge(card(**nothing, source_read="none"), None).verdict is Verdict.UNREAD
    assert judge(card(**nothing, unplayable="no such attack"), None).reason == "no such attack"
    assert judge(card(), None).verdict is Verdict.PENDING


# ------------------------------------------------------------------------------------------------------------- the file


def written(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_a_card_is_read(tmp_path: Path) -> None:
    found = read(written(tmp_path, HEAD + BODY))
    assert (found.name, found.cells_suite.name, found.statement[0].bound) == ("mine", "claims/mine", "≥ 1")
    assert [cell.column for cell in evidence.cells_of(found)] == ["clean", "sign_flip b=0.4"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('title = "A flip costs the median much"', "", "title: Field required"),
        ("at_least = 0.01", "", "either at_least or at_most"),
        ("at_least = 0.01", "at_least = 0.01\nat_most = 0.5", "either at_least or at_most"),
        ("at_least = 0.01", "at_least = 0.01\ntheirs = 0.5", "theirs and tolerance go together"),
        ("at_least = 0.01", "at_least = nan", "at_least"),
        ("at_least = 0.01", 'at_least = 0.01\nmetric = "luck"', "metric"),
        ("at_least = 0.01", "at_least = 0.01\nverdict = 1", "Extra inputs are not permitted"),
        ('source_read = "abstract"', 'source_read = "none"', "leaves nothing to judge"),
        ('source_read = "abstract"', 'source_read = "abstract"\nunplayable = "no"', "leaves nothing to judge"),
        ('says = "It does"', 'says = " "', "must say something"),
        ("seeds = [0, 1, 2]", "seeds = []", "seeds"),
        ("seeds = [0, 1, 2]", 'seeds = [0]\nname = "other"', "is called as the card is"),
        ("rounds = 4", "rounds = 0", "rounds"),
        ("[suite.federation]", "[suite.federation", "not valid TOML"),
    ],
)
def test_a_bad_card_is_refused_in_one_line(tmp_path: Path, bench: Command, old: str, new: str, told: str) -> None:
    path = written(tmp_path, (HEAD + BODY).replace(old, new, 1))
    done = bench("claims", str(path), "--quiet")
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('left = { row = "median" }', 'left = { row = "medians" }', "no row named 'medians': did you mean median?"),
        ("sign_flip b=0.4", "sign_flip b=0.3", "no column named 'sign_flip b=0.3'"),
        ('name = "median"', 'name = "medians"', "no defense named"),
    ],
)
def test_a_card_that_names_what_it_has_not_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = written(tmp_path, (HEAD + BODY).replace(old, new, 1))
    with pytest.raises(BadInputError, match=told.replace("?", r"\?")):
        evidence.cells_of(read(path))


def test_an_unknown_card_and_a_bad_name_are_told(tmp_path: Path, bench: Command) -> None:
    assert "no claim card named 'alies-against-krum'" in bench("claims", "alies-against-krum").err
    done = bench("claims", str(written(tmp_path, HEAD + BODY, "My Card")))
    assert done.code == 2
    assert "small letters" in done.err
    assert bench("claims", "none.toml").code == 2


# --------------------------------------------------------------------------------------------------------- played


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Card, Path]:
    """A card and a results folder with its six records."""
    folder = tmp_path_factory.mktemp("played")
    path = written(folder, HEAD + BODY)
    done = play(Request((str(path),), folder / "results", workers=1, quiet=True))
    assert done.ran == 6
    return read(path), folder / "results"


def test_a_card_is_played_once_and_judged_by_its_records(played: tuple[Card, Path]) -> None:
    mine, results = played
    found = evidence.find(mine, results)
    records = contents(results / "claims" / "mine").records.values()
    accuracy = {(one.cell.column, one.seed): one.metrics["accuracy"] for one in records}
    expected = [accuracy["clean", seed] - accuracy["sign_flip b=0.4", seed] for seed in (0, 1, 2)]
    assert found.measured[0].values == pytest.approx(expected)
    assert found.judged.verdict in (Verdict.HELD, Verdict.OPEN, Verdict.NOT)
    again = play(Request((str(results.parent / "mine.toml"),), results, workers=1, quiet=True))
    assert again.ran == 0
    assert again.lines[0].verdict == str(found.judged)


def test_a_missing_record_leaves_a_card_unplayed(played: tuple[Card, Path], tmp_path: Path) -> None:
    mine, _ = played
    assert evidence.find(mine, tmp_path).judged.verdict is Verdict.PENDING
    assert evidence.collect(mine, tmp_path).missing == 6


def test_a_run_that_diverged_has_accuracy_0_and_one_that_failed_has_none(played: tuple[Card, Path]) -> None:
    _, results = played
    record = next(iter(contents(results / "claims" / "mine").records.values()))
    assert evidence.value_of(record.model_copy(update={"status": "diverged"}), "accuracy") == 0
    assert evidence.value_of(record.model_copy(update={"status": "diverged"}), "backdoor_success") is None
    assert evidence.value_of(record.model_copy(update={"status": "failed"}), "accuracy") is None


def test_the_command_prints_json(played: tuple[Card, Path], bench: Command) -> None:
    _, results = played
    done = bench("claims", str(results.parent / "mine.toml"), "--results", str(results), "--no-run", "--json")
    assert done.code == 0
    (line,) = json.loads(done.out)["claims"]
    assert line["name"] == "mine"
    assert line["verdict"] in set(Verdict)


# ------------------------------------------------------------------------------------------------------- refuted


@pytest.fixture
def _one_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other board is read, which are published and large."""
    monkeypatch.setattr(evidence, "BOARDS", ("siege",))


def board(results: Path, name: str, records: list[Record], accuracy: dict[str, float], **changes: Any) -> None:
    """The records of a card as those of a board, with these accuracies by column."""
    store = Store(results, name)
    for one in records:
        value = accuracy[one.cell.column] + 0.001 * one.seed
        cell = one.cell.model_copy(update=changes)
        store.write(one.model_copy(update={"suite": name, "cell": cell, "metrics": {"accuracy": value}}))


@pytest.mark.usefixtures("_one_board")
@pytest.mark.parametrize(
    ("left", "withstands", "refuted"),
    [
        (0.2, {}, True),
        (0.6, {}, False),  # more than half is left
        (0.6, {"keeps": 0.9}, True),
        (0.2, {"byzantine": 0.3}, False),  # the claim is about fewer attackers
        (0.2, {"attacks": ("alie",)}, False),  # and another attack
        (0.2, {"attacks": ("sign_flip",)}, True),
    ],
)
def test_a_published_record_refutes_where_it_is_comparable(
    played: tuple[Card, Path], tmp_path: Path, left: float, withstands: dict[str, Any], refuted: bool
) -> None:
    mine, results = played
    records = list(contents(results / "claims" / "mine").records.values())
    board(tmp_path, "siege", records, {"clean": 0.9, "sign_flip b=0.4": left})
    claim = Withstands(**{"row": "median", "byzantine": 0.4, **withstands})
    found = evidence.refutation(evidence.collect(mine, results), claim, tmp_path)
    assert (found is not None) == refuted
    if found is not None:
        assert (found.column, found.board) == ("sign_flip b=0.4", "siege")
        assert (tmp_path / found.record).is_file()


@pytest.mark.usefixtures("_one_board")
@pytest.mark.parametrize("partition", ["iid", "dirichlet"])
def test_a_claim_about_alike_clients_is_refuted_on_alike_clients_alone(
    played: tuple[Card, Path], tmp_path: Path, partition: str
) -> None:
    mine, results = played
    records = list(contents(results / "claims" / "mine").records.values())
    federation = records[0].cell.federation.model_copy(update={"partition": partition})
    board(tmp_path, "siege", records, {"clean": 0.9, "sign_flip b=0.4": 0.1}, federation=federation)
    claim = Withstands(row="median", byzantine=0.4, iid=True)
    found = evidence.refutation(evidence.collect(mine, results), claim, tmp_path)
    assert (found is not None) == (partition == "iid")


@pytest.mark.usefixtures("_one_board")
def test_two_seeds_or_another_rule_refute_nothing(played: tuple[Card, Path], tmp_path: Path) -> None:
    mine, results = played
    records = list(contents(results / "claims" / "mine").records.values())
    claim = Withstands(row="median", byzantine=0.4)
    board(tmp_path / "two", "siege", [one for one in records if one.seed < 2], {"clean": 0.9, "sign_flip b=0.4": 0.1})
    assert evidence.refutation(evidence.collect(mine, results), claim, tmp_path / "two") is None
    other = records[0].cell.defense.model_copy(update={"parameters": {"other": 1}})
    board(tmp_path / "other", "siege", records, {"clean": 0.9, "sign_flip b=0.4": 0.1}, defense=other)
    assert evidence.refutation(evidence.collect(mine, results), claim, tmp_path / "other") is None


# ------------------------------------------------------------------------------------------------------------ the page


def test_the_page_says_what_a_card_says(played: tuple[Card, Path]) -> None:
    mine, results = played
    text = page.markdown([mine], results).decode()
    found = evidence.find(mine, results)
    assert f"| [{mine.title}](#mine) | {found.judged} |" in " ".join(text.split())
    assert f"**{found.judged}**: {found.judged.reason}." in text
    assert "## The two papers" in text


def test_listing_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom bench.commands.claims import claims\nclaims(list_=True)\n"
        "print('slow:', sorted({'torch', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "alie-against-krum" in done.stdout
    assert "dpbfl-table1" in done.stdout
    assert done.stdout.splitlines()[-1] == "slow: []"
