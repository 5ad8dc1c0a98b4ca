"""`claims`: what papers of the field say, played, and judged by rules that were written down before."""

from typing import Annotated

import typer

from bench.commands.list_ import aligned
from bench.commands.options import (
    ArithmeticOption,
    DataOption,
    DeviceOption,
    JsonOption,
    QuietOption,
    ResultsOption,
    WorkersOption,
)
from bench.commands.output import echo_json, say
from bench.runs import places


def claims(
    names: Annotated[list[str] | None, typer.Argument(help="Claim cards, or TOML files; all by default.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Only what cards there are, a line each.")] = False,
    results: ResultsOption = places.OWN,
    workers: WorkersOption = None,
    data: DataOption = None,
    no_run: Annotated[bool, typer.Option("--no-run", help="Only verdicts, of the records that are there.")] = False,
    device: DeviceOption = "auto",
    arithmetic: ArithmeticOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Claims of the field's papers: play what is missing, judge it, then write runs/claims/claims.md."""
    if list_:
        _list(names or [], as_json)
        return

    from bench.reproduce.cards import play

    outcome = play.play(
        play.Request(
            names=tuple(names or ()),
            results=results,
            workers=workers,
            data_root=data,
            run=not no_run,
            device=device,
            quiet=quiet or as_json,
        )
    )
    if as_json:
        echo_json(outcome.as_dict())
    elif not quiet:
        outcome.print()
    raise typer.Exit(1 if outcome.unfinished else 0)


def _list(names: list[str], as_json: bool) -> None:
    """The cards and items of these names, or all of them, without loading what plays them."""
    from bench.reproduce.cards import card
    from bench.reproduce.papers import stated

    items = {name: one.says for name, one in stated().items() if not names or name in names}
    wanted = [name for name in names if name not in items]
    cards = card.choose(wanted) if wanted or not names else []
    results = {"cards": {one.name: f"{one.title} ({one.paper})" for one in cards}, "items of reproduce": items}
    if as_json:
        echo_json(results)
        return
    for title, entries in results.items():
        for line in [f"{title}:", *aligned(entries, 0)] if entries else []:
            say(line)
