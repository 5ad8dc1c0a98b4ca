"""`verify`: records against their hashes, data and suite, and a sample of them played anew."""

from pathlib import Path
from typing import Annotated

import typer

from bench.base.errors import BadInputError
from bench.commands.options import ArithmeticOption, DataOption, JsonOption, LoadOption, QuietOption, TrustOption
from bench.commands.output import echo_json, note
from bench.runs import places

SAMPLE, WORLDS = 5, 4
"""Records that are played anew of what is named, and secret worlds in which each cell of a pull request is played."""


def verify(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A record, a row's folder, a suite's, or all results; here, in runs or in results. With --changed a "
            "checkout, by default this folder."
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample", min=0, help="Records that are played anew: 5, or all with --changed.", show_default=False
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the draw; by default a new one, told.")] = None,
    contract: Annotated[bool, typer.Option("--contract", help="Examine submitted sources as well.")] = False,
    worlds: Annotated[
        int | None,
        typer.Option(
            "--worlds",
            min=0,
            help="Secret worlds that each cell of submitted code is played in: none, or 4 with --changed.",
            show_default=False,
        ),
    ] = None,
    changed: Annotated[
        str | None,
        typer.Option("--changed", metavar="BASE", help="Judge all that the checkout changes since this commit."),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Keep what was found in the suite's verified.json.")] = False,
    trust: TrustOption = False,
    data: DataOption = None,
    load: LoadOption = None,
    arithmetic: ArithmeticOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check records against their hashes, data and suite, and play a random sample of them anew."""
    from bench.submission import verify as verification
    from bench.submission.changed import Changed, verify_changed

    tell = (lambda line: None) if quiet or as_json else note
    result: verification.Verification | Changed
    if changed is not None:
        if write:
            raise BadInputError("--write goes with rows that are named: --changed judges what others bring")
        result = verify_changed(path or Path(), changed, sample, seed, data, WORLDS if worlds is None else worlds, tell)
    elif path is None:
        raise BadInputError("say what to verify: a record, a row, a suite's folder, or --changed BASE")
    else:
        played = SAMPLE if sample is None else sample
        result = verification.verify(places.find(path, note), played, seed, data, contract, worlds or 0, tell)
        for written in result.write() if write else ():
            note(f"wrote {written}")
    if as_json:
        echo_json(result.as_dict())
    else:
        result.print()
    raise typer.Exit(1 if result.failed else 0)
