"""A request past its deadline, one meaning in every worker class (DESIGN section 6).

The master sees the deadline in the scoreboard and sends ASK, again each second while the request runs. This
is the only handler that does more than to set a flag: an exception can be raised in a running request in no
other way. Asked first, the stack is logged with the request line and RequestTimeout is raised in the request.
Asked when the grace is over, the client is answered from outside, the exception is raised once more, and this
worker asks to be replaced and drains, if it still can; the master ends it otherwise.
"""

from __future__ import annotations

import os
import time

from ..engine.connection import RequestTimeout
from ..errors import REQUEST_TIMEOUT
from ..net.signals import ASK, catch
from .assemble import request_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from ..engine.connection import Connection
    from .reactor import Reactor

GRACE = 1.5  # seconds between the exception and giving the request up: the second ASK after the first
ASLEEP = 1.5  # seconds behind the deadline at which nobody asks first, but of a process that was stopped
PAUSE = 0.5  # seconds between two ASKs that are two
FRAMES = 30  # of the stack, the innermost ones
OURS = os.path.dirname(__file__) + os.sep  # noqa: PTH120 (pathlib costs a start 4 ms)


class Asked:
    """One late request, and when it was asked for the first time."""

    __slots__ = ("began", "connection", "excused", "given_up", "since")

    def __init__(self, connection: Connection, since: float) -> None:
        self.connection = connection
        self.began = connection.began  # a connection runs many requests
        self.since = since
        self.excused = False
        self.given_up = False

    @property
    def runs(self) -> bool:
        """Whether the request is still inside the application."""
        return self.connection.began == self.began and self.connection.thread != 0


class Overtime:
    """Answers ASK for one reactor."""

    def __init__(self, reactor: Reactor, log: Any) -> None:
        self._reactor = reactor
        self._log = log
        self._asked: list[Asked] = []

    def start(self) -> None:
        """From now on ASK is answered, and an abort leaves no client without an answer."""
        catch(ASK, self._ask)
        self._reactor.station.answer_at_abort(REQUEST_TIMEOUT)

    @property
    def given_up(self) -> int:
        """Requests that were answered from outside and still run: nobody waits for them."""
        return sum(each.given_up and each.runs for each in self._asked)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        late = self._reactor.station.overdue()
        # Rebuilt, not changed: the loop may be in the middle of counting.
        self._asked = [
            each for each in self._asked if each.runs and (each.given_up or each.connection in late)
        ]
        known = {(id(each.connection), each.began): each for each in self._asked}
        interrupted: list[Connection] = []
        for connection in late:
            asked = known.get((id(connection), connection.began))
            if asked is None:
                asked = Asked(connection, now)
                self._asked.append(asked)
                # A process that was stopped (SIGSTOP, a debugger) is not a request that hangs: it gets a
                # second.
                if self._reactor.station.remaining(connection) < -ASLEEP:
                    asked.excused = True
                    continue
            elif asked.excused:
                if now - asked.since < PAUSE:
                    continue
                asked.excused = False
                asked.since = now
            elif now - asked.since >= GRACE:
                self._give_up(asked)
                interrupted.append(connection)
                continue
            else:
                continue
            self._tell(connection, frame)
            interrupted.append(connection)
        here = [connection for connection in interrupted if self._reactor.interrupt(connection)]
        if here:
            raise RequestTimeout  # the request that this very frame interrupts

    def _tell(self, connection: Connection, frame: FrameType | None) -> None:
        text = stack_text(self._reactor.stack_of(connection) or frame)
        self._say(
            f"{request_line(connection.request)}: has run longer than --timeout"
            f" ({self._reactor.timeout:g} s); it is being interrupted at\n{text}"
        )

    def _give_up(self, asked: Asked) -> None:
        if asked.given_up:
            return
        asked.given_up = True
        line = request_line(asked.connection.request)
        asked.connection.give_up()
        self._say(f"{line}: does not end; its client is answered, and this worker will be replaced")
        self._reactor.ask_replacement(f"{line} does not let itself be interrupted (--timeout)")

    def _say(self, text: str) -> None:
        try:
            self._log.error("%s", text)
        except (
            BaseException
        ):  # a handler of the application's that cannot be called just now (in gevent's hub)
            os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")


def stack_text(frame: FrameType | None) -> str:
    """The application's part of the stack that ends in that frame, as a traceback shows it."""
    from traceback import StackSummary

    frames: list[tuple[FrameType, int]] = []
    while frame is not None and len(frames) < FRAMES:
        if frame.f_code.co_filename.startswith(OURS):
            break
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    text = "".join(StackSummary.extract(reversed(frames)).format())
    return text.rstrip() or "  (no frame of the application)"
