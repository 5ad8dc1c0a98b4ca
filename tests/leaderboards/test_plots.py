"""What stands on the plots: points, intervals, lines; and the pixels of the galleries."""

import io
import itertools
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from leaderboards.audits import find_audits
from leaderboards.epsilons import BROKEN, KEPT, VOID, epsilons
from leaderboards.estimates import Estimate
from leaderboards.gallery import ALIKE, GREY, MARGIN, MOST_BYTES, TITLE, draw, gallery, strips
from leaderboards.plots import LOSSLESS, curve, leakage, noise, png, spread

SWEEP = {0.0: "dlg", 0.5: "collusion rho=0.5", 1.0: "collusion rho=1"}


def value(mean, half_width=math.nan, low=math.nan, high=math.nan):
    return Estimate(mean, half_width, seeds=3, failed=0, low=low, high=high)


def lines(axes, linestyle):
    return [line for line in axes.lines if line.get_linestyle() == linestyle]


def entries(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_colour_of_few_pixels_keeps_its_colour():
    """A median cut drew the one pink line of a picture of many greys in grey."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    axes.imshow(np.linspace(0, 1, 256 * 64).reshape(64, 256), cmap="viridis", aspect="auto")
    axes.plot([0, 20], [5, 5], color="#CC79A7", linewidth=2)
    pixels = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB"), dtype=int)
    away = np.abs(pixels - np.array([0xCC, 0x79, 0xA7])).max(axis=-1)
    assert away.min() <= 16


def test_a_curve_has_both_kinds_of_interval():
    found = {("a", "dlg"): value(0.5, low=0.25, high=0.875), ("a", "collusion rho=1"): value(0.75, half_width=0.125)}
    mine = curve("a", SWEEP, found, scale=100)
    assert mine.rho == (0.0, 1.0)
    assert mine.value == (50.0, 75.0)
    assert mine.errors.T.tolist() == [[25.0, 37.5], [12.5, 12.5]]


def test_a_single_seed_has_no_bar_and_nothing_no_point():
    mine = curve("a", SWEEP, {("a", "dlg"): value(2.0), ("a", "collusion rho=1"): Estimate(math.nan, math.nan, 0, 1)})
    assert mine.rho == (0.0,)
    assert mine.errors.tolist() == [[0.0], [0.0]]
    assert curve("b", SWEEP, {}).rho == ()


def test_beyond_what_is_lossless_all_is_alike():
    mine = curve("a", SWEEP, {("a", "dlg"): value(100.0, half_width=60.0)}, most=LOSSLESS)
    assert (mine.value, mine.low, mine.high) == ((LOSSLESS,), (40.0,), (LOSSLESS,))


@pytest.mark.parametrize("wanted", [[0.5] * 5, [0.0, 0.02, 0.9, 0.99, 1.0], [1.0, 1.0, 1.0], [0.1]])
def test_names_beside_curves_stand_apart_and_in_order(wanted):
    names = {f"n{index}": height for index, height in enumerate(wanted)}
    sizes = dict.fromkeys(names, 0.1)
    found = spread(names, sizes)
    heights = sorted(found.values())
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(heights))
    assert sorted(names, key=lambda name: (found[name], name)) == sorted(names, key=lambda name: (names[name], name))
    assert heights[-1] <= 1.05 + 1e-9


@pytest.fixture
def leaks():
    """Two rows that leak alike, and one that leaks with colluders."""
    share, psnr = {}, {}
    for rho, column in SWEEP.items():
        for row, mean in (("fedavg", 1.0), ("krum", 1.0), ("dpbfl", rho)):
            share[row, column] = value(mean, low=mean * 0.9, high=1 - 0.8 * (1 - mean))
            psnr[row, column] = value(60.0 * mean, half_width=1.0)
    return share, psnr


def test_leakage_draws_equal_rows_once(leaks):
    figure = leakage({"collusion": SWEEP}, ["fedavg", "krum", "dpbfl"], *leaks, threshold=20.0)
    share, level = figure.axes
    assert entries(figure) == ["20 dB: recovered"]
    assert {text.get_text() for text in share.texts} == {"fedavg, krum", "dpbfl"}
    drawn = [line.get_ydata().tolist() for line in lines(share, "-")]
    assert drawn == [[100.0, 100.0, 100.0], [0.0, 50.0, 100.0]]
    assert [line.get_ydata().tolist() for line in lines(level, "-")][1] == [0.0, 30.0, 50.0]
    assert lines(level, ":")[0].get_ydata()[0] == 20.0
    assert share.get_ylabel() == "images recovered in %"
    assert level.get_xlabel().startswith("ρ")
    bars = share.containers[1].lines[2][0].get_segments()
    assert bars[1][:, 1].tolist() == pytest.approx([45.0, 60.0])  # Wilson's ends, not symmetric


def test_points_of_different_rows_do_not_hide_one_another(leaks):
    share, _ = leakage({"collusion": SWEEP}, ["fedavg", "krum", "dpbfl"], *leaks, threshold=20.0).axes
    first, second = (line.get_xdata() for line in lines(share, "-"))
    assert np.all(np.abs(first - second) > 0.01)
    assert np.all(np.abs(first - list(SWEEP)) < 0.1)


def test_noise_has_theorem_3_and_what_the_claim_needs():
    ratio = {("niss", column): value(2.2 - 2 * rho) for rho, column in SWEEP.items()}
    figure = noise({"collusion": SWEEP}, ["niss", "fedavg"], ratio, {"niss": 0.2})
    (axes,) = figure.axes
    (theorem,) = lines(axes, "--")
    rho, left = theorem.get_xdata(), theorem.get_ydata()
    assert left == pytest.approx((1 - rho) * (0.2 + 2) + rho * 0.2)  # Theorem 3, eq. 8 corrected (errata N5)
    assert lines(axes, ":")[0].get_ydata()[0] == 1.0
    assert entries(figure) == ["Theorem 3, τ² = 0.2", "what the claim needs"]
    assert [text.get_text() for text in axes.texts] == ["niss"]
    points = axes.containers[0].lines[0]
    assert points.get_ydata().tolist() == pytest.approx([2.2, 1.2, 0.2])


def test_rows_with_the_same_tau_share_theorem_3_s_line():
    ratio = {(row, column): value(1.0) for row in ("a", "b", "c") for column in SWEEP.values()}
    figure = noise({"collusion": SWEEP}, ["a", "b", "c"], ratio, {"a": 0.2, "b": 0.2, "c": 1.0})
    assert len(lines(figure.axes[0], "--")) == 2
    assert [entry for entry in entries(figure) if "Theorem" in entry] == ["Theorem 3, τ² = 0.2", "Theorem 3, τ² = 1"]


def test_epsilons_have_a_point_an_audit_and_a_mark_a_claim(make_audit, make_claim):
    claimed = make_claim(10.0, colluders=0.6)
    audits = find_audits(
        [
            make_audit("niss", 4.0, claimed=claimed),
            make_audit("niss", 12.0, 0.6, claimed=claimed),
            make_audit("niss", 30.0, 1.0, claimed=claimed),
            make_audit("dpbfl", 2.0, claimed=make_claim(None, "needs epsilon < 1"), upload=50.0),
        ]
    )
    figure = epsilons(["niss", "dpbfl", "fedavg"], ["audit", "audit rho=0.6", "audit rho=1"], audits)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    looks = [(dot.get_xdata()[0], dot.get_color(), dot.get_markerfacecolor()) for dot in dots]
    assert looks == [(4.0, KEPT, KEPT), (12.0, BROKEN, BROKEN), (30.0, BROKEN, "white"), (2.0, VOID, VOID)]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["the server alone", "ρ = 0.6", "ρ = 1", "the server alone"]
    titles = [text.get_text() for text in axes.texts if text.get_weight() == "bold"]
    assert titles == ["niss, claim: ε = 10 per upload", "dpbfl, claim: void, per upload"]
    (uploads,) = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "|"]
    assert uploads == 50.0
    low, high = axes.get_xlim()
    assert low < 2.0
    assert high > 50.0


def test_an_audit_that_proves_nothing_has_its_point_at_the_edge(make_audit):
    (axes,) = epsilons(["a"], ["audit"], find_audits([make_audit("a", 0.0)])).axes
    (dot,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert axes.get_xlim()[0] < dot.get_xdata()[0] < 10.0
    assert "0" in [text.get_text() for text in axes.texts]


# ------------------------------------------------------------------------------------------------------------- gallery


@pytest.fixture
def gallery_of(tmp_path, make_leak):
    """Records with their pictures: `(row, rho, reconstruction (k, H, W, 3))`, all of the same originals."""

    def build(truth, *rows):
        found = []
        for row, rho, images in rows:
            record = make_leak(row, "collusion" if rho else "dlg", rho, images=len(truth))
            psnr = [float(index) for index in range(len(truth))]
            path = tmp_path / f"{record.key}.png"
            tiles = np.pad(np.stack([truth, truth, images]), ((0, 0), (0, 0), (1, 0), (1, 0), (0, 0)))
            grid = np.concatenate([np.concatenate(list(line), axis=1) for line in tiles])
            Image.fromarray(np.pad(grid, ((0, 1), (0, 1), (0, 0)))).save(path)
            found.append((record.model_copy(update={"psnr": psnr, "control_psnr": psnr}), path))
        return found

    return build


@pytest.fixture
def truth():
    return np.random.default_rng(1).choice(np.array([0, 90, 180], dtype=np.uint8), (3, 8, 8, 3))


def test_strips_are_cut_from_the_picture(gallery_of, truth):
    other = 255 - truth
    found = strips(gallery_of(truth, ("a", None, truth), ("b", None, other)))
    assert [strip.label for strip in found] == ["original", "no defense", "a", "b"]
    for strip, images in zip(found, (truth, truth, truth, other), strict=True):
        assert np.array_equal(strip.images, images)
    assert [list(strip.psnr) for strip in found] == [[], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]


def test_rows_that_look_the_same_stand_together(gallery_of, truth):
    near, far = truth + np.uint8(ALIKE), truth + np.uint8(ALIKE + 1)
    rows = [("a", rho, truth) for rho in (None, 0.5, 1.0)] + [("b", None, far), ("b", 0.5, far), ("b", 1.0, near)]
    found = strips(gallery_of(truth, *rows))
    assert [strip.label for strip in found[2:]] == ["a, b ρ = 1", "b ρ = 0, 0.5"]


def test_at_most_eight_images_stand_side_by_side(gallery_of):
    many = np.zeros((20, 4, 4, 3), dtype=np.uint8)
    assert [len(strip.images) for strip in strips(gallery_of(many, ("a", None, many)))] == [8, 8, 8]


def test_pixels_are_enlarged_as_they_are(gallery_of, truth):
    """Each becomes a square of 9 x 9 equal ones in a grey frame; 8 x 8 images are 72 pixels wide."""
    content = gallery("title", gallery_of(truth, ("a", None, truth)), threshold=20.0)
    page = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    line = page[TITLE - 1]
    starts = np.flatnonzero((line == GREY).all(axis=-1))
    left = starts[0] + 1
    shown = page[TITLE : TITLE + 72, left : left + 72]
    assert left > MARGIN
    assert np.array_equal(shown, truth[0].repeat(9, axis=0).repeat(9, axis=1))


def test_the_psnr_stands_below_in_bold_where_the_image_is_recovered(gallery_of, truth):
    figure = draw("title", strips(gallery_of(truth, ("a", None, truth))), threshold=1.5, wide=8)
    numbers = [(text.get_text(), text.get_weight()) for text in figure.texts if text.get_text()[0].isdigit()]
    assert numbers == [("0.0", "normal"), ("1.0", "normal"), ("2.0", "bold")] * 2


def test_many_rows_of_large_images_make_a_narrower_gallery(gallery_of):
    numbers = np.random.default_rng(2)
    images = [numbers.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8) for _ in range(14)]
    rows = [(f"row {index}", None, image) for index, image in enumerate(images)]
    content = gallery("title", gallery_of(images[0], *rows), threshold=20.0)
    assert len(content) <= MOST_BYTES
    few = gallery("title", gallery_of(images[0], *rows[:2]), threshold=20.0)
    assert Image.open(io.BytesIO(few)).width > Image.open(io.BytesIO(content)).width
