"""The `[resources]` table: what a cell takes of a node of a cluster."""

from pydantic import ConfigDict, Field, field_validator

from bench.base.numbers import Numbers


class Resources(Numbers):
    """What each cell takes of a node of a cluster (`--ray`); fractions are shares of one, as two cells on a CPU.

    A table of the suite, and not a part of its federation: it says where a cell may run, never what it computes, so
    that cells, their keys and their protocol's hash are the same whatever stands in it. Without `cpus` a cell takes as
    many as it has threads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cpus: float | None = Field(default=None, ge=0.01)
    gpus: float = Field(default=0.0, ge=0)

    @field_validator("gpus")
    @classmethod
    def _whole_or_a_share(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"gpus is {gpus:g}, but must be a whole number, or a share of one GPU")
        return gpus
