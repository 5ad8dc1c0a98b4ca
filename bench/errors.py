"""The public path of `bench.base.errors`, for packages of others."""

from bench.base.errors import (
    BadInputError as BadInputError,
)
from bench.base.errors import (
    DivergedError as DivergedError,
)
from bench.base.errors import (
    require as require,
)
from bench.base.errors import (
    require_somebody as require_somebody,
)
