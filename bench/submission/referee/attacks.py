"""The stand-ins of submitted attacks, one for each kind: what they are shown is what their view holds, as numbers."""

import math
from collections.abc import Callable

import torch
from pydantic import PrivateAttr
from torch import Tensor

from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.data import Split
from bench.submission.referee.party import LARGEST_MEMORY, Party, Role
from bench.submission.referee.remote import OPEN, SLACK, Remote, drawn, keep, only
from bench.submission.referee.views import pack, trace_of
from bench.submission.referee.wire import MEMORY, Tensors, WireError, prefixed
from bench.threat import (
    Attack,
    ByzantineAttack,
    ByzantineView,
    Game,
    PrivacyAttack,
    PrivacyAudit,
    PublicFacts,
    Reconstruction,
    RoundView,
    View,
)

LONGEST_TRACE = 10_000
"""Entries of a loss trace."""


class RemoteAttack(Remote, Attack):
    """A submitted attack: one party plays it."""

    model_config = OPEN

    _role: Role = PrivateAttr(default="attack")


class RemoteForging(RemoteAttack, ByzantineAttack):
    """A submitted attack that forges: it sees a view's numbers, and tries the deployed rule through the engine."""

    model_config = OPEN

    def needs_updates(self) -> bool:
        return self.facts.needs_updates

    def forge(self, view: ByzantineView) -> Tensor:
        given: Tensors = {"own": view.own, "broadcast": view.broadcast, "generator": view.generator.get_state()}
        for name in ("honest", "names", "updates"):
            if (tensor := getattr(view, name)) is not None:
                given[name] = tensor
        given |= prefixed(view.memory, MEMORY)
        rows = len(view.own) + (0 if view.honest is None else len(view.honest))
        room = rows * view.own.shape[1] * 8 * (1 + LARGEST_MEMORY)
        _, made = self._call(
            "forge",
            given,
            room,
            imagine=None if view.aggregate is None else _on_rows(view.aggregate, rows, view.own.shape[1]),
            alphabet=str(view.alphabet),
            setting=vars(view.setting),
            omniscient=self.omniscient,
        )
        drawn(made, view.generator)
        keep(made, view.memory)
        return only(made, "forged", "forge", view.own.shape)


class RemotePoisoning(RemoteForging, DataPoisoning):
    """A submitted attack that poisons its clients' shards, and forges where it says so."""

    model_config = OPEN

    has_control = True  # its goal may be what any model gives

    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        given: Tensors = {"x": x, "y": y, "generator": generator.get_state()}
        facts = pack(data, given)
        _, made = self._call("poison", given, (x.numel() + y.numel()) * 8, data=facts)
        drawn(made, generator)
        images, labels = only(made, "x", "poison", x.shape), only(made, "y", "poison", y.shape)
        if not bool(torch.isfinite(images).all()):
            raise ValueError("poison gave images that are not finite: what then fails is no defeat of a defense")
        return images, labels

    def check_shard(self, num_samples: int) -> None:
        if self._is_own("check_shard"):
            self._call("ask", method="check_shard", arguments=[num_samples])

    def goal(self, test: Split, data: DataFacts) -> Split | None:
        """A process of its own is asked: one that has seen the models could give images at which they fail anyhow."""
        if not self._is_own("goal"):
            return None
        given: Tensors = {"x": test.x, "y": test.y}
        facts = pack(data, given)
        asked = Party("goal", self.code, self._parameters())
        _, made = asked.call("goal", given, (test.x.numel() + test.y.numel()) * 8 + SLACK, data=facts)
        if not made:
            return None
        if made["x"].shape[1:] != test.x.shape[1:] or made["y"].shape != made["x"].shape[:1]:
            raise ValueError("goal gave images or labels of another shape")
        return Split(made["x"], made["y"])

    def forge(self, view: ByzantineView) -> Tensor:
        return RemoteForging.forge(self, view) if self._is_own("forge") else view.own


