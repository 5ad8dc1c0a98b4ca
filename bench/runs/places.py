"""Where records lie: a user's own in `runs/`, which git ignores, the published ones in `results/`.

Who reads and is told no folder takes the user's own records of a suite where there are some, else the published ones.
"""

from collections.abc import Callable
from pathlib import Path

OWN, PUBLISHED = Path("runs"), Path("results")

BESIDE_THE_CODE = Path(__file__).parents[2] / PUBLISHED
"""Those of the checkout that this code is of; an installed wheel has none."""

Tell = Callable[[str], None]


def _silent(line: str) -> None:
    """Nobody is told."""


def has_records(results: Path, suite: str) -> bool:
    """Whether a results folder has a record of a suite."""
    return _holds_records(results / suite)


def published(suite: str) -> Path | None:
    """The results folder with the published records of a suite: beside the code, else here; None without any."""
    return next((_from_here(one) for one in (BESIDE_THE_CODE, PUBLISHED) if has_records(one, suite)), None)


def of_suite(suite: str, tell: Tell = _silent) -> Path:
    """The results folder to read a suite from, and whose records they are; `runs` where there are none at all."""
    theirs = published(suite)
    if has_records(OWN, suite):
        text = f"; the published ones: --results {theirs}" if theirs else ""
        tell(f"records of your own runs, {OWN / suite}{text}")
        return OWN
    if theirs is None:
        return OWN
    tell(f"published records, {theirs / suite}; there are none of your own in {OWN / suite}")
    return theirs


def of_all() -> Path:
    """The results folder to read all suites from: the user's own runs where there are some, else what is published."""
    if _holds_records(OWN) or not BESIDE_THE_CODE.is_dir():
        return OWN
    return _from_here(BESIDE_THE_CODE)


def to_read(results: Path) -> Path:
    """The folder that a reader was told; `results` is that of the checkout where none of that name is here."""
    if results.is_absolute() or results.exists() or results.parts[:1] != PUBLISHED.parts:
        return results
    beside = BESIDE_THE_CODE / results.relative_to(PUBLISHED)
    return _from_here(beside) if beside.exists() else results


def _holds_records(folder: Path) -> bool:
    from bench.records.folder import files  # it loads numpy, which listing commands need not

    return any(files(folder))


def find(path: Path, tell: Tell = _silent) -> Path:
    """The path where something lies there; else below the user's own runs, else below what is published."""
    path = to_read(path)
    if path.exists() or path.is_absolute():
        return path
    for folder, whose in ((OWN, "of your own run"), (BESIDE_THE_CODE, "published"), (PUBLISHED, "published")):
        if (result := folder / path).exists():
            result = _from_here(result)
            tell(f"{whose}: {result}")
            return result
    return path


def _from_here(path: Path) -> Path:
    """As short as it can be said in the present folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
