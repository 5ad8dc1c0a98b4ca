"""All pages of the site as bytes by their place; nothing is written here."""

import inspect
import re
import tomllib
from collections.abc import Mapping, Sequence
from html import escape
from types import ModuleType
from typing import Any, Literal

from bench import registry
from bench.base.names import counted
from leaderboards import decision, front
from leaderboards.decision import Choice
from leaderboards.html import html
from leaderboards.looks import look_of
from leaderboards.site import cards, markdown
from leaderboards.site import claimed as claims
from leaderboards.site.standing import Published, hits, leader, stands
from leaderboards.version import version

Kind = Literal["defense", "attack"]
FOLDERS: Mapping[Kind, str] = {"defense": "defenses", "attack": "attacks"}
MOST_HITS = 40
"""Rows of an attack's table; those that it breaks come first."""
FIRST = ("index", "findings", "getting-started", "tutorial-use", "tutorial-submit")
"""Pages that a newcomer reads, in this order; the others follow by name."""


def build(published: Sequence[Published], files: Mapping[str, bytes], version_of: str) -> dict[str, bytes]:
    """The site: `published` are the suites with records, `files` what lies in the repository beside them, by path.

    Of the files, Markdown becomes pages, all else is copied; `version_of` is the package's version.
    """
    parts: dict[Kind, list[str]] = {kind: shipped(kind) for kind in FOLDERS}
    known = {
        "index.html",
        *(f"boards/{one.suite}.html" for one in published),
        *(f"{FOLDERS[kind]}/{name}.html" for kind in FOLDERS for name in parts[kind]),
        *(markdown.placed(path) for path in files if not path.endswith("README.md") or path.startswith("results/")),
    }
    writer = Writer(known, bool(any(path.startswith("docs/") for path in files)), "papers/index.html" in known)
    claimed = claims.cards(files, known, [name for names in parts.values() for name in names])
    pages = {"site.css": own("site.css").encode()}
    pages["index.html"] = _index(writer, published, parts, version_of)
    for one in published:
        pages[f"boards/{one.suite}.html"] = html(one.leaderboard, home="../index.html").encode()
    for kind, folder in FOLDERS.items():
        for name in parts[kind]:
            pages[f"{folder}/{name}.html"] = _part(writer, kind, name, published, files, claimed.get(name, []))
    contents = {markdown.placed(path): _heading(files[path]) for path in _in_order(files)}
    for path, content in files.items():
        place = markdown.placed(path)
        if path.endswith(".md") and place != "index.html":
            shown = markdown.render(content.decode(), path, known)
            pages[place] = writer.page("doc", place, _heading(content), content=shown, contents=contents, here=place)
        elif not path.endswith(".md"):
            pages[place] = content
    return pages


class Writer:
    """Puts contents into the templates, with the bar that every page has."""

    def __init__(self, known: set[str], documented: bool, papers: bool) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined  # here, because other formats need none of it
        from markupsafe import Markup

        self.known, self.safe = known, Markup
        self.bar = {"Boards": "index.html#boards", "Defenses": "index.html#defenses", "Attacks": "index.html#attacks"}
        self.bar |= {"Findings": "docs/findings.html"} if "docs/findings.html" in known else {}
        self.bar |= {"Claims": "docs/claims.html"} if "docs/claims.html" in known else {}
        self.bar |= {"Papers": "papers/index.html"} if papers else {}
        self.bar |= {"Documentation": "docs/index.html"} if documented else {}
        self.environment = Environment(
            loader=PackageLoader("leaderboards.site", ""),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, template: str, place: str, title: str, **content: Any) -> bytes:
        """A page at its place; texts under these names are HTML already."""
        safe = {"content", "told", "use", "front"} & content.keys()
        content |= {name: self.safe(content[name]) for name in safe}
        shown: str = self.environment.get_template(f"{template}.html.jinja").render(
            title=title,
            up="../" * place.count("/"),
            bar=self.bar,
            current=place,
            shape=lambda look: self.safe(front.mark(look, 7.5, 7.5)),
            **content,
        )
        return re.sub(r'<(pre|div class="scroll")>', r'<\1 tabindex="0">', shown).encode()  # the keyboard scrolls them


