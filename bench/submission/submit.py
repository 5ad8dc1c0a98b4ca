"""`submit`: a file of somebody's own becomes a row beside the shipped ones, and a folder for a pull request."""

import secrets
import shutil
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import registry
from bench import suite as suites
from bench.base import systems
from bench.base.errors import BadInputError
from bench.base.names import counted, unknown
from bench.data import load as load_data
from bench.federation.settings import TUNABLE
from bench.records import Store
from bench.records.submissions import Examination
from bench.registry import Kind
from bench.runs import places
from bench.submission import folder as folders
from bench.submission import sandbox
from bench.submission.consistency import largest_byzantine, plain_of
from bench.submission.examination import Tell, Terms, examined, facts_of, inspected, published_stand_in, refuse
from bench.submission.folder import Submission
from bench.submission.package import Entry, Source, read_source, registered_kind, standing_in
from bench.submission.rankable import beyond
from bench.submission.rows import Row, alphabets, find_rows
from bench.submission.sandbox import Bounds, Finished
from bench.submission.scaffold import check_name
from bench.suite import Parameters, Suite

WARNING = (
    "fedsiege: this runs the code of {path}, in processes of its own and apart from the engine, without network, data "
    "or a place to write where bubblewrap is there, with limits of time and memory everywhere. Read the file first."
)


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    source: str
    suite: str = "digits"
    results: Path = places.PUBLISHED
    changes: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    byzantine: tuple[float, ...] = ()
    workers: int | None = None
    data_root: str | None = None
    check_only: bool = False
    anyway: bool = False
    cell_timeout: float = 600.0
    cell_memory: int = 4096
    all_boards: bool = False
    quiet: bool = False


@dataclass
class Report:
    """What came of it: the findings, the submission's folders, and what the suite's run left unfinished."""

    entry: Entry
    examination: Examination | None
    folders: list[Path]
    ran: int = 0
    unfinished: int = 0

    @property
    def failed(self) -> bool:
        return bool(self.unfinished) or bool(self.examination and self.examination.broken)

    def broken_line(self) -> str:
        """What of the contract is broken, in one line; empty where nothing is."""
        broken = self.examination.broken if self.examination else []
        return f"breaks the contract: {'; '.join(f'{one.rule}: {one.sentence}' for one in broken)}" if broken else ""

    def as_dict(self) -> dict[str, Any]:
        findings = [] if self.examination is None else [one.model_dump() for one in self.examination.findings]
        return {
            "kind": self.entry.kind,
            "name": self.entry.name,
            "findings": findings,
            "folders": [str(path) for path in self.folders],
            "ran": self.ran,
            "failed_or_diverged": self.unfinished,
        }


def reported(folder: Path) -> Submission | None:
    """What the authors say in `submission.toml` of a row's folder (their paper, numbers, claim); None without one."""
    return folders.load(folder)


def submit(request: Request, tell: Tell = print) -> Report:
    """The whole way; raises `BadInputError` for what is no submission or no setting for one."""
    source = read_source(request.source)
    loaded = suites.load(request.suite)
    store = Store(request.results, loaded.name)
    if (kind := registered_kind(source)) is not None:
        _check_options(kind, request)  # before any process is started
    given = _given(request.changes)
    parameters = {key: value for key, value in given.items() if key not in TUNABLE}
    federation = {key: value for key, value in given.items() if key in TUNABLE}
    against = find_rows(request.against, loaded, store)
    load_data(loaded.federation.dataset, request.data_root)
    terms = Terms(loaded, parameters, federation, alphabets(against))
    seen, entry = inspected(source, terms)
    _check_entry(entry, seen, parameters, request)
    if (more := beyond((seen.last("facts") or {}).get("value") or {}, loaded)) is not None:
        raise BadInputError(f"attack {entry.name!r}: {more}")
    tell(f"{entry.kind} {entry.name!r} ({entry.class_name}), sha256 {source.digest[:16]}")
    if not systems.tells_memory():
        tell("memory: not limited, since this system has no /proc to tell what a process holds")
    examination = examined(source, entry, seen, terms, request.data_root, tell)
    report = Report(entry, examination, [])
    if request.check_only or not _may_run(entry, examination, request.anyway, tell):
        return report
    submission = Submission(
        schema_version=1,
        kind=entry.kind,
        name=entry.name,
        class_name=entry.class_name,
        source=source.path.name,
        sha256=source.digest,
        suite=loaded.name,
        parameters=_whole(facts_of(seen), parameters),
        federation=federation,
        byzantine=request.byzantine,
        against=request.against,
    )
    submission = submission.model_copy(update={"salt": _salt(submission, _folders(submission, store, against))})
    return _Run(request, loaded, store, source, submission, against, facts_of(seen)).play(report, tell)


def suite_text(suite: str, submissions: Iterable[Submission]) -> str:
    """The suite's own text with one more table for each of the submissions."""
    path = suites.shipped().get(suite, Path(suite))
    text = path.read_text(encoding="utf-8-sig")
    return "\n".join([text, *(line for submission in submissions for line in _table(submission))]) + "\n"


