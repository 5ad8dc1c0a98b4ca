"""One round, and the loop over rounds: broadcast, local training, upload, forging, channel, aggregation."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from bench import models
from bench.attacking.poisoning import DataFacts, DataPoisoning, poison_shards
from bench.base import device, rng
from bench.base.errors import DivergedError
from bench.data import Dataset, Split
from bench.federation.clients import Momentum, Plan, Shards, Step, as_held, rsa_blocks, sgd_blocks
from bench.federation.kept import Kept
from bench.federation.roles import (
    assumed_fraction,
    byzantine_clients,
    check_carries,
    check_fits,
    holdings,
    participants_of,
    setting_of,
)
from bench.federation.root import Root
from bench.federation.rounds import ClientMemory, Sides, aggregate, arrived, check_model, exchange, names_of
from bench.federation.secret import is_secret
from bench.federation.server_optimizers import ServerOptimizer
from bench.federation.settings import FederationSettings
from bench.federation.together import forged_together
from bench.protocol import Alphabet, Defense, LocalRound, ServerRound, SumDefense, all_finite, plays_in_sums
from bench.protocol.contract import check_shape, untouched
from bench.threat import (
    Asked,
    ByzantineAttack,
    ByzantineView,
    OwnTraining,
    PublicFacts,
    RoundTranscript,
    Saboteurs,
    sanitize,
)


class Federation:
    """The state of one federated training: the global model, the clients' kept models, the round.

    `byzantine` is the fraction of clients under `attack`; which ones they are depends on the seed alone, unless it is
    their mask `(n,)` itself. `attacked` are
    the rounds, counted from 0, in which they attack, all by default; in the others they do what honest clients do.
    """

    def __init__(
        self,
        settings: FederationSettings,
        defense: Defense,
        dataset: Dataset,
        seed: int,
        attack: ByzantineAttack | None = None,
        byzantine: float | Tensor = 0.0,
        attacked: range | None = None,
    ) -> None:
        self.settings, self.defense, self.attack, self.seed = settings, defense, attack, seed
        self.attacked = range(settings.rounds) if attacked is None else attacked
        dataset = dataset.to(device.current())
        self.dtype = getattr(torch, settings.dtype)
        self.model = models.build(settings.model, dataset.shape, dataset.num_classes)
        indices, self._sizes = holdings(settings, dataset.train.y, seed)
        self._held, self._classes = (dataset.train.y, indices), dataset.num_classes  # true labels, none poisoned
        if not isinstance(byzantine, Tensor):
            byzantine = byzantine_clients(settings, byzantine, seed)
        self.is_byzantine = byzantine
        num_byzantine = int(self.is_byzantine.sum())
        self.plan = Plan(settings.batch_size, epochs=settings.local_epochs, steps=settings.local_steps)
        self.step = Step(settings.weight_decay, settings.clip_gradients or None)
        inputs, labels = as_held(dataset.train.x, self.dtype), dataset.train.y
        honest_first = None if attack is None else self.is_byzantine.long().argsort(stable=True)

        def shards(x: Tensor, y: Tensor, held: Tensor) -> Shards:
            return Shards(x, y, held, dataset.num_classes, settings.batch_size, honest_first, self._sizes, self.dtype)

        self._data = DataFacts.of(dataset)
        self._by_phase: dict[bool, Shards] = {}  # by whether a round is attacked, where only some rounds are poisoned
        if isinstance(attack, DataPoisoning) and num_byzantine:
            generator = rng.generator(seed, "poison")
            poisoned = poison_shards(attack, inputs, labels, indices, self.is_byzantine, self._data, generator)
            self.shards = shards(*poisoned)
            if any(index not in self.attacked for index in range(settings.rounds)):
                self._by_phase = {True: self.shards, False: shards(inputs, labels, indices)}
        else:
            self.shards = shards(inputs, labels, indices)
        check_fits(settings, defense)
        check_carries(self.model, defense)
        self.setting = setting_of(settings, self.model.dim, assumed_fraction(settings, num_byzantine))
        self._sides = Sides.of(defense)
        self._sides.start(self.setting)
        first = self.model.initial(rng.generator(seed, "initial", device="cpu"), self.dtype)
        self.global_model = first.to(device.current())
        self._placed = Kept(settings.clients, self.global_model) if defense.keeps_models else None
        self._momentum = Momentum(settings.momentum, settings.clients, self.global_model) if settings.momentum else None
        self._optimizer = _optimizer_of(settings)
        count = defense.num_root_samples()
        self._root = Root(dataset, count, self.model, self.plan, seed, self.dtype, self.step) if count else None
        self.saboteurs: Saboteurs | None = None
        self.planted: Callable[[Tensor, Tensor], None] | None = None  # writes into the updates (m, d) of clients (m,)
        self.damage: Callable[[Tensor], float] | None = None  # of a model, on images that the attackers hold
        self.asked: Asked | None = None  # the images of which attackers ask who trained on them
        self.evaluations = 0  # of the deployed rule, by attackers who try what they might send
        self.round = 0
        self._memory: dict[str, Tensor] = {}  # what the Byzantine clients keep from round to round
        self._server_memory: dict[str, Tensor] = {}
        self._client_memory = ClientMemory(settings.clients)
        self.rejected = 0  # forged entries that the alphabet or finiteness did not allow

    @property
    def kept(self) -> Tensor | None:
        """The models `(n, d)` that the clients keep, in the order of their names; None where they keep none."""
        return None if self._placed is None else self._placed.take(self.shards.place)

    def label_counts(self) -> Tensor:
        """How many samples of each class each client holds `(n, C)`, by their true labels."""
        labels, indices = (part.cpu() for part in self._held)
        places = labels[indices] + self._classes * torch.arange(len(indices)).unsqueeze(1)
        if self._sizes is not None:
            places = places[torch.arange(places.shape[1]) < self._sizes.cpu().unsqueeze(1)]
        counts = places.flatten().bincount(minlength=len(indices) * self._classes)
        return counts.reshape(len(indices), self._classes)

    def singled_out(self) -> dict[str, int]:
        """Names by role of the clients that the server's side has singled out so far."""
        return self._sides.server.singled_out(self._server_memory)

    def goal(self, test: Split) -> Split | None:
        """Test images as the attackers would show them to today's model, with the answers that they want."""
        if not isinstance(self.attack, DataPoisoning):
            return None
        return self.attack.goal_now(test, self._data, self._memory)

    def rounds(self) -> Iterator[RoundTranscript]:
        """Play all rounds, one after the other."""
        for _ in range(self.settings.rounds):
            yield self.play()

    def play(self) -> RoundTranscript:
        """Play one round and return all that happened in it."""
        return self._play_messages(self._begin(), keep=True)

    def advance(self) -> None:
        """Play one round for its model alone, in sums of messages where those suffice."""
        participants = self._begin()
        omniscient = self.attack is not None and self.attack.omniscient and self.round in self.attacked
        if self.settings.messages == "always" or omniscient or not plays_in_sums(self.defense, self.setting):
            self._play_messages(participants, keep=False)
        else:
            self._play_sums(participants)

    def _play_messages(self, participants: Tensor, keep: bool) -> RoundTranscript:
        """Every message is there: `keep` says whether the transcript's updates must stay as they were trained."""
        updates = torch.empty(len(participants), self.model.dim, dtype=self.dtype)
        placed = self.shards.place[participants].argsort()  # those that lie side by side train together
        if not keep and self.defense.uploads_apart() and self._forges_untrained():
            forging = self._is_forging(participants)
            updates[forging] = 0
            placed = placed[~forging[placed]]
        for rows, block in self._train(participants[placed]):
            updates.index_copy_(0, placed[rows], block)
        if self.planted is not None:
            self.planted(participants, updates)
        local = self._local_round(participants, updates, self._weights(participants), self._generator("noise"))
        try:
            return self._exchange(local, keep)
        except Exception:
            if all_finite(updates[~self._is_forging(participants)]):  # attackers may train to anything
                raise
            raise DivergedError(f"the clients' updates are not finite in round {self.round + 1}") from None

    def _exchange(self, local: LocalRound, keep: bool) -> RoundTranscript:
        """Upload, forging, channel and aggregation, each step held to what it may do."""
        broadcast, updates, index = self.global_model, local.updates, self.round
        kept = keep and self.attack is not None  # messages may be the updates themselves
        before = dict(local.memory)

        def guard(step: str, given: dict[str, Tensor]) -> AbstractContextManager[None]:
            return untouched(step, closely=index == 0, **given)

        def forge(messages: Tensor) -> Tensor:
            self._client_memory.keep(local.clients, local.memory, f"{self.defense.name}.upload")
            return self._forge(messages.clone() if kept else messages, local, before)

        sent = exchange(self._sides, local, self._generator("channel"), forge, guard)
        server = self._server_round(arrived(sent.delivered, local.weights), names_of(sent.delivered, local.clients))
        self._finish(aggregate(self._sides, sent, server, guard))
        return RoundTranscript(
            index, broadcast, local.clients, sent.messages, sent.delivered, sent.peers, updates, local.mute
        )

    def _play_sums(self, participants: Tensor) -> None:
        """Blocks of honest clients are trained and summed; the Byzantine ones are trained, and forge together.

        Where neither what they forge nor its sum depends on who forges together, they do so in blocks too.
        """
        clients, server = self._sides.clients, self._sides.server
        assert isinstance(clients, SumDefense)
        assert isinstance(server, SumDefense)
        forging = self._is_forging(participants)
        honest, forgers = participants[~forging], participants[forging]
        weights, noise = self._weights(participants), self._generator("noise")
        honest_weights, forged_weights = weights[~forging], weights[forging]
        blocks = self._train(honest) if len(honest) else [(slice(0), self.global_model.new_empty(0, self.model.dim))]
        parts = []
        for rows, updates in blocks:
            local = self._local_round(honest[rows], updates, honest_weights[rows], noise)
            with untouched(f"{clients.name}.upload", broadcast=self.global_model, updates=updates):
                parts.append(clients.summary(local))
            self._client_memory.keep(local.clients, local.memory, f"{clients.name}.upload")
        summary = torch.stack(parts).sum(dim=0)
        total = clients.drawn_sum(summary, len(honest), self.setting, noise)
        for forged, of_forged in self._forged_blocks(forgers, forged_weights):
            total = total + server.add_up(forged, of_forged)
        with untouched(f"{server.name}.aggregate", broadcast=self.global_model):
            model = server.step(total, self._server_round(weights))
        check_model(model, f"{server.name}.aggregate", self.global_model)
        self._finish(model)

    def _forged_blocks(self, forgers: Tensor, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """What these clients `(f,)` forge, and the weights of those who do: all at once, or block by block."""
        if not len(forgers):
            return
        assert self.attack is not None
        draws = self._generator("forge")
        for rows in forged_together(self.attack, self._sides.server, len(forgers), self.global_model):
            own, updates = self._own_messages(forgers[rows])
            view = self._view(forgers[rows], own, updates, draws)
            yield self._forged(view, weights[rows]), weights[rows]

    def _own_messages(self, clients: Tensor) -> tuple[Tensor, Tensor | None]:
        """What these clients would send honestly and without noise `(f, d)`, and the updates if they are at hand."""
        assert self.attack is not None
        real = self.defense.alphabet is Alphabet.REAL
        if self._forges_untrained():
            zeros = torch.zeros(1, self.model.dim, dtype=self.dtype if real else torch.int8)
            return zeros.expand(len(clients), -1), None
        if real or self.attack.needs_updates():
            trained = torch.empty(len(clients), self.model.dim, dtype=self.dtype)
            for _ in self._train(clients, trained):
                pass
            return self._own_message(clients, trained), trained
        own = torch.empty(len(clients), self.model.dim, dtype=torch.int8)
        for rows, updates in self._train(clients):
            own[rows] = self._own_message(clients[rows], updates)
        return own, None

    def _finish(self, model: Tensor) -> None:
        """The next round starts from this model `(d,)`, or where the server's optimizer goes on its account."""
        if self._optimizer is not None:
            change = model - self.global_model
            trained = change[: self.model.num_trained]  # running statistics are averaged, whatever the optimizer does
            model = self.global_model + torch.cat([self._optimizer.step(trained), change[len(trained) :]])
        self.global_model = model
        self.round += 1

    def facts(self, mean: Tensor, std: Tensor) -> PublicFacts:
        """What everybody knows of this federation; `mean` and `std` are those of the images."""
        return PublicFacts(
            model=self.model,
            setting=self.setting,
            alphabet=self.defense.alphabet,
            weighted=self.defense.weighted,
            keeps_models=self.defense.keeps_models,
            local_penalty=self.defense.local_penalty(),
            random_share=self.defense.random_share(),
            clip_norm=self.defense.clip_norm(),
            local_steps=self.plan.num_steps(self.shards.size),
            momentum=self.settings.momentum,
            mean=mean,
            std=std,
            batch_size=min(self.settings.batch_size, self.shards.size),
            parameters={**self.defense.model_dump(), **self.defense.derived(self.setting)},
        )

    def _generator(self, role: str, at: str | None = None) -> torch.Generator:
        return rng.generator(self.seed, role, self.round, device=at)

    def _begin(self) -> Tensor:
        """Names `(m,)` of the round's clients, in order; Byzantine ones take up the data that they train on now."""
        self.shards = self._by_phase.get(self.round in self.attacked, self.shards)
        return participants_of(self.settings, self.seed, self.round).to(device.current())

    def _train(self, clients: Tensor, out: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Rows of `clients (m,)` and their updates `(c, d)`, block by block, in `out (m, d)` where it is given.

        Under RSA an update is what the kept model is away from the broadcast before this round's step.
        """
        windows = self.plan.windows(self.shards.circle, self._generator("batches", "cpu"))
        lr = self.setting.learning_rate(self.round)
        where = (self.global_model, self.shards, clients, windows, lr)
        if self._placed is None:
            return sgd_blocks(self.model, *where, out, self._momentum, self.step)
        return rsa_blocks(self.model, self._placed, *where, self.defense.local_penalty(), out, self.step)

    def _weights(self, clients: Tensor) -> Tensor:
        """p_k `(m,)` among these clients: what each holds of their samples, 1 / m where shards are equally large."""
        if self._sizes is None:
            return torch.full((len(clients),), 1 / len(clients), dtype=self.dtype)
        held = self._sizes[clients].to(self.dtype)
        return held / held.sum()

    def _local_round(self, clients: Tensor, updates: Tensor, weights: Tensor, noise: torch.Generator) -> LocalRound:
        mute = None if self.saboteurs is None else self.saboteurs.mute(clients)
        memory = self._client_memory.of(clients)
        return LocalRound(self.round, clients, self.setting, self.global_model, updates, weights, noise, mute, memory)

    def _server_round(self, weights: Tensor, clients: Tensor | None = None) -> ServerRound:
        w, lr = self.global_model, self.setting.learning_rate(self.round)
        root = None if self._root is None else self._root.update(self.round, w, lr)
        draws = self._generator("server")
        kept, model = self._server_memory, self.model
        return ServerRound(self.round, self.setting, w, weights, draws, root, kept, clients, model.layers, model)

    def _is_forging(self, participants: Tensor) -> Tensor:
        """`(m,)` bool: who of the round sends what the attack makes."""
        forging = self.is_byzantine[participants]
        attacks = self.attack is not None and self.round in self.attacked
        return forging if attacks else torch.zeros_like(forging)

    def _forges_untrained(self) -> bool:
        """Whether nothing would come of the honest training of those who forge in this round.

        Kept models, momentum and memories matter to those who train again when the attack has stopped.
        """
        attack, rounds = self.attack, self.settings.rounds
        if attack is None or self.round not in self.attacked or attack.needs_training(self.defense.alphabet):
            return False
        plain = type(self.defense).upload is Defense.upload  # others may keep something in the clients' memory
        forgets = plain and self._placed is None and self._momentum is None
        return forgets or all(index in self.attacked for index in range(self.round, rounds))

    def _own_message(self, clients: Tensor, updates: Tensor) -> Tensor:
        """What Byzantine clients would send of these updates without noise, in units of updates, or as signs."""
        if self.defense.alphabet is Alphabet.REAL:
            return updates
        return self.defense.message(updates, self._weights(clients))

    def _forge(self, messages: Tensor, local: LocalRound, before: dict[str, Tensor]) -> Tensor:
        """The messages with the Byzantine rows replaced, in place, by what the attack makes of what it may see.

        `before` is what the clients remembered when the round began.
        """
        rows = self._is_forging(local.clients)
        if not bool(rows.any()):
            return messages
        assert self.attack is not None
        updates = local.updates[rows]
        clients = local.clients[rows]
        view = self._view(clients, self._own_message(clients, updates), updates, self._generator("forge"))
        if self.attack.omniscient:
            honest = messages[~rows] / self._shares(local.weights[~rows])
            aggregate = partial(self._imagined, rows, local)
            view = replace(view, honest=honest, names=local.clients[~rows], aggregate=aggregate)
        messages[rows] = self._forged(view, local.weights[rows])
        if is_secret():
            messages[rows] = self._encoded(messages[rows], rows, replace(local, memory=before))
        return messages

    def _encoded(self, forged: Tensor, rows: Tensor, local: LocalRound) -> Tensor:
        """What honest clients would send had they trained what is forged `(f, d)`; a vote is of minus an update.

        Nothing that they are given says that they are asked a second time.
        """
        updates = local.updates.clone()
        ternary = self.defense.alphabet is Alphabet.TERNARY
        updates[rows] = -forged.to(self.dtype) if ternary else forged / self._shares(local.weights[rows])
        again = replace(local, updates=updates, generator=self._generator("encoded"))
        return self._sides.clients.upload(again).messages[rows]

    def _view(self, clients: Tensor, own: Tensor, updates: Tensor | None, draws: torch.Generator) -> ByzantineView:
        """What oblivious Byzantine clients `(f,)` know; `draws` are theirs."""
        assert self.attack is not None
        known = (self.global_model, self.defense.alphabet, draws, self.setting, self._memory)
        return ByzantineView(
            own,
            None,
            *known,
            updates=updates if self.attack.needs_updates() else None,
            damage=self.damage if self.attack.measures_damage else None,
            training=self._training(clients) if self.attack.trains else None,
            asked=self.asked,
        )

    def _training(self, clients: Tensor) -> OwnTraining:
        """What these clients `(f,)` train on in this round: the same batches, model and step as everybody's."""
        windows = self.plan.windows(self.shards.circle, self._generator("batches", "cpu"))
        lr = self.setting.learning_rate(self.round)
        window = partial(self.shards.window, self.shards.place[clients])
        pixels = (self._data.normalised(pixel).to(self.dtype) for pixel in (0.0, 1.0))
        return OwnTraining(self.model, lr, windows, window, partial(self.step.direction, self.model), *pixels)

    def _imagined(self, forging: Tensor, local: LocalRound, messages: Tensor) -> Tensor:
        """The change `(d,)` of the model that the server would make of `messages (m, d)`, those not `forging` first.

        Nothing real happens: a copy of the defense, which may keep state, works with randomness of its own.
        """
        self.evaluations += 1
        ternary, rows = self.defense.alphabet is Alphabet.TERNARY, (~forging).nonzero()[:, 0]
        sendable, _ = sanitize(messages if ternary else messages.to(self.dtype), self.defense.alphabet)
        placed = torch.empty_like(sendable)
        placed[torch.cat([rows, forging.nonzero()[:, 0]])] = sendable
        if self.defense.weighted:
            placed *= self._shares(local.weights)
        sides = deepcopy(self._sides)
        delivered = sides.channel.deliver(placed, self._generator("imagined channel"))
        draws, memory = self._generator("imagined server"), deepcopy(self._server_memory)
        real = self._server_round(arrived(delivered, local.weights), names_of(delivered, local.clients))
        server = replace(real, generator=draws, memory=memory)
        return sides.server.aggregate(delivered, server) - self.global_model

    def _forged(self, view: ByzantineView, weights: Tensor) -> Tensor:
        """The Byzantine clients' messages `(f, d)`, made sendable; p_k is the engine's to apply."""
        assert self.attack is not None
        ternary = self.defense.alphabet is Alphabet.TERNARY
        step = f"{self.attack.name}.forge"
        with untouched(step, broadcast=view.broadcast):
            forged = self.attack.forge(view)
        check_shape(forged, step, view.own.shape)
        forged, rejected = sanitize(forged if ternary else forged.to(self.dtype), self.defense.alphabet)
        self.rejected += rejected
        return forged * self._shares(weights) if self.defense.weighted else forged

    def _shares(self, weights: Tensor) -> Tensor:
        """`(k, 1)`: what a message of these clients carries of p_k."""
        return (weights if self.defense.weighted else torch.ones_like(weights)).unsqueeze(1)


def _optimizer_of(settings: FederationSettings) -> ServerOptimizer | None:
    if settings.server_optimizer == "none":
        return None
    numbers = (settings.server_lr, settings.server_momentum, settings.server_beta2, settings.server_tau)
    return ServerOptimizer(settings.server_optimizer, *numbers)