def _index(writer: Writer, published: Sequence[Published], shipped: Mapping[Kind, list[str]], version_of: str) -> bytes:
    boards = [one.measured for one in published]
    published = sorted(published, key=lambda one: -len(one.measured.cells) * len(one.measured.defenses))
    both = [one for one in boards if one.columns("robustness") and one.columns("privacy")]
    most = max(both, key=lambda one: len(one.cells) * len(one.defenses), default=None)
    return writer.page(
        "index",
        "index.html",
        "Attacks and defenses of federated learning",
        front=front.front(most) if most else "",
        front_suite=most.suite if most else "",
        choices=decision.decide(decision.SITUATIONS, [*boards, *(level for one in published for level in one.levels)]),
        cards=[_card(writer, one) for one in published],
        version=version_of,
        counts={
            "attacks": len(shipped["attack"]),
            "defenses": len(shipped["defense"]),
            "records": f"{sum(one.leaderboard.records for one in published):,}",
        },
        defenses={name: look_of(name) for name in shipped["defense"]},
        attacks=shipped["attack"],
        linked=lambda choice: writer.safe(_linked(choice, writer.known)),
        coded=lambda text: writer.safe(coded(text)),
    )


def _card(writer: Writer, one: Published) -> dict[str, Any]:
    board, name, score = leader(one)
    known = version(one.leaderboard)
    places = one.leaderboard.verified
    return {
        "suite": one.suite,
        "title": one.leaderboard.title[:1].upper() + one.leaderboard.title[1:],
        "picture": writer.safe(cards.card(one)[0]),
        "board": board,
        "leader": name,
        "score": score,
        "rows": len(one.measured.defenses),
        "records": f"{one.leaderboard.records:,}",
        "date": known.get("newest record", "no date")[:10],
        "verified": f"Played anew in {counted(len(places), 'place')}." if places else "Not played anew elsewhere yet.",
    }


