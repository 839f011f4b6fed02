"""The master's eye on the deadlines of requests: when to look, and what is done about those that are late.

A request that begins after a look cannot be late before a whole timeout from then, so an idle server is
looked at once in a timeout. What is late is judged in requests.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from ..net import signals
from . import requests
from .requests import Overdue, Verdict
from .suspension import is_stopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..config.settings import Settings
    from ..engine.scoreboard import Scoreboard
    from .actions import Action
    from .crew import Crew
    from .fleet import Fleet


class Deadlines:
    """wake: when to look at the latest.

    act: does what Fleet wants.  all_settings: of every generation that may have workers.
    """

    def __init__(
        self,
        *,
        scoreboard: Scoreboard,
        crew: Crew,
        fleet: Fleet,
        log: Any,
        act: Callable[[Iterable[Action]], None],
        all_settings: Callable[[], Iterable[Settings]],
    ) -> None:
        self.wake = math.inf
        self._scoreboard = scoreboard
        self._overdue = Overdue(scoreboard)
        self._crew = crew
        self._fleet = fleet
        self._log = log
        self._act = act
        self._all_settings = all_settings

    def arm(self, settings: Settings) -> None:
        """Workers of these settings come: no request of theirs is late before a whole timeout from now."""
        if settings.timeout:
            self.wake = min(self.wake, time.monotonic() + settings.timeout)

    def put_off(self, seconds: float) -> None:
        """Whatever runs now may have stood still for so long."""
        self._overdue.put_off(self._crew.children, int(seconds * 1e9))

    def tick(self, now: float) -> None:
        """Look for requests past their deadline, and when to look again."""
        verdicts, following = self._overdue.look(self._crew.children, int(now * 1e9), self.is_stopped)
        for slot, verdict, text in verdicts:
            match verdict:
                case Verdict.ASK:
                    self._crew.signal(slot, signals.ASK)
                case Verdict.REPLACE:
                    self._act(self._fleet.stuck(slot, f"{text} does not end (timeout)", now))
                case Verdict.ABORT:
                    self._act(self._fleet.hung(slot, f"{text} does not end (timeout)", now))
        spans = [each.timeout for each in self._all_settings() if each.timeout]
        self.wake = min(following, now + min(spans, default=math.inf))

    def is_stopped(self, slot: int) -> bool:
        """Whether the worker there was stopped by somebody."""
        child = self._crew.children.get(slot)
        return child is not None and child.pid != 0 and is_stopped(child.pid)

    def strike(self, slot: int, number: int, reason: str) -> None:
        """Send that signal. With a reason, the log names what the worker runs."""
        if reason:
            running = requests.running(self._scoreboard, slot, time.monotonic_ns())
            self._log.error(
                "worker %d gets %s: %s%s",
                self._crew.children[slot].pid,
                signals.name(number),
                reason,
                f"; running {running}" if running else "",
            )
        self._crew.signal(slot, number)
