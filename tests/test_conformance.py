"""Every number of docs/conformance.md: ours, and of others what our variants give or their formula says.

What a peer's own package answered stands in the page with its version; it is a constant here where nothing of ours
computes it.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from attacks.alie import alie, alie_z
from attacks.alie_optimal import alie_optimal
from attacks.fang import beyond_extremes, krum_lambda
from attacks.ipm import ipm
from attacks.ipm_optimal import ipm_optimal
from attacks.label_flip import label_flip
from attacks.mimic import mimic, oja
from attacks.min_max import min_max
from attacks.min_sum import min_sum
from attacks.sign_flip import sign_flip
from bench import registry
from defenses.arc import arc
from defenses.bucketing import bucketing
from defenses.bulyan import bulyan, bulyan_selection
from defenses.caf import caf
from defenses.centered_clipping import centered_clipping
from defenses.cge import cge
from defenses.flame import flame
from defenses.fldetector import fldetector, higher_cluster
from defenses.fltrust import fltrust
from defenses.foolsgold import foolsgold
from defenses.geometric_median import geometric_median
from defenses.krum import Variant, krum
from defenses.mda import mda
from defenses.meamed import meamed
from defenses.median import coordinate_median
from defenses.monna import monna
from defenses.multi_krum import multi_krum
from defenses.nnm import nnm
from defenses.norm_clipping import norm_clipping
from defenses.sign_majority import sign_majority
from defenses.smea import smea
from defenses.trimmed_mean import trimmed_mean

PAGE = Path(__file__).parents[1] / "docs" / "conformance.md"
SQUARE = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], dtype=torch.float64)


def line(*values: float) -> Tensor:
    """Rows of one coordinate."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SEVEN, FIVE = line(0, 1, 4, 8, 9, 12, 15), line(0, 1, 3, 7, 20)


@pytest.mark.parametrize(
    ("variant", "winner", "of_two"),
    [
        ("paper", 8, 10),
        ("one_neighbour_more", 4, 6.5),
        ("unsquared", 9, 6.5),
        ("fourth_power", 12, 10),
        ("fourth_power_sum", 12, 20),
    ],
)
def test_krum_and_multi_krum(variant: Variant, winner: float, of_two: float) -> None:
    assert krum(SEVEN, 2, variant=variant).item() == winner
    assert multi_krum(SEVEN, 2, 2, variant).item() == of_two


def test_krum_with_one_attacker_of_five() -> None:
    assert krum(FIVE, 1).item() == 1
    assert krum(FIVE, 1, variant="one_neighbour_more").item() == 3


def test_far_from_zero_float32_chooses_as_float64() -> None:
    """Where products that are not centred cancel; a mean of float32 rounds 1000 by half of 2^-13."""
    for seed in range(20):
        rows = 1000 + 0.05 * torch.randn(12, 50, generator=seeded(seed))
        assert torch.equal(
            krum(rows, 3, variant="one_neighbour_more").double(), krum(rows.double(), 3, 1, "one_neighbour_more")
        )
        for rule in (mda, smea):
            assert float((rule(rows, 3).double() - rule(rows.double(), 3)).abs().max()) < 2 * 2**-13


def test_krum_refuses_what_leaves_one_neighbour_among_three() -> None:
    with pytest.raises(ValueError, match="Krum needs n >= 2 f"):
        krum(line(0, 1, 3), 1)


def test_geometric_median() -> None:
    """ByzFL and FLPoison: three steps from zero, a mean weighted by 1 / max(nu, distance)."""
    z = torch.zeros(3, dtype=torch.float64)
    for _ in range(3):
        pull = 1 / (SQUARE - z).norm(dim=1).clamp(min=0.1)
        z = pull @ SQUARE / pull.sum()
    assert geometric_median(SQUARE).tolist() == pytest.approx([4, 5, 6], abs=1e-5)
    assert z.tolist() == pytest.approx([3.788, 4.788, 5.788], abs=5e-4)


def test_geometric_median_of_the_authors_code() -> None:
    """From the mean, weighted by 1 / max(1e-5, distance), in 2 or 4 steps."""
    rows = line(0, 0, 9)
    z, walked = rows.mean(dim=0), []
    for _ in range(4):
        pull = 1 / (rows - z).norm(dim=1).clamp(min=1e-5)
        z = pull @ rows / pull.sum()
        walked.append(z.item())
    assert geometric_median(rows).item() == pytest.approx(0, abs=1e-5)
    assert (walked[1], walked[3]) == pytest.approx((1, 0.273), abs=5e-4)


