"""What commands say: text and JSON to standard output, notes beside it."""

import json
import sys
from typing import Any

import typer


def say(text: str, nl: bool = True) -> None:
    """To standard output in its own encoding, which typer would take for UTF-8 where it is ASCII."""
    typer.echo(text, file=sys.stdout, nl=nl)


def note(line: str) -> None:
    """To standard error, so that what a program reads is the answer alone."""
    typer.echo(line, err=True)


def echo_json(content: Any) -> None:
    """As text that the output's encoding can hold."""
    reads_all = "utf" in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    say(json.dumps(content, indent=1, ensure_ascii=not reads_all))
