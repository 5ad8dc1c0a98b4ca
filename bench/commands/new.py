"""`new-defense` and `new-attack`: a commented file to start from."""

from typing import Annotated

import typer

from bench.commands.output import say


def new_defense(name: Annotated[str, typer.Argument(help="Its name on the boards, such as my_rule.")]) -> None:
    """Write NAME.py in this folder: a commented defense that runs as it is."""
    from bench.submission import scaffold

    path = scaffold.write_new("defense", name)
    say(f"wrote {path}; next: python -m bench submit {path} --suite smoke")


def new_attack(name: Annotated[str, typer.Argument(help="Its name on the boards, such as my_attack.")]) -> None:
    """Write NAME.py in this folder: a commented attack that runs as it is."""
    from bench.submission import scaffold

    path = scaffold.write_new("attack", name)
    say(f"wrote {path}; next: python -m bench submit {path} --against ROW --byzantine 0.2")
