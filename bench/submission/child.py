"""The process in which a submission's code runs: `python -m bench.submission.child JOB.json FD`, started by `sandbox`.

It leaves the network first, then does its one job, and tells what it finds as lines of JSON.
"""

import importlib
import inspect
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import registry
from bench.base.errors import BadInputError
from bench.base.ownfile import OwnFile
from bench.submission.guards import leave_network, refuse_network
from bench.submission.referee.calls import refuse_calls, refuse_processes

if TYPE_CHECKING:
    from bench.protocol import Defense
    from bench.records import Record
    from bench.records.submissions import Finding
    from bench.submission.attack_probe import AttackSubject
    from bench.submission.guards import Watch
    from bench.threat import Attack

Tell = Callable[..., None]
Job = dict[str, Any]


def main() -> None:
    """Read the job, do it, say that it ended."""
    job: Job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    limit(job["mebibytes"])
    channel = os.fdopen(int(sys.argv[2]), "w", buffering=1, encoding="utf-8")

    def tell(event: str, **content: Any) -> None:
        channel.write(json.dumps({"event": event, **content}) + "\n")

    tell("network", guarantee=leave_network())
    refuse_network()
    if job["do"] == "inspect":  # the file's own code will run in this process
        import torch  # noqa: F401  it starts a process

        refuse_calls()
        refuse_processes()
    try:
        for path, content in job["loaded"]:
            registry.take(OwnFile(path, bytes.fromhex(content)))
        {"inspect": look, "examine": examine, "run": run, "replay": replay, "worlds": worlds}[job["do"]](job, tell)
    except BadInputError as error:
        tell("refused", sentence=str(error))
    tell("end")


def limit(mebibytes: int) -> None:
    """The kernel's own limit, for what fills its memory faster than `sandbox` looks: twice what a job may hold."""
    import resource  # which no Windows has

    resource.setrlimit(resource.RLIMIT_DATA, (2 * mebibytes * 2**20,) * 2)


def look(job: Job, tell: Tell) -> None:
    """Import the file and say what it registers; and the fingerprint of what it gives, for another process."""
    import torch
    from pydantic import ValidationError

    from bench.base.explain import explain
    from bench.base.portable import NotPortable
    from bench.protocol import Defense
    from bench.submission import guards
    from bench.threat import ByzantineAttack

    torch.set_num_threads(1)
    watch = guards.Watch(job["file"], _data_folders())
    watch.install()
    tell("begin", what="its import")
    with watch.during("import"):
        try:
            module = importlib.import_module(job["module"])
        except (Exception, SystemExit) as error:
            tell("refused", sentence=f"its import raised {type(error).__name__}: {_one_line(error)}")
            return
    results = list(_registered(module, job["wanted"]))
    if len(results) != 1:
        tell("refused", sentence=_which(results, job["wanted"]))
        return
    cls = results[0]
    kind = "defense" if issubclass(cls, Defense) else "attack"
    name = vars(cls).get("name") or Path(job["file"]).stem
    forges = issubclass(cls, ByzantineAttack)
    tell("entry", kind=kind, name=name, class_name=cls.__name__, parameters=sorted(cls.model_fields), forges=forges)
    if not set(job["parameters"]) <= set(cls.model_fields):
        return  # unknown names are told with the nearest ones
    cls.name = name
    try:
        built = cls.model_validate(job["parameters"])
    except ValidationError as error:
        tell("refused", sentence=explain(error))
        return
    tell("begin", what="a first round")
    print_of = _print_of_defense if issubclass(cls, Defense) else _print_of_attack
    with NotPortable() as watched:
        value = print_of(cls, job, guards.Watch(job["file"]))
    tell("fingerprint", value=value)
    tell("unportable", operations=list(watched.found))
    tell("facts", value=facts_about(built))


