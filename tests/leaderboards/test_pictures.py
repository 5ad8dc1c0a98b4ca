"""Which pictures there are, what is said of them, and that they are files that a page can hold."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.records import Store
from leaderboards.boards import build
from leaderboards.formats import FORMATS
from leaderboards.frame import select
from leaderboards.pictures import find_pictures
from leaderboards.sweeps import colluding, families

ROWS = ["fedavg", "niss", "dpbfl"]
RHOS = (0.3, 1.0)
SIDE, IMAGES = 6, 4


def grid(rows):
    """A picture as torchvision's `make_grid` makes it, of rows of images `(k, H, W, 3)` uint8."""
    tiles = np.pad(np.stack(rows), ((0, 0), (0, 0), (1, 0), (1, 0), (0, 0)), constant_values=255)
    lines = [np.concatenate(list(line), axis=1) for line in tiles]
    return np.pad(np.concatenate(lines), ((0, 1), (0, 1), (0, 0)), constant_values=255)


def drawn(store, record, images):
    """The record with its picture beside it, as a run leaves them."""
    record = record.model_copy(
        update={"files": {"png": f"{record.key}.png"}, "psnr": [8.0] * IMAGES, "control_psnr": [60.0] * IMAGES}
    )
    path = store.write(record)
    Image.fromarray(grid([*images])).save(path.with_name(record.files["png"]))
    return record


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, "tiny")


