"""What the scoreboard says of the requests that workers run: for the log, and for their deadlines.

A request past its deadline is asked about once a second: its worker gets ASK and interrupts it (DESIGN
section 6). One that goes on all the same is given up: its worker is replaced and drains, and is aborted as
soon as no other request of it is in time.
"""

from __future__ import annotations

import enum
import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..engine.scoreboard import RequestView, Scoreboard

    Key = tuple[int, int, int]  # slot, request, start: one request

ASK_INTERVAL = 10**9  # ns
ASKS = 5  # before a request is given up


class Verdict(enum.Enum):
    ASK = "ask"
    REPLACE = "replace"  # a request of it does not end; others are in time
    ABORT = "abort"  # all that it runs is past every deadline


class Overdue:
    """How often each late request has been asked about.

    Times are counted, not seconds: so a master that was itself suspended asks before it gives up.
    """

    def __init__(self, scoreboard: Scoreboard) -> None:
        self._scoreboard = scoreboard
        self._asked: dict[Key, tuple[int, int]] = {}  # how often, and when last (ns)
        self._put_off: dict[Key, int] = {}  # by a standstill, until then (ns)
        self._stopped: set[int] = set()  # slots whose process was seen stopped

    def put_off(self, slots: Iterable[int], span_ns: int) -> None:
        """Whatever runs now may have stood still for so long."""
        for slot in slots:
            for view in self._scoreboard.requests(slot):
                if view.deadline_ns:
                    key = (slot, view.request, view.start_ns)
                    self._put_off[key] = max(view.deadline_ns, self._put_off.get(key, 0)) + span_ns

    def look(
        self, slots: Iterable[int], now_ns: int, is_stopped: Callable[[int], bool] = lambda slot: False
    ) -> tuple[list[tuple[int, Verdict, str]], float]:
        """Return (slot, verdict, what is late) for each slot where something is to be done, and when to look
        again: monotonic seconds, or inf when no request has a deadline.

        is_stopped: whether the process in a slot stands still; its requests have their whole time again once
        it goes on.
        """
        put_off: dict[Key, int] = {}
        asked: dict[Key, tuple[int, int]] = {}
        verdicts: list[tuple[int, Verdict, str]] = []
        following: float = math.inf
        for slot in slots:
            views = self._scoreboard.requests(slot)
            given_up: list[RequestView] = []
            asking = False
            for view in views:
                if not view.deadline_ns:
                    continue
                key = (slot, view.request, view.start_ns)
                deadline_ns = view.deadline_ns
                if key in self._put_off:
                    put_off[key] = self._put_off[key]
                    deadline_ns = max(deadline_ns, put_off[key])
                if deadline_ns <= now_ns and (slot in self._stopped or is_stopped(slot)):
                    if is_stopped(slot):
                        self._stopped.add(slot)
                        deadline_ns = now_ns + ASK_INTERVAL
                    else:
                        deadline_ns = put_off[key] = now_ns + view.deadline_ns - view.start_ns
                if deadline_ns > now_ns:
                    following = min(following, deadline_ns / 1e9)
                    continue
                times, last = self._asked.get(key, (0, -ASK_INTERVAL))
                if now_ns - last >= ASK_INTERVAL:
                    times, last = times + 1, now_ns
                    asking = True
                asked[key] = (times, last)
                following = min(following, (last + ASK_INTERVAL) / 1e9)
                if times > ASKS:
                    given_up.append(view)
            if given_up:
                verdict = Verdict.ABORT if len(given_up) == len(views) else Verdict.REPLACE
                verdicts.append((slot, verdict, describe(given_up, now_ns)))
            elif asking:
                verdicts.append((slot, Verdict.ASK, ""))
        self._asked = asked
        self._put_off = put_off
        self._stopped = {slot for slot in self._stopped if is_stopped(slot)}
        return verdicts, following


def running(scoreboard: Scoreboard, slot: int, now_ns: int) -> str:
    """Return "GET /a for 1.2 s, GET /b for 0.1 s": the requests running in that slot; "" for none."""
    return describe(scoreboard.requests(slot), now_ns)


def describe(requests: Iterable[RequestView], now_ns: int) -> str:
    return ", ".join(
        f"{each.method} {each.target} for {(now_ns - each.start_ns) / 1e9:.1f} s" for each in requests
    )
