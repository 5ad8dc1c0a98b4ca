"""Two records of one cell: the same bits where their environments promise it, close anywhere else."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bench.records.provenance import Environment
from bench.records.record import Record


class Tolerance(NamedTuple):
    """Two values are close when they differ by no more than `absolute`, or by that share of the larger one."""

    absolute: float
    relative: float


FLOATS = Tolerance(1e-9, 1e-3)

TOLERANCES: dict[str, Tolerance] = {
    "accuracy": Tolerance(0.01, 0.0),
    "validation": Tolerance(0.01, 0.0),
    "curve": Tolerance(0.01, 0.0),
    "success": Tolerance(0.01, 0.0),
    "gradient_match_loss": Tolerance(1e-9, 0.01),
    "trace": Tolerance(1e-9, 0.01),
    "mse": Tolerance(1e-9, 0.3),
    "psnr": Tolerance(1.0, 0.0),
    "ssim": Tolerance(0.03, 0.0),
    "recovered": Tolerance(0.25, 0.0),
    "label_recovered": Tolerance(0.25, 0.0),
    "worst_class_accuracy": Tolerance(0.1, 0.0),
    "worst_tenth_accuracy": Tolerance(0.03, 0.0),
}
"""What another class of machine may give, by a field's last name (a control's is that of the attack); `FLOATS` else.

Sums run in another order there, and everything follows from that. Three other classes were played on one machine: torch
and its BLAS held to AVX2, to AVX2 with MKL's own AVX2 paths, and to plain SSE. Accuracies and curves came out the same,
losses to 1e-6. An inversion of noisy gradients walks another path from the first rounding on: the losses it ends at
differed by 0.1 %, its mse by up to 15 %, its PSNR by 0.36 dB, its SSIM by 0.008. The tolerances are two to ten times
that; for accuracies, where nothing was seen, one test image in a hundred, and for the share of recovered images one of
the suite's four targets. A class has a tenth of the test images, so that three of them are a tenth of its accuracy.
"""

LATER = ("metrics.worst_class_accuracy", "metrics.worst_tenth_accuracy")
"""Numbers that older records lack: they are compared where both records have them."""


def differing(old: Mapping[str, Any], new: Mapping[str, Any], exact: bool) -> Iterator[tuple[str, Any, Any]]:
    """(field, old, new) where they are not the same, or not close where `exact` is not asked for."""
    old, new = shared(old, new), shared(new, old)
    if not exact:
        old, new = portable(old), portable(new)
    for field in sorted({*old, *new}):
        before, after = old.get(field), new.get(field)
        if before != after and (exact or not close(field, before, after)):
            yield field, before, after


def shared(fields: Mapping[str, Any], other: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields without what only later records have, where the `other` lacks it."""
    lacking = [name for name in LATER if name in fields and name not in other]
    return {name: value for name, value in fields.items() if name not in lacking} if lacking else fields


def numbers(record: Record) -> dict[str, Any]:
    """Every number of the experiment, flat, by its path in the record: no times, no versions, no file names."""
    fields = {"status", "error", "metrics", "curve", "success", "trace", "privacy", "derived", "within_claim"}
    parts = {"cost": {"upload_bytes", "peer_bytes"}, "siege": {"members", "rounds", "evaluations"}}
    content = record.model_dump(mode="json", include={**dict.fromkeys(fields, True), **parts})
    return dict(_flat(content))


def everything(record: Record) -> dict[str, Any]:
    """`numbers`, and what only equal bits can repeat: image by image, curve by curve, and who had which role."""
    content = record.model_dump(
        mode="json", include={"psnr", "control_psnr", "byzantine", "files", "roc", "singled_out"}
    )
    return numbers(record) | dict(_flat(content))


def portable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what only one class of machine repeats: of an attack's loss trace, only its start and its best."""
    kept = {field: value for field, value in fields.items() if not field.startswith("trace.")}
    trace = [value for field, value in fields.items() if field.startswith("trace.")]
    return {**kept, "trace.first": trace[0], "trace.best": min(trace)} if trace else kept


def close(field: str, old: Any, new: Any) -> bool:
    """Whether two values of a field may be of two classes of machine."""
    if not isinstance(old, float) or not isinstance(new, float):
        return bool(old == new)
    tolerance = tolerance_of(field)
    return math.isclose(old, new, rel_tol=tolerance.relative, abs_tol=tolerance.absolute)


def tolerance_of(field: str, known: Mapping[str, Tolerance] = TOLERANCES) -> Tolerance:
    """By the part of the path that has one; `metrics.control_psnr` is a `psnr`."""
    parts = (part.removeprefix("control_").removeprefix("blind_") for part in field.split("."))
    return next((known[part] for part in parts if part in known), FLOATS)


def _flat(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, content


MachineClass = tuple[str, str, str, str]


def machine_class(environment: Environment) -> MachineClass:
    """Machines of one class give the same bits, and times that compare well: CPU, GPU, versions of torch and numpy."""
    return environment.cpu, environment.device, environment.torch, environment.numpy


def same_bits(one: Environment, other: Environment) -> bool:
    """Whether the two must give the same bits.

    Under the portable arithmetic any x86-64 processor does, under its own one class of machine; of equal versions.
    """
    if (one.arithmetic or "native") != (other.arithmetic or "native"):
        return False
    if one.arithmetic == "portable":
        alike = ("machine", "device", "torch", "numpy", "scipy", "arithmetic_version")
        return all(getattr(one, name) == getattr(other, name) for name in alike)
    return machine_class(one) == machine_class(other)
