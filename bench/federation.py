"""One round, and the loop over rounds: broadcast, local training, upload, forging, channel, aggregation."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bench import models, rng
from bench.clients import Plan, Shards, local_sgd, rsa_step_
from bench.data import Dataset
from bench.partition import partition
from bench.protocol import Alphabet, Defense, LocalRound, ServerRound, Setting
from bench.settings import FederationSettings
from bench.threat import ByzantineAttack, ByzantineView, PublicFacts, RoundTranscript, sanitize


class Federation:
    """The state of one federated training: the global model, the clients' kept models, the round.

    `byzantine` is the fraction of clients under `attack`; which ones they are depends on the seed alone.
    """

    def __init__(
        self,
        settings: FederationSettings,
        defense: Defense,
        dataset: Dataset,
        seed: int,
        attack: ByzantineAttack | None = None,
        byzantine: float = 0.0,
    ) -> None:
        self.settings, self.defense, self.attack, self.seed = settings, defense, attack, seed
        self.dtype = getattr(torch, settings.dtype)
        self.model = models.build(settings.model, dataset.shape, dataset.num_classes)
        indices = partition(
            settings.partition,
            dataset.train.y,
            settings.clients,
            settings.samples_per_client,
            rng.generator(seed, "partition"),
            shards_per_client=settings.shards_per_client,
            alpha=settings.alpha,
        )
        self.plan = Plan(settings.batch_size, epochs=settings.local_epochs, steps=settings.local_steps)
        inputs = dataset.train.x.to(self.dtype)
        self.shards = Shards(inputs, dataset.train.y, indices, dataset.num_classes, settings.batch_size)
        num_byzantine = round(byzantine * settings.clients)
        chosen = torch.randperm(settings.clients, generator=rng.generator(seed, "byzantine"))[:num_byzantine]
        self.is_byzantine = torch.zeros(settings.clients, dtype=torch.bool)
        self.is_byzantine[chosen] = True
        assumed = num_byzantine / settings.clients if settings.oracle_f else settings.assumed_byzantine
        self.setting = Setting(
            num_clients=settings.clients,
            participants=settings.participants,
            dim=self.model.dim,
            rounds=settings.rounds,
            lr=settings.lr,
            lr_decay=settings.lr_decay,
            assumed_byzantine=assumed,
            delta=settings.delta,
        )
        defense.start(self.setting)
        self.global_model = self.model.initial(rng.generator(seed, "initial"), self.dtype)
        self.kept = self.global_model.repeat(settings.clients, 1) if defense.keeps_models else None
        self.round = 0
        self.rejected = 0  # forged entries that the alphabet or finiteness did not allow

    def rounds(self) -> Iterator[RoundTranscript]:
        """Play all rounds, one after the other."""
        for _ in range(self.settings.rounds):
            yield self.play()

    def play(self) -> RoundTranscript:
        """Play one round and return all that happened in it."""
        index, broadcast = self.round, self.global_model
        participants = self._choose_participants()
        weights = torch.full((len(participants),), 1 / len(participants), dtype=self.dtype)  # equal shards: p_k = 1 / m
        local_models = self._local_models(participants)
        local = LocalRound(
            index, participants, self.setting, broadcast, local_models, weights, self._generator("noise")
        )
        upload = self.defense.upload(local)
        messages = self._forge(upload.messages, local)
        delivered = self.defense.deliver(messages, self._generator("channel"))
        arrived = weights if delivered.senders is None else weights[delivered.senders]
        server = ServerRound(index, self.setting, broadcast, arrived, self._generator("server"))
        self.global_model = self.defense.aggregate(delivered, server)
        if self.global_model.shape != broadcast.shape:
            got, wanted = tuple(self.global_model.shape), tuple(broadcast.shape)
            raise ValueError(f"{self.defense.name}.aggregate returned shape {got}, not {wanted}")
        transcript = RoundTranscript(index, broadcast, participants, messages, delivered, upload.peers, local_models)
        if self.kept is not None:
            self._step_kept(participants, broadcast)
        self.round += 1
        return transcript

    def facts(self, mean: Tensor, std: Tensor) -> PublicFacts:
        """What everybody knows of this federation; `mean` and `std` are those of the images."""
        return PublicFacts(
            model=self.model,
            setting=self.setting,
            alphabet=self.defense.alphabet,
            weighted=self.defense.weighted,
            keeps_models=self.defense.keeps_models,
            penalty=getattr(self.defense, "penalty", 0.0),
            gamma=getattr(self.defense, "gamma", 0.0),
            clip_norm=self.defense.clip_norm(),
            local_steps=self.plan.num_steps(self.shards.size),
            mean=mean,
            std=std,
        )

    def _generator(self, role: str) -> torch.Generator:
        return rng.generator(self.seed, role, self.round)

    def _choose_participants(self) -> Tensor:
        """Names `(m,)` of the round's clients, in order."""
        n, m = self.settings.clients, self.settings.participants
        if m == n:
            return torch.arange(n)
        return torch.randperm(n, generator=self._generator("participants"))[:m].sort().values

    def _local_models(self, participants: Tensor) -> Tensor:
        """`(m, d)`: trained from the broadcast, or, under RSA, the kept models before this round's step."""
        if self.kept is not None:
            return self.kept[participants]  # a copy: the step at the round's end is in place
        windows = self.plan.windows(self.shards.size, self._generator("batches"))
        lr = self.setting.learning_rate(self.round)
        return local_sgd(self.model, self.global_model, self.shards, participants, windows, lr)

    def _step_kept(self, participants: Tensor, broadcast: Tensor) -> None:
        assert self.kept is not None
        windows = self.plan.windows(self.shards.size, self._generator("batches"))
        lr = self.setting.learning_rate(self.round)
        penalty: float = getattr(self.defense, "penalty")  # noqa: B009  every defense that keeps models has one
        rsa_step_(self.model, self.kept, broadcast, self.shards, participants, windows, lr, penalty)

    def _forge(self, messages: Tensor, local: LocalRound) -> Tensor:
        """The messages with the Byzantine rows replaced by what the attack makes of what it may see."""
        rows = self.is_byzantine[local.clients]
        if self.attack is None or not bool(rows.any()):
            return messages
        update = local.local_models[rows] - local.global_model
        ternary = self.defense.alphabet is Alphabet.TERNARY
        p_k = local.weights.unsqueeze(1) if self.defense.weighted else torch.ones_like(local.weights).unsqueeze(1)
        view = ByzantineView(
            own=torch.sign(-update).to(torch.int8) if ternary else update,
            honest=messages[~rows] / p_k[~rows] if self.attack.omniscient else None,
            broadcast=local.global_model,
            alphabet=self.defense.alphabet,
            generator=self._generator("forge"),
        )
        forged = self.attack.forge(view)
        if forged.shape != update.shape:
            raise ValueError(
                f"{self.attack.name}.forge returned shape {tuple(forged.shape)}, not {tuple(update.shape)}"
            )
        forged, rejected = sanitize(forged if ternary else forged.to(messages.dtype), self.defense.alphabet)
        self.rejected += rejected
        messages = messages.clone()
        messages[rows] = forged if ternary else forged * p_k[rows]
        return messages
