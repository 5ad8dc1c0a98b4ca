"""What an attack is probed with: the class, watched, and what each kind of attack has to be tried on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bench.protocol import Alphabet
from bench.submission.guards import Watch
from bench.submission.problems import watched
from bench.threat import Attack


@dataclass(frozen=True)
class AttackSubject:
    """An attack's class with its parameters, watched; `alphabets` are those of the rows that it is run against."""

    cls: type[Attack]
    parameters: Mapping[str, Any]
    alphabets: tuple[Alphabet, ...]
    watch: Watch

    def build(self) -> Any:
        """A fresh instance: nothing is carried from one probe to the next."""
        with self.step("its construction"):
            return self.cls(**self.parameters)

    def step(self, name: str) -> AbstractContextManager[None]:
        """What a step raises, in a sentence that names it."""
        return watched(self.watch, name)


class AttackProbe(ABC):
    """The rules that depend on what kind of attack it is; each returns its sentence or raises that of a failure."""

    gives: str
    """What an attack of the kind gives, in a word."""

    generator: str
    """The generator that it is given, as its code calls it."""

    def __init__(self, subject: AttackSubject) -> None:
        self.subject = subject

    @abstractmethod
    def play(self, seed: int, *, look: bool = False) -> list[Tensor]:
        """All that a fresh attack gives for inputs of this seed; with `look`, what it was given is compared after."""

    @abstractmethod
    def shapes(self) -> str:
        """Every method gives what its signature says."""

    @abstractmethod
    def prompt(self) -> str:
        """A small play ends at once."""

    @abstractmethod
    def finite(self) -> str:
        """Finite inputs give finite outputs, also extreme ones."""

    @abstractmethod
    def behind_its_view(self) -> str:
        """The same view gives the same bits, whatever stands behind it."""

    @abstractmethod
    def growth(self, size: tuple[int, int]) -> str:
        """How its time grows; `size` is the suite's (participants, parameters)."""
