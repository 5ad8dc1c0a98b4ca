"""The contract of an attack, rule by rule: each one is tried on fresh instances, and told in one sentence."""

from collections.abc import Callable, Iterator

from bench.base.errors import BadInputError
from bench.records.submissions import Finding
from bench.submission.attack_probe import AttackProbe, AttackSubject
from bench.submission.common import bits, in_order, repeatable, undisturbed
from bench.submission.forging_probe import ForgingProbe
from bench.submission.game_probe import GameProbe
from bench.submission.inversion_probe import InversionProbe
from bench.submission.problems import StepError
from bench.threat import Attack, ByzantineAttack, MembershipAttack, PrivacyAttack, PrivacyAudit, PropertyAttack

PROBES: dict[type[Attack], type[AttackProbe]] = {
    ByzantineAttack: ForgingProbe,
    PrivacyAttack: InversionProbe,
    PrivacyAudit: GameProbe,
}
"""What each kind of attack is tried with."""


def examine(subject: AttackSubject, fingerprint: str | None, size: tuple[int, int]) -> Iterator[Finding]:
    """All findings, in order; where a plain play does not work, the rules after it are not tried.

    `fingerprint` is that of another process, `size` the suite's (participants, parameters).
    """
    probe = probe_of(subject)
    rules: dict[str, Callable[[], str]] = {
        "shapes and types": probe.shapes,
        "promptness": probe.prompt,
        "inputs left as they are": lambda: _inputs_kept(probe),
        "determinism": lambda: repeatable(lambda: _print(probe), fingerprint, "seed and view", probe.gives),
        "global random state": lambda: undisturbed(lambda: bits(*probe.play(4)), probe.generator),
        "finite output": probe.finite,
        "nothing but its view": probe.behind_its_view,
        "cost": lambda: probe.growth(size),
    }
    yield from in_order(rules, ("nothing but its view",), "bits", "play", subject.watch)


def probe_of(subject: AttackSubject) -> AttackProbe:
    """The probe of the subject's kind; `BadInputError` for an attack of no kind."""
    for kind, probe in PROBES.items():
        if issubclass(subject.cls, kind):
            return probe(subject)
    if issubclass(subject.cls, MembershipAttack | PropertyAttack):
        raise BadInputError(
            f"{subject.cls.__name__} infers {subject.cls.plays}: such an attack cannot be submitted yet"
        )
    names = ", ".join(kind.__name__ for kind in PROBES)
    raise BadInputError(f"{subject.cls.__name__} is an attack of no kind: derive it from one of {names}")


def fingerprint_of(subject: AttackSubject) -> str | None:
    """The bits of what a play gives, in hexadecimal; None where it cannot be played."""
    try:
        return _print(probe_of(subject)).hex()
    except StepError:
        return None  # the examination says what is wrong


def _print(probe: AttackProbe) -> bytes:
    return bits(*probe.play(1))


def _inputs_kept(probe: AttackProbe) -> str:
    """Every bit of what the methods are given is the same afterwards."""
    probe.play(3, look=True)
    return "no bit of what it was given has changed"
