"""The Markdown page of `peers_comparison.py`; its text is in `peers.md`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Found = Mapping[str, Any]

NAMES = {"byzfl": "ByzFL", "byzfl_numpy": "ByzFL, numpy", "byzpy": "ByzPy", "byzpy_pool": "ByzPy, pool of 2"}
PUBLISHED, ON_ARRAYS = ("byzfl", "byzpy", "byzpy_pool"), ("byzfl_numpy",)
"""The sides that the goals are about, and the one beside them."""
HEADS = ("ours, ms", "stack, ms", "ratio", "of the fastest", "to numpy", "goal", "met", "same answer")

ALIKE = 1e-5
"""Largest difference over the largest entry of answers that count as the same in float32."""

REASONS: dict[str, str] = {
    "Multi-Krum": "ByzPy multiplies the rows as they are; ours takes their mean off first, so that no cancellation in "
    "float32 changes a choice: two more passes over them. The same holds for NNM.",
    "geometric median": "ByzFL takes three steps from zero and stops, which is far enough for rows as far "
    "from one another as these; ours and ByzPy's go on until they have converged.",
    "MDA": "ByzFL goes through all 30,045,015 subsets.",
    "SMEA": "ByzFL judges each subset by one random power step.",
    "clipping": "ByzFL scales the rows of its input in place; ours leaves the caller's messages alone and returns new "
    "ones, 64 MiB to write.",
    "ARC": "as for clipping; only 15 of the 256 rows are cut, the rest is a copy.",
    "IPM": "one mean of the messages on every side: there is nothing else to save.",
    "Gaussian": "ByzPy stacks the honest messages, of which it needs no more than their length.",
}
"""What a line needs told, above all a miss."""


def page(found: Found, table: Mapping[str, Found], works: Sequence[str], sizes: Sequence[tuple[int, int]]) -> str:
    measured = found["table"]
    others = [share for one in measured.values() for share in one["others"]] or [0.0]
    about = [f"- **{title}**: {reason}" for title, reason in REASONS.items() if title in measured]
    parts = {
        "table": "\n".join(_table(measured, table)),
        "about": "\n".join(about),
        "growth": "\n".join(_growth(found["growth"], works, sizes)),
        "versions": "\n".join(_versions(found)),
        "others": f"{median(others):.1f}",
        "most": f"{max(others):.1f}",
        "alike": f"{ALIKE:g}",
        "turns": str(found["turns"]),
        "repeats": str(found["repeats"]),
    }
    text = (Path(__file__).parent / "peers.md").read_text()
    for name, content in parts.items():
        text = text.replace(f"{{{{{name}}}}}", content)
    return text


def _table(measured: Mapping[str, Found], table: Mapping[str, Found]) -> list[str]:
    lines = ["| workload | " + " | ".join([f"{name}, ms" for name in NAMES.values()] + list(HEADS)) + " |"]
    lines.append("|:--|" + "--:|" * (len(NAMES) + len(HEADS) - 2) + ":--|:--|")
    for title, case in table.items():
        cells = (
            _cells(case, measured[title])
            if title in measured
            else ["not measured", *[""] * (len(NAMES) + len(HEADS) - 1)]
        )
        lines.append("| " + " | ".join([f"{title}, {_size(case)}", *cells]) + " |")
    return lines


def _size(case: Found) -> str:
    return f"{case['n']} x {case['d']:,}" + (f", f = {case['f']}" if "f" in case else "")


def _cells(case: Found, found: Found) -> list[str]:
    ours, stack = _milliseconds(found, "ours"), 1e3 * median(found["stack_seconds"])
    assert ours is not None
    times = [_told(found, side) if side in case.get("sides", NAMES) else "" for side in NAMES]
    times += [_told(found, "ours"), f"{stack:.2g}"]
    if "within_ms" in case:
        return [*times, "", "", "", f"{case['within_ms']} ms", _verdict(ours <= case["within_ms"]), ""]
    each, arrays = _ratios(found, PUBLISHED), _ratios(found, ON_ARRAYS)
    spread = f"{median(each):.2g} ({min(each):.2g} to {max(each):.2g})"
    fastest = {side: min(times) for side, times in found["fastest"].items()}
    undisturbed = min(fastest[side] for side in PUBLISHED if side in fastest) / fastest["ours"]
    beside = f"{median(arrays):.2g}" if arrays else ""
    verdict = _verdict(median(each) >= case["goal"])
    return [*times, spread, f"{undisturbed:.2g}", beside, f"{case['goal']:g}", verdict, _same(found)]


def _milliseconds(found: Found, side: str) -> float | None:
    times = found["seconds"].get(side)
    return 1e3 * median(times) if times else None


def _told(found: Found, side: str) -> str:
    """`12.3`, or why there is no time."""
    value = _milliseconds(found, side)
    if value is None:
        note = str(found["notes"].get(side, ""))
        return "–" if note == "none" else note
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _ratios(found: Found, sides: Sequence[str]) -> list[float]:
    """Turn by turn, the fastest peer's time over ours; the fastest by its median. Empty where none of them has it."""
    peers = {side: median(times) for side, times in found["seconds"].items() if side in sides}
    if not peers:
        return []
    best = min(peers, key=peers.__getitem__)
    pairs = zip(found["seconds"][best], found["seconds"]["ours"], strict=True)
    return [theirs / ours for theirs, ours in pairs]


def _same(found: Found) -> str:
    """`yes`, or what each side's answer is."""
    parts = {NAMES[side]: _alike(difference) for side, difference in found["differences"].items()}
    return "yes" if set(parts.values()) == {"yes"} else "; ".join(f"{name}: {text}" for name, text in parts.items())


def _alike(difference: float | str) -> str:
    if isinstance(difference, str):
        return difference
    return "yes" if difference <= ALIKE else f"off by {difference:.1g}"


def _verdict(met: bool) -> str:
    return "yes" if met else "**no**"


def _growth(found: Mapping[str, Found], works: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[str]:
    """A row a rule and a column a size."""
    lines = ["| rule | " + " | ".join(f"{n:,} x {d:,}" for n, d in sizes) + " |", "|:--|" + "--:|" * len(sizes)]
    for work in works:
        cells = [_grown(found.get(f"{work} {n} x {d}"), n * d) for n, d in sizes]
        lines.append(f"| `{work}` | " + " | ".join(cells) + " |")
    return lines


def _grown(found: Found | None, numbers: int) -> str:
    if found is None:
        return "not measured"
    ours = _milliseconds(found, "ours")
    peers = [value for side in NAMES if (value := _milliseconds(found, side)) is not None]
    beside = f"{min(peers):.3g}" if peers else next(iter(found["notes"].values()), "–")
    if ours is None:
        mark = "**" if peers else ""
        return f"{mark}{found['notes']['ours']}{mark} / {beside}"
    mark = "**" if peers and min(peers) < ours else ""
    memory = f", {found['peak_bytes']['ours'] / (4 * numbers):.1f} x" if numbers >= 10**7 else ""
    return f"{mark}{ours:.3g}{mark} / {beside}{memory}"


def _versions(found: Found) -> list[str]:
    versions = {side: told for one in found["table"].values() for side, told in one.get("versions", {}).items()}
    lines = [
        f"- **{name}**: " + ", ".join(f"{package} {number}" for package, number in versions[side].items()) + "."
        for side, name in (("ours", "Ours"), ("byzfl", "ByzFL"), ("byzpy", "ByzPy"))
        if side in versions
    ]
    return [*lines, f"- **Machine**: {found['machine']['cpu']}, 2 cores; commit {found['machine']['commit']}."]
