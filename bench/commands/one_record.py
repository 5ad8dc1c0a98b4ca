"""One record for a person."""

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from bench.base import tables
from bench.records import Record

BARS = "▁▂▃▄▅▆▇█"


def print_record(record: Record, path: Path) -> None:
    """What met what, every setting, every number, the curve, and where the images lie."""
    console = tables.console()
    cell = record.cell
    console.print(
        f"[bold]{escape(cell.label)}[/] x [bold]{escape(cell.column)}[/], seed {record.seed}: {record.status}"
    )
    if record.error:
        console.print(f"[red]{escape(record.error)}[/]")
    tables.show(console, _table("Settings", _settings(record)))
    tables.show(console, _table("Numbers", {name: f"{value:.6g}" for name, value in record.metrics.items()}))
    tables.show(console, _table("Privacy", _claims(record)))
    cost = {name: f"{value:.6g}" for name, value in record.cost.model_dump().items() if value is not None}
    tables.show(console, _table("Cost", cost))
    if record.curve:
        first, last = record.curve[0], record.curve[-1]
        span = f"round {first[0]}: {first[1]:.1%} to round {last[0]}: {last[1]:.1%}"
        console.print(f"accuracy by round  {sparkline([value for _, value in record.curve])}  {span}")
    if record.trace:
        console.print(f"the attack's own loss: {record.trace[0]:.3g} at first, {min(record.trace):.3g} at best")
    for name in record.files.values():
        rows = "rows: the truth, the attack without a defense, the attack on this defense"
        console.print(f"images: {escape(str(path.parent / name))} ({rows})", soft_wrap=True)
    console.print(
        f"protocol {record.protocol}, data {record.data_digest}, "
        f"made {record.finished_at:%Y-%m-%d %H:%M} UTC with {_versions(record)}"
    )


def sparkline(values: list[float], width: int = 60) -> str:
    """Values between 0 and 1 as a row of bars, at most `width` of them."""
    step = max(1, -(-len(values) // width))
    return "".join(BARS[min(int(value * len(BARS)), len(BARS) - 1)] for value in values[::step])


def _settings(record: Record) -> dict[str, str]:
    cell = record.cell
    results = {"suite": record.suite, "defense": f"{cell.defense.name} {_parameters(cell.defense.parameters)}"}
    if cell.attack is not None:
        results["attack"] = f"{cell.attack.name} {_parameters(cell.attack.parameters)}"
    results |= {f"file of {name}": f"sha256 {digest}..." for name, digest in cell.loaded.items()}
    results["Byzantine clients"] = f"{cell.byzantine:.0%}" + (
        ", beyond the defense's claim" if record.within_claim is False else ""
    )
    if record.byzantine is not None:
        count, rounds = record.byzantine, cell.federation.rounds
        results["Byzantine clients"] += (
            f": {count.clients} of {cell.federation.clients}, {count.most} in a round at most"
        )
        results["rounds with more than f"] = f"{count.beyond_f} of {rounds}, without one: {count.absent}"
        if count.majority is not None:
            results["rounds with a Byzantine majority"] = f"{count.majority} of {rounds}"
    if cell.is_privacy:
        results["targets"] = str(cell.targets) + (f", after {cell.trained} rounds of training" if cell.trained else "")
    results |= {key: str(value) for key, value in cell.federation.model_dump().items() if value is not None}
    results |= {f"derived {key}": f"{value:.6g}" for key, value in record.derived.items()}
    return results


def _parameters(parameters: dict[str, object]) -> str:
    return ", ".join(f"{key}={value}" for key, value in parameters.items())


def _claims(record: Record) -> dict[str, str]:
    results = {}
    for kind in ("claimed", "composed", "audited"):
        claim = getattr(record.privacy, kind)
        if claim is not None:
            value = (
                f"none: {claim.reason}"
                if claim.epsilon is None
                else f"epsilon {claim.epsilon:.4g}" + ("" if claim.delta is None else f" at delta {claim.delta:g}")
            )
            results[kind] = f"{value}, {claim.unit} ({claim.source})"
    return results or {"claimed": "nothing"}


def _versions(record: Record) -> str:
    environment = record.environment
    return f"fedsiege {environment.fedsiege} ({environment.commit or 'no commit'}), torch {environment.torch}"


def _table(title: str, entries: dict[str, str]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in entries.items():
        table.add_row(name, escape(value))
    return table
