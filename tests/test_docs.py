"""The pages of docs/: filled in from code and published boards, every link and every example good."""

import csv
import math
import os
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import cited
import pages
import parts
import power
import pytest
import text
import torch

import bench
from bench import models, registry
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.privacy.papers.noise_sharing import niss_collusion_variance
from bench.privacy.papers.shuffle import robustness_bound
from bench.suite import Suite

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
RESULTS = Path(os.environ.get("FEDSIEGE_RESULTS", ROOT / "results"))
PAGES = sorted(DOCS.glob("*.md"))


def filled(page: str) -> str:
    return (DOCS / page).read_text()


@pytest.mark.parametrize("page", pages.pages().items(), ids=lambda page: page[0].name)
def test_a_page_in_the_repository_says_what_code_and_boards_say_today(page: tuple[Path, str]) -> None:
    """Where this fails: python docs/mkdocs/pages.py."""
    path, way = page
    written = path.read_text()
    found = pages.fill(written, RESULTS, way)
    assert found.problems == []
    assert written == found.text
    assert "{{ " not in re.sub(r"\{\{The FedSiege authors\}\}", "", written)
    assert written.count(pages.END) == len(pages.MARK.findall(written))


def test_the_first_picture_is_that_of_the_published_boards() -> None:
    """Where this fails: python docs/mkdocs/pages.py."""
    assert pages.PICTURE.read_text() == pages.picture(RESULTS)


def test_a_list_of_an_older_day_is_filled_in_anew_and_only_once() -> None:
    old = "# A\n\n<!-- list models -->\n\n| `old` |\n\n<!-- end -->\n\n## B\n\n<!-- list datasets -->\n<!-- end -->\n"
    page = pages.fill(old, RESULTS).text
    assert "`old`" not in page
    assert page.index("| `softmax` |") < page.index("\n\n## B\n") < page.index("| `mnist` |")
    assert pages.fill(page, RESULTS).text == page


@pytest.mark.parametrize("kind", ["defense", "attack"])
def test_every_part_has_one_section_and_one_line_of_the_index(kind: Any) -> None:
    page = filled(f"{kind}s.md")
    names = parts.names(kind)  # those with a file of their own
    assert len(names) > 20
    assert [page.count(f"\n### `{name}`\n") for name in names] == [1] * len(names)
    assert [page.count(f"| [`{name}`](#{name}) |") for name in names] == [1] * len(names)


@pytest.mark.parametrize("kind", ["defense", "attack"])
def test_every_parameter_has_a_meaning(kind: Any) -> None:
    for name in parts.names(kind):
        found = parts.parameters(name, registry.get(kind, name))
        assert [one.name for one in found if not one.meaning] == []


def test_no_meaning_is_left_over() -> None:
    known = {"federation." + name for name in pages.FederationSettings.model_fields}
    for kind in registry.PACKAGES:
        for part in registry.names(kind):
            fields = set(registry.get(kind, part).model_fields)  # type: ignore[attr-defined]
            known |= fields | {f"{part}.{name}" for name in fields}
    assert set(parts.MEANINGS) - known == set()


def test_parameters_are_those_of_the_class() -> None:
    found = {one.name: one for one in parts.parameters("niss", registry.get("defense", "niss"))}
    assert found["zeta"].default == "3.0"
    assert found["zeta"].values == "number, 0 < x"
    assert found["dropout"].values == "number, 0 ≤ x < 1"
    assert found["num_shares"].values == "whole or none, 1 ≤ x"
    assert found["scale"].values == "`coordinate` or `share`"
    assert found["allow_large_epsilon"].default == "false"
    assert found["dropout"].meaning.startswith("share of clients that exchange")  # a comment of the code


def test_claims_are_those_of_the_classes() -> None:
    def claimed(name: str) -> str:
        return parts.claims(registry.get("defense", name))  # type: ignore[arg-type]

    assert "none of 20 (suite `field`); none of 100" in claimed("fedavg")
    assert "b up to 0.2 where 4 of 20 are assumed" in claimed("krum")
    assert "it refuses to work where 40 of 100 are assumed" in claimed("bulyan")  # n >= 4 f + 3
    assert math.floor(100 * robustness_bound(0.283)) == 41
    assert "b up to 0.41 where 40 of 100 are assumed" in claimed("dpbfl")
    assert "void in the suite `digits`" in claimed("dpbfl")
    assert "ε = 10, δ = 0.0001 per upload" in claimed("dp_fedavg")
    assert "nothing against the server" in claimed("central_dp_fedavg")


