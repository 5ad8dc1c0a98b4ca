"""`tune`: the search grid of a suite for one defense."""

from typing import Annotated

import typer

from bench.commands.options import ArithmeticOption, DataOption, JsonOption, LoadOption, SetOption, SuiteOption
from bench.commands.output import echo_json


def tune(
    defense: Annotated[str, typer.Option("--defense", help="The row to tune.")],
    suite: SuiteOption = "digits",
    changes: SetOption = None,
    data: DataOption = None,
    load: LoadOption = None,
    arithmetic: ArithmeticOption = None,
    worst_case: Annotated[
        bool, typer.Option("--worst-case", help="By the worst of the suite's tuning attacks.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Try the suite's search grid for a defense on the validation split, by its clean run or its worst case."""
    from bench.runs import tune

    result = tune.search(suite, defense, data, changes or (), worst_case)
    if as_json:
        echo_json([trial.as_dict() for trial in result])
    else:
        tune.print_trials(result)
