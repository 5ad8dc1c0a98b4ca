"""What an examination finds, rule by rule, and the file that keeps it beside the records."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

STRICT = ConfigDict(frozen=True, extra="forbid")
Verdict = Literal["passed", "failed", "note"]


class Finding(BaseModel):
    """One rule of the contract: whether it was kept, in a sentence; a note is for people and breaks nothing."""

    model_config = STRICT

    rule: str
    verdict: Verdict
    sentence: str


class Examination(BaseModel):
    """All findings about one source, under which network guarantee."""

    model_config = STRICT

    sha256: str
    network: str
    findings: list[Finding]

    @property
    def broken(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict == "failed"]
