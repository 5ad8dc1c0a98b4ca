"""Stand-ins for submitted classes: to the engine a defense or an attack like any other, played elsewhere.

What the engine must know before a round (alphabet, parameters, which steps are the file's own) are the facts that the
inspection of the file gave; they are data, and are checked like all that comes from there.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bench.base.explain import explain
from bench.submission.referee.attacks import RemoteAudit, RemoteForging, RemoteInversion, RemotePoisoning
from bench.submission.referee.defense import RemoteDefense
from bench.submission.referee.party import Code
from bench.submission.referee.remote import SHOWN, Facts, Remote

BASES: dict[str, type[Remote]] = {
    "defense": RemoteDefense,
    "forging": RemoteForging,
    "poisoning": RemotePoisoning,
    "inversion": RemoteInversion,
    "audit": RemoteAudit,
}


def stand_in(code: Code, facts: Mapping[str, Any]) -> type[Remote]:
    """The engine's class for a submitted one; `ValueError` where the facts are none."""
    try:
        known = Facts.model_validate(dict(facts))
    except ValidationError as error:
        raise ValueError(f"what {code.file.name} says of itself: {explain(error)}") from None
    base = BASES[known.base]
    shown = {name: getattr(known, name) for name in SHOWN if hasattr(base, name)}
    return type(
        code.class_name,
        (base,),
        {"code": code, "facts": known, "version": known.version, **shown, "__module__": __name__},
    )