def test_centered_clipping() -> None:
    rows = line(0, 0, 9)
    assert centered_clipping(rows, tau=1.0).item() == pytest.approx(1 / 3)
    from_mean = rows.mean() + centered_clipping(rows - rows.mean(), tau=1.0)
    assert from_mean.item() == pytest.approx(8 / 3)
    again = centered_clipping(rows, tau=1.0, centre=centered_clipping(rows, tau=1.0))
    assert again.item() == pytest.approx(4 / 9)


def test_norm_clipping() -> None:
    assert norm_clipping(line(6)).item() == 3.0
    assert 6 * min(1.0, 3 / (6 + 1e-6)) == pytest.approx(2.9999995, abs=1e-8)


def test_cge() -> None:
    assert cge(SQUARE, 1).tolist() == pytest.approx([2.5, 3.5, 4.5])
    assert (2 * cge(SQUARE, 1)).tolist() == pytest.approx([5, 7, 9])


def test_monna() -> None:
    assert monna(SQUARE, 1).tolist() == pytest.approx([2.5, 3.5, 4.5])
    assert monna(SQUARE, 1, pivot=2).tolist() == pytest.approx([5.5, 6.5, 7.5])


def test_mda() -> None:
    assert (SQUARE[0] - SQUARE[1]).norm() == (SQUARE[1] - SQUARE[2]).norm()
    assert mda(SQUARE, 1).tolist() == pytest.approx([2.5, 3.5, 4.5])


@pytest.mark.parametrize(("f", "ours", "theirs"), [(1, 2.9656, 2.6929), (2, 1.9672, 1.7044)])
def test_caf(f: int, ours: float, theirs: float) -> None:
    """On a line there is one direction; ByzFL and ByzPy compare with the largest deviation of all rows."""
    x = FIVE[:, 0].numpy()
    kept, best, smallest = np.ones(5), 0.0, math.inf
    while kept.sum() > 5 - 2 * f:
        mean = kept @ x / kept.sum()
        deviations = (x - mean) ** 2
        variance = kept @ deviations / kept.sum()
        if variance < smallest:
            best, smallest = mean, variance
        kept = kept * (1 - deviations / deviations.max())
    assert caf(FIVE, f).item() == pytest.approx(ours, abs=5e-5)
    assert best == pytest.approx(theirs, abs=5e-5)


def test_smea() -> None:
    cells = [
        [(7 * i * i + 5 * j * j + 3 * i * j) % 11 + 0.25 * ((3 * i + 2 * j) % 5) for j in range(6)] for i in range(12)
    ]
    rows = torch.tensor(cells, dtype=torch.float64) * torch.tensor([1.0] * 9 + [3.0] * 3)[:, None]
    found = [smea(rows, 3).tolist() for _ in range(2)]
    assert found[0] == found[1] == pytest.approx([6.389, 5, 5.194, 4.25, 4.889, 3.167], abs=5e-4)


def test_median_and_meamed() -> None:
    even, around = line(1, 2, 3, 10), line(0, 4, 6, 9.5)
    assert (coordinate_median(even).item(), even.median().item()) == (2.5, 2)
    nearest = (around - around.median()).abs()[:, 0].topk(3, largest=False).indices
    assert meamed(around, 1).item() == pytest.approx(6.5)
    assert around[nearest].mean().item() == pytest.approx(10 / 3)
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        assert meamed(line(*order), 1).item() == 0.5


def test_sign_majority() -> None:
    rows = line(9, -0.1, -0.2)
    assert (sign_majority(rows).item(), torch.sign(rows.sum()).item()) == (-1, 1)


def test_bulyan() -> None:
    rows = line(0, 1, 2, 3, 4, 9, 50)
    selection = bulyan_selection(rows @ rows.T, 1)
    assert rows[selection, 0].tolist() == [2, 3, 1, 4, 9]
    assert bulyan(rows, 1).item() == pytest.approx(3.0)
    assert rows[selection].mean().item() == pytest.approx(3.8)
    seven = torch.arange(7.0, dtype=torch.float64)[:, None]
    assert bulyan(seven, 1).item() == bulyan(seven.flip(0), 1).item() == pytest.approx(3)


