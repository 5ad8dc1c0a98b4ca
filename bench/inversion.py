"""The public path of `bench.attacking.inversion`, for packages of others."""

from bench.attacking.inversion import (
    LEAST_FLIP as LEAST_FLIP,
)
from bench.attacking.inversion import (
    SHARPNESS as SHARPNESS,
)
from bench.attacking.inversion import (
    Derivatives as Derivatives,
)
from bench.attacking.inversion import (
    FastInversion as FastInversion,
)
from bench.attacking.inversion import (
    Matcher as Matcher,
)
from bench.attacking.inversion import (
    Observation as Observation,
)
from bench.attacking.inversion import (
    Pullback as Pullback,
)
from bench.attacking.inversion import (
    Slope as Slope,
)
from bench.attacking.inversion import (
    inferred_labels as inferred_labels,
)
from bench.attacking.inversion import (
    matcher as matcher,
)
from bench.attacking.inversion import (
    observations as observations,
)
from bench.attacking.inversion import (
    pullback as pullback,
)
from bench.attacking.inversion import (
    through as through,
)
from bench.attacking.inversion import (
    whole_counts as whole_counts,
)
