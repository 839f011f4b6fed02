"""Medians, spreads and ratios of rounds. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A metric over the rounds: the middle one, and the ends."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """(high - low) / median; 0.1 means that the rounds lie within 10 % of each other."""
        return (self.high - self.low) / self.median if self.median else 0.0


def figure(values: Sequence[float]) -> Figure | None:
    """None when no round gave a value."""
    clean = [value for value in values if not math.isnan(value)]
    if not clean:
        return None
    return Figure(statistics.median(clean), min(clean), max(clean), len(clean))


def ratio(above: Mapping[int, float], below: Mapping[int, float]) -> Figure | None:
    """The ratio of two metrics, each keyed by round.

    Taken round by round, because servers that took turns within one round met the same machine, and only then
    the median. None when they share no round.
    """
    return figure([above[turn] / below[turn] for turn in sorted(above.keys() & below.keys()) if below[turn]])


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value that at least this share of the sorted sequence is not above."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
