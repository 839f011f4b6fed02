"""What is said of a worker's death: how it ended, what it was running, how often that was so lately.

Only what is known: the wait status, the scoreboard, the kernel's count of OOM kills. The stacks are written
by the worker itself (faulthandler), to the error log's descriptor.
"""

from __future__ import annotations

import os
import signal
from collections import Counter, deque

from . import death, requests
from .oom import OomKills

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..engine.scoreboard import RequestView, Scoreboard

WINDOW = 600.0  # seconds that count as lately
NAMED = 3  # requests that one report names


class Crashes:
    """The deaths of one server's workers."""

    def __init__(self, scoreboard: Scoreboard, kills: OomKills | None = None) -> None:
        self._scoreboard = scoreboard
        self._kills = kills or OomKills()
        self._lately: deque[tuple[float, frozenset[str]]] = deque()  # when, what was running

    def describe(self, slot: int, status: int, now: float) -> str:
        """Return "was killed by SIGSEGV, running GET /a for 0.1 s; ..." for the log.

        Call it once a death, before the slot is cleared."""
        text = death.describe(status)
        running = self._scoreboard.requests(slot)
        if status == 0:
            # No crash that counts: it may have been told to leave. But perhaps the request has ended it.
            return text + self._running(running, now)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            count = self._kills.claim(now)
            if count:
                text += f" (the kernel's OOM killer: oom_kill of its cgroup is {count} now)"
        if running:
            text += self._running(running, now)
            return text + self._repeated(frozenset(_name(each.method, each.target) for each in running), now)
        ended = self._scoreboard.ended(slot)
        if len(ended) == 1:
            text += f"; the last request it has answered was {' '.join(ended[0])}"
        elif ended:
            shown = ", ".join(" ".join(each) for each in ended[:NAMED])
            text += f"; among the last requests it has answered were {shown}"
        return text

    def _running(self, running: Sequence[RequestView], now: float) -> str:
        return f", running {requests.describe(running, int(now * 1e9))}" if running else ""

    def _repeated(self, running: frozenset[str], now: float) -> str:
        """Count this death; return "; GET /a was running in 3 deaths of the last 10 min", "" at the first."""
        self._lately.append((now, running))
        while self._lately[0][0] < now - WINDOW:
            self._lately.popleft()
        counts = Counter(name for _, names in self._lately for name in names if name in running)
        return "".join(
            f"; {name} was running in {count} deaths of the last {WINDOW / 60:.0f} min"
            for name, count in counts.most_common(NAMED)
            if count > 1
        )


def _name(method: str, target: str) -> str:
    """Without the query: the same place in the application, whoever asks."""
    return f"{method} {target.partition('?')[0]}"
