"""The loop of a worker: epoll, deadlines, accepting, draining. The request path itself is compiled.

Owns the epoll descriptor and everything that has a turn in it: connections (by descriptor, in
`station.members`), acceptors, and what `watch` was given. One thread at a time is the reactor's.
"""

from __future__ import annotations

import gc
import heapq
import sys
import time
from collections import deque
from select import EPOLLIN, epoll

from .acceptor import Acceptor
from .assemble import make_endpoint, make_station
from .deadline import Deadline
from .drain import LastCall, Retirement, spread
from .forks import Forks
from .overtime import Overtime
from .recycle import Recycler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

    from ..engine.accesslog import AccessLog
    from ..engine.connection import Connection
    from ..net.channel import Boot

PIPELINED, WAITING, GONE, LOST = 1, 2, 3, 8  # Outcome, engine/client.pxd
WAIT_IDLE = 2  # Wait, engine/station.pxd
SERVING = 2  # WorkerState
EVENTS = 64  # a poll
FEW = 8  # a poll, where requests take long
PLENTY = 1 << 30  # more connections than a worker is ever asked to hold
LOG_IDLE = 0.01  # seconds without events after which the access log is written
LOG_SPAN = 1.0  # seconds that a line may wait at most
LOG_BATCH = 32 * 1024  # bytes that are written without waiting


