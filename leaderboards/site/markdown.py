"""Markdown to HTML for the site: headings with anchors, formulas, and links that lead to pages of the site."""

import html
import posixpath
import re
from collections.abc import Callable, Collection

COMMENT = re.compile(r"<!-- .*? -->\n?", re.DOTALL)
FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$`\w])\$(?!\s)(?P<inline>.+?)(?<![\s\\])\$(?!\d)", re.DOTALL)
BLOCK = re.compile(r'<p>(<math[^>]* display="block"[^>]*>.*?</math>)</p>', re.DOTALL)
"""A formula of its own, which may be wider than a phone."""
CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
BOARD = re.compile(r"(?:^|/)results/([\w-]+)/leaderboard\.(?:md|csv)$")
PLACED = "\x02{}\x03"
"""Stands for a formula until the rest is HTML."""


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MkDocs name it."""
    kept = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


def render(markdown: str, page: str, known: Collection[str]) -> str:
    """The HTML of a page at `page` in the repository (`docs/boards.md`); its links lead to what is `known` of the site.

    A link to a Markdown page of the repository leads to its page here, one to a board's files to the board; of what the
    site has not, the text stays.
    """
    from markdown_it import MarkdownIt  # here, because other commands need none of it

    formulas: list[str] = []

    def keep(found: re.Match[str]) -> str:
        formulas.append(formula(found["block"] or found["inline"], block=found["block"] is not None))
        return PLACED.format(len(formulas) - 1)

    parts = CODE.split(COMMENT.sub("", markdown))
    parts[::2] = [FORMULA.sub(keep, part) for part in parts[::2]]
    parser = MarkdownIt("commonmark").enable("table")
    parser.options["html"] = True  # the documentation's own
    tokens = parser.parse("".join(parts))
    taken: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            name = slug(re.sub(r"[*]", "", tokens[index + 1].content))
            taken[name] = taken.get(name, 0) + 1
            token.attrSet("id", name if taken[name] == 1 else f"{name}_{taken[name] - 1}")
        tag = "a"  # of the link that is open: links never nest
        for child in token.children or ():
            if child.type == "link_open":
                target = address(str(child.attrGet("href") or ""), page, known)
                tag = child.tag = "a" if target else "span"
                child.attrs = {name: value for name, value in child.attrs.items() if name != "href"}
                if target:
                    child.attrs = {"href": target, **child.attrs}
            elif child.type == "link_close":
                child.tag = tag
            elif child.type == "image":
                child.attrSet("src", address(str(child.attrGet("src") or ""), page, known))
    shown: str = parser.renderer.render(tokens, parser.options, {})
    shown = shown.replace("<table>", '<div class="scroll"><table class="plain">').replace("</table>", "</table></div>")
    for number, shown_formula in enumerate(formulas):
        shown = shown.replace(PLACED.format(number), shown_formula)
    shown = BLOCK.sub(r'<div class="scroll">\1</div>', shown)
    return shown


def address(target: str, page: str, known: Collection[str]) -> str:
    """Where a link of a page leads on the site, relative to the page's own place there; "" where it leads nowhere."""
    if re.match(r"[a-z]+:", target) or target.startswith("#"):
        return target
    path, _, anchor = target.partition("#")
    there = placed(posixpath.normpath(posixpath.join(posixpath.dirname(page), path)))
    if there not in known:
        return ""
    here = posixpath.dirname(placed(page))
    return posixpath.relpath(there, here or ".") + (f"#{anchor}" if anchor and not there.startswith("boards/") else "")


def placed(path: str) -> str:
    """Where a file of the repository stands on the site."""
    rules: list[tuple[str, Callable[[re.Match[str]], str]]] = [
        (BOARD.pattern, lambda found: f"boards/{found[1]}.html"),
        (r"^README\.md$", lambda found: "index.html"),
        (r"^results/papers/README\.md$", lambda found: "papers/index.html"),
        (r"^results/papers/(.+)\.md$", lambda found: f"papers/{found[1]}.html"),
        (r"^results/papers/(.+)$", lambda found: f"papers/{found[1]}"),
        (r"^results/claims/(.+)\.md$", lambda found: f"claims/{found[1]}.html"),
        (r"^results/claims/(.+\.toml)$", lambda found: f"claims/{found[1]}"),
        (r"^docs/(.+)\.md$", lambda found: f"docs/{found[1]}.html"),
        (r"^results/(.+)/README\.md$", lambda found: f"results/{found[1]}.html"),
        (r"^(CHANGELOG)\.md$", lambda found: "docs/changelog.html"),
    ]
    for pattern, replacement in rules:
        if found := re.search(pattern, path):
            return replacement(found)
    return path


def formula(tex: str, block: bool) -> str:
    """MathML where the converter of the extra `docs` is there, else the formula as TeX."""
    try:
        from latex2mathml.converter import convert
    except ImportError:
        return f'<code class="formula">{html.escape(tex.strip())}</code>'
    return str(convert(tex.strip(), display="block" if block else "inline"))