class RemoteInversion(RemoteAttack, PrivacyAttack):
    """A submitted inversion: it sees its view and no more."""

    model_config = OPEN

    def collusion(self) -> float:
        return self.facts.collusion

    def estimates(self, view: View) -> list[Tensor]:
        if not self._is_own("estimates"):
            return super().estimates(view)
        shape, made = self._of_each_round("estimates", view)
        return [only(made, str(place), "estimates", shape) for place in range(len(view.rounds))]

    def variances(self, view: View) -> list[Tensor | None]:
        if not self._is_own("variances"):
            return super().variances(view)
        shape, made = self._of_each_round("variances", view)
        places = [str(place) for place in range(len(view.rounds))]
        return [only(made, place, "variances", shape) if place in made else None for place in places]

    def _of_each_round(self, do: str, view: View) -> tuple[torch.Size, Tensors]:
        """The shape of a round's messages, and what the party makes of them, round by round."""
        given: Tensors = {}
        known = pack(view, given)
        shape = view.rounds[0].estimate.shape
        return shape, self._call(do, given, len(view.rounds) * shape.numel() * 8, view=known)[1]

    def tampered(self, facts: PublicFacts, params: Tensor, mean_image: Tensor, generator: torch.Generator) -> Tensor:
        given: Tensors = {"params": params, "mean_image": mean_image, "generator": generator.get_state()}
        _, made = self._call("tampered", given, params.numel() * 8, facts=pack(facts, given))
        return only(made, "params", "tampered", params.shape)

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        given: Tensors = {"generator": generator.get_state()}
        known = pack(view, given)
        pixels, shape = math.prod(view.image_shape) * view.most_images, view.rounds[-1].estimate.shape
        room = (len(view.targets) * (pixels + view.facts.batch_size) + shape.numel()) * 8 + LONGEST_TRACE * 8
        _, made = self._call("infer", given, room, view=known)
        size = torch.Size((len(view.targets), view.facts.batch_size))
        return Reconstruction(
            images=only(made, "images", "infer", view.answered(made.get("images"))),
            labels=only(made, "labels", "infer", size),
            loss=only(made, "loss", "infer", size[:1]),
            trace=trace_of(made.get("trace", torch.zeros(0))),
            estimate=only(made, "estimate", "infer", shape),
        )


class RemoteAudit(RemoteAttack, PrivacyAudit):
    """A submitted adversary of audits: it sees one game at a time, and not which of the two worlds it is in."""

    model_config = OPEN

    def collusion(self) -> float:
        return self.facts.collusion

    def sabotages(self) -> bool:
        return self.facts.sabotages

    def size(self) -> tuple[int, int]:
        return self.facts.size

    def canary(self, generator: torch.Generator) -> Tensor:
        _, made = self._call("canary", {"generator": generator.get_state()}, self.size()[1] * 8)
        drawn(made, generator)
        return only(made, "canary", "canary", torch.Size(self.size()[1:]))

    def evidence(self, seen: RoundView, game: Game) -> Tensor:
        return self._judged("evidence", seen, game)

    def recover(self, seen: RoundView, game: Game) -> Tensor:
        return self._judged("recover", seen, game)

    def is_gaussian(self, game: Game) -> bool:
        """Nobody takes its word: what Gaussian noise would prove holds for no other, and breaks a claim that holds."""
        return False

    def _judged(self, method: str, seen: RoundView, game: Game) -> Tensor:
        given: Tensors = {}
        known = {"seen": pack(seen, given, "seen."), "game": pack(game, given, "game.")}
        _, made = self._call("judge", given, game.without.numel() * 8, method=method, **known)
        return only(made, method, method, game.without.shape)


def _on_rows(aggregate: Callable[[Tensor], Tensor], rows: int, dim: int) -> Callable[[Tensor], Tensor]:
    def tried(messages: Tensor) -> Tensor:
        if messages.shape != (rows, dim):
            raise WireError(f"messages of shape {tuple(messages.shape)}, where the rule takes ({rows}, {dim})")
        return aggregate(messages)

    return tried
