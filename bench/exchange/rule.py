"""A rule from here as a plain function, for a training loop of one's own.

    aggregate = bench.rule("nnm", rule="trimmed_mean", f=2)
    change = aggregate(updates)                    # of updates: what to add to the model
    model = aggregate(updates, model=model)        # the next model
    model = aggregate.of_models(models, model)     # where clients send models, not updates

The code that runs is the bench's own: the server's side of the defense, through the engine's `rounds.aggregate`, with
the random draws that the engine would make of the same seed and round. So the same messages give the same bits.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from bench import registry
from bench import suite as suites
from bench.base import device, rng
from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.base.names import unknown
from bench.exchange.forms import rows_of
from bench.federation.rounds import Exchange, Sides, aggregate, names_of
from bench.models import Layer
from bench.protocol import Alphabet, Defense, ServerRound, Setting
from bench.rules import PreAggregation
from bench.threat import sanitize

PROBED = 8
"""Coordinates of the made-up updates on which a rule shows whether it looks at the model."""


ENDLESS = 2**31
"""The rounds of a training of which nobody says how many it has: none of them is the last."""


class Rule:
    """A defense's server side, with what it remembers. Call it once a round.

    `memory` is what the rule keeps from round to round, `round` how many there were, `rejected` how many entries of
    updates were not finite so far: an update with such an entry counts as zero, as in the bench. The object can be
    pickled, and copied with `copy.deepcopy`.
    """

    def __init__(
        self,
        defense: Defense,
        f: int | None,
        share: float | None,
        seed: int,
        num_clients: int | None,
        rounds: int | None = None,
    ) -> None:
        self.defense, self.f, self.share, self.seed, self.num_clients = defense, f, share, seed, num_clients
        self.rounds = rounds
        self.memory: dict[str, Tensor] = {}
        self.round = 0
        self.rejected = 0
        self.names: dict[Hashable, int] = {}
        self._sides = Sides.of(defense)
        self._setting: Setting | None = None
        self._of_model: bool | None = None

    def __repr__(self) -> str:
        given = ", ".join(f"{key}={value!r}" for key, value in self.defense.model_dump().items())
        assumed = "" if self.f is None and self.share is None else f", f={self.f if self.share is None else self.share}"
        return f"bench.rule({self.defense.name!r}{', ' * bool(given)}{given}{assumed})"

    def __call__(
        self,
        updates: Any,
        *,
        model: Any = None,
        clients: Iterable[Hashable] | None = None,
        weights: Iterable[float] | None = None,
        root: Any = None,
    ) -> Any:
        """The aggregate of the updates, in the form of one of them; with the broadcast `model`, the next model.

        `updates` is an `(n, d)` tensor or array, or a list with an update for each client: an array, a list of arrays
        or a state dict. Who takes part may change from round to round: `clients` are their names, which a rule that
        remembers clients needs; `weights` what each one holds of the data, equal by default, for rules that weigh by
        it. `root` is the server's own update, for a rule that trains one (fltrust).

        Raises `ValueError`, in one sentence, for updates that no rule could take, a setting that this one refuses, and
        what it needs and did not get.
        """
        rows, form = rows_of(updates)
        broadcast = None if model is None else form.flat(model, "model")
        own = None if root is None else form.flat(root, "root")
        return form.restored(self._next(rows, broadcast, clients, weights, own, form.places))

    def of_models(
        self,
        models: Any,
        model: Any,
        *,
        clients: Iterable[Hashable] | None = None,
        weights: Iterable[float] | None = None,
        root: Any = None,
    ) -> Any:
        """The next model, where clients send models and not updates; `root` is an update still.

        An update is a client's model minus the broadcast `model`; the rest is as in a call. Models in a matrix are not
        written to.
        """
        given, form = rows_of(models)
        broadcast = form.flat(model, "model")
        shared = isinstance(models, Tensor) or not isinstance(models, Sequence)
        rows = given - broadcast if shared else given.sub_(broadcast)
        own = None if root is None else form.flat(root, "root")
        return form.restored(self._next(rows, broadcast, clients, weights, own, form.places))

    def _next(
        self,
        rows: Tensor,
        broadcast: Tensor | None,
        clients: Iterable[Hashable] | None,
        weights: Iterable[float] | None,
        root: Tensor | None,
        layers: tuple[Layer, ...],
    ) -> Tensor:
        """The next model `(d,)` of messages `(n, d)`, or the change where there is no broadcast `(d,)`."""
        if broadcast is None and self._looks_at_model(rows):
            raise ValueError(
                f"{self.defense.name} looks at the model, not at updates alone: give model=, the broadcast"
            )
        if self.defense.num_root_samples() and root is None:
            raise ValueError(
                f"{self.defense.name} weighs by an update of the server's own: give root=, what training on "
                "images that it trusts gave"
            )
        rows, rejected = sanitize(rows, Alphabet.REAL)
        where = torch.zeros_like(rows[0]) if broadcast is None else broadcast
        result = self._played(rows, where, self._indices(clients, len(rows)), _shares(weights, rows), root, layers)
        self.rejected += rejected
        self.round += 1
        return result

    def _played(
        self,
        rows: Tensor,
        broadcast: Tensor,
        names: Tensor,
        shares: Tensor,
        root: Tensor | None = None,
        layers: tuple[Layer, ...] = (),
    ) -> Tensor:
        place = str(rows.device)
        with device.computing_on(device.CPU if rows.device.type == device.CPU else place):
            setting = self._fitting(rows)
            delivered = self._sides.channel.deliver(rows, self._draws("channel", place))
            sent = Exchange(rows, delivered, None)
            server = ServerRound(
                self.round,
                setting,
                broadcast,
                shares,
                self._draws("server", place),
                root,
                self.memory,
                names_of(delivered, names),
                layers,
            )
            return aggregate(self._sides, sent, server)

    def _draws(self, role: str, place: str) -> torch.Generator:
        return rng.generator(self.seed, role, self.round, device=place)

    def _fitting(self, rows: Tensor) -> Setting:
        """The public facts of this round; the rule may refuse them, as it would in the bench."""
        n, d = rows.shape
        share = self.share if self.share is not None else (self.f or 0) / n
        clients, rounds = self.num_clients or max(n, len(self.names)), self.rounds or ENDLESS
        setting = Setting(clients, n, d, rounds, 1.0, None, min(share, 1.0), 1e-6)
        if setting != self._setting:
            self._sides.start(setting)
            self._setting = setting
        return setting

    def _indices(self, clients: Iterable[Hashable] | None, n: int) -> Tensor:
        """The places `(n,)` of these clients in what is remembered, in the order in which they first came."""
        remembers = self.defense.remembers_clients()
        if clients is None:
            if remembers:
                raise ValueError(
                    f"{self.defense.name} remembers clients: give clients=, the name of each update's sender"
                )
            return torch.arange(n)
        given = list(clients)
        if len(given) != n or len(set(given)) != n:
            raise ValueError(f"clients is {len(given)} names, but must be {n}, one an update, each once")
        for name in given:
            self.names.setdefault(name, len(self.names))
        if remembers and self.num_clients is not None and len(self.names) > self.num_clients:
            raise ValueError(f"num_clients is {self.num_clients}, and {len(self.names)} clients have taken part")
        return torch.tensor([self.names[name] for name in given])

    def _looks_at_model(self, rows: Tensor) -> bool:
        """Whether another broadcast gives another change, tried once on made-up updates of as many clients."""
        if self._of_model is None:
            self._of_model = _depends_on_model(self, len(rows))
        return self._of_model


def _depends_on_model(rule: Rule, n: int) -> bool:
    draws = rng.generator(0, "exchange", n, device="cpu")
    updates = torch.randn(n, PROBED, generator=draws, dtype=torch.float64)
    models = torch.zeros(PROBED, dtype=torch.float64), 10 * torch.randn(PROBED, generator=draws, dtype=torch.float64)
    changes = []
    for broadcast in models:
        fresh = Rule(rule.defense, rule.f, rule.share, rule.seed, rule.num_clients or n, rule.rounds)
        root = updates[0] if rule.defense.num_root_samples() else None
        try:
            played = fresh._played(updates, broadcast, torch.arange(n), _shares(None, updates), root)
        except ValueError:
            return False  # what it refuses is told of the real updates
        changes.append(played - broadcast)
    return float((changes[0] - changes[1]).abs().max()) > 1e-9


def _shares(weights: Iterable[float] | None, rows: Tensor) -> Tensor:
    """p_k `(n,)`, which add up to 1: as the engine has them."""
    n = len(rows)
    if weights is None:
        return torch.full((n,), 1 / n, dtype=rows.dtype, device=rows.device)
    held = torch.as_tensor([float(one) for one in weights], dtype=rows.dtype, device=rows.device)
    if len(held) != n or not bool((held >= 0).all() & held.isfinite().all() & (held.sum() > 0)):
        raise ValueError(f"weights is {held.tolist()}, but must be {n} finite numbers, none negative, not all zero")
    return held / held.sum()


def rule(
    name: str,
    /,
    *,
    f: int | None = None,
    share: float | None = None,
    suite: str | None = None,
    seed: int = 0,
    num_clients: int | None = None,
    rounds: int | None = None,
    **parameters: Any,
) -> Rule:
    """The rule or pre-aggregation `name` as a function of a round's updates; see `Rule`.

    `f` is how many Byzantine clients it is to withstand among those of a round, or `share` the fraction of them; a rule
    that withstands as many as assumed needs one of the two. `parameters` are the rule's own, for a pre-aggregation
    `rule=` and `parameters=` too. With `suite`, `name` is a row of that suite as its boards have it, with the row's
    parameters. `seed` is that of the draws that a rule makes. `num_clients` is how many clients there are at most, for
    a rule that remembers them and in which not all take part in each round, and `rounds` how many rounds there will be,
    for a rule that does something else in the last (crfl adds no noise there); without it no round is the last.

    Raises `BadInputError`, in one sentence, for an unknown name or parameter, and for a protocol, whose clients do
    something of their own.
    """
    named, given = _row(name, suite) if suite is not None else (name, {})
    kind = registry.get("defense", named)
    _require_server_side(kind)
    try:
        defense: Defense = kind(**{**given, **parameters})
    except ValidationError as error:
        raise BadInputError(f"rule {named!r}: {explain(error)}") from None
    _check_assumed(defense, f, share)
    if num_clients is not None and num_clients < 1:
        raise BadInputError(f"num_clients is {num_clients}, but must be at least 1")
    if rounds is not None and rounds < 1:
        raise BadInputError(f"rounds is {rounds}, but must be at least 1")
    return Rule(defense, f, share, seed, num_clients, rounds)


def _row(label: str, suite: str) -> tuple[str, Mapping[str, Any]]:
    """The defense of a suite's row, and its parameters there."""
    parts = {cell.label: cell.defense for cell in suites.load(suite).cells()}
    if label not in parts:
        raise BadInputError(unknown(f"row in suite {suite!r}", label, parts))
    return parts[label].name, parts[label].parameters


