"""What an attacker knows, as a header and tensors, and back: views, games, the facts behind them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypedDict, TypeVar

import torch
from torch import Tensor

from bench import models
from bench.attacking.poisoning import DataFacts
from bench.models import Layer, Model
from bench.protocol import Alphabet, ServerRound, Setting
from bench.submission.referee.wire import Header, Tensors
from bench.threat import Game, PublicFacts, RoundView, View

Packed = RoundView | View | Game | PublicFacts | DataFacts
Kind = TypeVar("Kind", bound=Packed)


class Architecture(TypedDict):
    """What a server knows of the model."""

    layers: tuple[Layer, ...]
    model: Model | None


TYPES: dict[str, type[Any]] = {kind.__name__: kind for kind in (RoundView, View, Game, PublicFacts, DataFacts)}


def pack(known: Packed, tensors: Tensors, prefix: str = "") -> Header:
    """The header of what is known; its tensors are added to `tensors`, by names that begin with `prefix`."""
    return {"type": type(known).__name__} | {
        part.name: _packed(getattr(known, part.name), tensors, f"{prefix}{part.name}") for part in fields(known)
    }


def unpack(kind: type[Kind], header: Header, tensors: Tensors) -> Kind:
    """What `pack` was given."""
    result = _unpacked(header, tensors)
    assert isinstance(result, kind)
    return result


def architecture(server: ServerRound) -> Header:
    """What a server knows of the model, in plain data, for a call."""
    layers = [[name, list(shape), entries.start, entries.stop] for name, shape, entries in server.layers]
    return {"layers": layers, "model": None if server.model is None else _packed(server.model, {}, "")}


def architecture_of(call: Header) -> Architecture:
    """What `architecture` was given."""
    layers = tuple(Layer(name, tuple(shape), slice(start, stop)) for name, shape, start, stop in call["layers"])
    return {"layers": layers, "model": None if call["model"] is None else _unpacked(call["model"], {})}


def _packed(value: Any, tensors: Tensors, name: str) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, RoundView | View | Game | PublicFacts | DataFacts):
        return pack(value, tensors, f"{name}.")
    if isinstance(value, tuple) and any(isinstance(one, RoundView) for one in value):
        return {"rounds": [pack(one, tensors, f"{name}.{place}.") for place, one in enumerate(value)]}
    if isinstance(value, Setting):
        return {"setting": vars(value)}
    if isinstance(value, Model):
        return {"model": [value.name, list(value.input_shape), value.num_classes]}
    if isinstance(value, Alphabet):
        return {"alphabet": str(value)}
    return {"plain": dict(value) if isinstance(value, Mapping) else value}


def _unpacked(header: Any, tensors: Tensors) -> Any:
    match header:
        case {"type": str(name), **parts}:
            return TYPES[name](**{str(part): _unpacked(value, tensors) for part, value in parts.items()})
        case {"tensor": str(name)}:
            return tensors[name]
        case {"rounds": list(rounds)}:
            return tuple(_unpacked(one, tensors) for one in rounds)
        case {"setting": dict(setting)}:
            return Setting(**setting)
        case {"model": [str(name), list(shape), int(classes)]}:
            return models.build(name, tuple(shape), classes)
        case {"alphabet": str(name)}:
            return Alphabet(name)
        case {"plain": list(values)}:
            return tuple(values)
        case {"plain": value}:
            return value
    raise ValueError(f"nothing that an attacker knows: {header!r:.100}")


def trace_of(values: Tensor) -> list[float]:
    """A loss trace `(n,)` as the numbers that it is made of."""
    return [float(value) for value in values.to(torch.float64)]