def facts_about(built: Any) -> dict[str, Any]:
    """What the engine must know of the class before a round: data, which the stand-in checks."""
    from bench.attacking.poisoning import DataPoisoning
    from bench.protocol import Defense
    from bench.submission.referee.remote import SHOWN
    from bench.threat import ByzantineAttack, PrivacyAttack, PrivacyAudit

    bases: dict[str, type] = {
        "defense": Defense,
        "poisoning": DataPoisoning,
        "forging": ByzantineAttack,
        "inversion": PrivacyAttack,
        "audit": PrivacyAudit,
    }
    cls = type(built)
    base, root = next((name, one) for name, one in bases.items() if isinstance(built, one))
    methods = [name for name in dir(root) if not name.startswith("_") and callable(getattr(root, name))]
    results = {
        "base": base,
        "version": cls.version,
        "parameters": built.model_dump(mode="json"),
        "own": [name for name in methods if getattr(cls, name) is not getattr(root, name)],
        **{name: getattr(cls, name) for name in SHOWN if hasattr(cls, name)},
    }
    if base in ("forging", "poisoning"):
        results["needs_updates"] = built.needs_updates()
    if base in ("inversion", "audit"):
        results["collusion"] = built.collusion()
    if base == "audit":
        results |= {"sabotages": built.sabotages(), "size": built.size()}
    return results


def _print_of_defense(cls: Any, job: Job, watch: "Watch") -> str | None:
    """None where a round cannot be played: the examination says what is wrong."""
    from bench.submission import checks
    from bench.submission.probe import Subject
    from bench.submission.problems import StepError

    subject = checks.fitting(Subject(cls, job["parameters"], job["assumed"], watch))
    try:
        return checks.fingerprint_of(subject)
    except StepError:
        return None


def _print_of_attack(cls: Any, job: Job, watch: "Watch") -> str | None:
    from bench.submission import attack_checks

    return attack_checks.fingerprint_of(_attacking(cls, job, watch))


def _attacking(cls: Any, job: Job, watch: "Watch") -> "AttackSubject":
    from bench.protocol import Alphabet
    from bench.submission.attack_probe import AttackSubject

    return AttackSubject(cls, job["parameters"], tuple(map(Alphabet, job["alphabets"])), watch)


def examine(job: Job, tell: Tell) -> None:
    """The contract of a defense or an attack, rule by rule; the class is a stand-in, and its code plays elsewhere."""
    import torch

    from bench.submission import guards

    torch.set_num_threads(1)
    tell("begin", what="its import")
    cls = registry.get(job["kind"], job["name"])
    findings = _of_defense if job["kind"] == "defense" else _of_attack
    for finding in findings(cls, job, guards.Watch("")):
        tell("finding", **finding.model_dump())


def _of_defense(cls: Any, job: Job, watch: "Watch") -> "Iterator[Finding]":
    from bench.records.submissions import Finding
    from bench.submission import checks, federated
    from bench.submission.probe import Subject

    wanted = Subject(cls, job["parameters"], job["assumed"], watch)
    subject = checks.fitting(wanted)
    if subject.assumed != wanted.assumed:
        text = f"it refuses {wanted.assumed:g} of 20 clients: probed at an assumed fraction of {subject.assumed:g}"
        yield Finding(rule="start", verdict="note", sentence=text)
    yield from checks.examine(subject, job["fingerprint"], tuple(job["size"]), job["lr"] or federated.SMALL.lr)


def _of_attack(cls: Any, job: Job, watch: "Watch") -> "Iterator[Finding]":
    from bench.submission import attack_checks

    yield from attack_checks.examine(_attacking(cls, job, watch), job["fingerprint"], tuple(job["size"]))


def run(job: Job, tell: Tell) -> None:
    """The suite in the file, for some rows and attacks, each part in a world of its own."""
    from bench.records import World
    from bench.runs import jobs

    reports = [
        jobs.run_suite(
            job["suite"],
            defenses=part["defenses"],
            attacks=part["attacks"],
            workers=job["workers"],
            results=Path(job["results"]),
            data_root=job["data_root"],
            quiet=job["quiet"],
            limits=jobs.parse_limits(job["cell_timeout"], job["cell_memory"]),
            boards=False,
            world=World(part["salt"], tuple(part["sources"])),
            clean_too=part["clean_too"],
        )
        for part in job["parts"]
    ]
    tell(
        "ran",
        ran=sum(report.ran for report in reports),
        present=sum(report.present for report in reports),
        unfinished=[record.key for report in reports for record in report.unfinished],
    )


