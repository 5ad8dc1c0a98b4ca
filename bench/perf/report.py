"""What a run says to people: a table on the terminal, Markdown for a pull request, notes in plain sentences."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from bench.base import tables
from bench.perf.calibration import kernels
from bench.perf.compare import Comparison, Comparisons
from bench.perf.history import Entry, Figure

UNQUIET = 1.15
"""A disturbance from which a run is called so; `measure` tells what was seen."""


def notes(run: Entry, comparisons: Comparisons | None) -> list[str]:
    """What a reader must know to trust the table."""
    lines = []
    if run.disturbance > UNQUIET:
        lines.append(
            f"the machine was not quiet: its kernels took {run.disturbance:.2f} times what they take at their best; "
            "do not save this run as a baseline"
        )
    if comparisons is not None:
        if not comparisons.same_machine:
            lines.append(f"the base was run on a machine of another class: {machine(comparisons.base)}")
        if comparisons.base.disturbance > UNQUIET:
            lines.append(f"the base's machine was not quiet ({comparisons.base.disturbance:.2f} times)")
        if comparisons.added:
            lines.append(f"not in the base: {', '.join(comparisons.added)}")
        if comparisons.gone:
            lines.append(f"no longer there: {', '.join(comparisons.gone)}")
    return lines


def machine(entry: Entry) -> str:
    """Where an entry was made, in words."""
    where = entry.environment
    return f"{where.cpu or where.machine}, {entry.cores} cores, torch {where.torch}, numpy {where.numpy}"


def label(entry: Entry) -> str:
    """Which run an entry is."""
    return f"{entry.environment.commit or 'no commit'} of {entry.date:%Y-%m-%d %H:%M} UTC"


def rates(entry: Entry) -> str:
    """What the machine did in the kernels."""
    known = kernels()
    return ", ".join(f"{name} {known[name].rate(seconds)}" for name, seconds in entry.calibration.items())


def markdown(run: Entry, comparisons: Comparisons | None, extra: Sequence[str] = ()) -> str:
    """The summary of a run for a pull request."""
    lines = ["## Performance", "", f"{label(run)}, {_passes(run)}, on {machine(run)} ({rates(run)})."]
    if comparisons is None:
        lines += ["", *_markdown_table(FIGURE_HEAD, [_figure_row(*item) for item in run.benchmarks.items()])]
    else:
        limit = f"{1 + comparisons.threshold:.2f}"
        slower = comparisons.slower
        result = f"**slower: {', '.join(slower)}**" if slower else "nothing slower"
        lines += [
            f"Against {label(comparisons.base)}: {result} beyond {limit} times and the spread.",
            "",
            *_markdown_table(COMPARISON_HEAD, [_comparison_row(row) for row in comparisons.rows]),
        ]
    remarks = [*notes(run, comparisons), *extra]
    lines += ["", *(f"- {line}" for line in remarks)] if remarks else []
    lines += [
        "",
        "Times are over those of calibration kernels timed around every round; a ratio is now over base, its interval "
        "what the passes of both runs allow.",
    ]
    return "\n".join(lines) + "\n"


def print_run(run: Entry, comparisons: Comparisons | None, extra: Sequence[str] = ()) -> None:
    """The same on the terminal."""
    console = tables.console()
    head = FIGURE_HEAD if comparisons is None else COMPARISON_HEAD
    rows = (
        [_figure_row(*item) for item in run.benchmarks.items()]
        if comparisons is None
        else [_comparison_row(row) for row in comparisons.rows]
    )
    title = f"{label(run)}, {_passes(run)}" + ("" if comparisons is None else f", against {label(comparisons.base)}")
    table = Table(title=escape(title), caption=escape(f"{machine(run)}; {rates(run)}"), title_justify="left")
    for position, column in enumerate(head):
        table.add_column(column, justify="left" if position == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row), style={"slower": "red", "faster": "green"}.get(row[-1]))
    tables.show(console, table)
    for line in (*notes(run, comparisons), *extra):
        console.print(escape(line))


FIGURE_HEAD = ("benchmark", "seconds", "normalised", "over passes", "normalised by", "peak memory")
COMPARISON_HEAD = ("benchmark", "base", "now", "ratio", "interval", "memory", "verdict")


def _figure_row(name: str, figure: Figure) -> tuple[str, ...]:
    spread = f"{figure.low:.3g} to {figure.high:.3g}"
    return name, seconds(figure.seconds), f"{figure.median:.3g}", spread, figure.normaliser, _bytes(figure.peak_bytes)


def _comparison_row(row: Comparison) -> tuple[str, ...]:
    memory = "" if row.memory is None else f"{row.memory:.2f}"
    interval = f"{row.found.low:.2f} to {row.found.high:.2f}"
    old, new = seconds(row.base.seconds), seconds(row.new.seconds)
    return row.name, old, new, f"{row.found.middle:.2f}", interval, memory, row.verdict


def seconds(value: float) -> str:
    """Seconds or milliseconds, three digits."""
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def _bytes(value: int | None) -> str:
    return "" if value is None else f"{value / 2**20:.0f} MiB"


def _passes(run: Entry) -> str:
    return f"{run.passes} {'pass' if run.passes == 1 else 'passes'}" + (" of the quick set" if run.quick else "")


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = [":--", *("--:" for _ in head[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
