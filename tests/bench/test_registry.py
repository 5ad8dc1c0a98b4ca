"""The registry: names of files, refusals, nearest names, one line each, other packages' entry points."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bench import registry
from bench.base.errors import BadInputError
from bench.protocol import Defense
from bench.registry import Kind, get, names, register, summaries
from bench.threat import Attack
from tests.bench.helpers.registry import copied

ROOT = Path(__file__).parents[2]
FOLDERS: dict[Kind, str] = {"defense": "defenses", "attack": "attacks"}
BASES: dict[Kind, type] = {"defense": Defense, "attack": Attack}

kinds = pytest.mark.parametrize("kind", ["defense", "attack"])


@pytest.fixture(autouse=True)
def _forget_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", copied())


class FakeEntry:
    """An entry point of an installed package."""

    def __init__(self, name: str, load: Callable[[], type]) -> None:
        self.name, self.load = name, load


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeEntry]]:
    """Entry points of the group `fedsiege.defenses`, to be filled."""
    entries: list[FakeEntry] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == "fedsiege.defenses" else [])
    return iter([entries])


def fresh(*lines: str) -> subprocess.CompletedProcess[str]:
    """The lines in an interpreter that has imported nothing yet."""
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def stems(kind: Kind) -> set[str]:
    return {path.stem for path in (ROOT / FOLDERS[kind]).glob("*.py")} - {"__init__"}


# ---------------------------------------------------------------------------------------------------------- built in


@kinds
def test_built_in_names_are_those_of_the_files(kind: Kind) -> None:
    assert stems(kind) <= set(names(kind))
    assert names(kind) == sorted(names(kind))


def test_the_papers_defenses_and_attacks_are_there() -> None:
    assert {"fedavg", "dp_fedavg", "niss", "krum", "median", "rsa", "dpbfl", "ldpbfl"} <= set(names("defense"))
    assert {"gaussian", "sign_flip", "dlg", "collusion"} <= set(names("attack"))


@kinds
def test_every_class_knows_its_name_and_has_defaults(kind: Kind) -> None:
    for name in stems(kind):
        cls = get(kind, name)
        assert issubclass(cls, BASES[kind])
        assert cls.name == name
        assert cls().model_dump() == cls(**cls().model_dump()).model_dump()
        with pytest.raises(ValueError, match="no_such_parameter"):
            cls(no_such_parameter=1)


@kinds
def test_summaries_are_the_first_lines_of_the_files(kind: Kind) -> None:
    found = summaries(kind)
    assert list(found) == names(kind)
    for name in stems(kind):
        docstring = ast.get_docstring(ast.parse((ROOT / FOLDERS[kind] / f"{name}.py").read_text()))
        assert docstring is not None
        assert found[name] == docstring.splitlines()[0]
    for line in found.values():
        assert line.strip()
        assert "\n" not in line


def test_listing_imports_neither_torch_nor_any_defense() -> None:
    done = fresh(
        "import sys",
        "from bench.registry import summaries",
        "assert len(summaries('defense')) >= 8 and len(summaries('attack')) >= 4",
        "assert len(summaries('dataset')) >= 5 and len(summaries('model')) >= 6",
        "print(sorted({'torch', 'bench.data', 'bench.models', 'defenses.krum', 'attacks.dlg'} & set(sys.modules)))",
    )
    assert done.stdout.strip() == "[]", done.stderr


# -------------------------------------------------------------------------------------------------------- registering


@kinds
def test_a_new_class_is_found_by_name_and_told_it(kind: Kind) -> None:
    @register(kind, "brand_new")
    class New:
        """First line.

        Second line.
        """

    assert get(kind, "brand_new") is New
    assert New.name == "brand_new"  # type: ignore[attr-defined]
    assert "brand_new" in names(kind)
    assert summaries(kind)["brand_new"] == "First line."


def test_a_second_class_under_a_name_is_refused_with_both_of_them() -> None:
    @register("defense", "twin")
    class First:
        pass

    with pytest.raises(ValueError, match=r"defense name 'twin' is taken by .*First.*Second"):

        @register("defense", "twin")
        class Second:
            pass

    assert get("defense", "twin") is First


def test_a_defense_and_an_attack_may_share_a_name() -> None:
    @register("defense", "both")
    class OneSide:
        pass

    @register("attack", "both")
    class OtherSide:
        pass

    assert get("defense", "both") is OneSide
    assert get("attack", "both") is OtherSide


def test_a_module_may_be_loaded_twice() -> None:
    def load() -> type:
        @register("defense", "reloaded")
        class Same:
            pass

        return Same

    first, second = load(), load()
    assert first is not second
    assert get("defense", "reloaded") is second


def test_a_built_in_name_is_taken_when_it_is_imported() -> None:
    get("defense", "krum")
    with pytest.raises(ValueError, match=r"'krum' is taken by defenses\.krum\.Krum"):
        register("defense", "krum")(type("Other", (), {}))


def test_a_built_in_name_is_taken_before_it_is_imported() -> None:
    """Else a class of one's own would stand in for Krum in every row of a board, or not, by the order of imports."""
    done = fresh(
        "from bench.registry import register",
        "try:",
        "    register('defense', 'krum')(type('Mine', (), {}))",
        "except ValueError as error:",
        "    print(error)",
    )
    assert "'krum' is taken" in done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_what_ships_of_data_and_models_stands_where_its_placeholder_says(kind: Kind) -> None:
    for name, placeholder in registry.SHIPPED[kind].items():
        module, _, place = placeholder.target.partition(":")
        assert get(kind, name) is getattr(import_module(module), place)
        assert get(kind, name).name == name


