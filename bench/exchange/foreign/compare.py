"""The verdict on another library's rule: the same as the paper's, a named variant, or different, with an example.

Both are called with the same float64 rows: small whole numbers on a line first, then in two and three dimensions, where
a difference can be checked by hand; then generic real ones, where nothing ties. The example that is shown is the
smallest that was met, made smaller still as long as the two differ. Afterwards float32 far from zero, where products
that are not centred cancel, and the sizes at which a count in floating point comes out one short.
"""

import itertools
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor

from bench.base import rng
from bench.exchange.foreign.entry import Entry
from bench.exchange.foreign.meanings import MEANINGS, with_settings

Outcome = Literal["same", "same but for ties", "variant", "different", "random", "not compared"]

MOST, DRAWS = 9, 6
"""The most rows on a line, and how many draws of each shape."""

SHRINKS = 150
"""Calls that making an example smaller may take."""

FAR, SPREAD = 1000.0, 0.05
"""Where float32 has 2^-13 between neighbours: far from zero, and how far rows lie apart."""

ROUNDING = 2e-6
"""Of float32 answers: some units in the last place."""

OUTLIER = 10_000.0
"""One row far away, which a start from the mean does not forget."""

PIVOTED = ("monna", "mimic", "sign_flip")
"""Names whose rules look at the first row because of its place."""

NUDGE = 1e-3
"""How far rows of whole numbers are moved, so that nothing ties any more."""

ENDLESS = 3
"""So many calls that do not end, and no further case is tried."""

SECONDS = 3
"""What one call may take: a loop that waits for a number to change may never end."""

Call = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Case:
    """Rows `(n, d)`, float64, with f; `generic` where nothing ties but by chance zero."""

    rows: Tensor
    f: int
    generic: bool = False

    @property
    def size(self) -> tuple[float, ...]:
        rows = self.rows
        whole = torch.equal(rows, rows.round())
        twice = len(rows.unique(dim=0)) < len(rows)
        return (not whole, twice, rows.numel(), float(rows.abs().max()), float(rows.abs().sum()), self.f)


@dataclass(frozen=True)
class Example:
    """Where two answers differ: rows, f, theirs and ours."""

    rows: list[list[float]]
    f: int
    theirs: list[float]
    ours: list[float]

    @property
    def given(self) -> str:
        """The rows in one line; rows of one number are numbers."""
        line = all(len(row) == 1 for row in self.rows)
        return ", ".join(_number(row[0]) for row in self.rows) if line else ", ".join(map(_tuple, self.rows))

    @property
    def told(self) -> str:
        """In one line."""
        theirs, ours = _answer(self.theirs), _answer(self.ours)
        if theirs == ours:
            theirs, ours = str(self.theirs), str(self.ours)
        return f"{self.given} with f = {self.f}: {theirs}, ours {ours}"


@dataclass(frozen=True)
class Verdict:
    """What came of it; `notes` are what is true besides."""

    entry: Entry
    outcome: Outcome
    told: str
    examples: int = 0
    example: Example | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        shown = None if self.example is None else vars(self.example)
        return {
            "library": self.entry.library,
            "name": self.entry.name,
            "ours": self.entry.ours or None,
            "verdict": self.outcome,
            "told": self.told,
            "cases": self.examples,
            "example": shown,
            "notes": list(self.notes),
        }


@dataclass
class _Seen:
    """How a meaning did over all cases: where it agreed, and where not."""

    agreed: int = 0
    differed: list[Case] = field(default_factory=list)


def compared(entry: Entry, parameters: Mapping[str, Any] | None = None) -> Verdict:
    """The verdict on an entry, with further `parameters` of theirs; nothing is trained."""
    if not entry.ours:
        return Verdict(entry, "not compared", "no rule of ours has this name: give --against-ours")
    name = MEANINGS[entry.ours]
    theirs = _caller(entry, parameters or {})
    if entry.ours == "gaussian":
        return Verdict(entry, "random", _of_noise(theirs))
    if entry.ours == "bucketing":
        return _of_buckets(entry, theirs)
    if _is_random(theirs):
        told = "two calls with the same rows give two answers"
        return Verdict(entry, "random", told, notes=tuple(_notes(entry, theirs)))
    meanings = {"": with_settings(name.ours, entry.settings)}
    meanings |= {one.told: with_settings(one.rule, entry.settings) for one in name.variants}
    seen = {told: _Seen() for told in meanings}
    refused: dict[str, Case] = {}
    count, reason = 0, ""
    endless: list[Case] = []
    for case in cases():
        if entry.ours == "geometric_median" and case.rows.shape[1] == 1 and len(case.rows) % 2 == 0:
            continue  # on a line every point between the middle two is one
        answer, reason = _tried(theirs, case)
        if "TimeoutError" in reason:
            endless.append(case)
            if len(endless) == ENDLESS:
                break
        for told, meaning in meanings.items():
            expected, _ = _tried(meaning, case)
            if answer is None or expected is None:
                if told == "" and (answer is None) != (expected is None):
                    refused.setdefault("theirs" if answer is None else "ours", case)
                continue
            count += told == ""
            if _equal(answer, expected, entry.close):
                seen[told].agreed += 1
            else:
                seen[told].differed.append(case)
    if not count:
        return Verdict(entry, "not compared", f"it answers none of the cases: {reason}")
    notes = (*_endless(endless), *_refusals(refused), *_notes(entry, theirs))
    return _judged(entry, theirs, meanings, seen, count, notes)