def _table(submission: Submission) -> list[str]:
    lines = [f"[[{submission.kind}]]", f"name = {folders.toml(submission.name)}"]
    if submission.byzantine:
        lines.append(f"byzantine = {folders.toml(submission.byzantine)}")
    lines += [f"{folders.toml(key)} = {folders.toml(value)}" for key, value in submission.parameters.items()]
    if submission.federation:
        lines.append(f"[{submission.kind}.federation]")
        lines += [f"{key} = {folders.toml(value)}" for key, value in submission.federation.items()]
    return lines


def _may_run(entry: Entry, examination: Examination, anyway: bool, tell: Tell) -> bool:
    """What breaks the contract runs only when asked; an attack not even then, since it decides the rank of others."""
    if not examination.broken:
        return True
    if entry.kind == "attack":
        tell("nothing was run: an attack that breaks the contract decides nobody's rank; mend it")
    elif not anyway:
        tell("nothing was run: mend it, or add --anyway, and the row is marked with what it breaks")
    return entry.kind == "defense" and anyway


def _folders(submission: Submission, store: Store, against: Sequence[Row]) -> list[Path]:
    """Where it lies: a row of its own, or in the rows that it attacks."""
    return [row.folder / submission.name for row in against] or [store.folder / submission.name]


def _salt(submission: Submission, places: Iterable[Path]) -> str:
    """That of a run of the same submission which is to go on, else a new one: nobody knew it when the file was made."""
    same = {"paper", "reported", "salt"}
    for place in places:
        before = folders.load(place)
        if (
            before is not None
            and before.salt
            and before.model_dump(exclude=same) == submission.model_dump(exclude=same)
        ):
            return before.salt
    return secrets.token_hex(16)


@dataclass(frozen=True)
class _Run:
    """The suite's cells for a submitted row, or of a submitted attack `against` some rows, then the boards."""

    request: Request
    suite: Suite
    store: Store
    source: Source
    submission: Submission
    against: Sequence[Row]
    facts: Mapping[str, object]

    def play(self, report: Report, tell: Tell) -> Report:
        """Make the folders, run what is missing, and show the row beside those that are there; no board is written."""
        name = self.submission.name
        rows = [row.label for row in self.against] or [name]
        report.folders = _folders(self.submission, self.store, self.against)
        _check_attack_name(self.submission, self.store, report.folders)
        for place in report.folders:
            _make_room(place, self.submission, tell)
            folders.write(place, self.source, self.submission, report.examination)
        ran = self._ran(report.entry, rows)
        report.ran, report.unfinished = ran["ran"], len(ran["unfinished"])
        if not self.request.quiet:
            self._show(ran, rows)
        for place in report.folders:
            tell(f"submission in {place}: fill in {place / folders.FILE}, then open a pull request with this folder")
        return report

    def _show(self, ran: sandbox.Event, rows: list[str]) -> None:
        """The row among what lies beside it, the published records and the user's own runs; or all boards whole."""
        from bench.runs.jobs import make_leaderboard, print_boards, print_rows

        there = filter(None, (places.published(self.suite.name), places.OWN))
        beside = [Store(folder, self.suite.name) for folder in there]
        others = [one for one in beside if one.folder.resolve() != self.store.folder.resolve()]
        leaderboard = make_leaderboard(self.suite, self.store, beside=others)
        whole = self.request.all_boards
        console = print_boards(leaderboard) if whole else print_rows(leaderboard, rows)
        sources = [str(one.folder) for one in (self.store, *others) if any(one.folder.glob("*/*/*.json"))]
        text = f"{counted(ran['ran'], 'cell')} run, {ran['present']} were there; rows from {' and '.join(sources)}"
        console.print(text if whole else f"{text}; all boards: --all", soft_wrap=True, markup=False)

    def _ran(self, entry: Entry, rows: list[str]) -> sandbox.Event:
        """What a process of its own says of the run; submitted rows that an attack is run against go along."""
        request = self.request
        others = [row for row in self.against if row.submission is not None]
        with ExitStack() as stack:
            packages = [stack.enter_context(standing_in(self.source, entry, self.facts, request.data_root))]
            for row in others:
                assert row.submission is not None
                theirs = published_stand_in(row.folder, row.submission, request.data_root)
                packages.append(stack.enter_context(theirs))
            text = packages[0] / "suite.toml"
            text.write_text(
                suite_text(request.suite, [*(row.submission for row in others if row.submission), self.submission]),
                encoding="utf-8",
            )
            job = {
                "do": "run",
                "suite": str(text),
                "parts": self._parts(entry, rows),
                "workers": request.workers,
                "results": str(request.results.resolve()),
                "data_root": request.data_root,
                "quiet": request.quiet,
                "cell_timeout": request.cell_timeout,
                "cell_memory": request.cell_memory if systems.tells_memory() else None,
            }
            bounds = Bounds(seconds=None, mebibytes=max(1, request.workers or 2) * request.cell_memory + 4096)
            done = sandbox.call(job, packages, bounds, quiet=request.quiet)
        refuse(self.source, done)
        if (ran := done.last("ran")) is None:
            raise BadInputError(
                f"the run of {self.source.path} broke off: {done.broken}; the same command goes on from there"
            )
        return ran

    def _parts(self, entry: Entry, rows: list[str]) -> list[dict[str, Any]]:
        """What is run in which world: beside an attack's cells, the clean runs of its rows where they are missing.

        A clean run is the row's own, in its own world: one in the attack's would take its place.
        """
        sources = sorted([self.source.digest, *(row.submission.sha256 for row in self.against if row.submission)])
        mine = {"defenses": rows, "salt": self.submission.salt, "sources": sources}
        if entry.kind == "defense":
            return [{**mine, "attacks": [], "clean_too": True}]
        clean = [
            {
                "defenses": [row.label],
                "attacks": ["clean"],
                "clean_too": True,
                "salt": row.submission.salt if row.submission else "",
                "sources": [row.submission.sha256] if row.submission else [],
            }
            for row in self.against
            if self.suite.training
        ]
        return [*clean, {**mine, "attacks": [entry.name], "clean_too": False}]


