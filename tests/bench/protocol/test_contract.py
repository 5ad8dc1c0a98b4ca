"""What a defense or an attack may not do: each breach is a record with one sentence that names it."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from pydantic import PrivateAttr
from torch import Tensor

from bench import registry
from bench.plays.cell import run_cell
from bench.protocol import Delivered, LocalRound, ServerRound, Upload
from bench.protocol.contract import untouched
from bench.records import Record
from bench.threat import ByzantineAttack, ByzantineView
from defenses.dpbfl import DPBFL
from defenses.fedavg import FedAvg
from defenses.krum import Krum
from defenses.median import Median

Play = Callable[..., Record]


class Plain(Median):
    """A rule that always gets messages, for breaches of every step."""


class Step:
    """One breach: the class with one method replaced."""

    def __init__(self, base: type, told: str, status: str = "failed", **methods: Any) -> None:
        self.base, self.told, self.status, self.methods = base, told, status, methods

    def register(self) -> str:
        kind: Any = "attack" if issubclass(self.base, ByzantineAttack) else "defense"
        registry.register(kind, "breach")(type("Breach", (self.base,), {"__module__": __name__, **self.methods}))
        return str(kind)


class Silent(ByzantineAttack):
    """Sends nothing but zeros."""

    omniscient: ClassVar[bool] = True

    def forge(self, view: ByzantineView) -> torch.Tensor:
        return torch.zeros_like(view.own)


def raising(self: object, *arguments: object) -> None:
    raise RuntimeError("no idea")


def leaving(self: object, *arguments: object) -> None:
    raise SystemExit(3)


def nan_of(shape: Callable[[Any], torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda self, given, *rest: torch.full_like(shape(given), torch.nan)


def writing_updates(self: object, local: LocalRound) -> Upload:
    local.updates.mul_(0.5)
    return Upload(local.updates)


def writing_broadcast(self: object, local: LocalRound) -> Upload:
    local.global_model[0] = 1.0
    return Upload(local.updates)


def writing_by_numpy(self: object, local: LocalRound) -> Upload:
    local.updates.numpy()[:] = 0
    return Upload(local.updates)


def sorting_messages(self: object, delivered: Delivered, server: ServerRound) -> torch.Tensor:
    delivered.messages.copy_(delivered.messages.sort(dim=0).values)
    return server.global_model + delivered.messages.mean(dim=0)


def sorting_by_numpy(self: object, delivered: Delivered, server: ServerRound) -> torch.Tensor:
    delivered.messages.numpy().sort(axis=0)
    return server.global_model + delivered.messages.mean(dim=0)


def writing_model(self: object, delivered: Delivered, server: ServerRound) -> torch.Tensor:
    return server.global_model.add_(delivered.messages.mean(dim=0))


def forging_broadcast(self: object, view: ByzantineView) -> torch.Tensor:
    view.broadcast.zero_()
    return view.own


def votes(value: int | float) -> Callable[..., Upload]:
    dtype = torch.int8 if isinstance(value, int) else torch.float32
    return lambda self, local: Upload(torch.full(local.updates.shape, value, dtype=dtype))


def delivered_of(rows: Callable[[torch.Tensor], Any], senders: Any = None) -> Callable[..., Delivered]:
    return lambda self, messages, generator: Delivered(rows(messages), senders)


BREACHES: dict[str, Step] = {
    "upload of nothing": Step(Plain, "breach.upload returned NoneType, not an Upload", upload=lambda self, local: None),
    "upload of a tensor": Step(
        Plain, "breach.upload returned Tensor, not an Upload", upload=lambda self, local: local.updates
    ),
    "upload of a list": Step(
        Plain,
        "breach.upload returned list, not a tensor of shape (9, 650)",
        upload=lambda self, local: Upload(local.updates.tolist()),
    ),
    "upload too short": Step(
        Plain,
        "breach.upload returned shape (8, 650), not (9, 650)",
        upload=lambda self, local: Upload(local.updates[1:]),
    ),
    "upload of whole numbers": Step(
        Plain,
        "breach.upload returned messages of torch.int64, not real numbers",
        upload=lambda self, local: Upload(local.updates.long()),
    ),
    "upload that raises": Step(Plain, "RuntimeError: no idea", upload=raising),
    "upload that leaves": Step(Plain, "SystemExit: 3", upload=leaving),
    "upload of no numbers": Step(
        Plain,
        "messages is 'not finite', but must be finite numbers",
        upload=lambda self, local: Upload(torch.full_like(local.updates, torch.nan)),
    ),
    "votes outside the alphabet": Step(
        DPBFL, "breach.upload returned messages from 2 to 2, outside the ternary alphabet -1, 0, 1", upload=votes(2)
    ),
    "votes that are real": Step(
        DPBFL, "breach.upload returned messages of torch.float32, not int8 for a ternary alphabet", upload=votes(1.0)
    ),
    "deliver of nothing": Step(
        Plain, "breach.deliver returned NoneType, not a Delivered", deliver=lambda self, messages, generator: None
    ),
    "deliver of other rows": Step(
        Plain, "breach.deliver returned shape (9, 649), not (9, 650)", deliver=delivered_of(lambda m: m[:, 1:])
    ),
    "deliver of one row": Step(
        Plain, "breach.deliver returned shape (650,), not (650, 650)", deliver=delivered_of(lambda m: m[0])
    ),
    "deliver without senders": Step(
        Plain,
        "breach.deliver returned 9 rows and senders of shape (2,)",
        deliver=delivered_of(lambda m: m, torch.arange(2)),
    ),
    "deliver that raises": Step(Plain, "RuntimeError: no idea", deliver=raising),
    "aggregate of nothing": Step(
        Plain, "breach.aggregate returned NoneType, not a tensor of shape (650,)", aggregate=lambda self, *rest: None
    ),
    "aggregate too long": Step(
        Plain,
        "breach.aggregate returned shape (651,), not (650,)",
        aggregate=lambda self, delivered, server: torch.zeros(651),
    ),
    "aggregate of two models": Step(
        Plain,
        "breach.aggregate returned shape (2, 650), not (650,)",
        aggregate=lambda self, delivered, server: torch.zeros(2, 650),
    ),
    "aggregate in another precision": Step(
        Plain,
        "breach.aggregate returned torch.float64, not torch.float32",
        aggregate=lambda self, delivered, server: server.global_model.double(),
    ),
    "aggregate of no numbers": Step(
        Plain,
        "the global model is not finite after round 1",
        "diverged",
        aggregate=lambda self, delivered, server: torch.full_like(server.global_model, torch.nan),
    ),
    "aggregate without end": Step(
        Plain,
        "the global model is not finite after round 1",
        "diverged",
        aggregate=lambda self, delivered, server: torch.full_like(server.global_model, torch.inf),
    ),
    "aggregate that raises": Step(Plain, "RuntimeError: no idea", aggregate=raising),
    "step that raises": Step(FedAvg, "RuntimeError: no idea", step=raising),
    "step of another shape": Step(
        FedAvg, "breach.aggregate returned shape (1,), not (650,)", step=lambda self, total, server: total[:1]
    ),
    "updates changed": Step(Plain, "breach.upload changed its updates in place", upload=writing_updates),
    "updates changed past the count": Step(
        Plain, "breach.upload changed its updates in place", upload=writing_by_numpy
    ),
    "broadcast changed": Step(Plain, "breach.upload changed its broadcast in place", upload=writing_broadcast),
    "messages changed": Step(Plain, "breach.aggregate changed its messages in place", aggregate=sorting_messages),
    "messages changed by numpy": Step(
        Plain, "breach.aggregate changed its messages in place", aggregate=sorting_by_numpy
    ),
    "model changed": Step(Plain, "breach.aggregate changed its broadcast in place", aggregate=writing_model),
    "broadcast changed by an attack": Step(
        Silent, "breach.forge changed its broadcast in place", forge=forging_broadcast
    ),
    "an attack that raises": Step(Silent, "RuntimeError: no idea", forge=raising),
    "an attack that leaves": Step(Silent, "SystemExit: 3", forge=leaving),
    "an attack of nothing": Step(
        Silent, "breach.forge returned NoneType, not a tensor of shape (2, 650)", forge=lambda self, view: None
    ),
    "an attack too short": Step(
        Silent, "breach.forge returned shape (1, 650), not (2, 650)", forge=lambda self, view: view.own[:1]
    ),
}


@pytest.mark.usefixtures("_registry")
@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_one_sentence_in_the_record(play: Play, name: str) -> None:
    breach = BREACHES[name]
    kind = breach.register()
    attack = {"name": "breach" if kind == "attack" else "sign_flip", "byzantine": 2 / 9}
    record = play("median" if kind == "attack" else "breach", attack)
    assert record.status == breach.status
    assert record.error is not None
    assert record.error.removeprefix("ValueError: ") == breach.told


@pytest.mark.usefixtures("_registry")
def test_forged_messages_that_are_not_finite_are_rejected_and_counted(play: Play) -> None:
    """The same for every defense: the cell goes on without them."""
    Step(Silent, "", forge=nan_of(lambda view: view.own)).register()
    record = play("median", {"name": "breach", "byzantine": 2 / 9})
    assert record.status == "ok"
    assert record.metrics["rejected_entries"] == 2 * 650 * 3


def test_training_that_diverges_is_not_the_fault_of_the_rule(play: Play) -> None:
    """Clients' updates overflow before the rule refuses them."""
    record = play("median", lr=1e38)
    assert (record.status, record.error) == ("diverged", "the clients' updates are not finite in round 1")


