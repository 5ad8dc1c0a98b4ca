"""`try`: the contract, the verdict, and a row on a small suite, for one rule or attack of another library."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import models, registry
from bench import suite as suites
from bench.base.errors import BadInputError
from bench.data import load as load_data
from bench.exchange.foreign.compare import Verdict, compared
from bench.exchange.foreign.entry import Entry
from bench.exchange.foreign.libraries import version_of
from bench.exchange.foreign.privacy import PrivacyFinding, audited
from bench.exchange.foreign.stand_in import attack_of, defense_of
from bench.federation.roles import setting_of
from bench.protocol import Alphabet
from bench.records import Store
from bench.records.submissions import Finding
from bench.submission import attack_checks, checks
from bench.submission.attack_probe import AttackSubject
from bench.submission.guards import Watch
from bench.submission.probe import Subject
from bench.suite import Suite
from bench.suite.entries import AttackEntry, DefenseEntry

Tell = Callable[[str], None]

SMALLER = (0.3, 0.2, 0.1)
"""Assumed fractions that are tried where the rule of ours refuses the suite's."""

STRENGTH = 0.2
"""The fraction of attackers under which an attack of another library is played."""

ELSEWHERE = ", in another process too"
"""What the contract says of equal bits, which here only this process is asked for."""

IN_PROCESS = (
    "{what} runs in this process, as any package that is imported does; for a row of the board wrap it in a file of "
    "your own and `submit` it, which plays behind walls"
)


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    entry: Entry
    suite: str = "smoke"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    data_root: str | None = None
    check_only: bool = False
    quiet: bool = False


@dataclass
class Report:
    """What came of it: the contract's findings, the verdict, what a privacy wrapper gives, and the row's numbers."""

    entry: Entry
    version: str
    findings: list[Finding] = field(default_factory=list)
    verdict: Verdict | None = None
    privacy: list[PrivacyFinding] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "library": self.entry.library,
            "version": self.version,
            "name": self.entry.name,
            "kind": self.entry.kind,
            "findings": [one.model_dump() for one in self.findings],
            "verdict": None if self.verdict is None else self.verdict.as_dict(),
            "privacy": [one.as_dict() for one in self.privacy],
            "rows": self.rows,
        }


def tried(request: Request, tell: Tell) -> Report:
    """The whole way; raises `BadInputError` for a suite or a setting that is none."""
    entry = request.entry
    report = Report(entry, version_of(entry))
    what = f"{entry.library} {report.version}".strip()
    tell(f"{entry.kind} {entry.name} of {what}")
    if entry.kind == "mechanism":
        report.privacy = audited(entry)
        for one in report.privacy:
            tell(f"  {one.told}")
        return report
    tell(IN_PROCESS.format(what=entry.library))
    loaded = suites.load(request.suite)
    tell("")
    tell("the contract:")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of the huge messages that the contract tries
        for finding in _examined(entry, request.parameters, loaded, request.data_root):
            report.findings.append(finding)
            tell(f"  {_MARKS[finding.verdict]:<7} {finding.rule}: {finding.sentence.replace(ELSEWHERE, '')}")
    tell("")
    report.verdict = compared(entry, request.parameters)
    for line in verdict_lines(report.verdict):
        tell(line)
    if not request.check_only:
        tell("")
        _play(report, request, loaded, tell)
    return report


_MARKS = {"passed": "ok", "failed": "BROKEN", "note": "note"}


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """The verdict for a person, a line each."""
    ours = f" ({verdict.entry.ours})" if verdict.entry.ours else ""
    text = f"; {verdict.entry.told}" if verdict.entry.told else ""
    cases = f", {verdict.examples} cases{text}" if verdict.examples else text
    yield f"beside ours{ours}: {verdict.outcome}{cases}"
    yield f"  {verdict.told}"
    if verdict.example is not None:
        yield f"  {verdict.example.told}"
    for note in verdict.notes:
        yield f"  note: {note}"


