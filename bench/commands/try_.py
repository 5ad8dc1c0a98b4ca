"""`try`: a rule, an attack or a privacy wrapper of another library, beside ours."""

from typing import Annotated

import typer

from bench.base.errors import BadInputError
from bench.commands.options import ArithmeticOption, DataOption, JsonOption, QuietOption, SuiteOption
from bench.commands.output import echo_json, note, say

FORMATS = ("text", "md", "json")


def try_(
    what: Annotated[
        str, typer.Argument(metavar="LIBRARY:NAME", help="Such as flwr:Krum, or module:function; a LIBRARY with --all.")
    ],
    suite: SuiteOption = "smoke",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: a parameter of theirs, over what f and n give it.")
    ] = None,
    all_names: Annotated[bool, typer.Option("--all", help="All that the library has, beside ours; no suite.")] = False,
    takes: Annotated[
        str, typer.Option("--takes", help="What module:function is handed: rows, numpy, list or arrays.")
    ] = "rows",
    ours: Annotated[
        str | None, typer.Option("--against-ours", help="The rule of ours that it is held against.")
    ] = None,
    check_only: Annotated[bool, typer.Option("--check-only", help="Contract and verdict, and no suite.")] = False,
    output_format: Annotated[str, typer.Option("--format", help="text, md or json.")] = "text",
    data: DataOption = None,
    arithmetic: ArithmeticOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Try a rule of another library: the contract, same as ours or a variant or different, a row on a small suite."""
    from bench.exchange.foreign import libraries

    if output_format not in FORMATS:
        raise BadInputError(f"--format {output_format!r} must be one of {', '.join(FORMATS)}")
    as_json = as_json or output_format == "json"
    if all_names:
        _table(what, as_json, output_format)
        return
    from bench.exchange.foreign import trial

    entry = libraries.find(what, takes, ours)
    request = trial.Request(entry, suite, libraries.given(changes or ()), data, check_only, quiet or as_json)
    report = trial.tried(request, (lambda line: None) if request.quiet else say)
    if as_json:
        echo_json(report.as_dict())


def _table(name: str, as_json: bool, output_format: str) -> None:
    from bench.base.names import unknown
    from bench.exchange.foreign import libraries, table

    if name not in libraries.LIBRARIES:
        raise BadInputError(unknown("library", name, libraries.LIBRARIES))
    library = libraries.LIBRARIES[name]
    results = list(table.lines(library, say if output_format == "text" and not as_json else note))
    if as_json:
        echo_json([line.as_dict() for line in results])
    elif output_format == "md":
        say(table.markdown(library, results))