def test_a_number_is_a_link_that_names_its_place(tmp_path: Path) -> None:
    lines = [
        "board,defense,column,metric,mean,half_width,low,high",
        "robustness,a (x=1),flip b=0.2,accuracy,0.59234,0.103,,",
        "privacy,a (x=1),dlg,recovered,0.48,,0.34,0.62",
        "claims,a (x=1),,epsilon_composed,4082.1,,,",
        "noise,a (x=1),dlg,residual_noise_ratio,0.7,,,",
    ]
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "leaderboard.csv").write_text("\n".join(lines) + "\n")
    problems: list[str] = []

    def cite(place: str) -> str:
        shown = cited.cite(f"{{{{ s / a (x=1) / {place} }}}}", tmp_path, problems, "../results")
        old = re.sub(r"^\[.*\]\(", "[an older [1, 2] number](", shown)
        assert cited.cite(old, tmp_path, problems, "../results") == shown  # what is shown is read again
        return shown

    place = '(../results/s/leaderboard.csv "s / a (x=1) /'
    assert cite("flip b=0.2 / accuracy") == f'[59.2 ± 10.3 %]{place} flip b=0.2 / accuracy")'
    assert cite("dlg / recovered") == f'[48 % [34, 62]]{place} dlg / recovered")'
    assert cite("/ epsilon_composed") == f'[4,082]{place} / epsilon_composed")'
    assert cite("dlg / residual_noise_ratio").startswith("[0.70](")
    assert problems == []
    assert cited.cite("{{ s / a (x=1) / dlg / accuracy }}", tmp_path, problems, "..") == "(not measured)"
    assert len(problems) == 1
    assert cited.cite("{{ other / a / b / accuracy }}", tmp_path, problems, "..") == "(not measured)"
    assert len(problems) == 2


def test_an_unknown_mark_is_a_problem() -> None:
    found = pages.fill("before <!-- nonsense krum --> after", RESULTS)
    assert found.text == "before  after"
    assert found.problems == ["there is no mark <!-- nonsense krum -->"]


def test_docstrings_become_markdown() -> None:
    assert text.prose("a < b * c, see N4, `N4 * <x>`") == "a &lt; b \\* c, see [N4](errata.md#n4), `N4 * <x>`"
    assert text.prose("N(0, 1), N50, D24") == "N(0, 1), N50, D24"
    assert text.prose("idea\n\n    v <- v + 1") == "idea\n\n    v <- v + 1"
    assert text.cell("a |\nb") == "a \\| b"


def test_faultless_games_prove_what_the_binomial_bound_gives() -> None:
    table = pages.fill("<!-- audit-limits -->", RESULTS).text.split("\n\n")[1]
    found = {int(line.split("|")[1].replace(",", "")): float(line.split("|")[2]) for line in table.splitlines()[2:]}
    for games, epsilon in found.items():
        rate = 1 - 0.025 ** (2 / games)  # Clopper-Pearson without a success among half of the games
        assert epsilon == pytest.approx(math.log((1 - rate - 1e-4) / rate), abs=0.01)


