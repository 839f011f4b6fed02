"""How a process ended, in words that say only what is known."""

from __future__ import annotations

import os

from ..net import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..engine.scoreboard import Scoreboard


def describe(status: int) -> str:
    """Return "exited with code 3" or "was killed by SIGSEGV (core dumped)" for a wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    core = " (core dumped)" if os.WCOREDUMP(status) else ""
    return f"was killed by {_full_name(-code)}{core}"


def running(scoreboard: Scoreboard, slot: int, now_ns: int) -> str:
    """Return "GET /a for 1.2 s, GET /b for 0.1 s": the requests running in that slot; "" for none."""
    return ", ".join(
        f"{request.method} {request.target} for {(now_ns - request.start_ns) / 1e9:.1f} s"
        for request in scoreboard.requests(slot)
    )


def _full_name(number: int) -> str:
    name = signals.name(number)
    return name if " " in name else f"SIG{name}"