def test_a_rule_that_claims_too_much_is_told_in_the_record(play: Play) -> None:
    """b at or over one half is no bad input: the record says that the rule does not claim to stand it."""
    record = play("median", {"name": "sign_flip", "byzantine": 5 / 9})
    assert (record.status, record.within_claim) == ("ok", False)


def test_what_is_not_a_number_equals_itself() -> None:
    tensor = torch.full((40, 70), torch.nan)
    with untouched("step", closely=True, messages=tensor, nothing=None):
        tensor.clone().zero_()


def test_writes_through_a_view_count() -> None:
    tensor = torch.zeros(40, 70)
    with pytest.raises(ValueError, match=r"^step changed its messages in place$"), untouched("step", messages=tensor):
        tensor[3:5].T.add_(0)


def test_an_exception_of_the_step_is_the_one_that_is_told() -> None:
    tensor = torch.zeros(3)
    with pytest.raises(RuntimeError, match="no idea"), untouched("step", messages=tensor.add_(1)):
        raising(tensor.add_(1))


# --------------------------------------------------------------------------------------- what a defense sets on itself


class Counting(Median):
    name: ClassVar[str] = "counting"

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        self.count = 1
        return super().aggregate(delivered, server)


def test_a_plain_attribute_ends_in_one_line_that_points_at_the_memory(make_cell: Any, make_task: Any) -> None:
    with registry.known("defense", "counting", Counting):
        record = run_cell(make_task(make_cell({"name": "counting"}, None))).record
    assert record.status == "failed"
    assert record.error == (
        "ValueError: counting sets self.count, but parameters do not change: what a defense remembers is "
        "server.memory['count'] in aggregate, local.memory['count'] in upload"
    )


def test_a_parameter_does_not_change_and_what_pydantic_keeps_private_does() -> None:
    class Private(Median):
        _cache: int = PrivateAttr(default=1)

    krum, private = Krum(), Private()
    with pytest.raises(ValueError, match=r"^krum sets self.num_selected, but parameters do not change"):
        krum.num_selected = 2  # type: ignore[misc]
    private._cache = 2
    assert (krum.num_selected, private._cache) == (1, 2)
