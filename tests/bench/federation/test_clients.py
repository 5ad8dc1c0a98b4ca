"""Batched local training against a plain loop over clients, and the windows that its batches are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench import models
from bench.base.rng import generator
from bench.federation import clients
from bench.federation.clients import PLAIN, Plan, Shards, Step, blocks_of, rsa_blocks, sgd_blocks
from bench.federation.kept import Kept
from bench.models.base import Model, one_hot

SHAPE, CLASSES = (1, 6, 8), 4
NUM_CLIENTS, SHARD = 5, 7
SUBSET = torch.tensor([1, 3, 4])
EVERYONE = torch.arange(NUM_CLIENTS)
WINDOWS = Plan(batch_size=3, epochs=2).windows(SHARD, generator(0))  # 3, 3, 1 and again
both_groups = pytest.mark.parametrize("group", [EVERYONE, SUBSET], ids=["everyone", "subset"])
sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32)


def positions(start: int, size: int, shard: int) -> list[int]:
    """The places of a window on the circle."""
    return [(start + i) % shard for i in range(size)]


def draw(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """(x `(N, ...)`, y `(N,)`, indices `(n, s)`), some samples with more than one client."""
    source = generator(4)
    x = torch.randn(30, *SHAPE, generator=source, dtype=dtype)
    y = torch.randint(CLASSES, (30,), generator=source)
    return x, y, torch.randint(30, (NUM_CLIENTS, SHARD), generator=source)


def shards_of(x: Tensor, y: Tensor, indices: Tensor) -> Shards:
    return Shards(x, y, indices, CLASSES, batch_size=100)


def start_model(name: str, dtype: torch.dtype = torch.float64) -> tuple[Model, Tensor]:
    model = models.build(name, SHAPE, CLASSES)
    return model, 0.2 * torch.randn(model.dim, generator=generator(6), dtype=dtype)


def local_sgd(
    model: Model,
    w: Tensor,
    shards: Shards,
    group: Tensor,
    windows: list[tuple[int, int]],
    lr: float,
    step: Step = PLAIN,
) -> Tensor:
    """The group's models after training: the updates of all blocks, on the model that they start from."""
    updates = [block.clone() for _, block in sgd_blocks(model, w, shards, group, windows, lr, step=step)]
    into = torch.empty(len(group), model.dim, dtype=w.dtype)
    for rows, block in sgd_blocks(model, w, shards, group, windows, lr, out=into, step=step):
        assert block.data_ptr() == into[rows].data_ptr()
    assert torch.equal(torch.cat(updates), into)
    return w + into


def rsa_step_(
    model: Model,
    personal: Tensor,
    w_0: Tensor,
    shards: Shards,
    group: Tensor,
    windows: list[tuple[int, int]],
    lr: float,
    penalty: float,
    step: Step = PLAIN,
) -> None:
    """One round of RSA, in place; every block must tell where its models stood before."""
    before = personal[group] - w_0
    kept, everybody = Kept(len(personal), w_0), torch.arange(len(personal))
    kept.put(everybody, personal)
    for rows, away in rsa_blocks(model, kept, w_0, shards, group, windows, lr, penalty, step=step):
        assert torch.equal(away, before[rows])
    personal.copy_(kept.take(everybody))


def plain(name: str) -> nn.Module:
    """The model as anybody would write it."""
    if name == "softmax":
        return nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES))
    if name == "mlp":
        hidden = (nn.Linear(48, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU())
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(200, CLASSES))
    assert name == "lenet"
    layers: list[nn.Module] = []
    for channels, stride in ((1, 2), (12, 2), (12, 1)):
        layers += [nn.Conv2d(channels, 12, 5, stride, padding=2), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12 * 2 * 2, CLASSES))


def loaded(name: str, params: Tensor) -> nn.Module:
    module = plain(name).to(params.dtype)
    nn.utils.vector_to_parameters(params.clone(), module.parameters())
    return module


def plain_sgd(
    name: str, params: Tensor, client: int, windows: list[tuple[int, int]], lr: float, step: Step = PLAIN
) -> Tensor:
    """One client's local training: torch.nn, torch.optim.SGD, one batch after the other."""
    x, y, indices = draw(params.dtype)
    module = loaded(name, params)
    optimizer = torch.optim.SGD(module.parameters(), lr=lr, weight_decay=step.weight_decay)
    for start, size in windows:
        rows = indices[client][positions(start, size, SHARD)]
        optimizer.zero_grad()
        cross_entropy(module(x[rows]), y[rows]).backward()
        if step.max_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), step.max_norm)
        optimizer.step()
    return nn.utils.parameters_to_vector(module.parameters()).detach()