def coded(text: str) -> str:
    """Text with `code` as HTML."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def _linked(choice: Choice, known: set[str]) -> str:
    """What to use, with the rule as a link to its page."""
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(decision.use(choice)))
    rule = choice.row.split(" + ")[-1].split(" ")[0]
    place = f"defenses/{rule}.html"
    if place not in known:
        return text
    return text.replace(escape(choice.row), f'<a href="{place}">{escape(choice.row)}</a>', 1)


def _part(
    writer: Writer,
    kind: Kind,
    name: str,
    published: Sequence[Published],
    files: Mapping[str, bytes],
    cards: Sequence[claims.Card],
) -> bytes:
    cls = registry.get(kind, name)
    module = _module(cls)
    place = f"{FOLDERS[kind]}/{name}.html"
    docs_page = f"docs/{FOLDERS[kind]}.html"
    more: dict[str, Any] = {"look": None, "stands": [], "claims": [], "hits": [], "withstood": 0, "nothing": ""}
    if kind == "defense":
        results = list(stands(name, published))
        claims = [one for one in results if one.claims and one.claims.get("claimed", "nothing") != "nothing"]
        more |= {"look": look_of(name), "stands": results, "claims": claims}
    else:
        all_hits = hits(name, published)
        broken = [hit for hit in all_hits if hit.breaks][:MOST_HITS]
        nothing = (
            "None of those that it met on the published boards." if all_hits else "No published board measures it yet."
        )
        more |= {"hits": broken, "withstood": len(all_hits) - len(broken), "nothing": nothing}
    return writer.page(
        "part",
        place,
        name,
        kind=kind,
        name=name,
        told=told(kind, name, files, writer.known),
        more=f"../{docs_page}#{name}" if docs_page in writer.known else "",
        use=_use(kind, name, module),
        file=f"{FOLDERS[kind]}/{name}.py",
        code=inspect.getsource(module),
        cards=cards,
        **more,
    )


def told(kind: Kind, name: str, files: Mapping[str, bytes], known: set[str]) -> str:
    """Its docstrings and what is written of it by hand; a formula of its own where none of these has one."""
    cls = registry.get(kind, name)
    docs = [inspect.cleandoc(doc) for doc in (_module(cls).__doc__, inspect.getdoc(cls)) if doc]
    text = "".join(_paragraphs("\n\n".join(docs), known)) + _written(kind, name, files, known)
    if any(sign in text for sign in ("<pre>", "<math", 'class="formula"')):
        return text
    formula = tomllib.loads(own("formulas.toml"))[kind].get(name)
    return f'{text}<div class="scroll">{markdown.formula(formula, block=True)}</div>' if formula else text


def _module(cls: type) -> ModuleType:
    result = inspect.getmodule(cls)
    assert result is not None
    return result


def _written(kind: Kind, name: str, files: Mapping[str, bytes], known: set[str]) -> str:
    """What the documentation says of it by hand, with its formula; "" where it says nothing."""
    path = f"docs/{FOLDERS[kind]}.md"
    text = files.get(path, b"").decode()
    result = re.search(rf"^### `{name}`\n(.*?)<!-- part {kind} {name} -->", text, re.DOTALL | re.MULTILINE)
    if result is None or "\n### " in result[1]:
        return ""
    shown = re.sub(r'href="#', f'href="{FOLDERS[kind]}.html#', markdown.render(result[1], path, known))
    return re.sub(r'href="([\w-]+\.html)', r'href="../docs/\1', shown)


def _paragraphs(doc: str, known: set[str]) -> Sequence[str]:
    """A docstring: what is indented is a formula, `code` is code, the rest is text."""
    shown = []
    for paragraph in re.split(r"\n\s*\n", doc):
        if paragraph.startswith("    "):
            shown.append(f"<pre>{escape(inspect.cleandoc(paragraph))}</pre>")
        else:
            shown.append(f"<p>{_errata(coded(' '.join(paragraph.split())), known)}</p>")
    return shown


def _errata(text: str, known: set[str]) -> str:
    if "docs/errata.html" not in known:
        return text
    link = r'<a href="../docs/errata.html#\1">\1</a>'
    linked = re.sub(r"\b(N(?:1?\d|20)|D(?:1?\d|2[0-3]))\b", link, text)
    return re.sub(r"#([ND]\d+)\"", lambda found: f'#{found[1].lower()}"', linked)


def _use(kind: Kind, name: str, module: Any) -> str:
    """In a suite, on the command line, and from Python where there are pure functions."""
    said = [f'<p>In a suite file:</p><pre><code>[[{kind}]]\nname = "{name}"</code></pre>']
    option = "--defense" if kind == "defense" else "--attack"
    run = f"fedsiege run --suite SUITE {option} {name}"
    said.append(f"<p>Its part of a suite alone:</p><pre><code>{run}</code></pre>")
    functions = [
        one
        for key, one in vars(module).items()
        if inspect.isfunction(one) and one.__module__ == module.__name__ and one.__doc__
        if not key.startswith(("_", "check"))
    ]
    if functions:
        lines = [f"# {_first(one.__doc__ or '')}\nfrom {module.__name__} import {one.__name__}" for one in functions]
        said.append(f"<p>From Python, as pure functions:</p><pre><code>{escape(chr(10).join(lines))}</code></pre>")
    return "".join(said)


def _first(doc: str) -> str:
    return " ".join(inspect.cleandoc(doc).split("\n\n")[0].split())


def shipped(kind: Kind) -> list[str]:
    """The names whose file is in the package of their kind."""
    package = registry.PACKAGES[kind]
    return sorted(name for name in registry.names(kind) if registry.get(kind, name).__module__ == f"{package}.{name}")


def _in_order(files: Mapping[str, bytes]) -> list[str]:
    """The pages of documentation, those for newcomers first."""
    pages = [path for path in files if path.startswith("docs/") and path.endswith(".md")]
    first = {f"docs/{name}.md": place for place, name in enumerate(FIRST)}
    return sorted(pages, key=lambda path: (first.get(path, len(first)), path))


def _heading(content: bytes) -> str:
    result = re.search(r"^# (.+)$", content.decode(), re.MULTILINE)
    return re.sub(r"[`*]", "", result[1]) if result else "FedSiege"


def own(name: str) -> str:
    from importlib import resources

    return resources.files("leaderboards.site").joinpath(name).read_text(encoding="utf-8")
