"""A generation on trial: does it do worse than the one before? (--bake)

Owns what is known of each generation's answers and crashes: the scoreboard counts for workers, and forgets
them with the worker. Decides nothing but that one question; Fleet goes back.
"""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..engine.scoreboard import Scoreboard, WorkerView

LOOK_INTERVAL = 1.0  # seconds
CRASHES = 2  # so many may be chance
ERRORS = 5
SHARE_MORE = 0.01  # of all answers: so many 5xx more than before may be chance
TIMES_MORE = 2.0


class Record:
    """What a generation has done so far. `errors`: answers of 5xx; `crashes`: workers that died serving."""

    __slots__ = ("answers", "crashes", "errors")

    def __init__(self, answers: int = 0, errors: int = 0, crashes: int = 0) -> None:
        self.answers = answers
        self.errors = errors
        self.crashes = crashes

    def add(self, view: WorkerView) -> None:
        self.answers += sum(view.statuses[1:])
        self.errors += view.statuses[5]


class Trial:
    """wake: when to look at the latest."""

    def __init__(self, scoreboard: Scoreboard) -> None:
        self.wake = math.inf
        self._scoreboard = scoreboard
        self._buried: dict[int, Record] = {}

    def attend(self, wanted: bool, now: float) -> None:
        """There is a generation on trial, or there is none any more."""
        if wanted and self.wake == math.inf:
            self.wake = now + LOOK_INTERVAL
        elif not wanted:
            self.wake = math.inf

    def bury(self, slot: int, *, crashed: bool) -> None:
        """The worker in that slot has ended, and the slot is about to be cleared."""
        view = self._scoreboard.worker(slot)
        record = self._buried.setdefault(view.generation, Record())
        record.add(view)
        record.crashes += crashed

    def forget(self, generation: int) -> None:
        self._buried.pop(generation, None)

    def look(self, before: int, now_on: int, now: float) -> str:
        """Say what is worse with generation `now_on` than with `before`; "" for nothing."""
        self.wake = now + LOOK_INTERVAL
        return worse(self._record(before), self._record(now_on))

    def _record(self, generation: int) -> Record:
        buried = self._buried.get(generation, Record())
        record = Record(buried.answers, buried.errors, buried.crashes)
        for slot in range(self._scoreboard.workers):
            view = self._scoreboard.worker(slot)
            if view.state and view.generation == generation:
                record.add(view)
        return record


def worse(before: Record, after: Record) -> str:
    """In which way the second does worse; "" when it does not, or it is too early to say."""
    if after.crashes >= CRASHES:
        often, known = after.crashes / max(1, after.answers), before.crashes / max(1, before.answers)
        if often > TIMES_MORE * known:
            return (
                f"{after.crashes} of its workers died in {after.answers} requests"
                f" ({before.crashes} in {before.answers} before)"
            )
    if after.errors >= ERRORS:
        share, known = after.errors / after.answers, before.errors / max(1, before.answers)
        if share > max(known + SHARE_MORE, TIMES_MORE * known):
            return (
                f"{after.errors} of its {after.answers} answers were 5xx"
                f" ({before.errors} of {before.answers} before)"
            )
    return ""
