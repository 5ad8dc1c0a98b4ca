"""The README's example is code that runs, and its commands are those of CI."""

import re
from pathlib import Path

from bench import data
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.metrics import accuracy_and_loss
from bench.registry import _registered

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_defense_trains() -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    assert len(code[1].strip().splitlines()) <= 24
    namespace: dict[str, object] = {"__name__": "readme_example"}
    try:
        exec(code[1], namespace)
        settings = FederationSettings(dataset="digits", clients=20, rounds=30, local_steps=1, batch_size=16, lr=1.0)
        defense = namespace["MedoidMean"]()  # type: ignore[operator]
        federation = Federation(settings, defense, data.load("digits"), seed=0)
        for _ in federation.rounds():
            pass
        accuracy, _ = accuracy_and_loss(federation.model, federation.global_model, data.load("digits").validation)
        assert accuracy > 0.5  # chance is 0.1
    finally:
        _registered["defense"].pop("medoid_mean", None)


def test_ci_runs_the_readme_s_test_command() -> None:
    commands = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)
    assert commands[0] == "pip install -e . && python -m bench"
    assert commands[1] == "pip install -e '.[dev]' && pytest -n 2 --dist loadfile"
    ci = (ROOT / ".ci" / "run").read_text()
    assert "pip install --quiet -e '.[dev]' && pytest -n 2 --dist loadfile" in ci


def test_the_readme_is_one_page() -> None:
    prose = re.sub(r"<!-- decision -->.*?<!-- end -->", "", README, flags=re.DOTALL)
    prose = re.sub(r'\]\([^)\s]+( "[^"]*")?\)', "]", prose)  # an address is not read
    assert len(prose.split()) <= 900


def test_the_first_screen_has_a_picture_and_what_to_use() -> None:
    assert README.index("![") < README.index("<!-- decision -->") < README.index("```bash")
    table = README.split("<!-- decision -->")[1].split("<!-- end -->")[0]
    assert table.count("\n| ") >= 8
    assert "not measured yet" in table or table.count("leaderboard.md") == table.count("\n| ") - 2
