"""What the papers state: their own numbers and words, with the place where they stand; the only typed-in values."""

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from pydantic import BaseModel, ConfigDict


class Stated(BaseModel):
    """An entry of `papers.toml`: the place, what is stated there in a sentence, and the numbers as extra keys."""

    model_config = ConfigDict(frozen=True, extra="allow")

    place: str
    says: str

    def number(self, name: str) -> Any:
        """A number, list or table of the entry; `KeyError` where there is none."""
        return (self.model_extra or {})[name]


@cache
def stated() -> dict[str, Stated]:
    """All entries, by item."""
    text = (resources.files("bench.reproduce") / "papers.toml").read_text(encoding="utf-8")
    return {item: Stated(**entry) for item, entry in tomllib.loads(text).items()}
