"""Rules that a defense and an attack are held to alike, each tried on a function that plays from fresh."""

import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from bench.records.submissions import Finding
from bench.submission.guards import Watch
from bench.submission.problems import BrokenError, Note, StepError

Play = Callable[[], bytes]
"""Plays from fresh, with equal inputs and seeds each time, and gives the bits of what comes out."""


def tried(name: str, rule: Callable[[], str]) -> Finding:
    """The finding of a rule that returns its sentence, or raises one."""
    try:
        return Finding(rule=name, verdict="passed", sentence=rule())
    except Note as note:
        return Finding(rule=name, verdict="note", sentence=str(note))
    except (BrokenError, StepError) as broken:
        return Finding(rule=name, verdict="failed", sentence=f"{broken}.")


def in_order(
    rules: Mapping[str, Callable[[], str]], comparing: Collection[str], gives: str, plain: str, watch: Watch
) -> Iterator[Finding]:
    """The findings of the rules, and what the watch saw.

    Where a `plain` play does not work, the rules after it are not tried; nor are the `comparing` ones, which hold one
    outcome against another, where equal seeds give different `gives`.
    """
    failed: set[str] = set()
    for name, rule in rules.items():
        if name in comparing and failed & {"determinism", "global random state"}:
            yield Finding(
                rule=name, verdict="note", sentence=f"not tried: equal seeds have to give equal {gives} first"
            )
            continue
        finding = tried(name, rule)
        yield finding
        if finding.verdict == "failed":
            failed.add(name)
        if failed & {"shapes and types", "promptness"}:
            yield Finding(rule="other rules", verdict="note", sentence=f"not tried: a plain {plain} has to work first")
            break
    for what, where in watch.trips.items():
        yield Finding(rule="looking around", verdict="failed", sentence=f"{what} (first in: {where}).")


def bits(*tensors: Tensor) -> bytes:
    """All bits of the tensors, one behind the other; what is not a number equals itself."""
    return b"".join(tensor.detach().contiguous().cpu().numpy().tobytes() for tensor in tensors)


def repeatable(play: Play, elsewhere: str | None, same: str, gives: str) -> str:
    """Equal seeds, equal bits: twice here, and in another process with another seed of Python's hashes."""
    first = play()
    if play() != first:
        raise BrokenError(f"two rounds with the same {same} give different {gives}s")
    if elsewhere is not None and elsewhere != first.hex():
        raise BrokenError(f"another process gives another {gives} for the same seed: is there a set or a hash()?")
    return "equal seeds give equal bits, in another process too"


def undisturbed(play: Play, generator: str) -> str:
    """No draw from a global generator, and nothing read from one; `generator` is the one to use instead."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        outcomes = []
        for seed in (11, 12):
            _seed_all(seed)
            states = random.getstate(), str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
            outcomes.append(play())
            if random.getstate() != states[0]:
                raise BrokenError("it draws from the global generator of random: use the generator that it is given")
            if str(np.random.get_state()) != states[1]:  # noqa: NPY002
                raise BrokenError("it draws from numpy's global generator: use the generator that it is given")
            if not torch.equal(torch.get_rng_state(), states[2]):
                raise BrokenError(f"it draws from torch's global generator: pass generator={generator} to the draw")
        if outcomes[0] != outcomes[1]:
            raise BrokenError("its result depends on the seed of a global generator")
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])
    return "neither drawn from nor read"


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@contextmanager
def untouched(look: bool, step: str, **tensors: Tensor) -> Iterator[None]:
    """Raise `StepError` where one of them was written to, by torch's own count, or a bit has changed."""
    before = {name: (tensor._version, tensor.clone()) for name, tensor in tensors.items()} if look else {}
    yield
    for name, (version, values) in before.items():
        tensor = tensors[name]
        if tensor._version != version or bits(values) != bits(tensor):
            raise StepError(f"{step} changed its {name} in place: it works on tensors that others hold; use a copy")
