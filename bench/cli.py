"""The command line: arguments in, a call into the engine, text out. No logic of its own.

Everything heavy is imported by the command that needs it, so that `list` and `--help` start at once.
"""

import contextlib
import errno
import json
import os
import signal
import sys
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from bench import __version__
from bench.base import arithmetic as arithmetics
from bench.base import systems
from bench.base.errors import BadInputError
from bench.perf.options import BareCompare
from bench.runs import places

app = typer.Typer(
    name="fedsiege",
    help="The attack-and-defense benchmark for federated learning. Without a command: the whole digits suite.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

STOPPED = 130
"""The exit code after Ctrl-C, as shells have it."""

STOPPED_LINE = "fedsiege: stopped; what was finished is recorded, the same command goes on from there"

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
"""What the system says of a place that takes no more: a full disk, a broken one, one that is read only."""

SuiteOption = Annotated[str, typer.Option("--suite", help="A shipped suite's name, or a TOML file.")]
ResultsOption = Annotated[Path, typer.Option("--results", help="Folder of the records.")]
AllOption = Annotated[bool, typer.Option("--all", help="Print all boards and flags, not the overall board alone.")]
DataOption = Annotated[str | None, typer.Option("--data", envvar="FEDSIEGE_DATA", help="torchvision root of the data.")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto: cpu.")]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="Worker processes; one a core by default.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress, no tables.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
ArithmeticOption = Annotated[
    str | None,
    typer.Option(
        "--arithmetic",
        envvar=arithmetics.VARIABLE,
        callback=arithmetics.choose,
        help="portable: the same bits on any x86-64 processor (default); native: this one's widest instructions.",
    ),
]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, over the suite's own.")]


def _say(text: str, nl: bool = True) -> None:
    """To standard output in its own encoding, which typer would take for UTF-8 where it is ASCII."""
    typer.echo(text, file=sys.stdout, nl=nl)


def _tell_version(asked: bool) -> None:
    if asked:
        _say(f"fedsiege {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def everything(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="The version, and nothing else.")
    ] = False,
    results: ResultsOption = places.OWN,
    workers: WorkersOption = None,
    arithmetic: ArithmeticOption = None,
    all_boards: AllOption = False,
    quiet: QuietOption = False,
) -> None:
    """The attack-and-defense benchmark for federated learning. Without a command: the whole digits suite."""
    if context.invoked_subcommand is None:
        run(suite="digits", results=results, workers=workers, all_boards=all_boards, quiet=quiet)


@app.command()
def run(
    suite: SuiteOption = "digits",
    defense: Annotated[list[str] | None, typer.Option("--defense", help="Only these rows.")] = None,
    attack: Annotated[list[str] | None, typer.Option("--attack", help="Only these attacks, and the clean run.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Such as 0,1,2.")] = None,
    changes: SetOption = None,
    workers: WorkersOption = None,
    results: ResultsOption = places.OWN,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again what has a record.")] = False,
    data: DataOption = None,
    device: DeviceOption = "auto",
    cell_timeout: Annotated[
        float | None, typer.Option("--cell-timeout", metavar="SECONDS", help="A cell that takes longer is failed.")
    ] = None,
    cell_memory: Annotated[
        int | None,
        typer.Option("--cell-memory", metavar="MB", min=1, help="A cell whose worker holds more MiB is failed."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="auto, HOST:PORT or local: cells run on a Ray cluster."),
    ] = None,
    arithmetic: ArithmeticOption = None,
    all_boards: AllOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run what a suite still misses, write its leaderboards, and hold its records against the published ones."""
    from bench.runs import jobs
    from bench.suite import load_family

    family, reports = list(load_family(suite, changes or ())), []
    for one in family:
        report = jobs.run_suite(
            one,
            defenses=defense or (),
            attacks=attack or (),
            seeds=jobs.parse_seeds(seeds),
            changes=changes or (),
            workers=workers,
            results=results,
            fresh=fresh,
            data_root=data,
            device=device,
            quiet=quiet or as_json,
            limits=jobs.parse_limits(cell_timeout, cell_memory),
            ray=ray,
        )
        reports.append(report)
        if not (as_json or quiet):
            if len(family) > 1:
                _say(f"{report.suite.name}: {report.suite.title}")
            report.print(all_boards)
    if as_json:
        summaries = [report.summary() for report in reports]
        _echo_json(summaries if len(family) > 1 else summaries[0])
    raise typer.Exit(1 if any(report.unfinished for report in reports) else 0)


@app.command(name="list")
def list_(
    kind: Annotated[str | None, typer.Argument(help="defenses, attacks, datasets, models or suites.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What there is, with a line each."""
    from bench.commands import catalogue

    found = catalogue.listing(kind)
    if as_json:
        _echo_json(found)
        return
    for title, entries in found.items():
        _say(f"{title}:")
        for name, line in entries.items():
            _say(f"  {name:<16} {line}")


@app.command()
def leaderboard(
    suite: SuiteOption = "digits",
    results: Annotated[
        Path | None, typer.Option("--results", help="Folder of the records; by default your own runs, else results.")
    ] = None,
    output_format: Annotated[str, typer.Option("--format", help="md, csv, latex, json or html (one page).")] = "md",
    output: Annotated[Path | None, typer.Option("--output", help="A file instead of the screen.")] = None,
) -> None:
    """The boards of a suite from its records."""
    from bench.runs import jobs

    text = jobs.leaderboard_text(suite, results, output_format, _note)
    if output is None:
        _say(text, nl=False)
    else:
        jobs.write_text(output, text)


@app.command()
def show(
    record: Annotated[Path, typer.Argument(help="A record's JSON file, here, in runs or in results.")],
    as_json: JsonOption = False,
) -> None:
    """One record for a person: settings, numbers, curve, reconstructed images."""
    from bench import records
    from bench.commands import show

    record = places.find(record, _note)
    found = records.read(record)
    if as_json:
        _echo_json(found.model_dump(mode="json"))
    else:
        show.print_record(found, record)


@app.command()
def tune(
    defense: Annotated[str, typer.Option("--defense", help="The row to tune.")],
    suite: SuiteOption = "digits",
    changes: SetOption = None,
    data: DataOption = None,
    arithmetic: ArithmeticOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try the suite's search grid for a defense on the validation split of its clean run."""
    from bench.runs import tune

    found = tune.search(suite, defense, data, changes or ())
    if as_json:
        _echo_json([trial.as_dict() for trial in found])
    else:
        tune.print_trials(found)


@app.command()
def reproduce(
    papers: Annotated[list[str] | None, typer.Argument(help="niss, dpbfl; both by default.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="An item, such as table1 or dpbfl-table1.")] = None,
    results: ResultsOption = places.OWN,
    workers: WorkersOption = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Such as 0, in place of the suites' own.")] = None,
    data: DataOption = None,
    reduced: Annotated[bool, typer.Option("--reduced", help="Also the reduced forms that take an hour.")] = False,
    full: Annotated[bool, typer.Option("--full", help="All in full, which takes days.")] = False,
    form: Annotated[
        str | None, typer.Option("--form", help="The form of this name or number, as --estimate lists them.")
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only time a round of each kind of cell: what each form would take.")
    ] = False,
    no_run: Annotated[bool, typer.Option("--no-run", help="Only the report, of the records that are there.")] = False,
    device: DeviceOption = "auto",
    arithmetic: ArithmeticOption = None,
    quiet: QuietOption = False,
) -> None:
    """The papers' tables and figures, ours beside theirs: run what is missing, then write runs/papers."""
    from bench.reproduce import command
    from bench.runs import jobs

    request = command.Request(
        papers=tuple(papers or ()),
        only=tuple(only or ()),
        results=results,
        workers=workers,
        seeds=jobs.parse_seeds(seeds),
        data_root=data,
        reduced=reduced,
        full=full,
        form=form,
        estimate=estimate,
        run=not no_run,
        device=device,
        quiet=quiet,
    )
    outcome = command.reproduce(request)
    if not quiet:
        outcome.print()
    raise typer.Exit(1 if outcome.unfinished else 0)


@app.command(cls=BareCompare)
def perf(
    quick: Annotated[bool, typer.Option("--quick", help="Only the benchmarks marked quick.")] = False,
    save: Annotated[bool, typer.Option("--save", help="Append the run to the history.")] = False,
    compare: Annotated[
        str | None,
        typer.Option("--compare", metavar="[BASE]", help="Against the newest run, a commit's, or another history's."),
    ] = None,
    threshold: Annotated[float, typer.Option("--threshold", help="0.25: exit 1 where 25 % slower.")] = 0.25,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the history; alone, it measures nothing.")] = None,
    summary: Annotated[Path | None, typer.Option("--summary", help="Markdown, for a pull request.")] = None,
    benchmarks: Annotated[Path, typer.Option("--benchmarks", help="Folder of them.")] = Path("tests/performance"),
    history: Annotated[Path, typer.Option("--history", help="File of the runs.")] = Path("results/perf/history.jsonl"),
    passes: Annotated[
        int, typer.Option("--passes", min=1, help="Processes that each play the set; 5 for a baseline.")
    ] = 3,
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="No times: the smoke suite's numbers against the committed ones.")
    ] = False,
    results: ResultsOption = places.PUBLISHED,
    device: DeviceOption = "auto",
    arithmetic: ArithmeticOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time the benchmarks over calibration kernels; keep, compare and draw them. Or check the smoke suite's numbers."""
    from bench.perf import command

    request = command.Request(
        quick=quick,
        save=save,
        base=compare,
        threshold=threshold,
        plot=plot,
        summary=summary,
        benchmarks=benchmarks,
        history=history,
        passes=passes,
        accuracy=accuracy,
        results=results,
        device=device,
    )
    outcome = command.perform(request, quiet=as_json)
    if as_json:
        _echo_json(outcome.as_dict())
    else:
        outcome.print()
    raise typer.Exit(1 if outcome.failed else 0)


@app.command(name="new-defense")
def new_defense(name: Annotated[str, typer.Argument(help="Its name on the boards, such as my_rule.")]) -> None:
    """Write NAME.py in this folder: a commented defense that runs as it is."""
    from bench.submission import scaffold

    path = scaffold.write_new("defense", name)
    _say(f"wrote {path}; next: python -m bench submit {path} --suite smoke")


@app.command(name="new-attack")
def new_attack(name: Annotated[str, typer.Argument(help="Its name on the boards, such as my_attack.")]) -> None:
    """Write NAME.py in this folder: a commented attack that runs as it is."""
    from bench.submission import scaffold

    path = scaffold.write_new("attack", name)
    _say(f"wrote {path}; next: python -m bench submit {path} --against ROW --byzantine 0.2")


@app.command()
def submit(
    source: Annotated[str, typer.Argument(metavar="FILE.py[:Class]", help="A defense, or an attack.")],
    suite: SuiteOption = "digits",
    results: ResultsOption = places.PUBLISHED,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: a parameter of it, lr, lr_decay or momentum.")
    ] = None,
    against: Annotated[list[str] | None, typer.Option("--against", help="For an attack: the rows.")] = None,
    byzantine: Annotated[list[float] | None, typer.Option("--byzantine", help="For an attack that forges: b.")] = None,
    check_only: Annotated[bool, typer.Option("--check-only", help="The contract, and no suite.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Run what breaks the contract; its row is marked.")] = False,
    workers: WorkersOption = None,
    data: DataOption = None,
    cell_timeout: Annotated[float, typer.Option("--cell-timeout", metavar="SECONDS")] = 600.0,
    cell_memory: Annotated[int, typer.Option("--cell-memory", metavar="MB", min=1)] = 4096,
    arithmetic: ArithmeticOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a file of your own against the contract, run the suite for it, and write its folder for a pull request."""
    from bench.submission import submit as submission

    request = submission.Request(
        source=source,
        suite=suite,
        results=results,
        changes=tuple(changes or ()),
        against=tuple(against or ()),
        byzantine=tuple(byzantine or ()),
        workers=workers,
        data_root=data,
        check_only=check_only,
        anyway=anyway,
        cell_timeout=cell_timeout,
        cell_memory=cell_memory,
        quiet=quiet or as_json,
    )
    typer.echo(submission.WARNING.format(path=source), err=True)
    report = submission.submit(request, (lambda line: None) if request.quiet else _say)
    if as_json:
        _echo_json(report.as_dict())
    elif quiet and (told := report.broken_line()):
        typer.echo(f"fedsiege: {source} {told}", err=True)
    raise typer.Exit(1 if report.failed else 0)


@app.command()
def verify(
    path: Annotated[
        Path, typer.Argument(help="A record, a row's folder, a suite's, or all results; here, in runs or in results.")
    ],
    sample: Annotated[int, typer.Option("--sample", min=0, help="Records that are played anew.")] = 5,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the draw; by default a new one, told.")] = None,
    contract: Annotated[bool, typer.Option("--contract", help="Examine submitted sources as well.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Keep what was found in the suite's verified.json.")] = False,
    data: DataOption = None,
    arithmetic: ArithmeticOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check records against their hashes, data and suite, and play a random sample of them anew."""
    from bench.submission import verify as verification

    tell = (lambda line: None) if quiet or as_json else _note
    found = verification.verify(places.find(path, _note), sample, seed, data, contract, tell)
    for written in found.write() if write else ():
        typer.echo(f"wrote {written}", err=True)
    if as_json:
        _echo_json(found.as_dict())
    else:
        found.print()
    raise typer.Exit(1 if found.failed else 0)


def _note(line: str) -> None:
    """To standard error, so that what a program reads is the answer alone."""
    typer.echo(line, err=True)


def _echo_json(content: Any) -> None:
    reads_all = "utf" in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    _say(json.dumps(content, indent=1, ensure_ascii=not reads_all))


def main() -> None:
    """The program: exit code 0 done, 1 some cells failed, 2 bad input, told in one line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores Ctrl-C
        signal.signal(signal.SIGINT, _on_ctrl_c)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # where it takes ASCII alone, † comes out as \u2020
    try:
        systems.check()
        code = app(standalone_mode=False)
        if code == STOPPED:  # typer makes this of Ctrl-C
            raise KeyboardInterrupt
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk can still be told
    except BrokenPipeError:  # whoever read it has read enough
        _drop_output()
        code = 1
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        code = _refuse(f"cannot write {error.filename or 'the output'}: {error.strerror}")
        _drop_output()
    except BadInputError as error:
        code = _refuse(str(error))
    except TyperException as error:
        code = _refuse(_told(error))
    except (KeyboardInterrupt, typer.Abort):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # impatience changes nothing any more
        typer.echo(STOPPED_LINE, err=True)
        code = STOPPED
    sys.exit(code if isinstance(code, int) else 0)


def _on_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`; in the middle of an import, where it may surface as anything, end there and then."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, f"{STOPPED_LINE}\n".encode())
            os._exit(STOPPED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _told(error: TyperException) -> str:
    """The message, with the value that an option cannot take, which it leaves out."""
    message: str = error.format_message() if hasattr(error, "format_message") else str(error)
    names = getattr(getattr(error, "param", None), "opts", [])
    given = [value for name, value in pairwise(sys.argv) if name in names]
    return f"{message} (given {given[-1]!r})" if given and "Invalid value" in message else message


def _refuse(message: str) -> int:
    with contextlib.suppress(OSError):  # the exit code says it too
        typer.echo(f"fedsiege: {' '.join(message.split())}", err=True)
    return 2


def _drop_output() -> None:
    """What standard output still holds goes nowhere: the interpreter would try to write it again when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
