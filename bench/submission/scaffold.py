"""`new-defense` and `new-attack`: one commented file that runs as it is."""

import keyword
from pathlib import Path

from bench import registry
from bench.base.errors import BadInputError
from bench.records.submissions import NAME
from bench.registry import Kind

TEMPLATES = Path(__file__).parent / "templates"
PLACEHOLDERS: dict[Kind, str] = {"defense": "new_rule", "attack": "new_attack"}
RESERVED = ("clean", "control", "results", "plots")
"""Names that columns, rows or folders of every board have already."""


def write_new(kind: Kind, name: str, folder: Path = Path()) -> Path:
    """Write `NAME.py`; `BadInputError` for a bad name, one that is taken, or a file that is there."""
    check_name(kind, name)
    if name in registry.names(kind):
        raise BadInputError(f"{kind} name {name!r} is taken: choose another; `python -m bench list {kind}s` has them")
    old = PLACEHOLDERS[kind]
    text = (TEMPLATES / f"{kind}.py").read_text(encoding="utf-8")
    text = text.replace(old, name).replace(_camel(old), _camel(name))
    text = text.replace(f'"""{_words(old)} (AUTHORS', f'"""{_words(name)} (AUTHORS')
    path = folder / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadInputError(f"{path} is there already: nothing was written") from None
    except OSError as error:
        raise BadInputError(f"cannot write {path}: {error.strerror}") from None
    return path


def check_name(kind: Kind, name: str) -> None:
    """Raise `BadInputError` for what cannot be the name of a file, a class and a row at once."""
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name in RESERVED:
        wanted = "lower-case letters, digits and underscores, a letter first, at most 40, and no word of Python's"
        raise BadInputError(f"{kind} name {name!r} will not do: take {wanted}")


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
