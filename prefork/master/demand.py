"""How many workers are wanted, by what those that there are have to do. (--min-workers)

Demand reads no clock and no counter: what was measured and the time go in, a number of workers and the next
look come out. A worker's load is how much of its room was taken since the look before: 0 is idle, with 1 no
room was left.

More are wanted when nearly all the room of all is taken, for a moment, or at once if somebody waits as well:
one more first, then twice as many each time that it was not enough, or as many as wait. One less is wanted
when what there is to do would have taken half of the others, at every look for a long time. Between the two
lies so much that neither brings about the other under a load that stays as it is; for one that does not, the
long time becomes longer whenever a worker was let go too soon.
"""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .generation import Generation

FULL = 0.8  # of the room of all: what comes next would wait
CALM = 0.5  # of the room of all but one
SLIGHT = 0.05  # of one worker: nothing that could fill them before the next slow look
BRISK_INTERVAL = 0.25  # seconds between two looks
SLOW_INTERVAL = 1.0  # ... while there is nothing to do
HOLD = 0.5  # seconds without room before one more is wanted, where nobody is seen waiting
STREAK = 3.0  # seconds behind the last that came, in which it was not enough
PATIENCE = 10.0  # seconds of calm before one less is wanted
PATIENCE_LIMIT = 160.0
REGRET = 6  # times the patience: who is wanted again by then was let go too soon


class Verdict:
    """So many workers are wanted from now on, and why."""

    __slots__ = ("size", "why")

    def __init__(self, size: int, why: str) -> None:
        self.size = size
        self.why = why


class Demand:
    """wake: when to look at the latest."""

    def __init__(self) -> None:
        self.wake = -math.inf
        self._looked = -math.inf
        self._full_since = math.inf
        self._calm_since = math.inf
        self._peak = 0.0  # the largest load of all since then
        self._came = -math.inf  # when one was missing last
        self._step = 0  # how many more were wanted last, if that may not have been enough
        self._patience = PATIENCE
        self._let_go = -math.inf  # when one less was wanted last

    def look(
        self,
        loads: Sequence[float],
        generation: Generation,
        waiting: Callable[[], int],
        now: float,
        *,
        firm: bool = True,
    ) -> Verdict | None:
        """Return how many are wanted of the generation, if not as many as now.

        loads: of each worker that serves.  waiting: counts the clients that wait to be accepted; called only
        where that matters.  firm: False while a reload is under way, and nobody is to be let go.
        """
        size, least, most = generation.size, generation.least, generation.most
        span, self._looked = now - self._looked, now
        if span > 2 * SLOW_INTERVAL:  # the first look, or everybody stood still for who knows how long
            self._full_since, self._calm_since, self._peak = math.inf, now, 0.0
            self.wake = now + BRISK_INTERVAL
            return None
        load = sum(loads)
        self.wake = now + (BRISK_INTERVAL if load > SLIGHT else SLOW_INTERVAL)
        missing = len(loads) < size
        if missing:  # because it boots, or has died: neither says that it is not enough
            self._came = now
        elif now - self._came > STREAK:
            self._step = 0
        full = bool(loads) and load >= FULL * len(loads)
        if not full or missing:
            self._full_since = math.inf
        elif size < most:
            self._full_since = min(self._full_since, now - span)
            return self._more(size, most, waiting(), now)
        calm = firm and size > least and load <= CALM * (min(size, len(loads)) - 1)
        if not calm:
            self._calm_since, self._peak = now, 0.0
            return None
        self._peak = max(self._peak, load)
        return self._less(size, now)

    def _more(self, size: int, most: int, waiting: int, now: float) -> Verdict | None:
        self._calm_since, self._peak = now, 0.0
        if not waiting and now - self._full_since < HOLD:
            return None
        # One is also what is said of any number (Listener.waiting).
        self._step = min(waiting, size) if waiting > 1 else max(1, 2 * self._step)
        soon = now - self._let_go <= REGRET * self._patience
        self._patience = min(2 * self._patience, PATIENCE_LIMIT) if soon else PATIENCE
        self._came, self._full_since = now, math.inf
        why = "all are busy"
        if waiting:
            why += f", {waiting} clients wait" if waiting > 1 else ", and somebody waits"
        return Verdict(min(most, size + self._step), why)

    def _less(self, size: int, now: float) -> Verdict | None:
        if now - self._calm_since < self._patience:
            return None
        why = f"at most {self._peak:.1f} were busy for {now - self._calm_since:.0f} s"
        self._calm_since, self._peak, self._let_go = now, 0.0, now
        return Verdict(size - 1, why)