def cases() -> Iterator[Case]:
    """All of them, the same in every call: whole numbers on a line, in space, then generic reals."""
    draws = rng.generator(0, "exchange", "cases", device="cpu")
    for n in range(3, MOST + 1):
        yield Case(torch.arange(n, dtype=torch.float64)[:, None], 1)
        yield Case(torch.arange(n, dtype=torch.float64).flip(0)[:, None], 1)
    for n in range(3, MOST + 1):
        for f in range((n - 1) // 2 + 1):
            for high in (5, 10, 21)[: max(1, DRAWS // 2)] * 2:
                yield Case(torch.randint(high, (n, 1), generator=draws).double(), f)
    for n in (5, 6, 7, 8):
        rows = torch.randint(10, (n, 1), generator=draws).double()
        rows[-1] = OUTLIER
        yield Case(rows, 1)
    for n, d in itertools.product(range(4, 10), (2, 3)):
        for f in range(1, (n - 1) // 2 + 1):
            yield Case(torch.randint(10, (n, d), generator=draws).double(), f)
    for n, d in itertools.product((4, 5, 7, 8, 11, 12, 15, 16), (1, 2, 5)):
        for f in sorted({0, 1, 2, 3} & set(range((n - 1) // 2 + 1))):
            yield Case(torch.randn(n, d, generator=draws, dtype=torch.float64), f, generic=True)


def _caller(entry: Entry, parameters: Mapping[str, Any]) -> Call:
    """Theirs from fresh, on a copy of the rows."""
    return lambda rows, f: entry.make(len(rows), f, parameters)(rows.clone())


def _tried(call: Call, case: Case) -> tuple[Tensor | None, str]:
    """The answer; None, and why, where the rule refuses the case."""
    try:
        with _within(SECONDS):
            answer = call(case.rows, case.f)
    except Exception as error:  # whatever somebody else's rule raises
        return None, f"{type(error).__name__}: {' '.join(str(error).split())}"
    return torch.as_tensor(answer).detach().cpu(), ""


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in here after so many seconds, where the system and the thread allow it."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _equal(one: Tensor, other: Tensor, close: float) -> bool:
    """Whether two answers are the same but for rounding: that of float32, where either is of float32."""
    if one.shape != other.shape:
        return False
    if torch.float32 in (one.dtype, other.dtype):
        close = max(close, ROUNDING)
    one, other = one.double(), other.double()
    scale = max(1.0, float(other.abs().max()))
    return bool(one.isfinite().all()) and float((one - other).abs().max()) <= close * scale


def _by_order(entry: Entry, call: Call, case: Case) -> bool:
    """Whether the answer to the rows depends on their order; a pivot, the first row, stays where it is."""
    first, _ = _tried(call, case)
    kept, close = int(entry.ours in PIVOTED), entry.close
    rest = torch.arange(kept, len(case.rows))
    for moved in (rest.flip(0), rest.roll(1), case.rows[kept:, 0].argsort() + kept):
        order = torch.cat([torch.arange(kept), moved])
        other, _ = _tried(call, Case(case.rows[order], case.f))
        if first is None or other is None:
            return True
        if first.dim() == 2 and other.shape == first.shape == case.rows.shape:
            other = other[order.argsort()]
        if not _equal(first, other, close):
            return True
    return False


def _is_tie(entry: Entry, theirs: Call, ours: Call, case: Case) -> bool:
    """Whether the two differ by nothing but who wins a tie: they agree as soon as all rows are moved a little.

    Or the order of the rows decides, which no meaning of a rule says: some rules tie whatever the rows.
    """
    draws = rng.generator(3, "exchange", "moved", device="cpu")
    for _ in range(3):
        moved = Case(case.rows + NUDGE * torch.randn(case.rows.shape, generator=draws, dtype=torch.float64), case.f)
        one, other = _tried(theirs, moved)[0], _tried(ours, moved)[0]
        if one is None or other is None or not _equal(one, other, entry.close):
            return _by_order(entry, theirs, case)
    return True


def _judged(
    entry: Entry,
    theirs: Call,
    meanings: Mapping[str, Call],
    seen: Mapping[str, _Seen],
    count: int,
    notes: tuple[str, ...],
) -> Verdict:
    paper = MEANINGS[entry.ours].paper
    where = f"as {paper}"
    untied = {
        told: [case for case in result.differed if not _is_tie(entry, theirs, meanings[told], case)]
        for told, result in seen.items()
    }
    if not seen[""].differed:
        return Verdict(entry, "same", where, count, None, notes)
    fitting = [told for told, result in seen.items() if told and result.agreed and not untied[told]]
    example = _smallest(entry, theirs, meanings[""], untied[""] or seen[""].differed)
    if not untied[""] and not any(not seen[told].differed for told in fitting):
        told = f"{where}; where rows tie, their order decides"
        return Verdict(entry, "same but for ties", told, count, example, notes)
    if fitting:
        best = min(fitting, key=lambda told: len(seen[told].differed))
        ties = "; where rows tie, their order decides" if seen[best].differed else ""
        return Verdict(entry, "variant", best + ties, count, example, notes)
    share = f"{len(seen[''].differed)} of {count} cases"
    nearest = max(seen, key=lambda told: seen[told].agreed)
    near = f"; nearest to it: {nearest}, in {seen[nearest].agreed}" if nearest else ""
    return Verdict(entry, "different", f"not {where}: another answer in {share}{near}", count, example, notes)


def _smallest(entry: Entry, theirs: Call, ours: Call, differed: list[Case]) -> Example | None:
    """The smallest case among those that differ, made smaller still; None where ours needs more than such rows."""
    best = min(differed, key=lambda case: case.size)
    tied = _is_tie(entry, theirs, ours, best)

    def differs(case: Case) -> bool:
        one, _ = _tried(theirs, case)
        other, _ = _tried(ours, case)
        if one is None or other is None or _equal(one, other, max(entry.close, 1e-6)):
            return False
        return tied or not _is_tie(entry, theirs, ours, case)

    best = _shrunk(best, differs)
    one, other = _tried(theirs, best)[0], _tried(ours, best)[0]
    assert one is not None
    assert other is not None
    if not bool(other.isfinite().all()):
        return None
    return Example(best.rows.tolist(), best.f, one.flatten().tolist(), other.flatten().tolist())


def _shrunk(case: Case, differs: Callable[[Case], bool]) -> Case:
    """Smaller whole numbers, one entry at a time, as long as the two differ and no more rows are equal than before."""
    if not torch.equal(case.rows, case.rows.round()):
        return case
    distinct, tries, changed = len(case.rows.unique(dim=0)), 0, True
    while changed and tries < SHRINKS:
        changed = False
        for place in itertools.product(*map(range, case.rows.shape)):
            for smaller in range(int(case.rows[place])):
                rows = case.rows.clone()
                rows[place] = smaller
                tried = Case(rows, case.f)
                if len(rows.unique(dim=0)) < distinct:
                    continue
                tries += 1
                if differs(tried):
                    case, changed = tried, True
                    break
                if tries >= SHRINKS:
                    return case
    return case


# ------------------------------------------------------------------------------------- what is true besides


def _is_random(theirs: Call) -> bool:
    rows = torch.randn(7, 4, generator=rng.generator(0, "exchange", "random", device="cpu"), dtype=torch.float64)
    answers = [_tried(theirs, Case(rows, 1))[0] for _ in range(3)]
    first = answers[0]
    return first is not None and any(other is None or not _equal(first, other, 1e-12) for other in answers[1:])


def _endless(found: list[Case]) -> Iterator[str]:
    if found:
        rows = Example(found[0].rows.tolist(), 0, [], []).given
        yield f"it does not end within {SECONDS} seconds, as for {rows} with f = {found[0].f}"


def _refusals(refused: Mapping[str, Case]) -> Iterator[str]:
    if (case := refused.get("ours")) is not None:
        yield f"it answers where ours refuses (n = {len(case.rows)}, f = {case.f})"
    if (case := refused.get("theirs")) is not None:
        yield f"it refuses where ours answers (n = {len(case.rows)}, f = {case.f})"


def _notes(entry: Entry, theirs: Call) -> Iterator[str]:
    """Float32 far from zero, counts in floating point, and whether it writes into what it is given."""
    if _narrows(theirs):
        yield "it computes in float32 what it is given in float64"
    if _writes(entry):
        yield "it writes into the rows that it is given"
    if entry.kind in ("rule", "mixing") and (told := _far_from_zero(theirs)):
        yield told
    if entry.ours in ("trimmed_mean", "arc") and (told := _counted(entry, theirs)):
        yield told


def _narrows(theirs: Call) -> bool:
    rows = torch.randn(7, 4, generator=rng.generator(2, "exchange", "narrow", device="cpu"), dtype=torch.float64)
    answer, _ = _tried(theirs, Case(rows, 1))
    return answer is not None and answer.dtype == torch.float32


def _writes(entry: Entry) -> bool:
    rows = 10 * torch.randn(7, 4, generator=rng.generator(1, "exchange", "writes", device="cpu"), dtype=torch.float64)
    before = rows.clone()
    try:
        with _within(SECONDS):
            entry.make(7, 1, {})(rows)
    except Exception:  # told elsewhere
        return False
    return not torch.equal(rows, before)


def _far_from_zero(theirs: Call) -> str:
    """How far float32 answers lie from those of the same rows in float64, beyond what rounding an answer costs."""
    n, d, f = 12, 50, 2
    ulp = 2.0**-13 * 2  # twice the distance of neighbours at 1000
    off, worst = 0, 0.0
    for seed in range(10):
        draws = rng.generator(seed, "exchange", "far", device="cpu")
        rows = FAR + SPREAD * torch.randn(n, d, generator=draws)
        one, why = _tried(theirs, Case(rows, f))
        other, _ = _tried(theirs, Case(rows.double(), f))
        if "TimeoutError" in why:
            return f"in float32 far from zero (12 rows {FAR:g} + {SPREAD:g} N(0, 1), d = 50, f = 2) it does not end"
        if one is None or other is None or one.shape != other.shape:
            return ""
        gap = float((one.double() - other.double()).abs().max())
        off, worst = off + (gap > ulp), max(worst, gap)
    if not off:
        return ""
    return (
        f"in float32 far from zero (12 rows {FAR:g} + {SPREAD:g} N(0, 1), d = 50, f = 2) it is off by up to "
        f"{worst:.2g} in {off} of 10 draws: another answer than of the same rows in float64"
    )


def _counted(entry: Entry, theirs: Call) -> str:
    """The smallest n at which it cuts another number of rows than f, or than ARC's count, says."""
    ours = with_settings(MEANINGS[entry.ours].ours, entry.settings)
    sizes = [(n, 1) for n in range(10, 60)] if entry.ours == "trimmed_mean" else [(242, 33)]
    for n, f in sizes:
        case = Case(torch.arange(1, n + 1, dtype=torch.float64).square()[:, None], f)
        one, _ = _tried(theirs, case)
        other, _ = _tried(ours, case)
        if one is not None and other is not None and not _equal(one, other, entry.close):
            return f"n = {n}, f = {f}: it cuts one fewer than the paper, by a count in floating point"
    return ""


def _of_buckets(entry: Entry, theirs: Call) -> Verdict:
    """Whether rows are cut into buckets, each once, and a bucket is its mean."""
    for n in (4, 5, 6, 7):
        rows = (2.0 ** torch.arange(n, dtype=torch.float64))[:, None]  # every subset has a sum of its own
        mixed, reason = _tried(theirs, Case(rows, 1))
        if mixed is None:
            return Verdict(entry, "not compared", f"it refuses n = {n}: {reason}")
        sizes = [2] * (n // 2) + [1] * (n % 2)
        for mean, size in zip(mixed[:, 0].tolist(), sizes, strict=False):
            if round(mean * size).bit_count() != size or abs(mean * size - round(mean * size)) > 1e-9:
                return Verdict(entry, "different", f"a bucket of {n} rows is not the mean of {size} of them", 4)
        if len(mixed) != len(sizes) or sum(m * s for m, s in zip(mixed[:, 0].tolist(), sizes, strict=True)) != 2**n - 1:
            return Verdict(entry, "different", f"buckets of {n} rows do not hold each of them once", 4)
    return Verdict(entry, "same", f"as {MEANINGS['bucketing'].paper}: each row in one bucket of two, by its mean", 4)


def _of_noise(theirs: Call) -> str:
    """What a Gaussian attack sends, from its moments; one draw for all attackers is how it is called."""
    rows = torch.zeros(5, 20000, dtype=torch.float64)
    noise, reason = _tried(theirs, Case(rows, 1))
    if noise is None:
        return f"it refuses: {reason}"
    return f"noise of mean {float(noise.mean()):.2f} and deviation {float(noise.std()):.2f}, one draw that all send"


def _number(value: float) -> str:
    value += 0.0  # no minus before a zero
    return f"{value:.6g}" if value == round(value, 3) else f"{value:.4f}"


def _tuple(row: list[float]) -> str:
    return f"({', '.join(map(_number, row))})"


def _answer(values: list[float]) -> str:
    shown = values[:6]
    more = ", ..." if len(values) > len(shown) else ""
    return _number(values[0]) if len(values) == 1 else f"({', '.join(map(_number, shown))}{more})"
