"""The options that several commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bench import registry
from bench.base import arithmetic
from bench.base.trust import TRUST


def _load(paths: list[Path] | None) -> list[Path] | None:
    registry.load_files(paths or ())
    return paths


def _trust(value: bool) -> bool:
    if value:
        os.environ[TRUST] = "1"
    return value


TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        callback=_trust,
        help="I have read the submitted files and trust them: play them also where this system has no walls.",
    ),
]
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
        envvar=arithmetic.VARIABLE,
        callback=arithmetic.choose,
        help="portable: the same bits on any x86-64 processor (default); native: this one's widest instructions.",
    ),
]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, over the suite's own.")]
LoadOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--load",
        metavar="FILE.py",
        callback=_load,
        help="A file that registers defenses, attacks, data sets or models of your own; may be given several times.",
    ),
]
