"""The public path of `bench.protocol.sums`, for packages of others."""

from bench.protocol import SumDefense as SumDefense
from bench.protocol import Sums as Sums
from bench.protocol import plays_in_sums as plays_in_sums
