"""`verify`: records against their hashes, data and suite, and a sample of them played anew."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import ArithmeticOption, DataOption, JsonOption, LoadOption, QuietOption
from bench.commands.output import echo_json, note
from bench.runs import places


def verify(
    path: Annotated[
        Path, typer.Argument(help="A record, a row's folder, a suite's, or all results; here, in runs or in results.")
    ],
    sample: Annotated[int, typer.Option("--sample", min=0, help="Records that are played anew.")] = 5,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the draw; by default a new one, told.")] = None,
    contract: Annotated[bool, typer.Option("--contract", help="Examine submitted sources as well.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Keep what was found in the suite's verified.json.")] = False,
    data: DataOption = None,
    load: LoadOption = None,
    arithmetic: ArithmeticOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check records against their hashes, data and suite, and play a random sample of them anew."""
    from bench.submission import verify as verification

    tell = (lambda line: None) if quiet or as_json else note
    found = verification.verify(places.find(path, note), sample, seed, data, contract, tell)
    for written in found.write() if write else ():
        note(f"wrote {written}")
    if as_json:
        echo_json(found.as_dict())
    else:
        found.print()
    raise typer.Exit(1 if found.failed else 0)
