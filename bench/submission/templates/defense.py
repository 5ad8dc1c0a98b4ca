"""New rule (AUTHORS YEAR, section N): say in one line what the idea is; `python -m bench list` shows this line.

As it stands, this is the mean of the n - f messages whose sum of distances to all others is smallest.

    python -m bench submit new_rule.py --suite smoke      checks the contract, runs the suite, prints its row
"""

from pydantic import Field
from torch import Tensor

from bench.elementary import raised
from bench.protocol import Setting, check_messages
from bench.registry import register
from bench.rules import RowRule, apply_weights, mean_of
from bench.rules.gram import gram_matrix, squared_distances


def new_rule_weights(gram: Tensor, num_byzantine: int, power: float = 1.0) -> Tensor:
    """The mathematics, as a pure function: weights `(n,)` of the messages from their inner products `(n, n)`.

    n is the number of messages, f = `num_byzantine` how many of them the server assumes to be Byzantine.
    """
    distances = raised(squared_distances(gram), power / 2)  # (n, n), float64
    most_central = distances.sum(dim=1).topk(len(gram) - num_byzantine, largest=False).indices
    return mean_of(most_central, len(gram))


def new_rule(messages: Tensor, num_byzantine: int, power: float = 1.0) -> Tensor:
    """The aggregate `(d,)` of messages `(n, d)`, one a row; raises `ValueError` unless they are finite."""
    check_messages(messages)
    return apply_weights(new_rule_weights(gram_matrix(messages), num_byzantine, power), messages)


@register("defense", "new_rule")
class NewRule(RowRule):
    """A row rule: the engine multiplies the weights with the messages and adds the result to the global model.

    Other kinds: `bench.rules.CoordinateRule` looks at one coordinate over all clients (`reduce`); and
    `bench.protocol.Defense` is the general one, for what changes what clients send (`upload`), what the channel does
    (`deliver`) or what the server makes of it (`aggregate`).

    A rule gets the messages and nothing else: not who is Byzantine, no labels, no test images. Randomness comes from
    the generator that it is given (`server.generator`, `local.generator`), never from a global one.
    """

    power: float = Field(default=1.0, gt=0)  # a parameter: `--set power=2` when submitting, `power = 2` in a suite

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return new_rule_weights(gram, num_byzantine, self.power)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        """What the paper claims to stand: here as many Byzantine clients as are assumed. Others are marked with †."""
        return round(fraction * setting.participants) <= setting.num_byzantine
