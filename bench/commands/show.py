"""`show`: one record for a person."""

from pathlib import Path
from typing import Annotated

import typer

from bench.base.errors import BadInputError
from bench.commands.options import JsonOption
from bench.commands.output import echo_json, note
from bench.runs import places


def show(
    record: Annotated[Path, typer.Argument(help="A record's JSON file, here, in runs or in results.")],
    as_json: JsonOption = False,
) -> None:
    """One record for a person: settings, numbers, curve, reconstructed images."""
    from bench import records
    from bench.commands import one_record

    record = places.find(record, note)
    if record.is_dir():
        example = next((path for path in sorted(record.rglob("*-s*.json"))), None)
        text = "there is no record in it" if example is None else f"give a record's file, such as {example}"
        raise BadInputError(f"{record} is a folder: {text}")
    result = records.read(record)
    if as_json:
        echo_json(result.model_dump(mode="json"))
    else:
        one_record.print_record(result, record)
