"""Reading the scoreboard's histograms: counts of spans in log-linear buckets, four to a doubling.

A bucket counts whole microseconds from its bound up to, not including, the next one's. What is read from one
is therefore at most a quarter too large or too small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..engine.scoreboard import bucket_bounds, bucket_of

BOUNDS = bucket_bounds()  # microseconds


def quantile(counts: Sequence[int], share: float) -> float:
    """The span in seconds that `share` (0 to 1) of the counted ones do not exceed; 0.0 when none is counted.

    Inside a bucket spans are taken to lie evenly; the last one has no end and gives its beginning.
    """
    rank = share * sum(counts)
    if rank <= 0:
        return 0.0
    passed = 0
    last = 0.0
    for index, count in enumerate(counts):
        if not count:
            continue
        low = BOUNDS[index]
        high = BOUNDS[index + 1] if index + 1 < len(BOUNDS) else low
        if passed + count >= rank:
            return (low + (high - low) * (rank - passed) / count) / 1e6
        passed += count
        last = high / 1e6
    return last


def mean(counts: Sequence[int], sum_ns: int) -> float:
    """The mean in seconds; 0.0 when none is counted."""
    return sum_ns / 1e9 / (sum(counts) or 1)


def merged(histograms: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The histogram of everything that the given ones count."""
    return tuple(map(sum, zip(*histograms, strict=True))) if histograms else (0,) * len(BOUNDS)


def cumulative(counts: Sequence[int], ends: Sequence[int]) -> list[int]:
    """How many spans lie below each of the ends (microseconds; each must be a bucket's bound, ascending)."""
    below = []
    total = index = 0
    for end in ends:
        while BOUNDS[index] < end:
            total += counts[index]
            index += 1
        below.append(total)
    return below


def sparse(counts: Sequence[int]) -> dict[str, int]:
    """The buckets that have counted something, by where they begin (microseconds): what JSON can carry."""
    return {str(bound): count for bound, count in zip(BOUNDS, counts, strict=True) if count}


def dense(found: Mapping[str, int]) -> list[int]:
    """The counts that `sparse` has told, also those of a prefork whose buckets begin elsewhere."""
    counts = [0] * len(BOUNDS)
    for bound, count in found.items():
        counts[bucket_of(int(bound) * 1000)] += count
    return counts
