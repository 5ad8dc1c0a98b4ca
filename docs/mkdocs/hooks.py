"""What MkDocs calls: pages filled in from code and results, and formulas as MathML, which needs no script."""

import html
import logging
import os
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from pages import END, ROOT, address, fill

log = logging.getLogger("mkdocs.hooks.fedsiege")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
REFERENCE = re.compile(rf"<!-- reference (\S+) -->\n(?:(?!<!-- ).)*{END}", re.DOTALL)
OUTSIDE = re.compile(r'\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(\.\./([^)\s]+)(?: "([^"]*)")?\)')
"""A link to a file beside docs/, which is no page: text, path, title."""
OPTIONS = {"bench.privacy": "\n    options:\n      show_submodules: false"}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page as it is committed, with whole docstrings in its reference; in a strict build a stale page fails it."""
    filled = fill(markdown, Path(os.environ.get("FEDSIEGE_RESULTS", ROOT / "results")))
    for problem in filled.problems:
        log.warning("%s: %s", page.file.src_uri, problem)
    whole = REFERENCE.sub(lambda found: f"::: {found[1]}{OPTIONS.get(found[1], '')}", filled.text)
    return OUTSIDE.sub(_outside, whole)


def _outside(found: re.Match[str]) -> str:
    """A link into the repository where it has an address, else the text with what the link says when pointed at."""
    text, path, title = found.groups()
    repository = address()
    if repository:
        return f"[{text}]({repository}/blob/main/{path}" + (f' "{title}")' if title else ")")
    return f'<span title="{html.escape(title)}">{text}</span>' if title else text


def on_page_content(content: str, **_: Any) -> str:
    """TeX to MathML."""
    return FORMULA.sub(lambda found: _mathml(found[2], block=found[1] == "div"), content)


def _mathml(tex: str, block: bool) -> str:
    formula: str = convert(html.unescape(tex).strip(), display="block" if block else "inline")
    return formula
