"""The two processes that look at a submission before anything is run: what it registers, then the contract."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from bench import models
from bench import suite as suites
from bench.base.errors import BadInputError
from bench.data import load as load_data
from bench.protocol import Alphabet
from bench.records.submissions import Examination, Finding, Submission
from bench.submission import folder as folders
from bench.submission import sandbox
from bench.submission.package import Entry, Source, packaged, standing_in
from bench.submission.referee import walls
from bench.submission.referee.party import plain
from bench.submission.sandbox import Bounds, Event, Finished
from bench.suite import Parameters, Suite

IMPORT_BOUNDS = Bounds(seconds=90, mebibytes=2048, whole=True)
EXAMINATION_BOUNDS = Bounds(seconds=300, mebibytes=4096)

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Terms:
    """What a file is examined under: its parameters, its own federation settings, the alphabets of an attack's rows."""

    suite: Suite
    parameters: Parameters
    federation: Parameters = field(default_factory=dict)
    alphabets: tuple[Alphabet, ...] = (Alphabet.REAL,)


def inspected(source: Source, terms: Terms) -> tuple[Finished, Entry]:
    """What a first process says of the file; `BadInputError` where it cannot be loaded or has not one class.

    Nor is it looked at where nothing holds its code back, and nobody has said that it is trusted.
    """
    walls.require()
    with packaged(source) as folder:
        job = {
            "do": "inspect",
            "file": str(folder / source.package / source.path.name),
            "module": source.module,
            "wanted": source.wanted,
            **_terms(terms),
        }
        seen = sandbox.call(job, [folder], IMPORT_BOUNDS, hash_seed="1", walled=True)  # another than the examination's
    refuse(source, seen)
    result = seen.last("entry")
    if result is None:
        raise BadInputError(f"{source.path}: {seen.broken or 'it said nothing'}, during {_last_step(seen)}")
    return seen, Entry(result["kind"], result["name"], result["class_name"])


def facts_of(seen: Finished) -> dict[str, object]:
    """What the inspection found that the engine must know before a round; `BadInputError` where it said nothing."""
    said = seen.last("facts")
    if said is None or not isinstance(said.get("value"), dict):
        raise BadInputError(f"the file said nothing of its class: {seen.broken or 'it ended too early'}")
    value: dict[str, object] = said["value"]
    return value


@contextmanager
def published_stand_in(folder: Path, submission: Submission, data_root: str | None = None) -> Iterator[Path]:
    """A package on the path that stands in for what was submitted in a folder.

    Raises `BadInputError` where the source is not the one that was submitted, or cannot be loaded.
    """
    source = folders.source_of(folder, submission)
    suite = submission.suite if submission.suite in suites.shipped() else "smoke"  # facts are the same in every suite
    facts = json.loads(_facts(source, suite, json.dumps(submission.parameters)))
    with standing_in(source, folders.entry_of(submission), facts, data_root) as package:
        yield package


@lru_cache(maxsize=16)
def _facts(source: Source, suite: str, parameters: str) -> str:
    """The facts of a source as JSON: a folder's records are replayed in several calls, and its file does not change."""
    return json.dumps(facts_of(inspected(source, Terms(suites.load(suite), json.loads(parameters)))[0]))


def examined(
    source: Source, entry: Entry, seen: Finished, terms: Terms, data_root: str | None, tell: Tell
) -> Examination:
    """The contract, in a second process; each finding is told as it is made."""
    settings = terms.suite.federation
    dataset = load_data(settings.dataset, data_root)
    dim = models.build(settings.model, dataset.shape, dataset.num_classes).dim
    guarantee = (seen.last("network") or {}).get("guarantee", "unknown")
    tell(f"network: {guarantee}")

    def heard(event: Event) -> None:
        if event["event"] == "finding":
            tell(_line(_finding(event)))

    with standing_in(source, entry, facts_of(seen), data_root) as folder:
        job = {
            "do": "examine",
            "file": str(folder / source.package / "source" / source.path.name),
            "kind": entry.kind,
            "name": entry.name,
            **_terms(terms),
            "fingerprint": (seen.last("fingerprint") or {}).get("value"),
            "size": (settings.participants, dim),
            "lr": terms.federation.get("lr"),
        }
        done = sandbox.call(job, [folder], EXAMINATION_BOUNDS, heard=heard)
    findings = [_finding(event) for event in done.all("finding")]
    if operations := (seen.last("unportable") or {}).get("operations"):
        findings.append(_unportable(operations))
        tell(_line(findings[-1]))
    if done.broken or seen.broken:
        after = f"after the rule {findings[-1].rule!r}" if findings else "before the first rule was tried"
        sentence = f"{done.broken}, {after}" if done.broken else f"{seen.broken}, during {_last_step(seen)}"
        findings.append(Finding(rule="limits", verdict="failed", sentence=f"{sentence}."))
        tell(_line(findings[-1]))
    return Examination(sha256=source.digest, network=guarantee, findings=findings)


def _unportable(operations: object) -> Finding:
    """That the rule's last bits are those of one maker's processors."""
    named = ", ".join(plain(str(one), 40) for one in operations[:5]) if isinstance(operations, list) else ""
    text = f"its numbers depend on the processor ({named}): use bench.elementary, whose roots and logarithms do not"
    return Finding(rule="portable arithmetic", verdict="failed", sentence=f"{text}.")


def _terms(terms: Terms) -> dict[str, object]:
    """As both processes are told them."""
    return {
        "parameters": terms.parameters,
        "assumed": terms.suite.federation.assumed_byzantine,
        "alphabets": list(terms.alphabets),
    }


def refuse(source: Source, done: Finished) -> None:
    """Raise `BadInputError` with what a process refused to do."""
    if (refused := done.last("refused")) is not None:
        raise BadInputError(f"{source.path}: {refused['sentence']}")


def _last_step(seen: Finished) -> str:
    return str((seen.last("begin") or {}).get("what", "its start"))


def _finding(event: Event) -> Finding:
    return Finding(**{key: value for key, value in event.items() if key != "event"})


def _line(finding: Finding) -> str:
    mark = {"passed": "ok", "failed": "BROKEN", "note": "note"}[finding.verdict]
    return f"  {mark:<7} {finding.rule}: {finding.sentence}"