def plain_rsa(
    name: str, own: Tensor, w_0: Tensor, client: int, lr: float, penalty: float, step: Step = PLAIN
) -> Tensor:
    """Eq. 3 as it is printed, one batch after the other; the loss may have an L2 norm beside it."""
    x, y, indices = draw(own.dtype)
    w_i = own.clone()
    for start, size in WINDOWS:
        rows = indices[client][positions(start, size, SHARD)]
        module = loaded(name, w_i)
        parts = torch.autograd.grad(cross_entropy(module(x[rows]), y[rows]), list(module.parameters()))
        gradient = torch.cat([part.flatten() for part in parts])
        if step.max_norm is not None and gradient.norm() > step.max_norm:
            gradient = gradient * step.max_norm / (gradient.norm() + 1e-6)
        gradient = gradient + step.weight_decay * w_i
        w_i = w_i - lr * (gradient + penalty * torch.sign(w_i - w_0))
    return w_i


def kept_models(w_0: Tensor) -> Tensor:
    """Models around w_0 `(n, d)`, some coordinates, and one client, exactly on it."""
    offsets = 0.05 * torch.randn(NUM_CLIENTS, len(w_0), generator=generator(8), dtype=w_0.dtype)
    offsets[:, ::3] = 0
    offsets[3] = 0
    return w_0 + offsets


@pytest.mark.parametrize(
    ("batch_size", "epochs", "steps", "argument"),
    [
        (0, 1, None, "batch_size"),
        (-3, None, 1, "batch_size"),
        (1, None, None, "epochs, steps"),
        (1, 1, 1, "epochs, steps"),
        (1, 0, None, "epochs, steps"),
        (1, None, 0, "epochs, steps"),
        (1, None, -1, "epochs, steps"),
    ],
)
def test_a_plan_out_of_range_is_refused(batch_size: int, epochs: int | None, steps: int | None, argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument} is .*, but must be .*at least 1$"):
        Plan(batch_size, epochs=epochs, steps=steps)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(3, epochs=1), 3),
        (Plan(3, epochs=2), 6),
        (Plan(7, epochs=2), 2),
        (Plan(50, epochs=1), 1),
        (Plan(3, steps=5), 5),
    ],
)
def test_num_steps_on_seven_samples(plan: Plan, expected: int) -> None:
    assert plan.num_steps(7) == expected
    assert len(plan.windows(7, generator(0))) == expected


@given(sizes, st.integers(1, 50), st.integers(1, 3), seeds)
def test_an_epoch_visits_each_sample_once(shard: int, batch: int, epochs: int, seed: int) -> None:
    plan = Plan(batch, epochs=epochs)
    windows = plan.windows(shard, generator(seed))
    assert windows == plan.windows(shard, generator(seed))
    assert len(windows) == plan.num_steps(shard)
    per_epoch = len(windows) // epochs
    for epoch in range(epochs):
        own = windows[epoch * per_epoch : (epoch + 1) * per_epoch]
        visited = [place for window in own for place in positions(*window, shard)]
        assert sorted(visited) == list(range(shard))
        assert all(size == min(batch, shard) for _, size in own[:-1])
        assert own[-1][1] == (shard % min(batch, shard) or min(batch, shard))
    assert all(0 <= start < shard for start, _ in windows)


@given(sizes, st.integers(1, 50), st.integers(1, 60), seeds)
def test_steps_go_round_the_circle(shard: int, batch: int, steps: int, seed: int) -> None:
    plan = Plan(batch, steps=steps)
    windows = plan.windows(shard, generator(seed))
    assert windows == plan.windows(shard, generator(seed))
    assert len(windows) == steps
    assert {size for _, size in windows} == {min(batch, shard)}
    visited = [place for window in windows for place in positions(*window, shard)]
    assert visited == positions(visited[0], len(visited), shard)


def test_every_sample_is_somebodys_first() -> None:
    starts = {Plan(2, steps=1).windows(5, generator(seed))[0][0] for seed in range(100)}
    assert starts == {0, 1, 2, 3, 4}


SIZES = torch.tensor([7, 1, 3, 5, 2])


