"""Markdown, CSV, LaTeX and JSON: well formed, and the same numbers in all."""

import csv
import io
import json
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from bench.records import Cost, Privacy
from leaderboards.boards import Leaderboard
from leaderboards.formats import FORMATS, markdown_text

LIVE = (
    "![x](http://e/x.png)", "[x](http://e)", "[x][y]", "[x]: http://e", "<img src=x onerror=alert(1)>", "<http://e>",
    "http://e/x.png", "www.e.org", "me@e.org", "&lt;b&gt;", "&#33;", "*a*", "__a__", "~~a~~", "`a`", "a|b", "# a",
    "a\nb", "\\![x](http://e/x.png)", "[a](b) ![x\\](http://e/x.png)", "$x$", "==a==", "<!-- a -->", "![[x](y)](z)",
)  # fmt: skip
"""Labels that a page would make something else of than their letters."""

GOLDEN = Path(__file__).with_name("golden.md")


@pytest.fixture(scope="module")
def leaderboard(make, make_leak, make_audit, make_boards, make_claim):
    cost = Cost(round_seconds=0.0042, upload_bytes=163, peer_bytes=26_000)
    claims = Privacy(claimed=make_claim(10.0), composed=make_claim(None, "not here"))
    records = [make("mean", accuracy=0.0, setting="old")]
    records += [make("mean", accuracy=value, seed=seed, cost=cost) for seed, value in enumerate((0.85, 0.9, 0.95))]
    records += [make("mean", "sign_flip", 0.4, 0.3, seed, within_claim=False) for seed in range(3)]
    records += [make_leak("mean", recovered=1.0, psnr=31.25, ssim=0.875, seed=seed) for seed in range(3)]
    records += [make("noisy", accuracy=0.8, seed=seed, privacy=claims) for seed in range(3)]
    records += [make("noisy", "sign_flip", 0.4, 0.6, seed) for seed in range(2)]
    records += [make("noisy", "sign_flip", 0.4, None, 2, status="diverged", error="not finite after round 3")]
    records += [make_leak("noisy", ssim=-0.001, noise=0.5 + seed / 16, seed=seed) for seed in range(3)]
    claimed = make_claim(10.0, colluders=0.6)
    records += [make_audit("noisy", 4.0 + seed, claimed=claimed, upload=99.0, seed=seed) for seed in range(3)]
    records += [
        make_audit("noisy", 16.0 * rho, rho, claimed=claimed, seed=seed) for seed in range(3) for rho in (0.6, 1)
    ]
    return make_boards(records, seeds=3)


@pytest.fixture(scope="module")
def awkward(make, make_boards, make_claim) -> Leaderboard:
    """Names and messages with every character that means something to Markdown or LaTeX."""
    void = Privacy(claimed=make_claim(None, r"needs γ < 1 & n > 2 | 50% of $x_1^2$, \a{b} ~ #1"))
    failed = {"accuracy": None, "status": "failed", "error": "TypeError: A.__init__() got <b>|*x*|`y`\nline"}
    return make_boards([make("a|b (c_d=1)", privacy=void), make("a|b (c_d=1)", "sign_flip", **failed)])


def test_golden_markdown(leaderboard):
    """The page without its captions and the hash of the record in a flag."""
    text = re.sub(r"board of \d{4}-\d\d-\d\d", "board of DATE", FORMATS["md"](leaderboard))
    paragraphs = re.sub(r"record [0-9a-f]{12}", "record KEY", text).split("\n\n")
    assert "\n\n".join(part for part in paragraphs if not part.startswith("*")) == GOLDEN.read_text()


def test_every_markdown_table_has_its_caption(leaderboard):
    text = FORMATS["md"](leaderboard)
    for board in leaderboard.boards:
        assert text.count(f"*{board.caption}*") == (len(board.text) > 0)


def borders(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line))


def test_markdown_of_awkward_names(awkward):
    text = FORMATS["md"](awkward)
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 4
    for lines in tables:
        assert len({borders(line) for line in lines}) == 1
    assert r"| a\|b (c_d=1) " in text
    assert r"TypeError: A.\_\_init\_\_() got \<b>\|\*x\*\|\`y\` line" in text
    assert r"needs γ < 1 & n > 2 \| 50%" in text


def test_csv_has_every_number(leaderboard):
    read = pd.read_csv(io.StringIO(FORMATS["csv"](leaderboard)))
    assert list(read.columns) == [
        "board", "defense", "column", "metric", "mean", "half_width", "low", "high", "seeds", "failed",
        "within_claim",
    ]  # fmt: skip
    data = pd.concat([board.data for board in leaderboard.boards])
    assert len(read) == len(data)
    assert list(read["mean"]) == pytest.approx(list(data["mean"]), rel=1e-5, nan_ok=True)
    line = read[(read["defense"] == "mean") & (read["metric"] == "accuracy") & (read["column"] == "clean")].iloc[0]
    assert (line["mean"], line["half_width"], line["seeds"], line["failed"]) == (0.9, 0.124207, 3, 0)
    assert bool(line["within_claim"]) is True