def test_bulyan_with_an_even_number_of_chosen_rows() -> None:
    """The median of the authors' code is torch's: the lower of the middle two."""
    rows = line(-40, 0, 1, 2, 5, 6, 7, 40)
    chosen = rows[bulyan_selection(rows @ rows.T, 1)]
    assert sorted(chosen[:, 0].tolist()) == [0, 1, 2, 5, 6, 7]
    assert bulyan(rows, 1).item() == pytest.approx(3.5)
    nearest = (chosen - chosen.median(dim=0).values).abs().topk(4, dim=0, largest=False).indices
    assert chosen.gather(0, nearest).mean().item() == pytest.approx(2)


def test_nnm() -> None:
    """ByzFL's neighbours are those of `torch.cdist` in float32."""
    rows = 1000 + 0.05 * torch.randn(30, 50, generator=seeded())
    exact = rows.double()
    true = (exact[:, None] - exact[None]).norm(dim=2).topk(20, largest=False).indices
    seen = torch.cdist(rows, rows).topk(20, largest=False).indices
    off = (exact[seen].mean(dim=1) - exact[true].mean(dim=1)).abs().amax(dim=1)
    assert float(off.max()) == pytest.approx(0.03, abs=0.01)  # which rows, cdist's rounding says
    assert bool((off > 0.001).all())
    assert float((nnm(rows, 10) - exact[true].mean(dim=1)).abs().max()) < 0.0003


def test_bucketing() -> None:
    found = bucketing(SQUARE, seeded(), bucket_size=2)
    assert (found[1] == SQUARE).all(dim=1).any()
    assert not (found[1] / 2 == SQUARE).all(dim=1).any()


def test_arc() -> None:
    n, f, norms = 242, 33, torch.arange(1.0, 243.0)
    assert int((arc(norms.diag(), f).norm(dim=1) < norms).sum()) == 57
    assert int(2 * f / n * (n - f)) == 56


def test_fltrust() -> None:
    root, messages = torch.ones(2), -torch.ones(3, 2)
    assert fltrust(messages, root).tolist() == [0, 0]
    assert messages.mean(dim=0).tolist() == [-1, -1]


def test_foolsgold() -> None:
    rows = torch.eye(2, dtype=torch.float64)
    assert foolsgold(rows).tolist() == pytest.approx([0.5, 0.5])
    assert rows.sum(dim=0).tolist() == [1, 1]
    alike = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    assert foolsgold(alike).tolist() == [0, 0]
    assert foolsgold(alike, history=rows + alike).tolist() == pytest.approx([1, 0])


def test_fldetector() -> None:
    scores = torch.arange(6, dtype=torch.float64)
    assert not any(bool(fldetector(scores, seeded(seed)).any()) for seed in range(20))
    assert higher_cluster(scores)[0].tolist() == [False] * 3 + [True] * 3