@pytest.fixture
def records(store, make, make_leak, make_audit, make_claim):
    """Three defenses at three rho: the server recovers all under fedavg, and with all others' help under dpbfl."""
    numbers = np.random.default_rng(0)
    truth = numbers.integers(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    noise = numbers.integers(0, 256, truth.shape, dtype=np.uint8)
    sharing = {"tau_squared": 0.2}
    found = [make(row, defense=sharing) for row in ROWS]
    for row in ROWS:
        for rho in (None, *RHOS):
            clear = row == "fedavg" or (row == "dpbfl" and rho == 1.0)
            left = {"fedavg": None, "niss": 2.2 - 2 * (rho or 0), "dpbfl": 1.0 - (rho or 0)}[row]
            fields = {"recovered": float(clear), "psnr": 40.0 if clear else 5.0, "noise": left}
            leak = make_leak(row, "collusion" if rho else "dlg", rho, defense=sharing, **fields)
            found.append(drawn(store, leak, [truth, truth, truth if clear else noise]))
    claimed = make_claim(10.0, colluders=0.6)
    bounds = ((4.0, None), (30.0, 1.0))
    return found + [make_audit("niss", bound, rho, claimed=claimed, defense=sharing) for bound, rho in bounds]


@pytest.fixture
def pictures(records, store):
    return {picture.name: picture for picture in find_pictures(ROWS, select(records), store, 20.0)}


def test_every_kind_is_there_in_reading_order(pictures):
    assert list(pictures) == ["leakage", "noise", "epsilons", "gallery-dlg", "gallery-collusion"]


def test_what_is_seen_is_said(pictures):
    said = {name: picture.sentence for name, picture in pictures.items()}
    assert said["leakage"].startswith("Colluders help against dpbfl (by 100% of the images); against the others")
    assert said["noise"].startswith("Less noise is left than the claim needs under niss from ρ = 1 on and dpbfl from")
    assert said["epsilons"] == (
        "No audit breaks a claim; beyond the colluders that a claim is meant for, one proves more under niss."
    )
    assert said["gallery-dlg"] == (
        "Over all targets and seeds, images are recovered under fedavg (100%); "
        "no image is recovered under niss and dpbfl."
    )


def test_a_broken_claim_is_said(make, make_audit, store):
    selection = select([make("niss"), make_audit("niss", 30.0)])
    (picture,) = find_pictures(["niss"], selection, store, 20.0)
    assert picture.sentence == "An audit proves more than is claimed under niss."


@pytest.mark.parametrize("name", ["leakage", "noise", "epsilons", "gallery-dlg", "gallery-collusion"])
def test_each_is_a_small_file_that_is_always_the_same(pictures, records, store, name):
    content = pictures[name].draw()
    again = next(one for one in find_pictures(ROWS, select(records[::-1]), store, 20.0) if one.name == name)
    assert again.draw() == content
    assert len(content) < 150_000
    picture = Image.open(io.BytesIO(content))
    assert picture.info == {} or set(picture.info) <= {"dpi"}  # neither a date nor a program
    assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_a_rho_without_a_record_hides_no_leak(records, store):
    """The most of some shares of which one is nan depends on their order."""
    holed = [record for record in records if (record.cell.label, record.cell.column) != ("dpbfl", "dlg")]
    pictures = {picture.name: picture.sentence for picture in find_pictures(ROWS, select(holed), store, 20.0)}
    assert "recovered under fedavg (100%) and dpbfl (100%)" in pictures["gallery-collusion"]


def test_a_suite_without_privacy_cells_has_none(make, store):
    assert find_pictures(["a"], select([make("a"), make("a", "sign_flip")]), store, 20.0) == []


def test_one_rho_makes_a_gallery_but_no_plot(make_leak, store):
    image = np.zeros((IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    record = drawn(store, make_leak("a"), [image] * 3)
    assert [one.name for one in find_pictures(["a"], select([record]), store, 20.0)] == ["gallery-dlg"]


def test_a_picture_that_is_lost_is_left_out(records, store):
    lost = [record for record in records if record.cell.column == "dlg"]
    for record in lost:
        (store.path(record.cell, record.seed).parent / record.files["png"]).unlink()
    names = [picture.name for picture in find_pictures(ROWS, select(records), store, 20.0)]
    assert "gallery-dlg" not in names
    assert "gallery-collusion" in names


def test_a_name_is_a_file_s(make_leak, store):
    image = np.zeros((IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    record = drawn(store, make_leak("a", sweep="label=joint, batch_size=4"), [image] * 3)
    (picture,) = find_pictures(["a"], select([record]), store, 20.0)
    assert picture.path == "plots/gallery-dlg-label=joint-batch_size=4.png"


def test_the_page_links_them(records, pictures):
    leaderboard = build("tiny", "three defenses", 1, select(records), rows=ROWS)
    assert "## Pictures" not in FORMATS["md"](leaderboard)
    leaderboard = build("tiny", "three defenses", 1, select(records), rows=ROWS, pictures=list(pictures.values()))
    section = FORMATS["md"](leaderboard).split("## Pictures\n\n")[1].split("\n\n")[0].splitlines()
    assert len(section) == len(pictures)
    assert section[0].startswith(
        "- [Images recovered, by the share ρ of colluders](<plots/leakage.png>): Colluders help against dpbfl"
    )


def test_finding_them_does_not_import_matplotlib():
    """A board that is printed draws nothing."""
    code = "import sys; import bench.runs.jobs; print(sorted({'matplotlib', 'PIL'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -------------------------------------------------------------------------------------------------------------- sweeps


def sweeps(records):
    selection = select(records)
    return families(selection.records, list(dict.fromkeys(selection.frame["column"])))


def test_the_server_alone_is_the_beginning_of_its_sweep(make_leak):
    strength = {"label": "inferred"}
    records = [
        make_leak("a", strength=strength),
        *(make_leak("a", "collusion", rho, strength=strength) for rho in RHOS),
    ]
    found = sweeps(records)
    assert found["collusion"] == {0.0: "dlg", 0.3: "collusion rho=0.3", 1.0: "collusion rho=1"}
    assert found["dlg"] == {0.0: "dlg"}
    assert list(colluding(found)) == ["collusion"]


@pytest.mark.parametrize(
    "other",
    [
        {"strength": {"label": "joint"}},
        {"strength": {"label": "inferred"}, "federation": {"batch_size": 4}},
        {"strength": {"label": "inferred"}, "attack": "analytic"},
    ],
)
def test_another_attack_or_other_targets_are_no_part_of_it(make_leak, other):
    colluders = [make_leak("a", "collusion", rho, strength={"label": "inferred"}) for rho in RHOS]
    assert list(sweeps([make_leak("a", **other), *colluders])["collusion"]) == [0.3, 1.0]


def test_an_attack_at_one_rho_alone_is_no_sweep(make_leak):
    assert colluding(sweeps([make_leak("a", "subspace", 1.0, strength={"label": "joint"})])) == {}
