"""NISS (Yang et al., Algorithm 2): clients split their noise into shares and hand the negated shares to one another.

The server's sum then loses most of the noise. Settled as the errata say: a share has variance sigma_k^2 / v (N1), v is
an integer between 1 and m - 1 (N10), shares travel on a regular digraph without self edges (N8), and s is drawn for
each coordinate unless `scale="share"` asks for the printed form (N2).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.base.elementary import sqrt
from bench.base.errors import require, require_somebody
from bench.privacy.claims import PrivacyClaim
from bench.privacy.papers.drawn_noise import niss_drawn_noise
from bench.privacy.papers.noise_exchange import NoiseExchange
from bench.privacy.papers.noise_sharing import niss_max_colluders, niss_max_colluders_scalar, niss_worst_coordinate
from bench.protocol import Delivered, LocalRound, Setting, Sums, Upload
from bench.registry import register
from defenses.dp_fedavg import DPFedAvg

Scale = Literal["coordinate", "share"]


def exchange(
    num_clients: int,
    dim: int,
    sigma_squared: float | Tensor,
    num_shares: int,
    tau_squared: float | Tensor,
    generator: torch.Generator,
    scale: Scale = "coordinate",
    dtype: torch.dtype = torch.float32,
    mute: Tensor | None = None,
) -> NoiseExchange:
    """ClientShare of Algorithm 2 for all clients of a round at once.

    sigma_squared (the variance of a client's whole noise) and tau_squared are numbers or `(m,)`, a value a client.
    mute `(m, m)` bool: which row deviates, and sends which column zeros (errata N4); `legs` still has what it kept.
    Raises `ValueError` for fewer than two clients, v outside 1 .. m - 1, or a negative variance.
    """
    require(scale in ("coordinate", "share"), "scale", scale, "'coordinate' or 'share'")
    noise = NoiseExchange.begin(num_clients, dim, sigma_squared, num_shares, generator, dtype, mute)
    tau = sqrt(noise.per_client("tau_squared", tau_squared))
    s = torch.ones(num_shares, num_clients, 1, dtype=dtype)
    if scale == "share":
        s += tau * torch.randn(s.shape, generator=noise.draws("scale"), dtype=dtype)
    for columns in noise.blocks():
        own, received = noise.own[:, columns], noise.received[:, columns]
        squares = torch.zeros_like(own)
        for i in range(num_shares):
            n = noise.drawn(i, columns)  # from N(0, sigma_k^2 / v)
            own.add_(n)
            r = noise.arrived(i, n)
            received.addcmul_(s[i], r, value=-1)
            squares.addcmul_(r, r)
        if scale == "coordinate" and bool(tau.any()):
            # s_i ~ N(1, tau_k^2), the receiver's: given the r_i, the sum of (s_i - 1) r_i is N(0, tau_k^2 sum of r_i^2)
            z = torch.randn(own.shape, generator=noise.draws("scale", columns.start), dtype=dtype)
            received.addcmul_(tau * z, sqrt(squares, out=squares))
    return noise


@register("defense", "niss")
class NISS(DPFedAvg):
    """Client k uploads p_k w + sum of (n_i + s_i r_i), the r_i negated shares of others, s_i ~ N(1, tau_k^2)."""

    apart = True  # shares are noise, drawn whatever the updates are

    unit_variance: float = Field(default=0.01, gt=0)  # sigma^2 of the paper, which gives v = sigma_k^2 / sigma^2
    num_shares: int | None = Field(default=None, ge=1)  # v, where it is set directly
    tau_squared: float | tuple[float, ...] = 0.0
    scale: Scale = "coordinate"
    dropout: float = Field(default=0.0, ge=0, lt=1)  # share of clients that exchange and then never upload (N9)

    def start(self, setting: Setting) -> None:
        require(setting.participants >= 2, "participants", setting.participants, "at least 2 to share noise")
        v = self.v(setting)
        require(
            v < setting.participants, "num_shares", v, f"at most {setting.participants - 1}, the other participants"
        )
        dropped, m = round(self.dropout * setting.participants), setting.participants
        require_somebody("dropout", self.dropout, m, "participants")
        require(dropped < m, "dropout", self.dropout, f"below {1 - 0.5 / m:g}, so that one of {m} participants is left")
        values = self.tau_squared if isinstance(self.tau_squared, tuple) else (self.tau_squared,)
        require(min(values) >= 0, "tau_squared", self.tau_squared, "not negative")
        if isinstance(self.tau_squared, tuple):
            given, wanted = len(self.tau_squared), f"one value or {setting.num_clients}, one a client"
            require(given == setting.num_clients, "tau_squared", f"{given} values", wanted)

    def v(self, setting: Setting) -> int:
        """Shares of each client: given, or sigma_k^2 / sigma^2 rounded into 1 .. m - 1 (errata N10)."""
        if self.num_shares is not None:
            return self.num_shares
        return min(max(round(self.sigma(setting) ** 2 / self.unit_variance), 1), setting.participants - 1)

    def upload(self, local: LocalRound) -> Upload:
        message = self.message(local.updates, local.weights)
        tau_squared = torch.as_tensor(self.tau_squared)
        noise = exchange(
            num_clients=len(message),
            dim=message.shape[1],
            sigma_squared=self.sigma(local.setting) ** 2,
            num_shares=self.v(local.setting),
            tau_squared=tau_squared[local.clients] if tau_squared.dim() else tau_squared,
            generator=local.generator,
            scale=self.scale,
            dtype=message.dtype,
            mute=local.mute,
        )
        return Upload(message + noise.upload, peers=noise)

    def sums(self, setting: Setting) -> Sums | None:
        return None if self.dropout or isinstance(self.tau_squared, tuple) else Sums(NISS)

    def drawn_sum(self, summary: Tensor, num_clients: int, setting: Setting, generator: torch.Generator) -> Tensor:
        assert not isinstance(self.tau_squared, tuple)
        noise = niss_drawn_noise(
            dim=setting.dim,
            num_honest=num_clients,
            num_clients=setting.participants,
            share_variance=self.sigma(setting) ** 2 / self.v(setting),
            num_shares=self.v(setting),
            tau_squared=self.tau_squared,
            per_share=self.scale == "share",
            generator=generator,
        )
        return summary[0] + noise.to(summary.dtype)

    def deliver(self, messages: Tensor, generator: torch.Generator) -> Delivered:
        """All messages but those of the clients that dropped out after the exchange."""
        arrived = (
            torch.randperm(len(messages), generator=generator)[round(self.dropout * len(messages)) :].sort().values
        )
        return Delivered(messages[arrived], senders=arrived) if self.dropout else super().deliver(messages, generator)

    def claim(self, setting: Setting) -> PrivacyClaim:
        """That of one upload seen alone, up to the fraction of curious colluders that leaves sigma_k^2 on average."""
        tau_squared = min(self.tau_squared) if isinstance(self.tau_squared, tuple) else self.tau_squared
        if self.scale == "share":
            rho, theorem = float(niss_max_colluders_scalar(tau_squared)), "Theorem 3 corrected for one s a share"
            margin = "on average over s"
        else:
            rho, theorem = float(niss_max_colluders(tau_squared)), "Theorem 3"
            worst = niss_worst_coordinate(tau_squared, rho, self.v(setting), setting.dim)
            margin = f"on average: there the worst of {setting.dim:,} coordinates keeps {worst:.2g} sigma^2"
        source = f"NISS paper, {theorem}, up to rho = {rho:.2g} curious colluders {margin}"
        return super().claim(setting).model_copy(update={"source": source, "colluders": rho})

    def composed(self, setting: Setting) -> PrivacyClaim:
        """Each upload seen alone: beside all others of its round its noise is offset (Theorem 2)."""
        claim = super().composed(setting)
        source, rho = f"{claim.source}, each upload seen alone", self.claim(setting).colluders
        return claim.model_copy(update={"source": source, "colluders": rho})

    def derived(self, setting: Setting) -> dict[str, float]:
        v, variance, m = self.v(setting), self.sigma(setting) ** 2, setting.participants
        d = round(self.dropout * m)
        left = (
            2 * d * variance * (m - d) / (m - 1)
        )  # N9 at tau^2 = 0: both ends of each edge, but those between dropouts
        return {**super().derived(setting), "num_shares": v, "share_variance": variance / v, "dropout_variance": left}

    def peer_bytes(self, setting: Setting) -> int:
        return self.v(setting) * setting.dim * 4
