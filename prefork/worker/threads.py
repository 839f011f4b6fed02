"""Worker class threads: one reactor, led by one thread at a time.

The leader runs requests itself; the turn is passed on only when a request holds it (engine/baton.pyx). A
thread that has lost the turn finishes its request and parks. The process's main thread serves nothing: it
waits for the end, so that a stuck request cannot keep the worker from leaving.
"""

from __future__ import annotations

import sys
import threading

from ..engine.baton import Baton
from ..telemetry.title import name_thread
from .reactor import LOST, PIPELINED, WAITING, Reactor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from ..engine.accesslog import AccessLog
    from ..engine.connection import Connection
    from ..net.channel import Boot

# While requests run in other threads the leader looks up this often: they set deadlines it cannot know of.
LOOK_UP = 0.5


class ThreadReactor(Reactor):
    """A Reactor that `settings.threads` threads share."""

    def __init__(
        self, boot: Boot, application: Callable[..., Any], access_log: AccessLog | None = None
    ) -> None:
        super().__init__(boot, application, access_log, multithread=True)
        self._threads = boot.settings.threads
        self._connections = boot.settings.worker_connections
        self._baton = Baton(boot.settings.handover_ms / 1000)
        self.station.share_turn(self._baton)
        self._over = threading.Event()
        self._idents: dict[int, int] = {}  # of our threads: native id -> what Python calls it
        # Here, before the worker says ready: a system that has no room for them refuses the worker.
        for number in range(self._threads):
            threading.Thread(target=self._work, name=f"prefork-{number + 1}", daemon=True).start()
        threading.Thread(target=self._baton.monitor, name="prefork-monitor", daemon=True).start()

    def serve(self) -> None:
        self._baton.begin()
        self._over.wait()
        self._baton.quit(self._threads)

    def stop(self) -> None:
        super().stop()
        self.wake()

    def is_held(self) -> bool:
        # Otherwise some thread leads, and hears by itself.
        return self.station.running() >= self._threads

    def settle(self, connection: Connection, outcome: int) -> bool:
        lost = outcome >= LOST
        outcome &= ~LOST
        if outcome == WAITING:
            lost = self._baton.offer(self.station.waiting_events())
            outcome = connection.run(lost)
            if not lost and outcome >= LOST:
                lost = True
                outcome &= ~LOST
            if not lost:
                self.station.hold = self._baton.slow
        if outcome == PIPELINED:
            self.again.append(connection)
        if lost and (outcome == PIPELINED or self.draining):
            self.wake()
        return lost

    def span(self) -> float:
        span = super().span()
        if self.station.running() and not 0 <= span < LOOK_UP:
            return LOOK_UP
        return span

    def room(self) -> int:
        return min(super().room(), self._connections - self.station.held())

    def make_room(self) -> bool:
        return not self.closed and self.close_idle()

    def interrupt(self, connection: Connection) -> bool:
        # It takes effect at the thread's next bytecode; a thread that is blocked in the kernel has none.
        thread = self._idents.get(connection.thread)
        if thread is not None:
            connection.interrupt(thread)
        return False

    def stack_of(self, connection: Connection) -> FrameType | None:
        return sys._current_frames().get(self._idents.get(connection.thread, 0))

    def current(self) -> Connection | None:
        found: Connection | None = self.station.runner(threading.get_native_id())
        return found

    def _work(self) -> None:
        self._idents[threading.get_native_id()] = threading.get_ident()
        name_thread(threading.current_thread().name)
        try:
            while self._baton.seize() or self._baton.take():
                self.station.hold = self._baton.slow
                self.station.resume()
                if self.lead():
                    break
        except BaseException as fault:
            self.failed(fault)
        self._over.set()

    def wake(self) -> None:
        """Have the leader, which may sleep, look at what another thread has changed."""
        self.scoreboard.nudge(self._boot.slot)
