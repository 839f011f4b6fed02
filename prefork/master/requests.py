"""What the scoreboard says of the requests that a worker is running: for the log, and for their deadlines."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..engine.scoreboard import Scoreboard


def running(scoreboard: Scoreboard, slot: int, now_ns: int) -> str:
    """Return "GET /a for 1.2 s, GET /b for 0.1 s": the requests running in that slot; "" for none."""
    return ", ".join(
        f"{request.method} {request.target} for {(now_ns - request.start_ns) / 1e9:.1f} s"
        for request in scoreboard.requests(slot)
    )


def overdue(scoreboard: Scoreboard, slots: Iterable[int], now_ns: int) -> tuple[list[tuple[int, str]], float]:
    """Return (slot, what is late) for each slot with a request past its deadline, and when the next is due.

    That is monotonic seconds, or inf when no request has a deadline ahead.
    """
    late: list[tuple[int, str]] = []
    following = math.inf
    for slot in slots:
        for request in scoreboard.requests(slot):
            if not request.deadline_ns:
                continue
            if request.deadline_ns > now_ns:
                following = min(following, request.deadline_ns / 1e9)
                continue
            taken = (now_ns - request.start_ns) / 1e9
            late.append((slot, f"{request.method} {request.target} has taken {taken:.1f} s (timeout)"))
            break
    return late, following
