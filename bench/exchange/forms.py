"""Updates in the form that a training loop has them in, as rows `(n, d)`, and one vector `(d,)` back in that form.

Three forms: a matrix `(n, d)`, a list with an array for each client, and a list with the layers of each client, by name
(a state dict) or in order (a list of arrays). Arrays are torch's or numpy's. A matrix of float32 or float64 is taken as
it is; everything else is copied once, layer by layer, into rows that are laid out beforehand.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import models
from bench.protocol import REALS

Array = Tensor | np.ndarray


@dataclass(frozen=True)
class Layer:
    """Where a layer lies in a row, and what it was; one of whole numbers or truth values has no place in a row."""

    name: str | int | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    is_numpy: bool
    start: int
    stop: int

    @property
    def counts(self) -> bool:
        """Whether it holds whole numbers or truth values, for which no rule is defined."""
        return not self.dtype.is_floating_point

    def of(self, vector: Tensor) -> Array:
        """The layer out of `vector (d,)`: a view of it where the number type is the same."""
        return self.given_back(vector[self.start : self.stop].view(self.shape))

    def given_back(self, values: Tensor) -> Array:
        """Values of this shape as the array that was given: its number type, its device, its library."""
        result = values.to(device=self.device, dtype=self.dtype)
        return result.numpy() if self.is_numpy else result


@dataclass(frozen=True)
class Form:
    """How one update is made of layers, and the whole numbers `(shape)` that all clients' own stand for."""

    layers: tuple[Layer, ...]
    build: Callable[[Sequence[Array]], Any]
    dtype: torch.dtype
    device: torch.device
    counted: dict[str | int | None, Tensor]

    @property
    def dim(self) -> int:
        """d, the real numbers of one update."""
        return max((layer.stop for layer in self.layers), default=0)

    @property
    def places(self) -> tuple[models.Layer, ...]:
        """The layers of real numbers, for rules that look at layers; none of updates that are one vector each."""
        real = [layer for layer in self.layers if not layer.counts]
        if any(layer.name is None for layer in real):
            return ()
        return tuple(models.Layer(str(one.name), one.shape, slice(one.start, one.stop)) for one in real)

    def restored(self, vector: Tensor) -> Any:
        """`vector (d,)` in the form of one update; layers are views of it where their number type is its own.

        A layer of whole numbers has the clients' median, of an even count the lower one of the middle two.
        """
        values = [
            layer.given_back(self.counted[layer.name]) if layer.counts else layer.of(vector) for layer in self.layers
        ]
        return self.build(values)

    def flat(self, one: Any, what: str) -> Tensor:
        """One model or update of this form as `(d,)`; raises `ValueError`, which names it, where it has another."""
        row = torch.empty(self.dim, dtype=self.dtype, device=self.device)
        self.fill(row, one, what)
        return row

    def fill(self, row: Tensor, one: Any, what: str) -> None:
        """Copy one update into `row (d,)`; raises `ValueError`, which names it, where it is of another form."""
        leaves = _leaves(one, what)
        if leaves.keys() != {layer.name for layer in self.layers}:
            missing = sorted({str(layer.name) for layer in self.layers} ^ {str(name) for name in leaves})
            raise ValueError(f"{what} has not the layers of the first update: {', '.join(missing[:3])} differ")
        for layer in self.layers:
            array = leaves[layer.name]
            if tuple(array.shape) != layer.shape:
                place = "" if layer.name is None else f" in layer {layer.name!r}"
                raise ValueError(f"{what} has shape {tuple(array.shape)}{place}, the first update {layer.shape}")
            if not layer.counts:
                row[layer.start : layer.stop].view(layer.shape).copy_(_tensor(array))


def rows_of(updates: Any) -> tuple[Tensor, Form]:
    """Rows `(n, d)` of float32 or float64, and the form of one update; a matrix of these types is not copied.

    Number types below float32 become float32, a mixture the widest of them. Raises `ValueError`, in one sentence, for
    what is none of the three forms, and where clients' updates differ in form.
    """
    if isinstance(updates, Tensor | np.ndarray):
        return _of_matrix(updates)
    if not isinstance(updates, Sequence) or isinstance(updates, str | bytes) or not len(updates):
        raise ValueError(
            f"updates is {_kind(updates)}, but must be an (n, d) tensor or array, or a list with an update for each "
            "client: an array, a list of arrays, or a state dict"
        )
    form = _form_of(updates[0])
    rows = torch.empty(len(updates), form.dim, dtype=form.dtype, device=form.device)
    for index, one in enumerate(updates):
        form.fill(rows[index], one, f"update {index}")
    for layer in form.layers:
        if layer.counts:
            given = torch.stack([_tensor(_leaves(one, "")[layer.name]).to(form.device) for one in updates])
            form.counted[layer.name] = _middle(given)
    return rows, form


