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
    from bench.reproduce.cards import card

    if list_:
        from bench.reproduce.papers import stated

        chosen = {one.name: f"{one.title} ({one.paper})" for one in card.choose(names or [])}
        items = {} if names else {name: one.says for name, one in stated().items()}
        if as_json:
            echo_json({"cards": chosen, "reproduce": items})
            return
        for title, entries in {"cards": chosen, "items of reproduce": items}.items():
            for line in [f"{title}:", *aligned(entries, 0)] if entries else []:
                say(line)
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