@pytest.mark.parametrize("order", [None, torch.tensor([4, 2, 0, 3, 1])], ids=["by name", "placed"])
@pytest.mark.parametrize("batch_size", [1, 2, 4, 20])
def test_clients_of_different_sizes_go_round_their_own_samples(batch_size: int, order: Tensor | None) -> None:
    x, y, indices = draw()
    shards = Shards(x, y, indices, CLASSES, batch_size, order, SIZES)
    windows = Plan(batch_size, steps=9).windows(shards.circle, generator(1))
    assert {size for _, size in windows} == {batch_size}
    visited: dict[int, list[int]] = {client: [] for client in range(NUM_CLIENTS)}
    for start, size in windows:
        for group in (EVERYONE, SUBSET):
            found_x, found_y = shards.window(shards.place[group], start, size)
            for row, client in enumerate(group.tolist()):
                places = positions(start, size, int(SIZES[client]))
                rows = indices[client][places]
                assert torch.equal(found_x[row], x[rows])
                assert torch.equal(found_y[row], one_hot(y[rows], CLASSES, x.dtype))
                visited[client] += places if group is EVERYONE else []
    for client, places in visited.items():  # every sample of its own equally often, give or take one
        counts = torch.tensor(places).bincount(minlength=int(SIZES[client]))
        assert len(counts) == SIZES[client]
        assert int(counts.max() - counts.min()) <= 1


def test_local_sgd_on_different_sizes_is_the_plain_loop() -> None:
    (x, y, indices), (model, w) = draw(), start_model("mlp")
    shards = Shards(x, y, indices, CLASSES, 4, sizes=SIZES)
    windows = Plan(4, steps=5).windows(shards.circle, generator(2))
    found = local_sgd(model, w, shards, EVERYONE, windows, lr=0.1)
    for client in range(NUM_CLIENTS):
        module = loaded("mlp", w)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        for start, size in windows:
            rows = indices[client][positions(start, size, int(SIZES[client]))]
            optimizer.zero_grad()
            cross_entropy(module(x[rows]), y[rows]).backward()
            optimizer.step()
        expected = nn.utils.parameters_to_vector(module.parameters()).detach()
        torch.testing.assert_close(found[client], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 2, 6, 7, 8, 100])
@pytest.mark.parametrize("resident", [True, False])
def test_a_window_holds_the_clients_samples(monkeypatch: pytest.MonkeyPatch, resident: bool, batch_size: int) -> None:
    if not resident:
        monkeypatch.setattr(clients, "RESIDENT_BYTES", 0)
    x, y, indices = draw()
    shards = Shards(x, y, indices, CLASSES, batch_size)
    assert shards._resident == resident
    assert (shards.num_clients, shards.size) == (NUM_CLIENTS, SHARD)
    for members in (slice(0, NUM_CLIENTS), slice(1, 3), SUBSET):
        for start in range(SHARD):
            for size in range(1, min(batch_size, SHARD) + 1):
                rows = indices[members][:, positions(start, size, SHARD)]
                found_x, found_y = shards.window(members, start, size)
                assert torch.equal(found_x, x[rows])
                assert torch.equal(found_y, one_hot(y[rows], CLASSES, x.dtype))


@pytest.mark.parametrize("name", ["softmax", "mlp", "lenet"])
@both_groups
def test_local_sgd_is_the_plain_loop(name: str, group: Tensor) -> None:
    x, y, indices = draw(torch.float32)
    model, w = start_model(name, torch.float32)
    before = w.clone()
    found = local_sgd(model, w, shards_of(x, y, indices), group, WINDOWS, lr=0.1)
    expected = torch.stack([plain_sgd(name, w, client, WINDOWS, lr=0.1) for client in group.tolist()])
    assert found.dtype == torch.float32
    assert float((expected - w).abs().max()) > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(w, before)


