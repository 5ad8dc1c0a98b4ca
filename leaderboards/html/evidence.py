"""What stands behind each number: its estimates as the CSV has them, the records, and the command to run them again."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.privacy.claims import PrivacyClaim
from bench.records import Record, Store
from bench.suite import Cell, Part
from leaderboards.board import Leaderboard
from leaderboards.frame import CLEAN
from leaderboards.html.leads import Place
from leaderboards.html.threats import Threat

MOST_POINTS = 41
"""Points of a curve on the page."""
AGAIN = "rerun"
"""The results folder of the command: in a new one nothing counts as done."""


def evidence(leaderboard: Leaderboard, columns: Mapping[str, Threat]) -> dict[str, Any]:
    """For the page's panel, as JSON has it: by row and column its numbers, settings, records, flags and command."""
    settings: dict[str, int] = {}
    made: dict[str, int] = {}
    estimates = _estimates(leaderboard)
    results: dict[str, dict[str, Any]] = {}
    for (row, column), records in by_place(leaderboard.evidence).items():
        notes = [flag.removeprefix(f"{column}: ") for flag in leaderboard.flags.get(row, []) if _is_about(flag, column)]
        results.setdefault(row, {})[column] = {
            "what": columns[column].kind,
            "numbers": estimates.get((row, column), []),
            "settings": settings.setdefault(json.dumps(_settings(records[-1])), len(settings)),
            "claims": _claims(records[-1]),
            "flags": notes,
            "command": command(leaderboard, records, columns),
            **_by_seed(leaderboard, records),
            "records": [_record(leaderboard, records, record, made) for record in records],
        }
    whole = [json.loads(text) for text in settings]
    common = dict(set.intersection(*(set(one.items()) for one in whole))) if whole else {}
    own = [{name: text for name, text in one.items() if name not in common} for one in whole]
    common = {name: common[name] for name in (whole[0] if whole else ()) if name in common}
    return {"common": common, "settings": own, "made": [json.loads(text) for text in made], "places": results}


def _by_seed(leaderboard: Leaderboard, records: Sequence[Record]) -> dict[str, Any]:
    """What the records share: their folder, the names of metrics, and the rounds of the curves; each is told once."""
    folder = _path(leaderboard, records[0]).parent.as_posix()
    return {"folder": folder, "metrics": list(_metrics(records)), "rounds": _rounds(records)}


def _path(leaderboard: Leaderboard, record: Record) -> Path:
    return Store(Path(leaderboard.results), leaderboard.suite).path(record.cell, record.seed)


def _metrics(records: Sequence[Record]) -> dict[str, None]:
    return dict.fromkeys(name for record in records for name in _values(record))


def _rounds(records: Sequence[Record]) -> list[int]:
    return sorted({at for record in records for at, _ in thinned(record.curve)})


def _short(value: float) -> float | int:
    """Six digits, and no point behind a whole number."""
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() else short


def _values(record: Record) -> dict[str, float]:
    cost = {name: value for name, value in record.cost.model_dump().items() if value is not None}
    byzantine = {} if record.byzantine is None else record.byzantine.model_dump()
    return {**record.metrics, **{f"byzantine_{name}": float(count) for name, count in byzantine.items()}, **cost}


def by_place(records: Iterable[Record]) -> dict[Place, list[Record]]:
    """The records of each row and column, by seed."""
    results: dict[Place, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.seed, record.key)):
        results.setdefault((record.cell.label, record.cell.column), []).append(record)
    return results


def command(leaderboard: Leaderboard, records: Sequence[Record], columns: Mapping[str, Threat]) -> str:
    """What runs these records again, into a folder of its own; "" where the suite as it stands would not."""
    cell = records[0].cell
    if any(record.cell.hash not in leaderboard.runnable for record in records):
        return ""
    attack = cell.attack_name
    if attack == CLEAN:  # runs with every attack; one that trains is quick
        attack = next((other.attack for other in columns.values() if other.b), "")
    words = ["python", "-m", "bench", "run", "--suite", leaderboard.asked_for, "--defense", cell.label]
    words += ["--attack", attack] if attack else []
    words += ["--seeds", ",".join(str(record.seed) for record in records), "--results", AGAIN]
    return shlex.join(words)


def thinned(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """A curve of at most `MOST_POINTS`, evenly, with its last point."""
    step = max(1, -(-len(curve) // MOST_POINTS))
    return list(curve[::-1][::step][::-1])


def _is_about(flag: str, column: str) -> bool:
    return flag.startswith(f"{column}: ")


def _estimates(leaderboard: Leaderboard) -> dict[Place, list[dict[str, str]]]:
    """Each board's lines of the long format, in the digits that the CSV has."""
    results: dict[Place, list[dict[str, str]]] = {}
    for board in leaderboard.boards:
        for line in board.data[board.data["column"].notna()].to_dict(orient="records"):
            shown = {str(name): _text(value) for name, value in line.items() if not pd.isna(value)}
            row, column = shown.pop("defense"), shown.pop("column")
            results.setdefault((row, column), []).append(shown)
    return results


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _record(
    leaderboard: Leaderboard, records: Sequence[Record], record: Record, made: dict[str, int]
) -> dict[str, Any]:
    """One record; its values in the order of the names and rounds that all records of its place share."""
    path = _path(leaderboard, record)
    values, curve = _values(record), dict(thinned(record.curve))
    origin = {"commit": record.environment.commit or "unknown", "protocol": record.protocol}
    content = {
        "seed": record.seed,
        "status": record.status,
        "error": record.error,
        "file": path.name,
        "pictures": list(record.files.values()),
        "values": [_short(values[name]) if name in values else None for name in _metrics(records)],
        "curve": [round(curve[at], 4) if at in curve else None for at in _rounds(records)],
        "made": made.setdefault(json.dumps(origin), len(made)),
        "finished": f"{record.finished_at:%Y-%m-%d %H:%M} UTC",
    }
    return {name: value for name, value in content.items() if value is not None and value not in ("", [])}


def _settings(record: Record) -> dict[str, str]:
    cell = record.cell
    results = {"defense": _part(cell.defense), "attack": "none" if cell.attack is None else _part(cell.attack)}
    results |= {f"derived {name}": f"{value:.6g}" for name, value in record.derived.items()}
    return {**results, **_facts(cell)}


def _facts(cell: Cell) -> dict[str, str]:
    federation = {name: str(value) for name, value in cell.federation.model_dump().items() if value is not None}
    results = {
        **federation,
        "Byzantine fraction b": f"{cell.byzantine:g} ({cell.num_byzantine} of {cell.federation.clients} clients)",
        "colluding fraction rho": f"{cell.rho or 0:g}",
    }
    if cell.is_privacy:
        results |= {"targets": str(cell.targets), "rounds trained before": str(cell.trained)}
    return results


def _part(part: Part) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in part.parameters.items())
    return f"{part.name}, version {part.version}{': ' if parameters else ''}{parameters}"


def _claims(record: Record) -> dict[str, str]:
    privacy = record.privacy
    kinds = {"claimed": privacy.claimed, "composed over the run": privacy.composed, "audited": privacy.audited}
    return {kind: _claim(claim) for kind, claim in kinds.items() if claim is not None}


def _claim(claim: PrivacyClaim) -> str:
    if claim.epsilon is None:
        return f"none, {claim.reason}"
    delta = "" if claim.delta is None else f", δ = {claim.delta:g}"
    return f"ε = {claim.epsilon:.6g}{delta} {claim.unit} ({claim.source})"