def test_the_power_of_run_audits_is_what_its_script_measures() -> None:
    """Where this fails: python docs/mkdocs/power.py."""
    with power.POWER.open(newline="") as file:
        head, *lines = [tuple(one) for one in csv.reader(file)]
    assert head == power.HEAD
    assert len(lines) == 3 * len(power.EPSILONS) * len(power.CANARIES)
    assert all(int(line[-1]) <= power.RUNS // 20 for line in lines)  # above the truth
    for mechanism, epsilon, canaries, fitted in (
        ("Gaussian noise", 4.0, 100, True),
        ("randomized response", 2.0, 100, False),
    ):
        *where, median, above = power.line(mechanism, epsilon, canaries, fitted)
        (written,) = [line for line in lines if list(line[:4]) == where]
        assert float(written[4]) == pytest.approx(float(median), abs=0.02)
        assert abs(int(written[5]) - int(above)) <= 1


def slug(heading: str) -> str:
    """As Python-Markdown's toc names a heading."""
    kept = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


@cache
def anchors_of(path: Path) -> set[str]:
    return anchors(path.read_text())


def anchors(markdown: str) -> set[str]:
    given = set(re.findall(r'<a id="([^"]+)">', markdown)) | set(re.findall(r"\{#([\w-]+)\}", markdown))
    return given | {slug(line) for line in re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_relative_link_resolves(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = page.parent / path if path else page
        assert other.is_file(), target
        if anchor and other.suffix == ".md":
            assert anchor in anchors_of(other), target


def test_no_page_of_a_repository_that_nobody_owns_is_named() -> None:
    """The repository's address stands in pyproject.toml's [project.urls] alone, once there is one."""
    places = [*ROOT.glob("*.*"), *(ROOT / ".github").rglob("*"), *DOCS.rglob("*"), *(ROOT / "bench").rglob("*.py")]
    written = [path for path in places if path.suffix in {".md", ".py", ".yml", ".cff"} and path.is_file()]
    address = re.compile(r"(github\.com|github\.io|readthedocs\.io|pypi\.org/project)/+fedsiege")
    named = [path.name for path in written if address.search(path.read_text())]
    assert len(written) > 100
    assert named == []


def test_a_link_out_of_the_pages_needs_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("latex2mathml", reason="in the extra docs")
    monkeypatch.syspath_prepend(DOCS / "mkdocs")
    import hooks

    shown = '[48 % [34, 62]](../results/s/leaderboard.csv "s / a / dlg / recovered") and [file](../a.py)'
    monkeypatch.setattr(hooks, "address", lambda: None)
    assert hooks.OUTSIDE.sub(hooks._outside, shown) == (
        '<span title="s / a / dlg / recovered">48 % [34, 62]</span> and file'
    )
    monkeypatch.setattr(hooks, "address", lambda: "https://example.org/x")
    assert "[file](https://example.org/x/blob/main/a.py)" in hooks.OUTSIDE.sub(hooks._outside, shown)


def test_the_navigation_has_every_page_once() -> None:
    navigation = (DOCS / "mkdocs" / "mkdocs.yml").read_text().split("\nnav:\n")[1].split("\n\n")[0]
    assert sorted(re.findall(r"- (\S+\.md)", navigation)) == [page.name for page in PAGES]


def test_every_erratum_that_the_code_names_is_there() -> None:
    there = anchors((DOCS / "errata.md").read_text())
    assert {f"n{number}" for number in range(1, 21)} | {f"d{number}" for number in range(1, 24)} <= there
    named = set()
    for package in ("bench", "attacks", "defenses", "leaderboards"):
        for path in (ROOT / package).rglob("*.py"):
            for sentence in re.findall(r"errata ([^.:;\n]+)", path.read_text()):
                named |= {code.lower() for code in re.findall(r"\b[ND]\d+\b", sentence)}
    assert len(named) > 15
    assert named - there == set()


def test_the_suite_of_the_example_is_one() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (DOCS / "extending.md").read_text(), re.DOTALL)
    content = next(tomllib.loads(block) for block in blocks if block.startswith("name ="))
    cells = Suite(**content).cells()
    columns = [cell.column for cell in cells if cell.label == "median"]
    assert columns[0] == "clean"
    assert sorted(columns[1:]) == [
        "dlg",
        *(f"sign_flip c={c} b={b}" for c in ("1.0", "2.0") for b in (0.1, 0.2)),
    ]
    assert {cell.federation.lr for cell in cells if cell.label == "trimmed_mean" and cell.kind == "training"} == {0.5}


def test_the_example_defense_is_the_readme_s_which_runs() -> None:
    example = re.search(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(), re.DOTALL)
    assert example is not None
    assert f"```python\n{example[1]}```" in (ROOT / "README.md").read_text()


def test_the_examples_that_remember_do() -> None:
    """FedAvgM's velocity, and what each client has sent on average, round by round, where only some take part."""
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(), re.DOTALL)
    space: dict[str, Any] = {}
    for example in examples:
        if "server.memory" in example:
            exec(re.sub(r"@register.*\n", "", example), space)
    shape = {"dataset": "digits", "clients": 10, "samples_per_client": 12, "dtype": "float64"}
    settings = FederationSettings(**shape, rounds=4, lr=0.3, batch_size=5, local_steps=1, participation=0.5)
    for name in ("FedAvgM", "MeanOfMeans"):
        found = Federation(settings, space[name](), load("digits"), 0)
        velocity, sent = torch.zeros(1), [[] for _ in range(10)]  # type: ignore[var-annotated]
        for transcript in found.rounds():
            velocity = 0.9 * velocity + transcript.messages.mean(dim=0)
            for client, row in zip(transcript.participants.tolist(), transcript.messages, strict=True):
                sent[client].append(row)
            means = [torch.stack(sent[client]).mean(dim=0) for client in transcript.participants.tolist()]
            change = velocity if name == "FedAvgM" else torch.stack(means).mean(dim=0)
            torch.testing.assert_close(found.global_model, transcript.broadcast + change)


def test_the_examples_of_the_first_page_run() -> None:
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "getting-started.md").read_text(), re.DOTALL)
    frames, evaluate, krum = examples
    space: dict[str, Any] = {}
    code = frames.replace('bench.run("smoke")', "None").replace('"results"', repr(str(ROOT / "results" / "smoke")))
    exec(code, space)
    assert space["accuracy"].loc["krum", "clean"] > 0.1
    small = 'HalfStep, "smoke", attacks=["sign_flip"], seeds=[0]'
    exec(evaluate.replace('HalfStep, "smoke"', small), space)
    assert {"half_step (share=0.25)", "half_step (share=0.5)"} < set(space["frame"]["defense"])
    exec(krum.replace("krum(messages", "found = krum(messages"), space)
    assert space["found"].tolist() == [1.0]


