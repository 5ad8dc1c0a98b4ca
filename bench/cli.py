"""The command line: the commands of `bench.commands` in one program, and what becomes of faults.

Everything heavy is imported by the command that needs it, so that `list` and `--help` start at once.
"""

import contextlib
import errno
import importlib
import os
import signal
import sys
from itertools import pairwise
from types import FrameType
from typing import Annotated

import typer

from bench import __version__
from bench.base import memory, systems
from bench.base.errors import BadInputError
from bench.commands import claims, leaderboard, list_, new, perf, reproduce, run, show, site, submit, try_, tune, verify
from bench.commands.options import AllOption, ArithmeticOption, QuietOption, ResultsOption, WorkersOption
from bench.commands.output import say
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


def _usage_fault() -> type[Exception]:
    """What typer raises for a command line that is none: its own from 0.29 on, before that click's."""
    try:
        result: type[Exception] = importlib.import_module("typer.exceptions").TyperException
    except ImportError:
        result = importlib.import_module("click").ClickException
    return result


UsageFault = _usage_fault()

STOPPED = 130
"""The exit code after Ctrl-C, as shells have it."""

STOPPED_LINE = "fedsiege: stopped; what was finished is recorded, the same command goes on from there"

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
"""What the system says of a place that takes no more: a full disk, a broken one, one that is read only."""


def _tell_version(asked: bool) -> None:
    if asked:
        say(f"fedsiege {__version__}")
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
        run.run(suite="digits", results=results, workers=workers, all_boards=all_boards, quiet=quiet)


app.command()(run.run)
app.command(name="list")(list_.list_)
app.command()(leaderboard.leaderboard)
app.command()(show.show)
app.command()(site.site)
app.command()(tune.tune)
app.command()(reproduce.reproduce)
app.command()(claims.claims)
app.command(cls=BareCompare)(perf.perf)
app.command(name="new-defense")(new.new_defense)
app.command(name="new-attack")(new.new_attack)
app.command()(submit.submit)
app.command(name="try")(try_.try_)
app.command()(verify.verify)


def main() -> None:
    """The program: exit code 0 done, 1 some cells failed, 2 bad input, told in one line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores Ctrl-C
        signal.signal(signal.SIGINT, _on_ctrl_c)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # where it takes ASCII alone, † comes out as \u2020
    try:
        systems.check()
        memory.kept_where()
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
    except UsageFault as error:
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


def _told(error: Exception) -> str:
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
