"""The soak's report: soak.json for programs, README.md for people."""

import json
from pathlib import Path
from typing import Any

KINDS = (
    "driver killed",
    "worker killed",
    "fork server or worker killed",
    "Ctrl-C",
    "full disk",
    "two runs at once",
    "one of two runs killed",
    "run under --cell-timeout",
    "record cut short",
    "truncated temporary file planted",
)

PAGE = """# Soak

Random cells through the real command line while processes are killed, and the records compared with those of an
undisturbed run, byte for byte but for times ([`tests/soak`](../../tests/soak/soak.py)). This folder holds no records.

| | |
|---|---|
| seed | {seed} |
| commit | {commit} |
| machine | {machine} |
| minutes under faults | {minutes} |
| cells drawn | {cells}, in {suites} suites |
| their status in the undisturbed run | {undisturbed} |
| defenses, attacks among them | {num_defenses}, {num_attacks} |
| times that a suite ran from nothing to its end under faults | {turns} |
| starts of the command line under faults | {starts} |
| faults injected | {num_faults} |
| records compared | {records} |
| pictures compared | {pictures} |
| **differences** | **{num_differences}** |
| things that were not as they should be | {num_wrong} |

## Faults

{faults}

{missed}

{excused}

## What is checked

After each fault: the exit code (killed, 130 after Ctrl-C, 2 with one line for a full disk, else 0, or 1 where cells
failed in the undisturbed run as well), no traceback, no process that outlives its run by ten minutes (the machine may
be busy); no record that was there is lost or changed, and each one is whole. Then the same command is started again. At
the end of each suite: the records and pictures are those of the undisturbed run, no lock and no temporary file is left,
and what was damaged lies beside its record under another name, unchanged.

A full disk is a limit on the size of files that some records exceed. A record cut short and a truncated temporary file
stand for a power failure in the middle of a write.

## Differences

{differences}

## Not as it should be

{wrong}
"""


def write_report(folder: Path, facts: dict[str, Any]) -> None:
    """Write both files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(facts, indent=1) + "\n")
    (folder / "README.md").write_text(page(facts))


def page(facts: dict[str, Any]) -> str:
    """README.md."""
    about = facts["environment"]
    versions = f"Python {about['python']}, torch {about['torch']}, numpy {about['numpy']}"
    missed = [kind for kind in KINDS if kind not in facts["faults"]]
    excused = _table(facts["excused"], "reason") if facts["excused"] else "None."
    return PAGE.format(
        **{key: facts[key] for key in ("seed", "minutes", "cells", "suites", "turns", "starts", "records", "pictures")},
        undisturbed=", ".join(f"{count} {status}" for status, count in sorted(facts["undisturbed"].items())),
        commit=about["commit"],
        machine=f"{about['cpu']}; {versions}",
        num_defenses=len(facts["defenses"]),
        num_attacks=len(facts["attacks"]),
        num_faults=sum(facts["faults"].values()),
        num_differences=len(facts["differences"]),
        num_wrong=len(facts["wrong"]),
        faults=_table(facts["faults"], "fault"),
        missed=f"Not injected in this time: {', '.join(missed)}." if missed else "Every kind was injected.",
        excused="Cells that a fault rightly made fail (the reason is recorded; the record was removed, and the cell "
        f"ran again):\n\n{excused}",
        differences=_items(facts["differences"]),
        wrong=_items(facts["wrong"]),
    )


def _table(counts: dict[str, int], title: str) -> str:
    lines = (f"| {name} | {count} |" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
    return "\n".join([f"| {title} | times |", "|---|---|", *lines])


def _items(lines: list[str]) -> str:
    return "\n".join(f"- {' '.join(line.split())}" for line in lines) or "None."
