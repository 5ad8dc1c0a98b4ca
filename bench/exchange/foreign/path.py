"""Any function by its import path, `module:function`: `f(updates (n, d)) -> (d,)`, or `list of arrays -> array`.

It may be a function, an object that can be called, or a class without needed arguments. A parameter of its that is
called f, num_byzantine, num_malicious, num_adv or n_byzantine gets the number of Byzantine clients.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.base.errors import BadInputError
from bench.exchange.foreign.entry import Apply, Entry, built, takes
from bench.exchange.foreign.meanings import MEANINGS

F_NAMES = ("f", "num_byzantine", "num_malicious", "num_adv", "n_byzantine", "num_attackers")

FORMS: dict[str, Callable[[Tensor], Any]] = {
    "rows": lambda rows: rows,
    "numpy": lambda rows: rows.numpy(),
    "list": list,
    "arrays": lambda rows: list(rows.numpy()),
}
"""What a function is handed: a tensor `(n, d)`, a numpy array, a list of tensors `(d,)`, or of numpy arrays."""


def entry(module: str, name: str, form: str, ours: str | None) -> Entry:
    """The function as an entry; `BadInputError` where there is none, or where it takes nothing."""
    if form not in FORMS:
        raise BadInputError(f"--takes {form!r} must be one of {', '.join(FORMS)}")
    result = _imported(module, name)

    def make(n: int, f: int, parameters: Mapping[str, Any]) -> Apply:
        given = dict(parameters)
        called = result
        known = takes(result, *F_NAMES)
        if known is not None:
            given.setdefault(known, f)
        if inspect.isclass(result):
            called, given = built(result, given, f"{module}:{name}"), {}
        return lambda rows: _vector(called(FORMS[form](rows), **given), f"{module}:{name}")

    counterpart = ours or _guess(name)
    if counterpart and counterpart not in MEANINGS:
        raise BadInputError(f"--against-ours {counterpart!r} must be one of {', '.join(MEANINGS)}")
    return Entry(module.rpartition(".")[2], name, "rule", make, counterpart)


def _imported(module: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` has it, whichever way this program was started
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        raise BadInputError(f"cannot import {module!r}: {' '.join(str(error).split())}") from error
    except Exception as error:  # whatever somebody else's module raises
        text = " ".join(str(error).split())
        raise BadInputError(f"importing {module!r} raised {type(error).__name__}: {text}") from error
    result: Any = imported
    for part in name.split("."):
        result = getattr(result, part, None)
    if not callable(result):
        raise BadInputError(f"{module} has no function {name!r}")
    return result


def _vector(given: Any, what: str) -> Tensor:
    if isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if not isinstance(given, Tensor | np.ndarray):
        raise ValueError(f"{what} returned a {type(given).__name__}, not a tensor or an array (d,)")
    return torch.as_tensor(given)


def _guess(name: str) -> str:
    """The rule of ours whose name a function's own contains, the longest of several; "" where there is none."""
    plain = name.lower().replace("_", "")
    aliases = {key.replace("_", ""): key for key in MEANINGS} | {"trmean": "trimmed_mean", "cwmed": "median"}
    results = [alias for alias in aliases if alias in plain]
    return aliases[max(results, key=len)] if results else ""
