"""`reproduce`: run what the items still miss, then make their tables, plots and the report."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from bench.base import device as devices
from bench.base.errors import BadInputError
from bench.records import Record, Store
from bench.reproduce import cost, report
from bench.reproduce.evidence import MEASUREMENTS, RECORDS, papers_suite
from bench.reproduce.item import Form, Item
from bench.reproduce.items import choose
from bench.reproduce.measurements import Experiment, Measurements
from bench.runs import places, runner
from bench.runs.jobs import run_with_progress, write_bytes


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    papers: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    results: Path = places.OWN
    workers: int | None = None
    seeds: tuple[int, ...] | None = None
    data_root: str | None = None
    reduced: bool = False  # of an item whose forms are all heavy, the last one too
    full: bool = False  # of every item the first form, however heavy
    form: str | None = None  # of every item the form of this name or number, however heavy
    estimate: bool = False  # time a round of what is missing instead of running it
    run: bool = True  # False: only the report, of the records that are there
    quiet: bool = False
    device: str = "auto"  # of cells; what experiments measure runs on the CPU


@dataclass(frozen=True)
class Outcome:
    """What was run, and where it lies."""

    ran: int
    unfinished: list[Record]
    entries: list[report.Entry]
    written: list[Path]
    estimated: bool = False

    def print(self) -> None:
        console = Console(width=150, highlight=False) if not Console().is_terminal else Console(highlight=False)
        for entry in self.entries:
            told = _costs(entry) if self.estimated else _verdict(entry)
            console.print("\n".join(told), markup=False)
        console.print(f"{self.ran} cells and points run; the report is {self.written[-1]}", markup=False)


def _verdict(entry: report.Entry) -> list[str]:
    line = entry.line()
    return [f"{entry.item.id}: {line['verdict']}", f"  {line['we measured']}"]


def _costs(entry: report.Entry) -> list[str]:
    """The item's forms by number, and what is missing of each."""
    told = {entry.item.forms.index(one.form): one.text() for one in entry.costs}
    forms = (
        f"  {at + 1}. {form.name}: {told.get(at, 'experiments of seconds')}" for at, form in enumerate(entry.item.forms)
    )
    return [f"{entry.item.id}:", *forms]


def reproduce(request: Request) -> Outcome:
    """Run what is missing of the items asked for, write their files and the whole report.

    Raises `BadInputError` for what cannot be run.
    """
    chosen, ran, unfinished = choose(request.papers, request.only), 0, list[Record]()
    if request.form is not None and (request.full or request.reduced):
        raise BadInputError(f"--form {request.form!r} names a form, so --full or --reduced cannot stand beside it")
    wanted = {item.id: _forms(item, request) for item in chosen}
    for item in chosen if request.run or request.estimate else []:
        for form in wanted[item.id]:
            if request.estimate:
                ran += _measure(cost.probes(form), request)
                continue
            records, count = _run(form, request)
            unfinished += [record for record in records if record.status != "ok"]
            ran += count + sum(_measure(experiment, request) for experiment in form.experiments)
    entries = report.entries(request.results)
    written = []
    for entry in entries:
        if entry.item in chosen:
            for name, content in report.files(entry).items():
                written.append(report.folder(request.results) / entry.item.id / name)
                write_bytes(written[-1], content)
    written.append(report.folder(request.results) / "README.md")
    write_bytes(written[-1], report.readme(entries))
    return Outcome(ran, unfinished, [entry for entry in entries if entry.item in chosen], written, request.estimate)


def _forms(item: Item, request: Request) -> Iterable[Form]:
    """Those to run: the one that the request names, or the fullest that it allows; to estimate, all that have cells."""
    if request.form is not None:
        return [_named(item, request.form)]
    if request.estimate:
        return [form for form in item.forms if form.suites]
    if request.full:
        return item.forms[:1]
    light = [form for form in item.forms if not form.heavy]
    return light[:1] or (item.forms[-1:] if request.reduced else ())


def _named(item: Item, name: str) -> Form:
    """The form of this name, or of this number from 1 on; `BadInputError` where there is none."""
    for at, form in enumerate(item.forms, 1):
        if name in (form.name, str(at)):
            return form
    known = ", ".join(f"{at} ({form.name})" for at, form in enumerate(item.forms, 1))
    raise BadInputError(f"{item.id} has no form {name!r}: it has {known}")


def _run(form: Form, request: Request) -> tuple[list[Record], int]:
    """The cells of the form's suites that have no record; those that experiments play are not run twice."""
    records, ran = [], 0
    for name in () if form.experiments else form.suites:
        suite = papers_suite(name)
        if request.seeds is not None:
            suite = suite.model_copy(update={"seeds": request.seeds, "seeds_of": {}})
        store = Store(request.results, RECORDS)
        plan = runner.plan(suite, suite.cells(), store, request.data_root, device=devices.choose(request.device))
        running = partial(runner.run, workers=request.workers or runner.default_workers())
        result, count = run_with_progress(plan, store, running, request.quiet)
        records += [*plan.present, *result]
        ran += count
    return records, ran


def _measure(experiment: Experiment, request: Request) -> int:
    store = Measurements(request.results / MEASUREMENTS)
    missing = store.missing(experiment)
    console = Console(stderr=True)
    workers = request.workers or runner.default_workers()
    made = store.make_all(experiment, missing, request.data_root, workers)
    for count, _ in enumerate(made, 1):
        if not request.quiet and (count % max(1, len(missing) // 10) == 0):
            console.print(f"{experiment.name}: {count} of {len(missing)} points", markup=False)
    return len(missing)
