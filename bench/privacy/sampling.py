"""Clients drawn anew each round, m of n: who takes part most, and what a draw that nobody sees hides."""

from bisect import bisect_left

from scipy.special import betainc

from bench.base.errors import require
from bench.privacy.analysis.compose import compose_gaussian, require_count_and_delta


def busiest_client(num_clients: int, participants: int, rounds: int, delta: float) -> tuple[int, float]:
    """(k, delta'): no client takes part in more than k of the rounds but with probability delta - delta'.

    A client's rounds are Binomial(rounds, m / n), and n times their tail bounds the chance that any of n has more (the
    union bound): k is the least number at which that is at most half of delta. So what is (epsilon, delta')-private
    for k rounds is (epsilon, delta)-private for every client, whoever sees who takes part. All the rounds and all of
    delta where all clients take part, or where no fewer will do.

    Raises ValueError unless 1 <= participants <= num_clients, rounds is a whole number from 0 to 10^15 and delta lies
    in (0, 1).
    """
    require(1 <= participants <= num_clients, "participants", participants, f"from 1 to {num_clients}, the clients")
    require_count_and_delta("rounds", rounds, delta)

    def excess(count: int) -> float:
        return num_clients * float(betainc(count + 1, rounds - count, participants / num_clients))

    most = bisect_left(range(rounds), True, key=lambda count: excess(count) <= delta / 2)
    return most, delta - (excess(most) if most < rounds else 0.0)


def compose_hidden_draws(
    noise_multiplier: float, num_clients: int, participants: int, rounds: int, delta: float
) -> float:
    """Epsilon of `rounds` noisy sums over m of n clients, against who sees the sums and not whom they are of.

    Neighbours differ by one client's contribution, there or 0; `noise_multiplier` is the noise's standard deviation
    over the largest norm of one. The lesser of two upper bounds: that of the client that takes part most, as if its
    rounds were seen, and Wang et al. 2019, Theorem 27, for draws without replacement, by dp-accounting. There a
    contribution is replaced by any other, so that the sum moves by twice the norm. Poisson sampling's epsilon is no
    bound here: who is drawn takes another one's place.

    Raises ValueError as `compose_gaussian` and `busiest_client` do.
    """
    most, left = busiest_client(num_clients, participants, rounds, delta)
    seen = compose_gaussian(noise_multiplier, most, left)
    if participants == num_clients or not 0 < seen < float("inf"):
        return seen
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE)
    noise = dp_accounting.GaussianDpEvent(noise_multiplier / 2)
    accountant.compose(dp_accounting.SampledWithoutReplacementDpEvent(num_clients, participants, noise), rounds)
    return min(seen, float(accountant.get_epsilon(delta)))
