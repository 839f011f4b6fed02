"""Processes that stood still because somebody stopped them, and are not to blame for the time it took.

A worker by itself (SIGSTOP, a debugger) is seen by its state in /proc/PID/stat when a deadline of it is due.
That the master stood still, and perhaps all workers with it (a frozen container, SIGSTOP to the session), it
learns from SIGCONT, or by waking long after it wanted to; whatever was to happen in between is put off.
"""

from __future__ import annotations

import time

LATE = 2.0  # seconds after the moment that the loop wanted to wake at; a busy machine is late by less
BRIEF = 0.1  # seconds that no deadline is so close to
STOPPED = frozenset("Tt")  # proc(5): stopped by a signal, or by a tracer


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped. One that is gone is not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            # Behind the name, which may hold anything.
            return file.read().rpartition(")")[2].split()[0] in STOPPED
    except (OSError, IndexError):
        return False


class Standstill:
    """Notices gaps in this process's own time."""

    __slots__ = ("_looked_at", "_wake")

    def __init__(self) -> None:
        self._looked_at = self._wake = time.monotonic()

    def sleeps(self, wake: float) -> float:
        """The loop is about to wait, until `wake` at the latest; returns that."""
        self._wake = wake
        return wake

    def gap(self, continued: bool) -> float:
        """Seconds that this process may have stood still, or 0.

        continued: SIGCONT has come since the last call.
        """
        now = time.monotonic()
        # Since the last call, not since it slept: it may have been stopped before that.
        gap, self._looked_at = now - self._looked_at, now
        return gap if now - self._wake > LATE or (continued and gap > BRIEF) else 0.0
