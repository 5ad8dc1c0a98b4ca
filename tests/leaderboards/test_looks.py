"""One colour and one shape for each defense, wherever it stands."""

from itertools import combinations

from bench import registry
from leaderboards.looks import COLOURS, DARK, MARKERS, TABLE, looks


def test_every_shipped_defense_has_a_place_in_the_table():
    assert set(TABLE) - {"noise_exchange"} >= {
        name for name in registry.names("defense") if registry.get("defense", name).__module__.startswith("defenses.")
    }


def test_no_two_shipped_defenses_look_the_same():
    assert len(set(TABLE.values())) == len(TABLE)
    assert len(COLOURS) == len(DARK) == len(set(COLOURS))
    assert all(colour < len(COLOURS) and shape < len(MARKERS) for colour, shape in TABLE.values())


def test_a_defense_looks_the_same_whoever_stands_beside_it():
    alone, among = looks(["krum"])["krum"], looks(["nnm + krum", "arc + krum", "bulyan", "krum"])["krum"]
    assert alone == among


def test_variants_share_the_colour_and_differ_in_shape():
    rows = [f"niss (tau_squared={value})" for value in (0.0, 0.2, 0.6, 1.0)] + ["niss as printed", "niss"]
    found = looks(rows)
    assert {look.colour for look in found.values()} == {TABLE["niss"][0]}
    assert len(set(found.values())) == len(rows)
    assert list(found) == rows


def test_unknown_rows_keep_their_look():
    assert looks(["somebody's rule"]) == looks(["somebody's rule"])
    found = looks([f"rule {number}" for number in range(30)])
    assert len(set(found.values())) == 30


def lightness(colour: str) -> float:
    """Relative luminance (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def seen(colour: str) -> tuple[float, float, float]:
    """As a reader without red receptors sees it (Viénot, Brettel and Mollon 1999), linear red, green, blue."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    mixed = 0.11238 * red + 0.88762 * green
    return mixed, mixed, 0.00401 * red - 0.00401 * green + blue


def test_colours_differ_for_a_reader_without_red_receptors():
    for one, other in combinations(COLOURS, 2):
        assert sum(abs(a - b) for a, b in zip(seen(one), seen(other), strict=True)) > 0.1, (one, other)
    assert all(lightness(colour) > lightness(same) for colour, same in zip(DARK[:6], COLOURS[:6], strict=True))
