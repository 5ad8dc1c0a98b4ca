"""What MkDocs calls: pages filled in from code and results, and formulas as MathML, which needs no script."""

import html
import logging
import os
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from pages import ROOT, fill

log = logging.getLogger("mkdocs.hooks.fedsiege")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the page's marks; in a strict build one that cannot be filled in fails it."""
    filled = fill(markdown, Path(os.environ.get("FEDSIEGE_RESULTS", ROOT / "results")))
    for problem in filled.problems:
        log.warning("%s: %s", page.file.src_uri, problem)
    return filled.text


def on_page_content(content: str, **_: Any) -> str:
    """TeX to MathML."""
    return FORMULA.sub(lambda found: _mathml(found[2], block=found[1] == "div"), content)


def _mathml(tex: str, block: bool) -> str:
    formula: str = convert(html.unescape(tex).strip(), display="block" if block else "inline")
    return formula