def _check_attack_name(submission: Submission, store: Store, places: Iterable[Path]) -> None:
    """Refuse a name under which another attack stands on the board: a column is one attack."""
    if submission.kind == "defense":
        return
    for path in sorted(store.folder.glob(f"*/{submission.name}/{folders.FILE}")):
        other = folders.load(path.parent)
        same = other is not None and (other.sha256, other.parameters) == (submission.sha256, submission.parameters)
        if path.parent not in places and not same:
            raise BadInputError(
                f"attack name {submission.name!r} is taken by another one in {path.parent}: choose another in @register"
            )


def _make_room(place: Path, submission: Submission, tell: Tell) -> None:
    """Remove what an earlier source or other parameters of this name have left: records do not know their source.

    Raises `BadInputError` where it is not sure whose that is: behind a link lie somebody else's files.
    """
    above = place.parents[: 1 if submission.kind == "defense" else 2]
    if link := next((one for one in (place, *above) if one.is_symlink()), None):
        raise BadInputError(f"{link} is a link: nothing is written through it; take it away")
    before = folders.load(place)
    if before is None:
        if any(place.glob("**/*.json")):
            raise BadInputError(f"{place} has records and no {folders.FILE}: take another name, or move them away")
        return
    same = {"paper", "reported"}
    if before.model_dump(exclude=same) == submission.model_dump(exclude=same):
        return
    old = [path for path in place.glob("**/*") if path.suffix in (".json", ".png") and path.is_file()]
    for path in old:
        path.unlink()
    for path in sorted(place.glob("*/")):
        if path.is_dir() and not any(path.iterdir()):
            shutil.rmtree(path)
    if before.source != submission.source:
        (place / before.source).unlink(missing_ok=True)
    tell(f"{place}: {len(old)} files of an earlier source or other parameters removed")


def _whole(facts: Mapping[str, object], given: Parameters) -> Parameters:
    """All parameters of the file's class, defaults too: a record with another one is none of this submission."""
    known = facts.get("parameters")
    return given | plain_of(known) if isinstance(known, dict) else given


def _given(changes: Iterable[str]) -> Parameters:
    """`key=value` as TOML values, else texts."""
    results: Parameters = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise BadInputError(f"--set {change!r} is not of the form key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            value = text
        if not isinstance(value, bool | int | float | str) or value in (float("inf"), float("-inf")) or value != value:
            raise BadInputError(f"--set {change!r}: a submission is one row, so that {key} must be one plain value")
        results[key.strip()] = value
    return results


def _check_entry(entry: Entry, seen: Finished, parameters: Parameters, request: Request) -> None:
    check_name(entry.kind, entry.name)
    if entry.name in registry.names(entry.kind):
        raise BadInputError(f"{entry.kind} name {entry.name!r} is taken: choose another in @register")
    known = (seen.last("entry") or {}).get("parameters", [])
    for key in parameters:
        if key not in known:
            raise BadInputError(unknown("parameter to --set", key, [*known, *TUNABLE]))
    _check_options(entry.kind, request)
    forges = bool((seen.last("entry") or {}).get("forges"))
    if request.against and forges != bool(request.byzantine):
        needs, takes_none = "needs --byzantine B, a fraction of the clients", "forges nothing and takes no --byzantine"
        raise BadInputError(f"attack {entry.name!r} {needs if forges else takes_none}")


def _check_options(kind: Kind, request: Request) -> None:
    """What can be told of the options as soon as it is known whether the file has a defense or an attack."""
    if kind == "defense" and (request.against or request.byzantine):
        raise BadInputError("--against and --byzantine are for attacks, and this file has a defense")
    if kind == "attack" and not request.against and not request.check_only:
        raise BadInputError(
            "an attack needs --against ROW, the row to run it against, and --byzantine B where it forges"
        )
    most = largest_byzantine(suites.load(request.suite))
    for fraction in request.byzantine:
        if not 0 < fraction <= 1:
            raise BadInputError(f"--byzantine is {fraction:g}, but must be above 0 and at most 1")
        if fraction > most:
            raise BadInputError(f"--byzantine is {fraction:g}, but the suite {request.suite!r} has {most:g} at most")
