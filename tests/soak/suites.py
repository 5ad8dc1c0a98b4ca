"""Random small suites over all registered defenses and attacks, drawn from a seed and checked before they are used."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import registry
from bench.base.errors import BadInputError
from bench.records import Store
from bench.runs import runner
from bench.suite import load
from bench.threat import ByzantineAttack, PrivacyAttack

Content = dict[str, Any]

ROWS, COLUMNS = 5, 4
"""Defenses and attacks of a suite, at most."""

TRIES = 3
"""Draws of one defense or attack in one suite, before another one takes its place."""

PLAIN_RULES = ("median", "krum", "trimmed_mean", "geometric_median", "norm_clipping")
QUICK: dict[str, Content] = {
    "dlg": {"starts": 1, "evaluations": 12, "history": 10},
    "collusion": {"starts": 1, "evaluations": 12, "history": 10},
    "subspace": {"starts": 1, "evaluations": 12, "history": 10},
    "plug_and_play": {"starts": 1, "steps": 12},
    "weighted_collusion": {"starts": 1, "evaluations": 12, "history": 10},
    "zero_shares": {"starts": 1, "evaluations": 12, "history": 10},
    "inverting_gradients": {"steps": 8, "starts": 1},
    "audit": {"runs": 20, "dim": 10},
    "run_audit": {"canaries": 4},
    "adaptive": {"evaluations": 8},
}
"""What makes attacks that search last less than seconds."""

PRIVACY = {
    "targets": 2,
    "samples_per_client": 1,
    "local_steps": 1,
    "batch_size": 1,
    "rounds": 2,
    "lr": 0.1,
    "dtype": "float64",
    "participation": 1.0,
}


@dataclass(frozen=True)
class Drawn:
    """A suite that can run, and the number of its records."""

    name: str
    text: str
    records: int
    defenses: tuple[str, ...]
    attacks: tuple[str, ...]


class Deck:
    """Names in a random order, all of them before any comes again."""

    def __init__(self, names: list[str], source: random.Random) -> None:
        self._names, self._source, self._left = names, source, list[str]()

    def next(self) -> str:
        if not self._left:
            self._left = self._source.sample(self._names, len(self._names))
        return self._left.pop()


def draw(seed: int, records: int, scratch: Path) -> list[Drawn]:
    """Suites that have `records` records at least, the same for the same seed; `scratch` is a folder for trying them.

    Every registered defense and attack comes up, unless the settings drawn for it refuse it.
    """
    source = random.Random(seed)
    decks = {kind: Deck(registry.names(kind), source) for kind in ("defense", "attack")}
    found: list[Drawn] = []
    while sum(suite.records for suite in found) < records:
        content: Content = {
            "name": f"soak{len(found)}",
            "title": "drawn at random",
            "seeds": source.sample(range(100), source.choice([1, 1, 2])),
            "federation": _federation(source),
            "privacy": {**PRIVACY, "model": source.choice(["lenet", "softmax"])},
            "defense": [],
            "attack": [{"name": "sign_flip", "byzantine": 0.2}],  # until the first attack is drawn
        }
        _fill(content, "defense", ROWS, decks["defense"], source, scratch)
        content["attack"] = []
        _fill(content, "attack", COLUMNS, decks["attack"], source, scratch)
        count = _checked(content, scratch)
        if count:
            names = [tuple(entry["name"] for entry in content[kind]) for kind in ("defense", "attack")]
            found.append(Drawn(content["name"], toml(content), count, *names))
    return found


def toml(content: Content) -> str:
    """The suite as a file; JSON's strings, numbers, booleans and lists are TOML's."""
    return "\n".join(_lines(content)) + "\n"


def _lines(content: Content) -> Iterator[str]:
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    arrays = {key: content[key] for key in ("defense", "attack")}
    for key, value in content.items():
        if key not in tables and key not in arrays:
            yield f"{key} = {json.dumps(value)}"
    for name, table in tables.items():
        yield from (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items()))
    for name, entries in arrays.items():
        for entry in entries:
            yield from (f"[[{name}]]", *(f"{key} = {json.dumps(value)}" for key, value in entry.items()))


def _federation(source: random.Random) -> Content:
    length = source.choice([{"local_steps": 1}, {"local_steps": 3}, {"local_epochs": 1}])
    settings: Content = {
        "dataset": "digits",
        "model": source.choice(["softmax", "softmax", "mlp"]),
        "clients": source.randint(7, 12),
        "participation": source.choice([1.0, 1.0, 1.0, 0.8]),
        "samples_per_client": source.randint(10, 30),
        "partition": source.choice(["iid", "sorted", "dirichlet"]),
        "alpha": source.choice([0.1, 1.0]),
        "rounds": source.randint(2, 6),
        "batch_size": source.choice([4, 10, 32]),
        "lr": source.choice([0.05, 0.5]),
        "momentum": source.choice([0.0, 0.0, 0.9]),
        "assumed_byzantine": source.choice([0.1, 0.15, 0.2]),
        "eval_every": source.randint(1, 3),
        "dtype": source.choice(["float32", "float32", "float64"]),
        "messages": source.choice(["as_needed", "always"]),
        **length,
    }
    if source.random() < 0.3:
        settings["lr_decay"] = 5.0
    return settings


def _fill(
    content: Content, kind: Literal["defense", "attack"], most: int, deck: Deck, source: random.Random, scratch: Path
) -> None:
    """Add up to `most` entries that the suite can run with; what it refuses stays out."""
    draws: dict[str, Callable[[str, random.Random], Content]] = {"defense": _defense, "attack": _attack}
    for _ in range(most):
        name = deck.next()
        for _ in range(TRIES):
            entry = draws[kind](name, source)
            if _checked({**content, kind: [entry]}, scratch) and _checked(
                {**content, kind: [*content[kind], entry]}, scratch
            ):
                content[kind] = [*content[kind], entry]
                break


def _defense(name: str, source: random.Random) -> Content:
    entry = {"name": name, **_shaken(name, "defense", source)}
    if "rule" in registry.get("defense", name).model_fields:  # type: ignore[attr-defined]
        entry["rule"] = source.choice(PLAIN_RULES)
    return entry


def _attack(name: str, source: random.Random) -> Content:
    cls = registry.get("attack", name)
    entry = {"name": name, **_shaken(name, "attack", source), **QUICK.get(name, {})}
    if issubclass(cls, ByzantineAttack):
        entry["byzantine"] = source.choice([0.12, 0.25, [0.12, 0.3]])
    if "rho" in cls.model_fields:  # type: ignore[attr-defined]
        entry["rho"] = source.choice([0.0, 0.3, 1.0]) if not issubclass(cls, PrivacyAttack) else 0.4
    return entry


def _shaken(name: str, kind: Literal["defense", "attack"], source: random.Random) -> Content:
    """Some of its numbers, halved or doubled."""
    fields = registry.get(kind, name).model_fields  # type: ignore[attr-defined]
    floats = {key: field.default for key, field in fields.items() if isinstance(field.default, float)}
    chosen = {key: value * source.choice([0.5, 1.0, 2.0]) for key, value in floats.items()}
    return {key: value for key, value in chosen.items() if source.random() < 0.4}


def _checked(content: Content, scratch: Path) -> int:
    """The number of its records; 0 where the suite is refused."""
    path = scratch / f"{content['name']}.toml"
    path.write_text(toml(content))
    try:
        suite = load(str(path))
        return runner.plan(suite, suite.cells(), Store(scratch / "none", suite.name), None).total
    except BadInputError:
        return 0