@pytest.mark.parametrize(("kind", "name", "word"), [("dataset", "mnist", "data set"), ("model", "cnn", "model")])
def test_a_shipped_data_set_or_model_is_not_replaced(kind: Kind, name: str, word: str) -> None:
    with pytest.raises(ValueError, match=rf"^{word} name '{name}' is taken by .*: give mine another$"):

        @register(kind, name)
        def mine() -> None:
            pass


def test_a_model_and_a_data_set_may_be_functions_and_are_found_by_name() -> None:
    @register("model", "brand_new")
    def model(shape: tuple[int, ...], classes: int) -> None:
        """Its line."""

    @register("dataset", "brand_new")
    def data() -> None:
        pass

    assert get("model", "brand_new") is model
    assert get("dataset", "brand_new") is data
    assert summaries("model")["brand_new"] == "Its line."
    assert summaries("dataset")["brand_new"].startswith("The registry: ")  # the first line of this module
    assert names("model")[-1] == "brand_new"


# ----------------------------------------------------------------------------------------------------- unknown names


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [("defense", "krumm", "krum"), ("defense", "dbpfl", "dpbfl"), ("attack", "signflip", "sign_flip")],
)
def test_an_unknown_name_gets_the_nearest_ones(kind: Kind, name: str, near: str) -> None:
    with pytest.raises(BadInputError, match=rf"^no {kind} named '{name}': did you mean .*\b{near}\b.*\?$"):
        get(kind, name)


@kinds
def test_a_name_like_none_gets_the_first_of_them_in_one_line_and_where_all_are(kind: Kind) -> None:
    with pytest.raises(BadInputError) as told:
        get(kind, "zzzzzzzz")
    known = names(kind)
    assert all(name in str(told.value) for name in known[:24])
    assert (f" and {len(known) - 24} more;" in str(told.value)) == (len(known) > 24)
    assert f"`python -m bench list {kind}s` has all, and --load FILE.py brings one of your own" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["", "__init__", "../bench/cli", "krum.py", "Krum"])
def test_odd_names_are_unknown_names(name: str) -> None:
    with pytest.raises(BadInputError, match="no defense named"):
        get("defense", name)


# ------------------------------------------------------------------------------------------------------ entry points


