"""The site from a results folder: every suite that has records, and what is written beside them; written whole."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench import __version__
from bench.base.errors import BadInputError
from bench.base.names import counted
from bench.records import Store
from bench.runs import jobs, places
from bench.suite import load, shipped
from leaderboards.decision import Measured
from leaderboards.site import build
from leaderboards.site.standing import Published

MARKER = ".fedsiege-site"
"""The file that says that a folder is a site, which a new one may replace."""
BESIDE = (
    "docs/*.md",
    "docs/pictures/*",
    "docs/examples/*",
    "CHANGELOG.md",
    "results/claims/*.md",
    "results/claims/*.toml",
)
PAPERS = ("README.md", "*/*.md", "*/*.png")
"""What of the papers' evidence people read."""


def make_site(output: Path, results: Path | None, tell: Callable[[str], None]) -> tuple[int, int]:
    """Write the site of a results folder to `output`; how many files, and how many bytes they have.

    Without a folder, of the published records where there are any here, else of the user's own runs. Nothing of an
    earlier site is touched before the new one is whole.
    """
    _check(output)
    folder = _results(results)
    suites = [name for name in shipped() if "/" not in name and places.has_records(folder, name)]
    if not suites:
        raise BadInputError(f"no records of a shipped suite in {folder}: run `fedsiege run --suite smoke` first")
    published = []
    for name in suites:
        suite = load(name)
        leaderboard = jobs.make_leaderboard(suite, Store(folder, name))
        if not leaderboard.records:
            tell(f"{name}: left out, its records are of an older form of the suite")
            continue
        tell(f"{name}: {counted(leaderboard.records, 'record')}")
        published.append(
            Published(leaderboard, Measured.from_leaderboard(leaderboard), Measured.levels(suite, leaderboard))
        )
    files = _files(folder)
    if not any(path.startswith("docs/") for path in files):
        tell("no documentation lies beside these records, so that the site has none")
    pages = build(published, files, __version__)
    _write(output, pages)
    return len(pages), sum(map(len, pages.values()))


def _results(results: Path | None) -> Path:
    if results is not None:
        folder = places.to_read(results)
        if not folder.is_dir():
            raise BadInputError(f"--results {results} is no folder: give one with the records of a suite")
        return folder
    return places.BESIDE_THE_CODE if places.BESIDE_THE_CODE.is_dir() else places.OWN


def _files(folder: Path) -> dict[str, bytes]:
    """The documentation, and the papers' evidence, by their path in the repository."""
    root = folder.parent
    results = {path.relative_to(root).as_posix(): path for pattern in BESIDE for path in sorted(root.glob(pattern))}
    results |= {f"results/papers/{path.relative_to(folder / 'papers').as_posix()}": path
              for pattern in PAPERS for path in sorted((folder / "papers").glob(pattern))}  # fmt: skip
    return {name: path.read_bytes() for name, path in results.items() if path.is_file()}


def _check(output: Path) -> None:
    """A site may replace an empty folder or an earlier site, nothing else."""
    cure = "give a new folder, or that of an earlier site"
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise BadInputError(f"--output {output} is a file: {cure}")
    if output.is_dir() and any(output.iterdir()) and not (output / MARKER).is_file():
        raise BadInputError(f"--output {output} holds other files: {cure}")


def _write(output: Path, pages: dict[str, bytes]) -> None:
    """Everything into a folder beside `output`, which then takes its place."""
    output = output.absolute()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        whole = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
        try:
            for place, content in {**pages, MARKER: f"fedsiege {__version__}\n".encode()}.items():
                path = whole / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            whole.chmod(0o755)
            _swap(whole, output)
        finally:
            shutil.rmtree(whole, ignore_errors=True)
    except OSError as error:
        raise BadInputError(f"cannot write {output}: {error.strerror}") from None


def _swap(new: Path, output: Path) -> None:
    """Put a folder in another one's place; the old one comes back where that fails."""
    old = new.with_name(f"{new.name}.old")
    if output.exists():
        output.rename(old)
    try:
        new.rename(output)
    except OSError:
        with suppress(OSError):
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def told(output: Path, files: int, size: int) -> str:
    """What was written, in one line."""
    return f"{counted(files, 'file')}, {size / 1e6:.1f} MB, in {output}: open {output / 'index.html'}"