def test_flame() -> None:
    updates = torch.tensor([[1.0, 0.0], [10.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    broadcast = torch.tensor([0.0, 10.0], dtype=torch.float64)
    assert flame(updates, seeded(), broadcast=broadcast, noise_level=0).tolist() == pytest.approx([0.5, 0.5])
    assert flame(updates, seeded(), noise_level=0).tolist() == pytest.approx([1, 0])


def test_alie() -> None:
    n, f = 50, 24
    supporters = n // 2 + 1 - f
    assert alie_z(n, f) == pytest.approx(1.426, abs=5e-4)
    assert norm.ppf((n - supporters) / n) == pytest.approx(1.751, abs=5e-4)
    assert alie(SQUARE, 1, z=1.5)[0, 0].item() == pytest.approx(7.674, abs=5e-4)
    assert alie(SQUARE, 1, z=1.5, ddof=1)[0].tolist() == pytest.approx([8.5, 9.5, 10.5])
    assert alie(SQUARE, 1, z=1.5, ddof=1, sign="minus")[0, 0].item() == pytest.approx(-0.5)


def test_ipm() -> None:
    assert ipm(SQUARE, 1)[0].tolist() == pytest.approx([-2, -2.5, -3])
    assert ipm(SQUARE, 1, epsilon=2.0)[0].tolist() == pytest.approx([-8, -10, -12])


@pytest.mark.parametrize(
    ("rule", "by_alie", "by_ipm", "by_default"),
    [
        (lambda x: krum(x, 4), 6.18, 6.52, 6.18),
        (lambda x: trimmed_mean(x, 4), 2.73, 2.71, 2.73),
        (coordinate_median, 2.48, 2.37, 2.39),
    ],
)
def test_optimal_factors(rule: Callable[[Tensor], Tensor], by_alie: float, by_ipm: float, by_default: float) -> None:
    honest = 0.3 + torch.randn(12, 30, generator=seeded())
    plus = partial(alie_optimal, sign="plus")
    for attack, moved in ((plus, by_alie), (ipm_optimal, by_ipm), (alie_optimal, by_default)):
        output = rule(torch.cat([honest, attack(honest, 4, rule)]))
        assert float((output - honest.mean(dim=0)).norm()) == pytest.approx(moved, abs=0.006)


def test_min_max_and_min_sum() -> None:
    rows = line(0, 0, 3000)
    assert min_max(rows, 1, "unit").item() == pytest.approx(0, abs=1e-6)
    assert min_sum(rows, 1, "unit").item() == pytest.approx(-1000)
    smallest = (rows - rows.T).square().sum(dim=1).min()
    below_it = rows.mean() - ((smallest - (rows - rows.mean()).square().sum()) / 3).sqrt()
    assert below_it.item() == pytest.approx(0)
    assert rows.mean().item() - 20 == 980
    three = line(0, 0, 3)
    assert (min_max(three, 1).item(), min_sum(three, 1).item()) == pytest.approx((3, 3))
    other = min_max(three, 1, sign="minus").item(), min_sum(three, 1, sign="minus").item()
    assert other == pytest.approx((0, -1))


def test_fang() -> None:
    cells = [[-2, 1], [1, 3], [4, -1], [3, 2], [-1, -2], [2, 0], [0, 4], [5, 1]]
    honest = 100 * torch.tensor(cells, dtype=torch.float64)
    assert krum_lambda(honest, 5, torch.sign(honest.mean(dim=0))) == pytest.approx(253.9, abs=0.05)
    update, up = torch.full((2, 1), 0.5), torch.ones(1)
    on_model = beyond_extremes(10 + update, 4000, up, 2.0, seeded()) - 10
    on_update = beyond_extremes(update, 4000, up, 2.0, seeded())
    assert (on_model.min().item(), on_model.max().item()) == pytest.approx((-4.75, 0.5), abs=0.01)
    assert (on_update.min().item(), on_update.max().item()) == pytest.approx((0.25, 0.5), abs=0.001)
    own = line(1, 3)
    mu, sigma = own.mean(), own.std(correction=0)
    assert (mu - 3.5 * sigma * mu.sign()).item() == -1.5


@pytest.mark.parametrize("seed", range(4))
def test_mimic(seed: int) -> None:
    honest = torch.tensor([[0.0, 1.0], [5.0, 0.0], [-1.0, 2.0]])
    start = torch.randn(2, generator=seeded(seed))
    mean, direction = oja(honest, torch.zeros(2), start, 0)
    assert mimic(honest, 1, direction).tolist() == [[5, 0]]
    later = torch.tensor([[0.0, 9.0], [1.0, 0.0], [0.0, -1.0]])
    _, direction = oja(later, mean, direction, 1)
    assert mimic(later, 1, direction).tolist() == [[0, -1]]


def test_label_flip_and_sign_flip() -> None:
    assert label_flip(torch.tensor([3]), 10).tolist() == [6]
    assert sign_flip(torch.ones(1, 1)).item() == -2
    assert -torch.full((3, 1), 4.0).mean() == -4


def cited(page: str) -> list[tuple[str, str]]:
    """The files and tests that the page names."""
    return re.findall(r"`(\w+/test_\w+\.py|test_conformance\.py)::(test_\w+)`", page)


def test_every_test_that_the_page_names_is_there() -> None:
    found = cited(PAGE.read_text())
    assert len(found) > 50
    for file, test in found:
        assert f"def {test}(" in (Path(__file__).parent / file).read_text(), f"{file}::{test}"


def test_every_forging_attack_and_every_aggregation_rule_has_a_line() -> None:
    from bench.threat import ByzantineAttack

    page = PAGE.read_text()
    ours_alone = {"fedavg", "dp_fedavg", "niss", "rsa", "dpbfl", "ldpbfl"}
    attacks = [name for name in registry.names("attack") if issubclass(registry.get("attack", name), ByzantineAttack)]
    for name in {*registry.names("defense"), *attacks} - ours_alone:
        assert f"`{name}`" in page, name
