"""`--set KEY=VALUE`: one change of a suite."""

import itertools
import tomllib
from typing import Any

from bench.base.errors import BadInputError
from bench.base.names import unknown
from bench.federation.settings import FederationSettings
from bench.suite.meeting import EITHER

TABLES = ("federation", "privacy", "ranking", "resources")
"""The tables of a suite that `--set` reaches as `TABLE.KEY`."""


def apply(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.rpartition(".")[2].strip():
        raise BadInputError(f"--set {change!r} is not of the form key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text
    table, dot, name = key.strip().rpartition(".")
    if not dot and name in FederationSettings.model_fields:
        federation = content["federation"]
        if name in EITHER:
            federation.pop(EITHER[name], None)
        federation[name] = value
        for entry, overruled in itertools.product(content["defense"], (name, EITHER.get(name, name))):
            entry.get("federation", {}).pop(overruled, None)
    elif table in TABLES:
        content.setdefault(table, {})[name] = value
    elif entries := [
        entry for kind in ("defense", "attack") for entry in content.get(kind, []) if entry["name"] == table
    ]:
        for entry in entries:
            entry[name] = value
    elif dot:
        names = {entry["name"] for kind in ("defense", "attack") for entry in content[kind]}
        raise BadInputError(unknown("defense, attack or table", table, {*names, *TABLES}))
    else:
        raise BadInputError(unknown("key to --set", key.strip(), FederationSettings.model_fields))