class Reactor:
    """Serves the listeners of a Boot until drained or stopped."""

    def __init__(
        self,
        boot: Boot,
        application: Callable[..., Any],
        access_log: AccessLog | None = None,
        *,
        multithread: bool = False,
    ) -> None:
        self.epoll = epoll()
        self.scoreboard = boot.scoreboard
        self.draining = False
        self.closed = False  # accepts nothing: parked, or draining
        self.crowded = False  # an acceptor looks away until there is room
        self._boot = boot
        settings = boot.settings
        if "logging" in sys.modules:
            boot.log.join_logging()  # now: with no descriptor left nothing can be imported any more
        self.timeout = settings.timeout
        self.multithread = multithread
        self.access_log = access_log
        # Called once, with the reason, when this worker has served its share; it serves on until drained.
        self.recycle: Callable[[str], None] = _asked
        self._log_due = 0.0
        self._done = False
        self._fault: BaseException | None = None
        self.again: deque[Connection] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_number = 0
        self._told_exhaustion = -60.0
        self._last_call: LastCall | None = None  # accepting goes on until the backlog is empty
        self.station = make_station(boot, application, self.epoll.fileno(), self.access_log)
        self.deadline = Deadline(self.station, self.current)
        self._acceptors = [
            Acceptor(
                self,
                make_endpoint(self.station, boot, listener, deadline=self.deadline, multithread=multithread),
            )
            for listener in boot.listeners
        ]
        self._retirement = Retirement(self)
        self._recycler = Recycler(self, settings)
        self._overtime = Overtime(self, boot.log)
        nudge = boot.scoreboard.nudges[boot.slot]
        self.watch(nudge, self._nudged)

    # --- for whoever owns the worker ---

    def watch(self, fd: int, callback: Callable[[], int | None]) -> None:
        """Call callback whenever fd is readable. It may return an Outcome."""
        self.station.members[fd] = _Watch(callback)
        self.epoll.register(fd, EPOLLIN)

    def ignore(self, fd: int) -> None:
        """Watch it no longer."""
        del self.station.members[fd]
        self.epoll.unregister(fd)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call callback once, seconds from now."""
        self._timer_number += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._timer_number, callback))

    def drain(self, deadline: float) -> None:
        """Accept no more, answer what was accepted; run() returns then, or at `deadline` (monotonic).

        What waits in the backlog is the siblings'.
        """
        if self.draining:
            return
        self.draining = True
        alone = not self._siblings_serve()
        for acceptor in self._acceptors:
            if alone:
                # Nobody else will take those that wait; to close the listener would reset them.
                self.again.extend(acceptor.last())
        self._look_away()
        self._retirement.begin()
        self.later(max(0.0, deadline - time.monotonic()), self.stop)

    def finish(self, deadline: float, closed: Callable[[], None], *, delay: float = 0.0) -> None:
        """The whole server ends: answer also what waits in the backlog, call `closed`, then as drain().

        delay: seconds to go on accepting before that. Every answer says `Connection: close` from now on.
        """
        if self.draining or self._last_call is not None:
            return
        self.station.draining = True

        def over() -> None:
            self.drain(deadline)
            closed()

        if self.closed:  # parked: the backlog is for those who accept
            over()
            return
        self._last_call = LastCall(self, self._acceptors, self._boot.listeners, over)
        self.later(delay, self._last_call.begin)
        self.later(max(0.0, deadline - time.monotonic()), self.stop)

    def park(self) -> None:
        """Accept nothing until `unpark`; answer what was accepted, and let kept-alive clients go."""
        self._look_away()
        self._retirement.begin()

    def unpark(self) -> None:
        """Accept again."""
        if not self.draining:
            self._retirement.end()
            self._open()

    def spread(self, share: float) -> None:
        """Siblings have come: let that share of the clients come again, to them."""
        spread(self, share)

    def is_held(self) -> bool:
        """Whether the application keeps the loop from turning. A signal handler in the main thread asks."""
        connection = self.current()
        return connection is not None and connection.inside_application

    def release(self) -> None:
        """Forget the listeners, which are about to be closed; drain() is still to come. Who waits in the
        backlog is accepted, and served when the loop turns again. A signal handler calls this meanwhile.
        """
        self._look_away()
        for acceptor in self._acceptors:
            self.again.extend(acceptor.last())
            acceptor.forget()
        self._acceptors.clear()

    def stop(self) -> None:
        """Close everything; run() returns."""
        self._done = True

    def run(self) -> None:
        """Serve until drained or stopped."""
        if self.timeout:
            self._overtime.start()
        self._recycler.start()
        self._forks = Forks(self, self._boot)
        # What is here now lives as long as the worker: no collection needs to walk the application again.
        gc.freeze()
        if not self.closed:
            self._open()
        try:
            self.serve()
            if self._fault is not None:
                raise self._fault
        finally:
            self._forks.over = True
            self._close()

    def expect_child(self) -> None:
        """The application is about to fork."""

    # --- in a process that the application has forked ---

    def disinherit(self) -> None:
        """Never turn again. Nothing is to be told to the kernel: epoll instance and sockets are shared."""

    def stop_others(self) -> None:
        """Let nobody else go on who ran beside whoever has forked. Of threads nobody does (fork(2))."""

    def connections(self) -> Iterator[Connection]:
        """All that are held; some are told more than once."""
        for member in list(self.station.members.values()):
            if not isinstance(member, _Watch | Acceptor):
                yield member
        yield from self.station.running_members()  # one that has never waited is no member yet
        yield from self.again

    # --- for worker classes ---

    def serve(self) -> None:
        """Have the loop turn until it is done; how, is the worker class's own."""
        self.lead()

    def settle(self, connection: Connection, outcome: int) -> bool:
        """Act on an Outcome other than KEEP. True: this thread has lost the reactor."""
        if outcome & ~LOST == PIPELINED:
            self.again.append(connection)
        return outcome >= LOST

    def lead(self) -> bool:
        """The loop. Returns True when it is done, False when the reactor is another thread's now.

        What a thread that lost the reactor has not looked at yet, the next one finds in the station.
        """
        station, again = self.station, self.again
        settle = self.settle
        # Not `while not self._done`: CPython 3.11 takes only the plain jump back of `while True` for a reason
        # to specialize a function that is called once, and 1,200 instructions a turn hang on that.
        while True:
            if self._done:
                return True
            if station.serve(settle):
                return False
            if again:
                for _ in range(len(again)):
                    connection = again.popleft()
                    outcome = connection.turn(0)
                    if outcome and settle(connection, outcome):
                        return False
            if self.access_log is not None and self.access_log.pending:
                self.write_log(idle=not station.found)
            if station.spent:
                self._recycler.look()
            if self.draining and self.is_empty():
                self._done = True
                return True
            # Whoever passes the turn on with each request has little use for more events.
            most = FEW if station.hold else EVENTS
            if not station.glance(most):
                station.wait(self.span(), most)

    def interrupt(self, connection: Connection) -> bool:
        """Have RequestTimeout raised in the request that connection runs. True: the caller has to raise it.

        Called by a signal handler.
        """
        return connection.inside_application

    def stack_of(self, connection: Connection) -> FrameType | None:
        """The innermost frame of that request; None: it is where the signal came."""
        return None

    def current(self) -> Connection | None:
        """The connection whose request the caller belongs to."""
        found: Connection | None = self.station.runner(0)
        return found

    def ask_replacement(self, reason: str) -> None:
        """Have this worker replaced, once; it serves on until it is drained. A signal handler may call it."""
        recycle, self.recycle = self.recycle, _asked
        recycle(reason)

    def is_empty(self) -> bool:
        """Whether nothing is held, but for requests that do not end and whose clients are answered."""
        held = self.station.held()
        return held == 0 or held <= self._overtime.given_up

    def sweep(self) -> None:
        """Have the acceptors take their turn soon."""
        self.scoreboard.nudge(self._boot.slot)

    # --- for acceptors and connections ---

    def room(self) -> int:
        """How many connections may be accepted, if nothing else changes."""
        return 0 if self.closed else PLENTY

    def has_room_again(self) -> None:
        """Do not let those wait any longer for whom there was no room."""
        self.crowded = False
        for acceptor in self._acceptors:
            acceptor.resume()

    def make_room(self) -> bool:
        """There is none, and somebody waits: let an idle connection go for it. False: none is idle."""
        return False

    def close_idle(self) -> bool:
        """Close the connection that has been idle longest. False: none is."""
        idle: Connection | None = self.station.first_waiting(WAIT_IDLE)
        if idle is not None and not idle.quiet():  # a request came in this moment
            idle = next((each for each in self.station.waiting(WAIT_IDLE) if each.quiet()), None)
        if idle is not None:
            idle.abandon()
        return idle is not None

    def failed(self, fault: BaseException) -> None:
        """The loop itself has failed, outside run(): run() raises what stopped it."""
        self._fault = fault
        self._done = True

    def log_exhaustion(self) -> None:
        """Out of descriptors and nothing idle to close: tell, at most once a minute."""
        now = time.monotonic()
        if now - self._told_exhaustion >= 60.0:
            self._told_exhaustion = now
            self._boot.log.error(
                "no file descriptor left for a new connection (limit: ulimit -n); "
                "accepting goes on when one is closed"
            )

    # --- the loop's own ---

    def span(self) -> float:
        """Seconds that the loop may sleep; -1: until something happens."""
        span = self.station.wait_span()
        if span == 0:
            self.station.expire()
            span = self.station.wait_span()
        if self._timers:
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            if self._timers:
                left = max(0.0, self._timers[0][0] - now)
                span = left if span < 0 else min(span, left)
        if self.again or self._done:
            return 0.0
        if self.access_log is not None and self.access_log.pending:
            span = LOG_IDLE if span < 0 else min(span, LOG_IDLE)
        if self.draining and self.is_empty():
            return 0.0
        return span

    def write_log(self, *, idle: bool) -> None:
        log = self.access_log
        assert log is not None
        now = time.monotonic()
        if idle or log.pending >= LOG_BATCH or now >= self._log_due:
            log.flush()
            self._log_due = now + LOG_SPAN
            trouble = log.trouble()
            if trouble:
                self._boot.log.warning("%s", trouble)

    def _siblings_serve(self) -> bool:
        board = self.scoreboard
        return any(
            slot != self._boot.slot and board.worker(slot).state == SERVING for slot in range(board.workers)
        )

    def _nudged(self) -> int:
        """A sibling holds more connections than this worker and left one for it; or sweep() was called."""
        self.scoreboard.nudged(self._boot.slot)
        if not self.closed:
            for acceptor in self._acceptors:
                if acceptor.turn() == LOST:
                    if self._last_call is not None:
                        self.sweep()
                    return LOST
            if self._last_call is not None:
                self._last_call.look()
        return 0

    def _open(self) -> None:
        self.closed = self.station.closed = False
        for acceptor in self._acceptors:
            acceptor.open()

    def _look_away(self) -> None:
        self.closed = self.station.closed = True
        for acceptor in self._acceptors:
            acceptor.close()

    def _close(self) -> None:
        self._look_away()
        for connection in self.station.running_members():
            connection.give_up()  # its deadline is over too, or nobody wants to wait for it
        for member in list(self.station.members.values()):
            if not isinstance(member, _Watch | Acceptor):
                member.abandon()
        if self.access_log is not None:
            self.access_log.flush()
        self.epoll.close()


def make_reactor(boot: Boot, application: Callable[..., Any], access_log: AccessLog | None = None) -> Reactor:
    """The reactor of the settings' worker class."""
    match boot.settings.worker_class:
        case "threads":
            from .threads import ThreadReactor

            return ThreadReactor(boot, application, access_log)
        case "gevent":
            from .gevent import GeventReactor

            return GeventReactor(boot, application, access_log)
        case _:
            return Reactor(boot, application, access_log)


def _asked(reason: str) -> None:
    """A replacement was asked for, or nobody can be asked."""


class _Watch:
    """Member for a descriptor that is no connection."""

    def __init__(self, callback: Callable[[], int | None]) -> None:
        self._callback = callback

    def turn(self, events: int) -> int:
        return self._callback() or 0
