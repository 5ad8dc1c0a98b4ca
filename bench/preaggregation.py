"""The public path of `bench.rules.preaggregation`, for packages of others."""

from bench.rules import Mixing as Mixing
from bench.rules import PreAggregation as PreAggregation
from bench.rules import require_rule as require_rule
