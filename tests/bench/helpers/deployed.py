"""Every rule that `bench.rule` takes, and how the tests of what is deployed play it."""

from typing import Any

from torch import Tensor

import bench
from bench import registry
from bench.base.errors import BadInputError
from bench.protocol import Defense, Delivered, ServerRound

N, F, SEED = 12, 2, 3

PARAMETERS: dict[str, dict[str, Any]] = {
    "multi_krum": {"num_selected": 3},
    "centered_clipping": {"memory": True, "tau": 1.0},
    "foolsgold": {"memory": True},
    "nnm": {"rule": "trimmed_mean"},
    "bucketing": {"rule": "krum", "bucket_size": 2},
    "arc": {"rule": "nnm", "parameters": {"rule": "median"}},
}
"""Parameters other than a rule's own: what remembers, and what stands before another rule."""

ONE = ("bucketing",)
"""Rules that do not take F of N clients, and take one."""


INSIDE = ("deepsight",)
"""Rules that look into the network, which no caller of `bench.rule` hands over: they say so in the first round."""


def rules() -> list[str]:
    """The names of all rules that a server plays alone; the others are protocols, which `bench.rule` refuses."""
    return [name for name in registry.names("defense") if name not in INSIDE and _taken(name)]


def _taken(name: str) -> bool:
    try:
        bench.rule(name, f=1)
    except BadInputError:
        return False
    return True


def of(name: str) -> tuple[dict[str, Any], int]:
    """A rule's parameters in these tests, and f."""
    return PARAMETERS.get(name, {}), 1 if name in ONE else F


def watched(name: str, roots: list[Tensor | None]) -> Defense:
    """The rule, which writes down the server's own update of each round, or None: the engine shows it to nobody."""
    kind = registry.get("defense", name)

    class Watched(kind):  # type: ignore[misc, valid-type]
        """The same rule."""

        def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
            roots.append(server.root_update)
            found: Tensor = super().aggregate(delivered, server)
            return found

    Watched.name = name
    defense: Defense = Watched(**of(name)[0])
    return defense
