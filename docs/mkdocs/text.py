"""Docstrings as Markdown."""

import re

ERRATA = re.compile(r"\b(N(?:1?\d|20)|D(?:1?\d|2[0-3]))\b")
CODE = re.compile(r"(`[^`]*`)")
INDENTED = re.compile(r"^ {4}", re.MULTILINE)


def prose(text: str, escape: str = "<*[$") -> str:
    """A docstring's text: characters that Markdown reads are escaped, errata are links; code stays as it is."""
    return "\n\n".join(
        paragraph if INDENTED.match(paragraph) else _paragraph(paragraph, escape) for paragraph in text.split("\n\n")
    )


def _paragraph(text: str, escape: str) -> str:
    parts = CODE.split(text)
    parts[::2] = [ERRATA.sub(_erratum, _escaped(part, escape)) for part in parts[::2]]
    return "".join(parts)


def _escaped(text: str, escape: str) -> str:
    return "".join(
        "&lt;" if char == "<" and char in escape else f"\\{char}" if char in escape else char for char in text
    )


def _erratum(found: re.Match[str]) -> str:
    return f"[{found[1]}](errata.md#{found[1].lower()})"


def cell(text: str) -> str:
    """Text on one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")
