"""Rounds that training, audits and probes share: what a message is, who remembers what, what passes between sides."""

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from bench import registry
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.rounds import ClientMemory
from bench.federation.settings import FederationSettings
from bench.plays.audit import message_of
from bench.plays.cell import run_cell
from bench.privacy.claims import PrivacyClaim
from bench.protocol import Defense, Delivered, LocalRound, ServerRound, Setting, Upload
from bench.records import Record
from bench.threat import ByzantineAttack, ByzantineView
from defenses.dp_fedavg import DPFedAvg
from defenses.fedavg import FedAvg

LEVELS = 127


def quantized(updates: Tensor) -> Tensor:
    """Each row in 8 bits: whole multiples of a 127th of its largest entry."""
    step = updates.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / LEVELS
    return (updates / step).round() * step


class Quantized(DPFedAvg):
    """DP-FedAvg whose clients round their clipped update to 8 bits before they add noise."""

    name: ClassVar[str] = "quantized"

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        return quantized(super().message(updates, weights))


class TopK(FedAvg):
    """Clients send a tenth of their coordinates, and keep what they left out for the next round (error feedback)."""

    name: ClassVar[str] = "top_k"

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        count = max(1, updates.shape[1] // 10)
        kept = torch.zeros_like(updates)
        places = updates.abs().topk(count, dim=1).indices
        return kept.scatter(1, places, updates.gather(1, places))

    def upload(self, local: LocalRound) -> Upload:
        wanted = local.updates + local.memory.get("left_out", torch.zeros_like(local.updates))
        sent = self.message(wanted, local.weights)
        local.memory["left_out"] = wanted - sent
        return Upload(sent)

    def claim(self, setting: Setting) -> PrivacyClaim | None:
        return None


class ServerMomentum(FedAvg):
    """FedAvgM (Hsu et al. 2019): the server keeps a running sum of the mean updates."""

    name: ClassVar[str] = "server_momentum"
    beta: float = 0.5

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        mean = server.weights @ delivered.rows
        server.memory["velocity"] = self.beta * server.memory.get("velocity", torch.zeros_like(mean)) + mean
        return server.global_model + server.memory["velocity"]


class Smuggler(FedAvg):
    """Tries to hand the clean updates to its own server past the messages."""

    name: ClassVar[str] = "smuggler"

    def upload(self, local: LocalRound) -> Upload:
        object.__setattr__(self, "__pydantic_private__", {"clean": local.updates.clone()})
        local.memory["clean"] = local.updates.clone()
        return Upload(torch.zeros_like(local.updates))

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        private = self.__pydantic_private__ or {}
        clean = private.get("clean", server.memory.get("clean"))
        return super().aggregate(delivered, server) if clean is None else server.global_model + clean.mean(dim=0)


class Imagining(ByzantineAttack):
    """Asks many times what the server would make of messages."""

    name: ClassVar[str] = "imagining"
    omniscient: ClassVar[bool] = True

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.aggregate is not None
        assert view.honest is not None
        for _ in range(3):
            view.aggregate(torch.cat([view.honest, 100 * torch.ones_like(view.own)]))
        return view.own


def federation(defense: Defense, attack: ByzantineAttack | None = None, **changes: Any) -> Federation:
    given = {"dataset": "digits", "clients": 10, "samples_per_client": 12, "rounds": 4, "lr": 0.3, "batch_size": 5}
    settings = FederationSettings(
        **{**given, "local_steps": 2, "assumed_byzantine": 0.2, "dtype": "float64", "messages": "always", **changes}
    )
    return Federation(settings, defense, load("digits"), 0, attack, 0.2 if attack else 0.0)


def test_what_is_left_out_is_sent_later_by_whom_it_belongs_to() -> None:
    """Messages and what is still kept add up to the updates, client by client, through rounds that some miss."""
    found = federation(TopK(), participation=0.5)
    trained, sent = torch.zeros(10, found.model.dim).double(), torch.zeros(10, found.model.dim).double()
    for transcript in found.rounds():
        trained[transcript.participants] += transcript.updates
        sent[transcript.participants] += transcript.messages
        assert int((transcript.messages != 0).sum(dim=1).max()) <= found.model.dim // 10
    kept = found._client_memory.kept["left_out"]
    torch.testing.assert_close(sent + kept, trained, rtol=0, atol=1e-12)
    assert float(kept.abs().max()) > 0


def test_a_server_remembers_from_round_to_round() -> None:
    found, velocity = federation(ServerMomentum()), torch.zeros(1)
    for transcript in found.rounds():
        velocity = 0.5 * velocity + transcript.messages.mean(dim=0)
        torch.testing.assert_close(found.global_model, transcript.broadcast + velocity, rtol=0, atol=1e-12)


def test_rounds_that_an_attacker_imagines_leave_the_servers_memory_as_it_is() -> None:
    class Copying(Imagining):
        def forge(self, view: ByzantineView) -> Tensor:
            return view.own

    models = []
    for attack in (Copying(), Imagining()):
        found = federation(ServerMomentum(), attack)
        list(found.rounds())
        models.append(found.global_model)
    assert torch.equal(*models)


def test_nothing_passes_from_clients_to_server_but_messages() -> None:
    found = federation(Smuggler())
    first = found.global_model
    list(found.rounds())
    assert torch.equal(found.global_model, first)


def test_same_seed_same_memory() -> None:
    def play() -> Tensor:
        found = federation(TopK(), participation=0.5)
        list(found.rounds())
        return torch.cat([found.global_model, found._client_memory.kept["left_out"].flatten()])

    assert torch.equal(play(), play())


@pytest.mark.parametrize("left", [torch.zeros(3, 2), 1.0])
def test_memory_without_a_row_for_each_client_is_refused(left: Any) -> None:
    with pytest.raises(ValueError, match=r"left .* in memory\['x'\], not a tensor with a row for each client"):
        ClientMemory(10).keep(torch.arange(4), {"x": left}, "rule.upload")


def test_a_clients_memory_is_zero_until_it_keeps_something() -> None:
    memory = ClientMemory(4)
    memory.keep(torch.tensor([1, 3]), {"x": torch.ones(2, 5)}, "s")
    assert memory.of(torch.tensor([0, 1]))["x"].tolist() == [[0] * 5, [1] * 5]


# ------------------------------------------------------------------------------------------- what is sent before noise


def test_an_audit_knows_the_encoded_message() -> None:
    setting = Setting(10, 10, 6, 5, 0.1, None, 0.2, 1e-5)
    update = torch.tensor([3.0, -1.0, 0.2, 0.013, 5.0, 0.0], dtype=torch.float64)
    defense = Quantized(zeta=2.0)
    expected = quantized(2.0 * (update / update.norm()).unsqueeze(0) / 10)[0]
    torch.testing.assert_close(message_of(defense, setting, update), expected, rtol=0, atol=1e-15)
    assert not torch.allclose(expected, 2.0 * update / update.norm() / 10, atol=1e-4)


def record_of(defense: type[Defense], attack: dict[str, Any], make_cell: Any, make_task: Any, **more: Any) -> Record:
    with registry.known("defense", defense.name, defense):
        record: Record = run_cell(make_task(make_cell({"name": defense.name, **more}, attack))).record
    assert record.status == "ok", record.error
    return record


def test_audits_of_a_quantizing_defense_find_what_its_noise_hides(make_cell: Any, make_task: Any) -> None:
    """Rounded messages of +-zeta differ as clipped ones do: the audit proves much of epsilon, and no more."""
    record = record_of(Quantized, {"name": "audit", "runs": 400, "dim": 20}, make_cell, make_task, epsilon=4.0)
    assert record.privacy.audited is not None
    assert record.metrics["estimate_error"] < 10
    assert 1.0 < record.metrics["epsilon_audited"] <= 4.0


@pytest.mark.parametrize("defense", [Quantized, TopK])
def test_what_hides_a_target_is_the_noise_and_not_the_encoding(
    defense: type[Defense], make_cell: Any, make_task: Any
) -> None:
    """An encoding taken for noise would show: rounding has 1e-4 of the message's size, far above this noise."""
    more = {"epsilon": 1e9, "delta": 1e-4} if defense is Quantized else {}
    record = record_of(defense, {"name": "dlg", "starts": 1, "evaluations": 20}, make_cell, make_task, **more)
    if defense is Quantized:
        assert record.metrics["residual_noise_ratio"] == pytest.approx(1.0, rel=0.2)
    assert record.metrics["control_psnr"] > 0


# ------------------------------------------------------------------------------------------------ who sent what


class Roll(FedAvg):
    """Keeps who sent the rows; the channel loses the first of them, and with `unlinked` whose they are."""

    name: ClassVar[str] = "roll"
    unlinked: bool = False

    def deliver(self, messages: Tensor, generator: torch.Generator) -> Delivered:
        return Delivered(messages[1:], None if self.unlinked else torch.arange(1, len(messages)))

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        if server.clients is not None:
            server.memory[str(server.index)] = server.clients
        return server.global_model + delivered.messages.mean(dim=0)


def test_the_server_knows_by_name_who_sent_the_rows_that_came() -> None:
    found = federation(Roll(), participation=0.5)
    sent = [transcript.participants[1:].tolist() for transcript in found.rounds()]
    assert [clients.tolist() for clients in found._server_memory.values()] == sent
    assert len({tuple(names) for names in sent}) > 1


def test_the_server_knows_nobody_where_rows_are_unlinked() -> None:
    found = federation(Roll(unlinked=True))
    list(found.rounds())
    assert found._server_memory == {}


def test_an_imagined_server_knows_the_same_names() -> None:
    class Asking(Roll):
        name: ClassVar[str] = "asking"

        def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
            assert server.clients is not None
            assert not bool(delivered.messages.isnan().any())
            return server.global_model + float(server.clients.sum())

    imagined: list[Tensor] = []

    class Seeing(Imagining):
        def forge(self, view: ByzantineView) -> Tensor:
            assert view.aggregate is not None
            assert view.honest is not None
            imagined.append(view.aggregate(torch.cat([view.honest, view.own])))
            return view.own

    found = federation(Asking(), Seeing(), participation=0.5)
    real = []
    for transcript in found.rounds():
        if len(imagined) > len(real):  # an attacker took part
            real.append(found.global_model - transcript.broadcast)
    assert len(real) > 1
    torch.testing.assert_close(imagined, real)
