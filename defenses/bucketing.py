"""Bucketing (Karimireddy, He and Jaggi 2022): the means of s messages each, in random order, go to the rule."""

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import all_finite, check_finite, check_matrix
from bench.registry import register
from bench.rules import PreAggregation


def bucketing(messages: Tensor, generator: torch.Generator, bucket_size: int = 2) -> Tensor:
    """Means `(k, d)` of k = ceil(n / s) buckets of messages `(n, d)`; the last one holds what remains.

    The formula as printed divides every bucket by s; a bucket that is not full has the mean of what it holds.
    Raises `ValueError` unless 1 <= s <= n and the messages are finite.
    """
    check_matrix(messages)
    n, s = len(messages), bucket_size
    require(1 <= s <= n, "bucket_size", s, f"between 1 and {n}, the messages")
    pi = torch.randperm(n, generator=generator, device=generator.device)
    place = torch.empty_like(pi)
    place[pi] = torch.arange(n, device=pi.device)
    bucket = (place // s).to(messages.device)
    sizes = bucket.bincount()
    m = messages.new_zeros(len(sizes), n)
    m[bucket, torch.arange(n, device=m.device)] = (1 / sizes.to(m.dtype))[bucket]
    means = m @ messages  # a zero times infinity is not a number: each mean shows what any message holds
    if not all_finite(means):
        check_finite(messages)
    return means


@register("defense", "bucketing")
class Bucketing(PreAggregation):
    """Bucketing before another rule: f Byzantine messages spoil f of the ceil(n / s) buckets at worst."""

    bucket_size: int = Field(default=2, ge=1)

    def mixed(self, messages: Tensor, num_byzantine: int, generator: torch.Generator) -> Tensor:
        return bucketing(messages, generator, min(self.bucket_size, len(messages)))

    def num_mixed(self, num_messages: int) -> int:
        return -(-num_messages // min(self.bucket_size, num_messages))

    def spoilt(self, num_byzantine: int, num_messages: int) -> int:
        return min(num_byzantine, self.num_mixed(num_messages))
