"""A request past its deadline, one meaning in every worker class (DESIGN section 6).

The master sees the deadline in the scoreboard and sends ASK, again each second while the request runs. This
is the only handler that does more than to set a flag: an exception can be raised in a running request in no
other way. Asked first, the stack is logged with the request line and RequestTimeout is raised in the request.
Asked when the grace is over, the client is answered from outside, and this worker asks to be replaced and
drains, if it still can; the master ends it otherwise.
"""

from __future__ import annotations

import signal
import time

from ..errors import REQUEST_TIMEOUT
from ..net.signals import ASK
from .assemble import request_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from ..engine.connection import Connection
    from .reactor import Reactor

GRACE = 2.0  # seconds between the exception and giving the request up
FRAMES = 30  # of the stack, the innermost ones


class Overtime:
    """Answers ASK for one reactor."""

    def __init__(self, reactor: Reactor, log: Any) -> None:
        self._reactor = reactor
        self._log = log
        # Request (by connection and its start) -> when it was asked first.
        self._asked: dict[int, tuple[Connection, float]] = {}

    def start(self) -> None:
        """From now on ASK is answered, and an abort leaves no client without an answer."""
        signal.signal(ASK, self._ask)
        self._reactor.station.answer_at_abort(REQUEST_TIMEOUT)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        late = self._reactor.station.overdue()
        now = time.monotonic()
        self._asked = {
            key: value for key, value in self._asked.items() if any(each is value[0] for each in late)
        }
        fresh: list[Connection] = []
        for connection in late:
            known = self._asked.get(id(connection))
            if known is None:
                self._asked[id(connection)] = (connection, now)
                fresh.append(connection)
            elif now - known[1] >= GRACE:
                self._give_up(connection)
        # Last: for the request that this very thread runs, interrupt raises here.
        for connection in fresh:
            self._tell(connection, frame)
        for connection in fresh:
            self._reactor.interrupt(connection)

    def _tell(self, connection: Connection, frame: FrameType | None) -> None:
        from traceback import format_stack

        stack = self._reactor.stack_of(connection) or frame
        text = "".join(format_stack(stack, FRAMES)) if stack is not None else "  (no Python frame)\n"
        self._log.error(
            "%s: has run longer than --timeout (%g s); it is being interrupted at\n%s",
            request_line(connection.request),
            self._reactor.timeout,
            text.rstrip(),
        )

    def _give_up(self, connection: Connection) -> None:
        if connection.thread:
            line = request_line(connection.request)
            connection.give_up()
            self._reactor.recycle(f"{line} does not let itself be interrupted (--timeout)")