def test_the_data_set_and_the_model_of_the_page_on_extending_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {kind: dict(registry._registered[kind]) for kind in registry.KINDS})
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(), re.DOTALL)
    (example,) = [one for one in examples if '@register("dataset"' in one]
    (tmp_path / "mine.py").write_text(example)
    registry.load_files([tmp_path / "mine.py"])
    clouds = load("clouds")
    assert (len(clouds.train), len(clouds.validation), len(clouds.test)) == (270, 30, 100)
    assert models.build("my_net", clouds.shape, clouds.num_classes).dim == 5 * 8 + 8 + 8 * 2 + 2


def test_the_command_lines_of_the_pages_are_known() -> None:
    from typer.main import get_command

    from bench.cli import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    command = re.compile(r"(?:python -m bench|^fedsiege) ([a-z][a-z-]+)", re.MULTILINE)
    used = {found for page in (ROOT / "README.md", *PAGES) for found in command.findall(page.read_text())}
    assert {"run", "verify", "new-defense"} <= used
    assert used - known == set()


def test_what_the_pages_say_in_words_is_what_the_numbers_say() -> None:
    def mean(suite: str, row: str, column: str, metric: str) -> float:
        return float(cited.read_board(RESULTS / suite / "leaderboard.csv")[row, column, metric].mean)

    def recovered(row: str, column: str) -> float:
        return mean("digits", row, column, "recovered")

    def audited(row: str, column: str) -> float:
        return mean("digits", row, column, "epsilon_audited")

    def flipped(row: str, b: float) -> float:
        return mean("mnist-bounds", row, f"sign_flip b={b}", "accuracy")

    for rho in (0.3, 0.6, 1.0):
        left = mean("digits", "niss", f"collusion rho={rho:g}", "residual_noise_ratio")
        assert left == pytest.approx(float(niss_collusion_variance(1.0, 0.2, rho)), abs=0.06)
    assert recovered("niss", "zero_shares rho=1") > 0.9 > 0.1 > recovered("niss", "collusion rho=1")
    assert recovered("niss as printed", "subspace rho=1") > 0.9 > 0.1 > recovered("niss", "subspace rho=1")
    assert recovered("ldpbfl", "inverting_gradients") > recovered("ldpbfl", "dlg label=inferred") > 0.1
    assert recovered("dpbfl", "collusion rho=1") > 0.1 > recovered("dpbfl", "dlg label=inferred")
    assert audited("dp_fedavg", "audit") < 10
    assert audited("niss", "audit") < 10 < audited("niss", "audit rho=1")
    assert mean("audits", "niss (tau_squared=0.0)", "audit", "epsilon_audited") > 10
    for column in ("audit", "audit rho=1"):
        assert mean("audits", "niss (tau_squared=1.0)", column, "epsilon_audited") < 10
    assert flipped("dpbfl", 0.3) > 0.8 > 0.6 > flipped("dpbfl", 0.4) > 0.2 > flipped("dpbfl", 0.5)
    assert flipped("rsa", 0.4) > 0.8
    assert mean("digits", "krum", "clean", "accuracy") < 0.6


def test_formulas_become_mathml(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("latex2mathml", reason="in the extra docs")
    monkeypatch.syspath_prepend(DOCS / "mkdocs")
    import hooks

    shown = hooks.on_page_content(r'a <span class="arithmatex">\(x &lt; \sigma_k^2\)</span> b')
    assert shown.startswith('a <math xmlns="http://www.w3.org/1998/Math/MathML" display="inline">')
    assert shown.endswith("</math> b")
    assert "<msubsup><mi>&#x003C3;</mi><mi>k</mi><mn>2</mn></msubsup>" in shown


def test_the_citation_is_of_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    fields = dict(re.findall(r"^([\w-]+): (.+)$", citation, re.MULTILINE))
    assert fields["version"] == bench.__version__ == project["version"]
    assert fields["license"] == project["license"]
    assert f"version = {{{project['version']}}}" in (DOCS / "citing.md").read_text()


def test_the_rule_of_the_tutorial_withstands_what_the_mean_does_not() -> None:
    page = (DOCS / "tutorial-use.md").read_text()
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    space: dict[str, Any] = {}
    exec(example[1], space)
    assert space["plain"].mean().item() == pytest.approx(-1.2, abs=0.01)
    assert space["model"].mean().item() == pytest.approx(1.0, abs=0.05)
    suite = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert suite is not None
    columns = {cell.column for cell in Suite(**tomllib.loads(suite[1])).cells()}
    assert columns == {"clean", "sign_flip b=0.1", "sign_flip b=0.2", "adaptive b=0.2"}


@pytest.mark.parametrize("page", [path for path in PAGES if path.name != "index.md"], ids=lambda page: page.name)
def test_a_page_begins_with_a_paragraph(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert lines[1] == ""
    assert re.match(r"\w", lines[2])