def test_local_sgd_over_several_epochs_and_whole_shards() -> None:
    x, y, indices = draw()
    model, w = start_model("softmax")
    windows = Plan(batch_size=100, epochs=3).windows(SHARD, generator(2))
    found = local_sgd(model, w, shards_of(x, y, indices), EVERYONE, windows, lr=0.5)
    everything = [(0, SHARD)] * 3
    expected = torch.stack([plain_sgd("softmax", w, client, everything, lr=0.5) for client in range(NUM_CLIENTS)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@both_groups
def test_blocks_cover_the_round_once(monkeypatch: pytest.MonkeyPatch, group: Tensor) -> None:
    shards, (model, _) = shards_of(*draw()), start_model("softmax")
    for limit, expected in ((1, len(group)), (2**40, 1)):
        monkeypatch.setattr(Model, "block_bytes", limit)
        found = list(blocks_of(model, shards, group, 3, 8))
        assert len(found) == expected
        assert torch.equal(torch.cat([group[rows] for rows, _ in found]), group)
        assert torch.equal(torch.cat([EVERYONE[members] for _, members in found]), group)


@pytest.mark.parametrize("resident", [True, False])
@both_groups
def test_neither_blocks_nor_residence_change_the_result(
    monkeypatch: pytest.MonkeyPatch, group: Tensor, resident: bool
) -> None:
    model, w = start_model("mlp")
    reference, stepped = shards_of(*draw()), kept_models(w)
    expected = local_sgd(model, w, reference, group, WINDOWS, 0.1)
    rsa_step_(model, stepped, w, reference, group, WINDOWS, 0.1, 0.02)
    if not resident:
        monkeypatch.setattr(clients, "RESIDENT_BYTES", 0)
    shards = shards_of(*draw())
    for limit in (1, 3 * 2 * model.dim * 8 + 10_000, 2**40):  # one, two, all clients a block
        monkeypatch.setattr(Model, "block_bytes", limit)
        found, personal = local_sgd(model, w, shards, group, WINDOWS, 0.1), kept_models(w)
        rsa_step_(model, personal, w, shards, group, WINDOWS, 0.1, 0.02)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(personal, stepped, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "lenet"])
@both_groups
def test_rsa_step_is_equation_3(name: str, group: Tensor) -> None:
    model, w_0 = start_model(name)
    personal, before, broadcast = kept_models(w_0), kept_models(w_0), w_0.clone()
    rsa_step_(model, personal, w_0, shards_of(*draw()), group, WINDOWS, lr=0.1, penalty=0.05)
    for client in range(NUM_CLIENTS):
        if client in group.tolist():
            expected = plain_rsa(name, before[client], w_0, client, lr=0.1, penalty=0.05)
            torch.testing.assert_close(personal[client], expected, rtol=0, atol=1e-12)
        else:
            assert torch.equal(personal[client], before[client])
    assert torch.equal(w_0, broadcast)


STEPS = (Step(weight_decay=0.3), Step(max_norm=0.5), Step(0.3, 0.5))
every_step = pytest.mark.parametrize("step", STEPS, ids=["decay", "clip", "both"])


@every_step
@both_groups
def test_decay_and_clipping_are_torchs(group: Tensor, step: Step) -> None:
    model, w = start_model("mlp")
    found = local_sgd(model, w, shards_of(*draw()), group, WINDOWS, 0.1, step)
    expected = torch.stack([plain_sgd("mlp", w, client, WINDOWS, 0.1, step) for client in group.tolist()])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(found, local_sgd(model, w, shards_of(*draw()), group, WINDOWS, 0.1), atol=1e-3)


def test_some_gradients_are_clipped_and_some_are_not() -> None:
    """At a norm between the clients' own, so that each client is clipped by itself."""
    (x, y, indices), (model, w) = draw(), start_model("mlp")
    gradients = model.gradients(w, x[indices], one_hot(y[indices], CLASSES, x.dtype))
    norms = gradients.norm(dim=1)
    limit = float(norms.median())
    found = Step(max_norm=limit).direction(model, w, x[indices], one_hot(y[indices], CLASSES, x.dtype))
    torch.testing.assert_close(found.norm(dim=1), norms.clamp(max=limit), rtol=1e-5, atol=0)
    kept = norms < limit
    assert 0 < int(kept.sum()) < NUM_CLIENTS
    assert torch.equal(found[kept], gradients[kept])


@every_step
def test_decay_and_clipping_in_rsas_step_are_the_losss(step: Step) -> None:
    model, w_0 = start_model("softmax")
    personal, before = kept_models(w_0), kept_models(w_0)
    rsa_step_(model, personal, w_0, shards_of(*draw()), EVERYONE, WINDOWS, lr=0.1, penalty=0.05, step=step)
    for client in range(NUM_CLIENTS):
        expected = plain_rsa("softmax", before[client], w_0, client, lr=0.1, penalty=0.05, step=step)
        torch.testing.assert_close(personal[client], expected, rtol=0, atol=1e-12)


def test_rsa_step_without_a_gradient_pulls_towards_the_global_model() -> None:
    """Black images and equal logits: only the bias has a gradient, the weights move by lr * penalty alone."""
    model = models.build("softmax", SHAPE, CLASSES)
    x, indices = torch.zeros(4, *SHAPE, dtype=torch.float64), torch.arange(4).reshape(2, 2)
    w_0 = torch.zeros(model.dim, dtype=torch.float64)
    personal = torch.stack([w_0 + 1, w_0 - 1])
    rsa_step_(
        model, personal, w_0, Shards(x, torch.zeros(4).long(), indices, CLASSES, 2), EVERYONE[:2], [(0, 2)], 0.5, 0.2
    )
    weights = personal[:, :-CLASSES]
    torch.testing.assert_close(weights, torch.tensor([[0.9], [-0.9]], dtype=torch.float64).expand_as(weights))


# ------------------------------------------------------------------------------------------------------ held samples


@pytest.mark.parametrize("order", [None, torch.tensor([4, 2, 0, 3, 1])], ids=["by name", "placed"])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(("size", "kept"), [(7, 1), (6, 2), (6, 3), (6, 6)])
def test_held_samples_fill_every_window(
    monkeypatch: pytest.MonkeyPatch, size: int, kept: int, resident: bool, order: Tensor | None
) -> None:
    if not resident:
        monkeypatch.setattr(clients, "RESIDENT_BYTES", 0)
    (x, y, indices), group = draw(), torch.tensor([3, 1])
    before = x.clone(), y.clone()
    indices = indices[:, :1].expand(-1, size) if size > SHARD else indices[:, :size]
    shards = Shards(x, y, indices, CLASSES, batch_size=kept, order=order)
    mine = torch.randn(2, kept, *SHAPE, generator=generator(7), dtype=x.dtype)
    labels = torch.randint(CLASSES, (2, kept), generator=generator(8))
    shards.hold(group, mine, labels)
    assert shards.size == size
    for start in range(size):
        found_x, found_y = shards.window(shards.place, start, kept)
        for client in range(NUM_CLIENTS):
            if client in group.tolist():
                row = group.tolist().index(client)
                again = [place % kept for place in range(start, start + kept)]
                assert sorted(again) == list(range(kept))
                expected = mine[row, again], one_hot(labels[row, again], CLASSES, x.dtype)
            else:
                rows = indices[client][positions(start, kept, size)]
                expected = x[rows], one_hot(y[rows], CLASSES, x.dtype)
            assert torch.equal(found_x[client], expected[0])
            assert torch.equal(found_y[client], expected[1])
    assert torch.equal(x, before[0])  # others read the data set as well
    assert torch.equal(y, before[1])


@pytest.mark.parametrize("resident", [True, False])
def test_held_samples_can_be_changed_again(monkeypatch: pytest.MonkeyPatch, resident: bool) -> None:
    if not resident:
        monkeypatch.setattr(clients, "RESIDENT_BYTES", 0)
    shards = Shards(*draw(), CLASSES, batch_size=1)
    for value in (1.0, 2.0):
        shards.hold(SUBSET, torch.full((3, 1, *SHAPE), value).double(), torch.zeros(3, 1).long())
    assert bool((shards.window(SUBSET, 4, 1)[0] == 2).all())


@pytest.mark.parametrize("kept", [2, 3, 8])
def test_samples_that_do_not_fill_a_shard_in_whole_batches_are_refused(kept: int) -> None:
    x, y = torch.zeros(1, kept, *SHAPE).double(), torch.zeros(1, kept).long()
    with pytest.raises(ValueError, match=f"samples_per_client is 7, but must be a multiple of the {kept} images"):
        Shards(*draw(), CLASSES, batch_size=kept).hold(torch.tensor([0]), x, y)


def test_samples_in_float16_give_the_batches_of_the_same_samples_in_float32():
    source = generator(0, "half")
    x = torch.randn(40, 3, 2, 2, generator=source).half()
    y, indices = torch.arange(40) % 5, torch.randperm(40, generator=source).view(4, 10)
    narrow, wide = Shards(x, y, indices, 5, 4, dtype=torch.float32), Shards(x.float(), y, indices, 5, 4)
    for places in (slice(1, 3), torch.tensor([3, 0])):
        for ours, theirs in zip(narrow.window(places, 8, 4), wide.window(places, 8, 4), strict=True):
            assert ours.dtype == torch.float32
            assert torch.equal(ours, theirs)
