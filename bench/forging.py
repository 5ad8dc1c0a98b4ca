"""The public path of `bench.attacking.forging`, for packages of others."""

from bench.attacking.forging import (
    BLOCK_BYTES as BLOCK_BYTES,
)
from bench.attacking.forging import (
    AgnosticAttack as AgnosticAttack,
)
from bench.attacking.forging import (
    FactorSearch as FactorSearch,
)
from bench.attacking.forging import (
    Perturbation as Perturbation,
)
from bench.attacking.forging import (
    Rule as Rule,
)
from bench.attacking.forging import (
    check_honest as check_honest,
)
from bench.attacking.forging import (
    check_number as check_number,
)
from bench.attacking.forging import (
    copies as copies,
)
from bench.attacking.forging import (
    deployed as deployed,
)
from bench.attacking.forging import (
    deviation as deviation,
)
from bench.attacking.forging import (
    fit as fit,
)
from bench.attacking.forging import (
    line_search as line_search,
)
from bench.attacking.forging import (
    moments as moments,
)
from bench.attacking.forging import (
    most_harmful as most_harmful,
)
from bench.attacking.forging import (
    perturbed as perturbed,
)
from bench.attacking.forging import (
    spread as spread,
)
from bench.attacking.forging import (
    squared_length as squared_length,
)