def test_json_has_every_number(leaderboard):
    read = json.loads(FORMATS["json"](leaderboard), parse_constant=pytest.fail)
    assert (read["suite"], read["seeds"], read["records"]) == ("tiny", 3, 27)
    assert read["flags"] == leaderboard.flags
    assert read["left_out"] == ["1 record of another setting (old)"]
    assert list(read["boards"]) == [board.name for board in leaderboard.boards]
    for board in leaderboard.boards:
        means = [number["mean"] for number in read["boards"][board.name]]
        assert means == pytest.approx([None if mean != mean else mean for mean in board.data["mean"]])
    (found,) = (number for number in read["boards"]["robustness"] if number["failed"] == 1)
    assert found == {
        "board": "robustness", "defense": "noisy", "column": "sign_flip b=0.4", "metric": "accuracy", "mean": 0.6,
        "half_width": 0.0, "low": None, "high": None, "seeds": 2, "failed": 1, "within_claim": True,
    }  # fmt: skip


def test_tables_and_numbers_agree(leaderboard, table):
    robustness, overall = table(leaderboard, "robustness"), table(leaderboard, "overall")
    for row in ("mean", "noisy"):
        for column in ("clean", "sign_flip b=0.4"):
            mean = robustness.number(row, "accuracy", column)
            assert robustness.cell(row, column).split()[0] == f"{100 * mean:.1f}"
        rank, worst = robustness.number(row, "rank"), robustness.number(row, "worst_accuracy")
        assert robustness.cell(row, "rank") == f"{rank:.0f}"
        assert overall.cell(row, "robustness") == f"{rank:.0f} (worst {worst:.1%})"


def test_latex_is_balanced_and_plain_ascii(leaderboard, awkward):
    for board in (leaderboard, awkward):
        text = FORMATS["latex"](board)
        assert text.isascii()
        assert text.replace(r"\{", "").count("{") == text.replace(r"\}", "").count("}")
        assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == len(re.findall(r"\\label{", text))
        assert text.replace(r"\$", "").count("$") % 2 == 0
        for line in text.splitlines():
            if line.endswith(r"\\"):
                assert (
                    re.search(
                        r"(?<!\\)[%#^~|<>]|(?<![\\])_", line.replace("$<$", "").replace("$>$", "").replace("$|$", "")
                    )
                    is None
                )


def test_latex_escapes(awkward):
    text = FORMATS["latex"](awkward)
    assert r"a$|$b (c\_d=1)" in text
    assert r"needs $\gamma$ $<$ 1 \& n $>$ 2 $|$ 50\% of \$x\_1\textasciicircum{}2\$" in text
    assert r"\textbackslash{}a\{b\} \textasciitilde{} \#1" in text


def test_latex_writes_minus_signs_but_keeps_hyphens(make, make_leak, make_boards):
    text = FORMATS["latex"](make_boards([make("fed-avg-2"), make_leak("fed-avg-2", ssim=-0.25)]))
    assert r"dB $\cdot$ $-$0.25" in text
    assert "fed-avg-2" in text


# --------------------------------------------------------------------------------- texts that stand for themselves


def in_html(text: str) -> str:
    """A page as GitHub's kind of Markdown renders it."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("gfm-like", {"linkify": False}).render(text))


@pytest.mark.parametrize("label", LIVE)
def test_no_label_is_live_in_markdown(make, make_boards, label):
    plain, strange = (make_boards([make(name), make(name, accuracy=None, seed=1, status="failed", error=name)])
                      for name in ("plain", label))  # fmt: skip
    page = in_html(FORMATS["md"](strange))
    tags = [re.findall(r"<[^>]*>", text) for text in (in_html(FORMATS["md"](plain)), page)]
    assert tags[0] == tags[1]
    assert unescape(page).count(" ".join(label.split())) >= 4  # rows, the flag and its message


@pytest.mark.parametrize("text", ["http://e/x.png", "www.e.org", "me@e.org"])
def test_what_github_would_make_an_address_of_is_broken_by_an_escape(text):
    written = markdown_text(text)
    assert written != text
    assert not re.search(r"https?://|www\.|\w@", written)
    assert written.replace("\\", "") == text


def test_what_nobody_would_see_is_spelt_out(make, make_boards):
    board = make_boards([make("a\x1b[31m\u202eb")])
    for kind in ("md", "latex"):
        text = FORMATS[kind](board)
        assert all(char.isprintable() or char == "\n" for char in text)
        assert "x1b" in text
        assert "u202e" in text


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay_numbers(make, make_leak, make_boards, sign):
    label = f'{sign}HYPERLINK("http://e","x")'
    text = FORMATS["csv"](make_boards([make(label), make_leak(label, ssim=-0.25)]))
    read = pd.read_csv(io.StringIO(text))
    assert {row for row in read["defense"] if not row.startswith("control")} == {f"'{label}"}
    assert all(not str(value).startswith(sign) for value in read[["board", "column", "metric"]].to_numpy().flat)
    assert -0.25 in list(read["mean"])
    assert read["mean"].dtype == float


def test_a_field_of_a_csv_cannot_begin_with_a_tab(make, make_boards):
    text = FORMATS["csv"](make_boards([make("\t=1+1"), make("\r=1+1")]))
    assert {line[1][0] for line in csv.reader(io.StringIO(text, newline=""))} == {"d", "'"}


def test_no_line_of_a_latex_comment_is_code(make, make_boards):
    board = make_boards([make("a", setting="s\n\\input{secrets}")])
    head = FORMATS["latex"](board).partition("\n\n")[0]
    assert all(line.startswith("%") for line in head.splitlines())


def test_what_a_board_is_not_stands_above_it(make, make_boards):
    board = make_boards([make("a")], notice="Not the suite as it stands: seeds 4, where the suite has 0.")
    for kind in ("md", "latex", "json", "html"):
        assert "seeds 4, where the suite has 0" in FORMATS[kind](board)