def _require_server_side(kind: type[Defense]) -> None:
    """Raise `BadInputError` where clients or a channel have a part in the defense: no server can play that for them."""
    steps = [step for step in ("message", "upload", "deliver") if getattr(kind, step) is not getattr(Defense, step)]
    why = {
        f"is a protocol with its own {' and '.join(steps)}": bool(steps),
        "keeps a model at each client": kind.keeps_models,
        "takes signs": kind.alphabet is not Alphabet.REAL,
        "takes weighted messages": kind.weighted,
    }
    reason = next((told for told, holds in why.items() if holds), None)
    if reason is not None:
        raise BadInputError(f"{kind.name} {reason}: bench.rule is for rules, which a server plays alone")


def _check_assumed(defense: Defense, f: int | None, share: float | None) -> None:
    if f is not None and share is not None:
        raise BadInputError("give f, a number of clients, or share, a fraction of them, and not both")
    if f is not None and f < 0:
        raise BadInputError(f"f is {f}, but must be at least 0")
    if share is not None and not 0 <= share < 1:
        raise BadInputError(f"share is {share}, but must lie in [0, 1)")
    inner = defense
    while isinstance(inner, PreAggregation):
        inner = inner.wrapped
    needs = defense.breakdown == "assumed" or inner.breakdown == "assumed" or inner is not defense
    if needs and f is None and share is None:
        raise BadInputError(
            f"{defense.name} withstands as many attackers as assumed: give f, how many of a round's clients"
        )