def test_another_packages_class_is_loaded_when_it_is_asked_for(installed: Iterator[list[FakeEntry]]) -> None:
    class Theirs:
        """Their rule."""

    loaded: list[str] = []

    def load() -> type:
        loaded.append("once")
        return Theirs

    next(installed).append(FakeEntry("theirs", load))
    assert "theirs" in names("defense")
    assert "theirs" not in names("attack")
    assert loaded == []
    assert get("defense", "theirs") is Theirs
    assert get("defense", "theirs") is Theirs
    assert loaded == ["once"]
    assert summaries("defense")["theirs"] == "Their rule."


def test_a_class_that_only_an_entry_point_names_is_told_its_name(installed: Iterator[list[FakeEntry]]) -> None:
    class Undecorated(Defense):
        """A defense that nobody decorated."""

        def aggregate(self, delivered: Any, server: Any) -> Any:
            return server.global_model

    next(installed).append(FakeEntry("undecorated", lambda: Undecorated))
    assert get("defense", "undecorated").name == "undecorated"  # type: ignore[attr-defined]


# -------------------------------------------------------------------------------------------------------------- names

NO_NAMES = ("![x](http://e/x.png)", "=1+1", "a/b", "../up", "", " a", "a  b", "a\nb", "a|b", "-a", "é", "a" * 61, "<b>")


@kinds
@pytest.mark.parametrize("name", NO_NAMES)
def test_what_would_be_live_on_a_board_is_no_name(kind: Kind, name: str) -> None:
    with pytest.raises(ValueError, match=f"{kind} name .* will not do: take letters, digits"):
        register(kind, name)


@pytest.mark.parametrize("name", ["my_krum", "nnm + krum", "Krum 2.0", "my-rule_3", "a" * 60])
def test_letters_digits_spaces_and_a_few_signs_are(name: str) -> None:
    @register("defense", name)
    class New:
        """First line."""

    assert get("defense", name) is New


def test_an_attack_has_no_space_in_its_name() -> None:
    """A column begins with it, and goes on behind a space."""
    with pytest.raises(ValueError, match="attack name 'sign flip' will not do: take letters, digits and the signs"):
        register("attack", "sign flip")


def test_a_strange_name_of_another_package_is_refused_in_one_line(installed: Iterator[list[FakeEntry]]) -> None:
    class Theirs:
        """First line."""

    entry = FakeEntry("=cmd|x", lambda: Theirs)
    entry.value = "theirs:Theirs"  # type: ignore[attr-defined]
    next(installed).append(entry)
    with pytest.raises(
        BadInputError, match=r"defense name '=cmd\|x' will not do: .* \(it is brought by theirs:Theirs\)"
    ):
        get("defense", "=cmd|x")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ('"""Its line.\n\nMore."""\n', "Its line."),
        ('\ufeff"""Its line."""\n', "Its line."),
        ("", "(no docstring) {path}"),
        ("def f(:\n", "cannot be loaded: invalid syntax in {path}, line 1"),
    ],
)
def test_a_file_of_one_s_own_under_defenses_is_listed_whatever_it_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, line: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source, encoding="utf-8")
    known = registry._shipped("defense")
    placeholder = registry.Placeholder("defenses.mine", path)
    monkeypatch.setattr(registry, "_shipped", lambda kind: {**known, "mine": placeholder})
    assert summaries("defense")["mine"] == line.format(path=path)
    assert summaries("defense")["krum"].startswith("Krum")


def test_a_file_under_defenses_that_is_no_python_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_rule.py").write_text("def f(:\n")
    package = import_module("defenses")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    placeholder = registry.Placeholder("defenses.broken_rule", tmp_path / "broken_rule.py")
    monkeypatch.setattr(registry, "_shipped", lambda kind: {"broken_rule": placeholder})
    with pytest.raises(BadInputError, match=r"^defense 'broken_rule' cannot be loaded: invalid syntax in .*, line 1$"):
        get("defense", "broken_rule")
