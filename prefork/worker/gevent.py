"""Worker class gevent: the reactor's epoll descriptor is one watcher in gevent's hub.

When it fires it is drained in bounded batches, and each whole request is switched into a greenlet, taken from
those that have parked after an earlier one (making one costs more than a request: it maps a stack). Idle
connections hold no greenlet. Imported only inside a gevent worker, after monkey-patching.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from functools import partial

import gevent
import gevent.event
from greenlet import GreenletExit, getcurrent, greenlet

from ..engine.connection import RequestTimeout
from .forks import leave
from .reactor import EVENTS, PIPELINED, WAITING, Reactor
from .stalls import Stalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

    from ..engine.accesslog import AccessLog
    from ..engine.connection import Connection
    from ..net.channel import Boot

READ, WRITE = 1, 2  # libev's
ROUNDS = 4  # batches of events before timers and other greenlets get their turn
# What wakes greenlets, by the names that gevent has for it with libev and with libuv. Not to be stopped: fork
# watchers, by which the thread pool begins anew, and those of files, for inotify's instance is shared, too.
WAKERS = ("_multiplexwatcher", "async_", "callback", "child", "io", "timer")


class GeventReactor(Reactor):
    """A Reactor that lives in gevent's hub."""

    def __init__(
        self, boot: Boot, application: Callable[..., Any], access_log: AccessLog | None = None
    ) -> None:
        super().__init__(boot, application, access_log, multithread=True)
        self.station.hold = True
        self.station.wait_writable = partial(self._wait, WRITE)
        self.station.wait_readable = partial(self._wait, READ)
        self._hub = gevent.get_hub()
        self._over = gevent.event.Event()
        self._limit = boot.settings.worker_connections
        self._greenlets = 0
        self._parked: list[greenlet] = []
        self._tasks: dict[greenlet, Task] = {}
        self._waiting: deque[Connection] = deque()
        self._watcher = self._hub.loop.io(self.epoll.fileno(), READ)
        self._timer = self._hub.loop.timer(0)
        self._due = float("inf")  # monotonic; when the timer fires
        self._parted = False  # a child of the application's: the hub may be anywhere in _drain, and leaves it
        self._stalls: Stalls | None = None
        if boot.settings.stall_timeout:
            self._stalls = Stalls(boot.settings.stall_timeout, boot.log, self._serve_requests.__code__)

    def serve(self) -> None:
        self._confine_timeouts()
        self._watcher.start(self._drain)
        if self._stalls is not None:
            self._stalls.start(self._hub)
        # In the hub: a request that waits already would be switched into from here, and its greenlet parks by
        # switching to the hub. Nobody would come back to this one, and the worker could not end.
        self._hub.loop.run_callback(self._drain)
        try:
            self._over.wait()
        except BaseException as fault:
            if self._forks.happened:
                leave(fault)  # sys.exit() in a greenlet, or nothing is left that could wake one
            raise
        self._watcher.stop()
        self._timer.stop()
        if self._stalls is not None:
            self._stalls.stop()

    def stop(self) -> None:
        super().stop()
        self._over.set()

    def settle(self, connection: Connection, outcome: int) -> bool:
        if outcome == PIPELINED:
            self.again.append(connection)
        elif outcome == WAITING:
            if self._parked:
                self._parked.pop().switch(connection)
            elif self._greenlets < self._limit:
                self._begin(connection)
            else:
                self._waiting.append(connection)
        return self._parted

    def room(self) -> int:
        # What comes behind a connection that was accepted for nobody is a sibling's, if one has room.
        return super().room() if self._greenlets < self._limit or self._parked else 0

    def interrupt(self, connection: Connection) -> bool:
        task = self._task_of(connection)
        if task is None or not connection.inside_application:
            return False
        if task.greenlet is getcurrent():
            return True  # it does not let go of the hub
        self._hub.loop.run_callback(self._throw, task, connection, connection.began)
        return False

    def stack_of(self, connection: Connection) -> FrameType | None:
        task = self._task_of(connection)
        if task is None or task.greenlet is getcurrent():
            return None
        frame: FrameType | None = task.greenlet.gr_frame
        return frame

    def expect_child(self) -> None:
        # gevent itself does it behind the first fork: a child that had ended by then was waited for for ever.
        self._hub.loop.install_sigchld()

    def disinherit(self) -> None:
        self._parted = True
        self._hub.loop.reinit()  # first: what libuv stops it tells the kernel, by an epoll of its own now
        self._watcher.stop()
        self._timer.stop()
        if self._stalls is not None:
            self._stalls.disinherit()

    def stop_others(self) -> None:
        # Kept: a greenlet that nobody knows any more is unwound, and its `finally` is not the child's to run.
        self._stopped = stop_others(self._hub.loop)

    def connections(self) -> Iterator[Connection]:
        yield from super().connections()
        yield from self._waiting

    def _throw(self, task: Task, connection: Connection, began: int) -> None:
        if task.connection is connection and connection.began == began and connection.inside_application:
            task.greenlet.throw(RequestTimeout)

    def current(self) -> Connection | None:
        asking: Any = getcurrent()
        while asking is not None:
            if asking in self._tasks:
                return self._tasks[asking].connection
            spawner = getattr(asking, "spawning_greenlet", None)  # gevent's own greenlets have one
            asking = spawner() if spawner is not None else None
        return None

    def _task_of(self, connection: Connection) -> Task | None:
        return next((each for each in self._tasks.values() if each.connection is connection), None)

    # --- in the hub ---

    def _drain(self) -> None:
        """The epoll descriptor is ready, or a deadline has come. Never blocks."""
        try:
            for _ in range(ROUNDS):
                if not self._batch():
                    break  # what comes later, the hub tells
        except BaseException as fault:
            self.failed(fault)
            self._over.set()
            return
        if not self._parted:
            self._look_ahead()

    def _batch(self) -> bool:
        """One poll and what it brings. False: that was all there is."""
        station, again, settle = self.station, self.again, self.settle
        found = station.wait(0.0, EVENTS)
        if station.serve(settle):
            return False
        for _ in range(len(again)):
            connection = again.popleft()
            outcome = connection.turn(0)
            if outcome and settle(connection, outcome):
                return False
        if self.access_log is not None and self.access_log.pending:
            self.write_log(idle=not found)
        if station.spent:
            self._recycler.look()
        return found == EVENTS

    def _look_ahead(self) -> None:
        """Have the timer fire at the next deadline; see whether the end has come."""
        span = self.span()
        if self._done or (self.draining and self.is_empty()):
            self._over.set()
            return
        if span < 0:
            return
        due = time.monotonic() + span
        # A timer that fires too early costs one look; one that is renewed at each request costs more.
        if due < self._due - 0.0005 or self._due == float("inf"):
            self._timer.stop()
            self._timer = self._hub.loop.timer(span)
            self._timer.start(self._timer_fired)
            self._due = due

    def _timer_fired(self) -> None:
        self._due = float("inf")
        self._drain()

    def _begin(self, connection: Connection) -> None:
        """Run its request in a new greenlet."""
        self._greenlets += 1
        greenlet(self._serve_requests, self._hub).switch(connection)

    def _begin_next(self) -> None:
        """A greenlet has ended: there is room for one more."""
        if self._waiting and self._greenlets < self._limit:
            self._begin(self._waiting.popleft())
        elif self.crowded:
            self.has_room_again()

    def _confine_timeouts(self) -> None:
        """A gevent.Timeout is thrown into the greenlet that has started it. One that a request leaves running
        would hit the request of another client, which has the greenlet by then: it is dropped."""
        start, expire = gevent.Timeout.start, gevent.Timeout._on_expiration

        def start_in_request(timeout: Any) -> None:
            timeout.prefork_request = self._request_of(getcurrent())
            start(timeout)

        def expire_in_request(timeout: Any, starter: greenlet, fault: object) -> None:
            now = self._request_of(starter)
            if starter in self._tasks and getattr(timeout, "prefork_request", now) != now:
                self._boot.log.warning("%r was left running by a request that is over: dropped", timeout)
            else:
                expire(timeout, starter, fault)

        gevent.Timeout.start = start_in_request
        gevent.Timeout._on_expiration = expire_in_request

    def _request_of(self, runner: greenlet) -> tuple[int, int] | None:
        """What tells its request from all others."""
        task = self._tasks.get(runner)
        if task is None or task.connection is None:
            return None
        return id(task.connection), task.connection.began

    # --- in greenlets ---

    def _serve_requests(self, connection: Connection) -> None:
        """Body of a greenlet: one request after the other, parked between them."""
        hub_switch = partial(greenlet.switch, self._hub)  # without the bookkeeping of gevent.Greenlet
        me = getcurrent()
        task = self._tasks[me] = Task(me)
        try:
            while True:
                task.connection = connection
                outcome = connection.run()
                if outcome == PIPELINED:
                    self.again.append(connection)
                    self._hub.loop.run_callback(self._drain)
                elif self._due == float("inf") or self.draining:
                    # Resumed by somebody else than _drain, so nobody looks at the deadline it has left.
                    self._hub.loop.run_callback(self._look_ahead)
                if self._waiting:
                    connection = self._waiting.popleft()
                else:
                    task.connection = None
                    del connection
                    self._parked.append(me)
                    if self.crowded:
                        self.has_room_again()
                    connection = hub_switch()
        except GreenletExit:
            pass  # somebody has kept it and kills it now, or the worker ends
        finally:
            if me in self._parked:
                self._parked.remove(me)
            del self._tasks[me]
            self._greenlets -= 1
            self._hub.loop.run_callback(self._begin_next)

    def _wait(self, event: int, connection: Connection, deadline_ns: int) -> bool:
        """Wait, others being served, until connection is ready. False: not before the deadline."""
        left = deadline_ns / 1e9 - time.monotonic()
        watcher = self._hub.loop.io(connection.descriptor, event)
        try:
            with gevent.Timeout(max(0.0, left), False):
                self._hub.wait(watcher)
                return True
        finally:
            watcher.stop()
        return False


