"""Where a cell computes: on the CPU, or with all of its tensors on a GPU.

On a GPU, everything that a cell makes lies there: torch's factory functions and `rng.generator` follow the device of
the context, so a defense or an attack needs no word about it. The noise is another stream of the same distribution. The
partition, the first model, the batches and who is Byzantine are drawn on the CPU, and are the same on both.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.base.errors import BadInputError
from bench.base.names import unknown

CPU, CUDA = "cpu", "cuda"
DEVICES = ("auto", CPU, CUDA)


def choose(device: str, here: bool = True) -> str:
    """What `--device` stands for: `auto` is the CPU, on which the published records were made.

    Raises `BadInputError` for another name, and for a GPU that torch does not find, where cells run `here`.
    """
    if device not in DEVICES:
        raise BadInputError(unknown("device", device, DEVICES))
    if device == CUDA and here and not torch.cuda.is_available():
        raise BadInputError("--device cuda needs a GPU that torch can use, and it finds none; leave it out or say cpu")
    return CPU if device == "auto" else device


def describe(device: str) -> str:
    """For a record: `cpu`, or `cuda` with the name of the GPU."""
    return device if device == CPU else f"{device}: {torch.cuda.get_device_name()}"


def on_gpu(held: torch.Tensor | torch.Generator) -> bool:
    """Whether a form for the GPU computes with it: one that waits for no copy, and for few launches."""
    return held.device.type != CPU


def current() -> torch.device:
    """The device that tensors are made on here: the context's, the CPU outside of one."""
    return torch.empty(0).device


@contextmanager
def computing_on(device: str) -> Iterator[None]:
    """In here tensors are made on the device; on a GPU no convolution trades precision, or the same bits, for speed."""
    if device == CPU:
        yield
        return
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with exact, torch.device(device):
        yield


def synchronise() -> None:
    """Wait until the context's device has done all that it was told: what a clock needs."""
    if current().type == CUDA:
        torch.cuda.synchronize()
