"""What flags and marks mean, for a reader who has not seen them before."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from leaderboards.harmless import MEANING, SIGN

LEFT_OUT = "It is left out of the mean, and counts as accuracy 0 in the ranking."
FLAGS = (
    (
        r"^(evaluation \S+: )?breaks the contract",
        "breaks the contract",
        "The submitted file breaks a rule that every shipped one keeps; it is shown all the same, marked.",
    ),
    (
        r"contract was (not examined|examined for another source)",
        "contract not examined",
        "Nobody has published what the examination says of this source: `python -m bench submit` writes it.",
    ),
    (
        r"source is not what was submitted",
        "source changed",
        "The file in the folder is not the one whose digest was submitted, so that its numbers are of another one.",
    ),
    (r"\d+ seed\(s\) failed", "failed", f"The cell broke off with an error. {LEFT_OUT}"),
    (r"\d+ seed\(s\) diverged", "diverged", f"The model or a message was no longer finite. {LEFT_OUT}"),
    (
        r"\d+ of \d+ seeds",
        "seeds missing",
        "Fewer runs than the suite asks for, so that the interval is wide, or there is none: run the suite to its end.",
    ),
    (
        r"the control failed",
        "control failed",
        "The same attack recovers too little without any defense, so that a low number here is a weakness of the "
        "attack and no merit of the defense.",
    ),
    (
        r"beats the clean run",
        "beats the clean run",
        "Accuracy under attack is higher than without: the attack is too weak here, or the clean run is badly tuned.",
    ),
    (
        r"the privacy claim is broken",
        "claim broken",
        "An audit proves, at 95 % confidence, more leakage than is claimed, at a threat model that the claim is for.",
    ),
    (
        r"beyond what the claim is meant for",
        "beyond the claim",
        "An audit proves more leakage than is claimed, but with more colluders, or more active ones, than the claim "
        "allows for.",
    ),
    (
        r"plays in a federation of its own",
        "own federation",
        "Settings that the suite fixes for all rows are others here, so that its numbers are not those of the others' "
        "federation.",
    ),
    (
        r"no Byzantine client in the sample",
        "nobody attacked",
        "Every round's sample left the Byzantine clients out: the number is that of a clean run.",
    ),
    (
        r"sensitive to rounding",
        "sensitive to rounding",
        "On another processor, whose last digits differ, a seed of this cell gives visibly another accuracy: trust the "
        "mean over seeds to within its interval, and no single seed.",
    ),
    (
        r"made under another arithmetic",
        "another arithmetic",
        "Its records do not hold bit for bit on another processor: playing them anew tells less than of other rows.",
    ),
    (
        r"made on (several devices|another device)",
        "device",
        "A GPU draws other noise than a CPU, so that nobody without one can play these records anew.",
    ),
    (
        r"saved by the task",
        "saved by the task",
        "FedAvg, which defends against nobody, keeps nearly all of its accuracy under each of these attacks: that this "
        "row stands them says nothing of it.",
    ),
    (
        r"was given the true number",
        "oracle",
        "The defense was told the true number of Byzantine clients, which no server knows; others get the share that "
        "the suite assumes.",
    ),
)
"""What a flag of each kind has in it, its name, and what it means."""

MARKS = {
    "†": "beyond what the defense itself claims to stand, or what its claim is meant for",
    "✓": "an audit proves no more than is claimed",
    "✗": "an audit proves more than is claimed, or less noise is left than the claim needs",
    "+": "the most that so many games can prove: every one was told right",
    "–": "not measured, or not claimed",
    "≈": "sensitive to rounding: one seed under two arithmetics is more than a point of accuracy apart",
    SIGN: f"an attack that takes no defense: {MEANING}",
    "±": "half the width of the 95 % t interval over the seeds",
    "[a, b]": "the 95 % interval in %: of a share of images Wilson's at their effective number, or a t interval over "
    "the seeds cut at 0 and 100",
    "rank": "rows that the seeds do not tell apart share one",
    "rank interval": "the ranks that a row may have, all at once with 95 %",
    "b": "the share of the clients that are Byzantine",
    "rho": "the share of the other clients that collude with the server",
}
"""What stands in the tables beside the numbers."""


@dataclass(frozen=True)
class Flag:
    """A flag with the name of its kind and what that means."""

    name: str
    text: str
    meaning: str


def explained(note: str) -> Flag:
    """The flag; a kind that is not known here stands for itself."""
    for pattern, name, meaning in FLAGS:
        if re.search(pattern, note):
            return Flag(name, note, meaning)
    return Flag("note", note, "")


def kinds(flags: Iterable[Flag]) -> dict[str, str]:
    """The meaning of each kind that is there, once."""
    results = {flag.name for flag in flags}
    return {name: meaning for _, name, meaning in FLAGS if name in results}