class Task:
    """A greenlet of the reactor, and what it runs now."""

    __slots__ = ("connection", "greenlet")

    def __init__(self, greenlet: greenlet) -> None:
        self.greenlet = greenlet
        self.connection: Connection | None = None


def stop_others(loop: Any) -> list[Any]:
    """In a process that the application has forked: of all greenlets only the one that forked lives on, as of
    threads only that one does (fork(2)).

    gevent lets all of them go on in both processes. Then a request that waits for its database is woken in
    the child, too, takes the answer from the worker, and does a second time whatever it does next.
    Returns what would have woken them.
    """
    me = getcurrent()
    stopped: list[Any] = []
    for _ in range(2):
        kept = 0
        for waker in _wakers():
            if any(each is me for each in waker.args or ()):
                kept += 1  # a gevent.Timeout around the fork
            else:
                stopped.append((waker.callback, waker.args))
                waker.stop()
        if loop.activecnt <= kept:
            break
        # There is one from before the worker began to serve, which is frozen (Reactor.run). To look at
        # everything costs a copy of its pages.
        gc.unfreeze()
    return stopped


def _wakers() -> Iterator[Any]:
    known: dict[type, bool] = {}
    for each in gc.get_objects():
        kind = type(each)
        wakes = known.get(kind)
        if wakes is None:
            wakes = known[kind] = kind.__name__ in WAKERS and str(kind.__module__).startswith("gevent.")
        if wakes:
            yield each