def replay(job: Job, tell: Tell) -> None:
    """Play recorded cells anew, one after the other, and each with those of its neighbours that are asked for."""
    from bench.plays.cell import run_cell
    from bench.plays.findings import Task
    from bench.records import read
    from bench.records.distribution import neighbour

    for place in job["records"]:
        tell("begin", what=place)
        old = read(Path(place))
        threads, psnr = old.environment.threads, job["recovered_psnr"]
        for steps in job["neighbours"]:
            cell = neighbour(old.cell, steps)
            task = Task(old.suite, old.setting, cell, old.seed, threads, job["data_root"], psnr, world=old.world)
            try:
                made = run_cell(task)
                others = _other_pictures(Path(place), old, made.files) if steps == 0 else {}
                tell("record", place=place, record=made.record.model_dump(mode="json"), other_pictures=others)
            except BadInputError as error:
                tell("refused", place=place, sentence=str(error))
                break


def _other_pictures(place: Path, old: "Record", made: dict[str, bytes]) -> dict[str, float]:
    """By how many grey levels of 255 pictures beside a record are off what its cell gives, in the mean of their pixels.

    Of those alone whose pixels are others; infinite where they cannot be compared.
    """
    results = {}
    for ending, name in old.files.items():
        there, here = (place.parent / name).read_bytes(), made.get(f".{ending}")
        if there == here:
            continue
        one, other = _pixels(there), None if here is None else _pixels(here)
        if one is None or other is None or one.shape != other.shape:
            results[name] = math.inf
        elif (apart := abs(one - other)).any():
            results[name] = float(apart.mean())
    return results


def _pixels(content: bytes) -> Any:
    """The pixels `(H, W, 4)` of a PNG; None where it is none, or has more than one picture in it."""
    from io import BytesIO

    import numpy as np
    from PIL import Image

    try:
        image = Image.open(BytesIO(content), formats=["PNG"])
        if getattr(image, "n_frames", 1) != 1:
            return None  # the first one is seen here, and all of them elsewhere
        return np.asarray(image.convert("RGBA"), dtype=np.int16)
    except Exception:  # a decoder of damaged files may raise anything
        return None


def worlds(job: Job, tell: Tell) -> None:
    """Play recorded cells in worlds of these salts and seeds; of a submitted inversion from others' messages too."""
    from bench.records import read
    from bench.submission.worlds import play

    for place, salts in job["records"].items():
        tell("begin", what=place)
        old = read(Path(place))
        for salt, seed in salts:
            result = play(old, salt, seed, job["data_root"], job["recovered_psnr"], job["others"])
            tell("world", place=place, value=result.value, from_others=result.from_others)


def _registered(module: Any, wanted: str | None) -> "Iterable[type[Defense] | type[Attack]]":
    """The classes of the file that are defenses or attacks: that of the wanted name, or all that are no mere bases."""
    from bench.protocol import Defense
    from bench.threat import Attack

    for name, result in vars(module).items():
        if not isinstance(result, type) or result.__module__ != module.__name__:
            continue
        if issubclass(result, Defense | Attack) and (wanted == name or not (wanted or inspect.isabstract(result))):
            yield result


def _which(found: "list[type[Defense] | type[Attack]]", wanted: str | None) -> str:
    if wanted is not None:
        return f"it has no defense or attack named {wanted}"
    if not found:
        return "it has no Defense or Attack with all its steps; `python -m bench new-defense NAME` shows one"
    names = ", ".join(cls.__name__ for cls in found)
    return f"it has several defenses or attacks ({names}): say which one with FILE.py:Class"


def _data_folders() -> tuple[str, ...]:
    root = os.environ.get("FEDSIEGE_DATA")
    return (str(Path(root).expanduser().resolve()),) if root else ()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


if __name__ == "__main__":
    main()