def _of_matrix(updates: Array) -> tuple[Tensor, Form]:
    given = _tensor(updates)
    if given.dim() != 2 or not given.numel() or not given.dtype.is_floating_point:
        raise ValueError(
            f"updates is {given.dtype} of shape {tuple(given.shape)}, but must be real numbers (n, d), a client's "
            "update a row"
        )
    layer = _layer(None, updates[0], 0)
    dtype = given.dtype if given.dtype in REALS else torch.float32
    return given.to(dtype), Form((layer,), lambda values: values[0], dtype, given.device, {})


def _form_of(one: Any) -> Form:
    leaves = _leaves(one, "update 0")
    layers: list[Layer] = []
    at = 0
    for name, array in leaves.items():
        layers.append(_layer(name, array, at))
        at = layers[-1].stop
    real = [layer for layer in layers if not layer.counts]
    if not at:
        raise ValueError("update 0 holds no real numbers")
    widest = reduce(torch.promote_types, (layer.dtype for layer in real), torch.float32)
    return Form(tuple(layers), _builder(one), widest, real[0].device, {})


def _layer(name: str | int | None, array: Array, start: int) -> Layer:
    tensor = _tensor(array)
    stop = start + (tensor.numel() if tensor.dtype.is_floating_point else 0)
    is_numpy = isinstance(array, np.ndarray)
    return Layer(name, tuple(tensor.shape), tensor.dtype, tensor.device, is_numpy, start, stop)


def _leaves(one: Any, what: str) -> Mapping[Any, Array]:
    """The layers of an update, by name or place; an update that is one array has one, `None`."""
    if isinstance(one, Tensor | np.ndarray):
        return {None: one}
    results: Mapping[Any, Any] | None = None
    if isinstance(one, Mapping):
        results = one
    elif isinstance(one, Sequence) and not isinstance(one, str | bytes):
        results = dict(enumerate(one))
    if not results or not all(isinstance(array, Tensor | np.ndarray | np.generic) for array in results.values()):
        raise ValueError(f"{what} is {_kind(one)}, but must be an array, a list of arrays, or a state dict of them")
    return {name: np.asarray(array) if isinstance(array, np.generic) else array for name, array in results.items()}


def _builder(one: Any) -> Callable[[Sequence[Array]], Any]:
    """What puts layers together again, as a plain dict, a list, a tuple, or the array itself."""
    if isinstance(one, Tensor | np.ndarray):
        return lambda values: values[0]
    if isinstance(one, Mapping):
        names = list(one)
        return lambda values: dict(zip(names, values, strict=True))
    return tuple if isinstance(one, tuple) else list


def _tensor(array: Array) -> Tensor:
    """The same memory as a tensor without a history of gradients."""
    if isinstance(array, Tensor):
        return array.detach()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an array that cannot be written to: nobody does
            return torch.from_numpy(array)
    except (TypeError, ValueError):
        try:
            return torch.from_numpy(np.ascontiguousarray(array))  # strides that torch has not
        except TypeError:
            raise ValueError(f"an array of {array.dtype} holds no numbers that torch has") from None


def _middle(given: Tensor) -> Tensor:
    """The median of whole numbers or truth values over the clients, the lower of two."""
    whole = given.to(torch.int64) if given.dtype == torch.bool else given
    return whole.median(dim=0).values.to(given.dtype)


def _kind(found: Any) -> str:
    empty = isinstance(found, Sequence) and not isinstance(found, str | bytes) and not len(found)
    return "empty" if empty else f"a {type(found).__name__}"


def copied_bytes(updates: Any) -> int:
    """How many bytes of the updates `rows_of` copies: none of a float32 or float64 matrix."""
    rows, _ = rows_of(updates)
    same = isinstance(updates, Tensor | np.ndarray) and _tensor(updates).data_ptr() == rows.data_ptr()
    return 0 if same else math.prod(rows.shape) * rows.element_size()
