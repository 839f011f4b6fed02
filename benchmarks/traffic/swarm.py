"""Many clients in one thread over one epoll descriptor.

Visitors are closed-loop: each sends, waits for the answer, thinks, sends again. Arrivals are open-loop:
requests begin at given moments whether or not earlier ones were answered, and latency counts from the
moment the request should have begun (no coordinated omission).
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from types import TracebackType

from .ask import Ask
from .line import Address, Line
from .outcome import Outcome
from .tally import Record, Tally

SWEEP_SECONDS = 0.05  # how late a timeout may be noticed
REFUSED_PAUSE = 0.01  # a client that is refused does not hammer
# epoll_wait counts in milliseconds: nearer than this, arrivals are waited for by polling.
SPIN_SECONDS = 0.002


@dataclass(frozen=True)
class Visitor:
    """A closed-loop client: one connection at a time.

    `script` gives the next request. `think` gives the pause before it, in seconds. With `keep_alive` false
    each request has its own connection and says `Connection: close`. `per_connection` closes after that
    many (0: never).
    """

    script: Callable[[], Ask]
    keep_alive: bool = True
    think: Callable[[], float] | None = None
    per_connection: int = 0
    delay: float = 0.0  # seconds from the swarm's start to the first request


@dataclass(frozen=True)
class Arrivals:
    """An open-loop stream: `rate` requests a second, evenly spaced, over `lines` kept-alive connections."""

    script: Callable[[], Ask]
    rate: float
    lines: int = 32


class Swarm:
    """Runs its clients from `start` to `stop` (or as a context manager); the tally is whole after `stop`.

    Clients begin no request after `stop`; those under way are waited for, each up to its timeout. A fault
    of this machine (no more ports, no more descriptors) is raised by `stop`, never booked on the server.
    """

    def __init__(
        self,
        address: Address,
        clients: Sequence[Visitor | Arrivals],
        *,
        timeout: float = 10.0,
        host: str = "benchmark.example",
    ) -> None:
        self.tally = Tally()
        self._epoll = select.epoll()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._timeout = timeout
        self._timers: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._stopping = False
        self._over = False
        self._fault: BaseException | None = None
        self._progress = threading.Condition()
        self._players = [
            _Lone(self, client, Line(address, self._epoll, host))
            if isinstance(client, Visitor)
            else _Stream(self, client, [Line(address, self._epoll, host) for _ in range(client.lines)])
            for client in clients
        ]
        self._owner_by_line: dict[Line, _Lone | _Stream] = {
            line: player for player in self._players for line in player.lines
        }
        self._line_by_fd: dict[int, Line] = {}
        self._spins = any(isinstance(client, Arrivals) for client in clients)
        self._thread = threading.Thread(target=self._run, name="swarm", daemon=True)

    # called by the owner's thread

    def __enter__(self) -> Swarm:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Tally:
        """Let what is under way end, and give the count. May be called again."""
        if self._thread.ident is not None:
            try:
                os.write(self._wake_write, b"x")
            except OSError:
                pass  # the thread ended by itself and closed the pipe: its fault is raised below
            self._thread.join()
        if self._fault is not None:
            raise self._fault
        return self.tally

    def wait_total(self, requests: int, timeout: float = 30.0) -> bool:
        """Block until that many requests have ended since the start; False when the time ran out first."""
        with self._progress:
            self._progress.wait_for(lambda: self.tally.total >= requests or self._over, timeout=timeout)
        return self.tally.total >= requests

    def wait_more(self, requests: int, timeout: float = 30.0) -> bool:
        """Block until that many requests more have ended than had at the call."""
        return self.wait_total(self.tally.total + requests, timeout)

    # called by the swarm's thread

    def at(self, when: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._timers, (when, next(self._order), act))

    def begin(self, line: Line, ask: Ask, now: float, *, close: bool, due: float | None = None) -> None:
        """Send on this line. `due` is when the request should have begun, if that was earlier."""
        before = line.fd
        ended = line.begin(ask, now, self._timeout, close=close)
        if due is not None:
            line.began = due
        if line.fd != before:
            self._line_by_fd.pop(before, None)
            if line.fd >= 0:
                self._line_by_fd[line.fd] = line
        if ended is not None:
            self._ended(line, ended)

    def _ended(self, line: Line, outcome: Outcome) -> None:
        assert line.ask is not None
        now = monotonic()
        record = Record(now, now - line.began, line.ask.kind, outcome, line.detail, line.reused, line.worker)
        self.tally.add(record)
        self._owner_by_line[line].ended(line, outcome, now)

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as e:
            self._fault = e
        finally:
            self._tidy()

    def _loop(self) -> None:
        now = monotonic()
        for player in self._players:
            player.start(now)
        sweep_at = now + SWEEP_SECONDS
        while not (self._stopping and not any(line.busy for line in self._owner_by_line)):
            for fd, mask in self._epoll.poll(self._patience(monotonic(), sweep_at)):
                self._dispatch(fd, mask)
            now = monotonic()
            while self._timers and self._timers[0][0] <= now and not self._stopping:
                heapq.heappop(self._timers)[2](now)
            if now >= sweep_at:
                self._sweep(now)
                sweep_at = now + SWEEP_SECONDS

    def _patience(self, now: float, sweep_at: float) -> float:
        wake_at = min(sweep_at, self._timers[0][0]) if self._timers else sweep_at
        patience = max(0.0, wake_at - now)
        return 0.0 if self._spins and patience < SPIN_SECONDS else patience

    def _dispatch(self, fd: int, mask: int) -> None:
        if fd == self._wake_read:
            os.read(self._wake_read, 16)
            self._stopping = True
            return
        line = self._line_by_fd.get(fd)
        # An earlier event of the same batch may have closed this line and another may have its number by now;
        # then the event is the new connection's at worst a moment early, and `ready` finds nothing to read.
        if line is None or line.fd != fd:
            return
        ended = line.ready(mask)
        if line.fd != fd:
            self._line_by_fd.pop(fd, None)
        if ended is not None:
            self._ended(line, ended)

    def _sweep(self, now: float) -> None:
        for line in self._owner_by_line:
            if line.busy and line.deadline <= now:
                fd = line.fd
                ended = line.expire()
                self._line_by_fd.pop(fd, None)
                self._ended(line, ended)
        with self._progress:
            self._progress.notify_all()

    @property
    def stopping(self) -> bool:
        return self._stopping

    def _tidy(self) -> None:
        self._stopping = self._over = True
        for player in self._players:
            self.tally.unbegun += player.unbegun
        for line in self._owner_by_line:
            self.tally.connections += line.connections
            self.tally.idle_closed += line.idle_closed
            self.tally.kept += line.fd >= 0 and not line.busy
            line.close()
        self._epoll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        with self._progress:
            self._progress.notify_all()


class _Lone:
    """A Visitor at work."""

    unbegun = 0

    def __init__(self, swarm: Swarm, visitor: Visitor, line: Line) -> None:
        self._swarm, self._visitor, self.lines = swarm, visitor, [line]

    def start(self, now: float) -> None:
        # Never straight from `ended`: a server that refuses would make that a recursion.
        self._swarm.at(now + self._visitor.delay, self._next)

    def ended(self, line: Line, outcome: Outcome, now: float) -> None:
        pause = self._visitor.think() if self._visitor.think else 0.0
        if outcome is Outcome.REFUSED:
            pause = max(pause, REFUSED_PAUSE)
        self._swarm.at(now + pause, self._next)

    def _next(self, now: float) -> None:
        visitor, line = self._visitor, self.lines[0]
        last = bool(visitor.per_connection) and line.served + 1 >= visitor.per_connection
        self._swarm.begin(line, visitor.script(), now, close=not visitor.keep_alive or last)


class _Stream:
    """Arrivals at work: the free lines and the requests that found none."""

    def __init__(self, swarm: Swarm, arrivals: Arrivals, lines: list[Line]) -> None:
        self._swarm, self._arrivals, self.lines = swarm, arrivals, lines
        self._free = deque(lines)
        self._waiting: deque[float] = deque()
        self._due = 0.0

    @property
    def unbegun(self) -> int:
        return len(self._waiting)

    def start(self, now: float) -> None:
        self._due = now
        self._swarm.at(now, self._arrive)

    def ended(self, line: Line, outcome: Outcome, now: float) -> None:
        self._free.append(line)
        if self._waiting and not self._swarm.stopping:
            self._swarm.at(now, self._serve_waiting)

    def _arrive(self, now: float) -> None:
        due, self._due = self._due, self._due + 1.0 / self._arrivals.rate
        self._swarm.at(self._due, self._arrive)
        self._waiting.append(due)
        self._serve_waiting(now)

    def _serve_waiting(self, now: float) -> None:
        while self._waiting and self._free:
            line = self._free.popleft()
            self._swarm.begin(line, self._arrivals.script(), now, close=False, due=self._waiting.popleft())
