"""What the service manager is told (sd_notify(3)): states, progress, and that something takes its time.

The one place that decides what is said and when; Master tells it what happens. Without a manager nothing is
said, and the loop is never woken for it.
"""

from __future__ import annotations

import enum
import math
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.scoreboard import Scoreboard
    from ..net.notify import Notify

# A start or a drain may last longer than the manager would wait: every so often it is asked for more.
EXTEND_INTERVAL = 5.0  # seconds
EXTEND_BY = 15.0
PATIENCE = 30.0  # seconds that a loop may stand still in a request that has no deadline


class State(enum.Enum):
    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"  # another master is the service now: not one word more


class Service:
    """progresses: asked before the watchdog is fed."""

    def __init__(self, notify: Notify, progresses: Callable[[float], bool]) -> None:
        self.state = State.STARTING
        self._notify = notify
        self._progresses = progresses
        self._extend_deadline = math.inf
        self._watchdog_deadline = math.inf

    def take(self, notify: Notify) -> None:
        """Speak to that manager from now on."""
        self._notify = notify

    def close(self) -> None:
        """In a child: it is not the service."""
        self._notify.close()

    @property
    def wake(self) -> float:
        """When to call `tick` at the latest."""
        return min(self._extend_deadline, self._watchdog_deadline)

    def starting(self, now: float) -> None:
        if self._notify:
            self._extend_deadline = now + EXTEND_INTERVAL

    def ready(self, status: str, now: float, *, pid: int = 0) -> None:
        """The floor of workers serves, or serves on after a reload that came to nothing."""
        if not self._may(State.READY):
            return
        named = {"MAINPID": pid} if pid else {}
        self._notify.send(READY=1, **named, STATUS=status)
        self._extend_deadline = math.inf
        if self._notify.watchdog and self._watchdog_deadline == math.inf:
            self._watchdog_deadline = now  # the first at once, the rest at every half of the time
            self.tick(now)

    def reloading(self, status: str, now: float) -> None:
        if self._may(State.RELOADING):
            # systemd takes a READY that follows only for the end of a reload that began after its own signal.
            stamp = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._notify.send(RELOADING=1, MONOTONIC_USEC=stamp, STATUS=status)
            self.starting(now)

    def stopping(self, status: str, now: float) -> None:
        if self._may(State.STOPPING):
            self._notify.send(STOPPING=1, STATUS=status)
            self.starting(now)

    def status(self, text: str) -> None:
        if self.state is not State.SUCCEEDED:
            self._notify.send(STATUS=text)

    def succeeded(self, pid: int) -> None:
        """From now on that process is the service. Said by the old one, which the manager surely believes."""
        self._notify.send(MAINPID=pid)
        self.state = State.SUCCEEDED
        self._extend_deadline = self._watchdog_deadline = math.inf

    def tick(self, now: float) -> None:
        """Say what is due."""
        if now >= self._extend_deadline:
            self._extend_deadline = now + EXTEND_INTERVAL
            self._notify.send(EXTEND_TIMEOUT_USEC=round(EXTEND_BY * 1e6))
        if now >= self._watchdog_deadline:
            self._watchdog_deadline = now + self._notify.watchdog / 2
            if self._progresses(now):
                self._notify.send(WATCHDOG=1)

    def _may(self, state: State) -> bool:
        if self.state is State.SUCCEEDED or (self.state is State.STOPPING and state is not State.STOPPING):
            return False
        if state is State.STOPPING and self.state is State.STOPPING:
            return False
        if state is State.RELOADING and self.state is State.STARTING:
            return False  # the manager still waits for the first READY
        self.state = state
        return True


def progresses(scoreboard: Scoreboard, slot: int, now: float) -> bool:
    """Does the worker in that slot make progress? An idle one does, and one whose loop has turned lately; so
    does one with a request that is in time, by its own deadline, or by PATIENCE where it has none.
    """
    view = scoreboard.worker(slot)
    now_ns = int(now * 1e9)
    if not view.running or now_ns - view.beat_ns < PATIENCE * 1e9:
        return True
    return any(
        each.deadline_ns > now_ns if each.deadline_ns else now_ns - each.start_ns < PATIENCE * 1e9
        for each in scoreboard.requests(slot)
    )