def _examined(entry: Entry, parameters: Mapping[str, Any], suite: Suite, data_root: str | None) -> Iterator[Finding]:
    """The contract's findings; what needs another process (equal hashes) is left to `submit`."""
    settings = suite.federation
    dataset = load_data(settings.dataset, data_root)
    size = settings.participants, models.build(settings.model, dataset.shape, dataset.num_classes).dim
    if entry.kind == "attack":
        subject = AttackSubject(attack_of(entry, parameters), {}, (Alphabet.REAL,), Watch(""))
        yield from attack_checks.examine(subject, None, size)
        return
    cls = defense_of(entry, parameters)
    fitting = checks.fitting(Subject(cls, {}, _assumed(entry, suite), Watch("")))
    yield from checks.examine(fitting, None, size, settings.lr)


def _play(report: Report, request: Request, suite: Suite, tell: Tell) -> None:
    """The row, or the attack's column, beside ours; nothing is kept."""
    from bench.runs import runner
    from bench.runs.jobs import make_leaderboard, print_rows
    from leaderboards.frame import to_frame

    entry = request.entry
    with _registered(entry, request.parameters), TemporaryDirectory() as folder:
        own = _suite_of(entry, suite)
        store = Store(Path(folder), own.name)
        tasks = runner.plan(own, own.cells(), store, request.data_root).tasks
        tell(f"suite {own.name!r}, assumed Byzantine fraction {own.federation.assumed_byzantine:g}: {len(tasks)} cells")
        records = list(runner.run(tasks, store, workers=1))
        frame = to_frame(records)
        columns = [one for one in ("defense", "column", "seed", "status", "accuracy") if one in frame.columns]
        report.rows = [{str(key): value for key, value in row.items()} for row in frame[columns].to_dict("records")]
        if not request.quiet:
            rows = list(dict.fromkeys(cell.label for cell in own.cells()))
            print_rows(make_leaderboard(own, store), rows)
        for record in records:
            if record.status != "ok":
                tell(f"{record.cell.label} x {record.cell.column}: {record.status}: {record.error or ''}".rstrip(": "))


@contextmanager
def _registered(entry: Entry, parameters: Mapping[str, Any]) -> Iterator[None]:
    if entry.kind == "attack":
        with registry.known("attack", entry.label, attack_of(entry, parameters)):
            yield
        return
    with registry.known("defense", entry.label, defense_of(entry, parameters)):
        yield


def _suite_of(entry: Entry, suite: Suite) -> Suite:
    """The suite with the entry's row and ours alone, or with its attack's column and ours alone."""
    known = entry.ours in registry.names("attack" if entry.kind == "attack" else "defense")
    if entry.kind == "attack":
        attacks = [AttackEntry(name=entry.label, byzantine=(STRENGTH,))]
        if known:
            attacks.append(AttackEntry(name=entry.ours, byzantine=(STRENGTH,)))
        return suite.model_copy(update={"attack": tuple(attacks)})
    rows = [DefenseEntry(name=entry.label)]
    if known:
        rows.append(DefenseEntry(name=entry.ours))
    federation = suite.federation.model_copy(update={"assumed_byzantine": _assumed(entry, suite)})
    return suite.model_copy(update={"defense": tuple(rows), "federation": federation})


def _assumed(entry: Entry, suite: Suite) -> float:
    """The suite's assumed fraction, or the largest smaller one that the rule of ours takes (Bulyan's n >= 4 f + 3)."""
    first = suite.federation.assumed_byzantine
    if entry.ours not in registry.names("defense"):
        return first
    defense = registry.get("defense", entry.ours)()
    for assumed in (first, *SMALLER):
        try:
            defense.start(setting_of(suite.federation, 1, assumed))
        except ValueError:
            continue
        return assumed
    raise BadInputError(f"{entry.ours} takes no Byzantine client among {suite.federation.participants}")
