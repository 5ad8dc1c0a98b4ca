"""DPBFL (Ma et al., sections 4.1 and 4.2): RSA whose clients randomize their signs and whose channel shuffles them."""

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.privacy.claims import PrivacyClaim
from bench.privacy.papers.blanket import compose_shuffle
from bench.privacy.papers.drawn_votes import randomized_sum
from bench.privacy.papers.shuffle import robustness_bound, shuffle_claim_conditions, shuffle_epsilon
from bench.protocol import Alphabet, Delivered, LocalRound, ServerRound, Setting, Sums, Upload, check_messages
from bench.registry import register
from bench.rules import exact_sum
from defenses.rsa import RSA

NO_NOISE = "needs 0 < gamma < 1: gamma is 0"


def randomize(signs: Tensor, gamma: float, generator: torch.Generator) -> Tensor:
    """The local randomizer R (eq. 5, 6): each entry stays with probability 1 - gamma, else is uniform on {-1, 0, 1}.

    int8 `(n, d)` from signs `(n, d)`; raises `ValueError` unless 0 <= gamma < 1 and the signs are in {-1, 0, 1}.
    """
    _check_gamma(gamma)
    x = signs.to(torch.int8, copy=True)
    require(bool((x.clamp(-1, 1) == signs).all()), "signs", "other values", "in {-1, 0, 1}")
    if gamma == 0:
        return x
    u = torch.rand(signs.shape, generator=generator)
    noise = (u * (3 / gamma)).clamp_(max=2).to(torch.int8) - 1  # where u < gamma, 3 u / gamma is uniform on [0, 3)
    return torch.where(u < gamma, noise, x)  # g = 1 with probability gamma


def shuffle(messages: Tensor, generator: torch.Generator) -> Tensor:
    """The shuffler S: each coordinate of `(n, d)` permuted over the clients on its own (errata D7)."""
    require(messages.dim() == 2, "messages", tuple(messages.shape), "an (n, d) tensor")
    rows = messages.mT.contiguous()  # a coordinate's messages side by side, to be sorted in cache
    keys = torch.rand(rows.shape, generator=generator)
    return rows.gather(1, keys.argsort(dim=1)).mT.contiguous()


def analyze(messages: Tensor, gamma: float) -> Tensor:
    """The analyzer A (eq. 7, 11): z = sum of the messages / (1 - gamma), `(d,)`, the unbiased sum."""
    _check_gamma(gamma)
    check_messages(messages, signs=True)
    return exact_sum(messages) / (1 - gamma)


def _check_gamma(gamma: float) -> None:
    require(0 <= gamma < 1, "gamma", gamma, "in [0, 1)")


class RandomizedVotes(RSA):
    """RSA whose clients send R(sign(w_0 - w_i)), and whose server follows the analyzer's sum."""

    alphabet = Alphabet.TERNARY
    apart = True
    exact = True

    gamma: float = Field(default=0.283, ge=0, lt=1)

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        return torch.sign(-updates).to(torch.int8)  # x_i, eq. 8: sign(w_0 - w_i)

    def upload(self, local: LocalRound) -> Upload:
        x = self.message(local.updates, local.weights)
        return Upload(randomize(x, self.gamma, local.generator))  # eq. 10

    def random_share(self) -> float:
        return self.gamma

    def add_up(self, messages: Tensor, weights: Tensor) -> Tensor:
        return exact_sum(messages).to(weights.dtype)

    def step(self, total: Tensor, server: ServerRound) -> Tensor:
        z = analyze(total.unsqueeze(0), self.gamma)  # eq. 11
        return self.server_step(server, z)  # eq. 12

    def summary(self, local: LocalRound) -> Tensor:
        """How many x are 1, and how many are -1."""
        away = torch.sign(local.updates)  # -x
        minus_plus, moved = away.sum(dim=0), away.abs_().sum(dim=0)
        return torch.stack([moved - minus_plus, moved + minus_plus]) / 2

    def drawn_sum(self, summary: Tensor, num_clients: int, setting: Setting, generator: torch.Generator) -> Tensor:
        return randomized_sum(summary, num_clients, self.gamma, generator)

    def over_a_run(self, epsilon: float | None, setting: Setting, source: str, colluders: float) -> PrivacyClaim:
        """A claim over a client's whole run; without noise (`epsilon` None) the reason why there is none."""
        return PrivacyClaim(
            epsilon=epsilon,
            delta=setting.delta,
            unit="per client and run",
            source=source + setting.of_busiest,
            reason=NO_NOISE if epsilon is None else None,
            colluders=colluders,
        )

    def derived(self, setting: Setting) -> dict[str, float]:
        return {"gamma": self.gamma, "robustness_bound": robustness_bound(self.gamma)}

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return fraction < robustness_bound(self.gamma)  # Definition 2


@register("defense", "dpbfl")
class DPBFL(RandomizedVotes):
    """Clients send R(sign(w_0 - w_i)), the shuffler unlinks them, the server follows the analyzer's sum."""

    def deliver(self, messages: Tensor, generator: torch.Generator) -> Delivered:
        return Delivered(messages, senders=None, mix=lambda rows: shuffle(rows, generator))

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(DPBFL)

    def claim(self, setting: Setting) -> PrivacyClaim:
        """Corollary 1 counts n clients that randomize honestly and keep their messages to themselves: no colluders."""
        n, reason = setting.participants, shuffle_claim_conditions(setting.participants, self.gamma, setting.delta)
        return PrivacyClaim(
            epsilon=shuffle_epsilon(n, self.gamma, setting.delta) if reason is None else None,
            delta=setting.delta,
            unit="per coordinate and round",
            source="DPBFL paper, Corollary 1",
            reason=reason,
            colluders=0.0,
        )

    def composed(self, setting: Setting) -> PrivacyClaim:
        """All coordinates and rounds of the busiest client (errata D6), hidden by random messages of n honest clients.

        The shuffler hides whose a message is, not who takes part: the server draws the clients.
        """
        n, (rounds, delta) = setting.participants, setting.busiest
        releases = setting.dim * rounds
        epsilon = compose_shuffle(n, self.gamma, releases, delta) if self.gamma else None
        return self.over_a_run(epsilon, setting, f"privacy blanket of n = {n}, {releases:,} releases", colluders=0.0)
