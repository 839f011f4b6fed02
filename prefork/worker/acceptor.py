"""When a worker accepts: one listener as its epoll sees it.

Rules: a worker that holds clearly more connections than an idle sibling leaves accepting to it (epoll alone
wakes the same worker again and again); one that is out of descriptors makes room by closing its longest-idle
connection, and looks away from the listener while there is none; each accepted connection is served before
the next is accepted, so nothing waits in a busy worker that an idle one could take; a turn that has become
long ends, but not before as many new clients were served as old ones in it, or they would wait for rounds.
"""

from __future__ import annotations

from select import EPOLLEXCLUSIVE, EPOLLIN, POLLIN, poll  # bound before gevent takes poll away

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..engine.connection import Connection
    from ..engine.endpoint import Endpoint
    from .reactor import Reactor

BATCH = 64  # connections a turn; connections already open want their turn too
LOOK_AWAY = 0.005  # seconds for a nudged sibling to accept, before this worker does it after all
FULL = 0.05  # seconds before accept is tried again by a worker that has no room
LOST = 8  # Outcome, engine/client.pxd
HALT_OVER, HALT_EMPTY, HALT_LIGHTER, HALT_EXHAUSTED, HALT_LOST = 0, 1, 2, 3, 5  # Halt, engine/endpoint.pxd


class Acceptor:
    """Member of the reactor for one listener."""

    def __init__(self, reactor: Reactor, endpoint: Endpoint) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._station = reactor.station
        self._watching = False
        self.dry = False  # nobody waited, the last time that this worker looked
        self._station.members[endpoint.descriptor] = self

    def open(self) -> None:
        """Watch the listener: from now on connections may come."""
        if not self._watching:
            # Exclusive: one waiting worker is woken for a connection, not all of them (man 2 epoll_ctl).
            self._reactor.epoll.register(self._endpoint.descriptor, EPOLLIN | EPOLLEXCLUSIVE)
            self._endpoint.watched()
            self._watching = True

    def close(self) -> None:
        """Look away from the listener."""
        if self._watching:
            self._reactor.epoll.unregister(self._endpoint.descriptor)
            self._watching = False

    def forget(self) -> None:
        """The listener will be closed, and its number may become another's."""
        self._station.members.pop(self._endpoint.descriptor, None)

    def last(self) -> Iterator[Connection]:
        """Accept everybody who waits. Each wants its turn."""
        try:
            while (connection := self._endpoint.accept()) is not None:
                yield connection
        except OSError:
            return  # out of descriptors

    def turn(self, events: int = 0) -> int:
        """A connection waits, or a sibling thinks so."""
        endpoint, reactor = self._endpoint, self._reactor
        endpoint.left = BATCH
        endpoint.owed = reactor.station.found
        while True:
            room = reactor.room()
            if room <= 0:
                if not self._somebody_waits():
                    break
                if not reactor.make_room():
                    self._pause()
                    break
                room = 1
            halt = endpoint.serve(room, reactor.settle)
            if halt == HALT_OVER:
                break
            if halt == HALT_EMPTY:
                self.dry = True
                break
            if halt == HALT_LIGHTER:
                self._leave_to(endpoint.sibling)
                break
            if halt == HALT_EXHAUSTED and not self._free_descriptor():
                break
            if halt == HALT_LOST:
                return LOST
        return 0

    def _leave_to(self, sibling: int) -> None:
        self._reactor.scoreboard.nudge(sibling)
        self.close()
        self._reactor.later(LOOK_AWAY, self.resume)

    def resume(self) -> None:
        """Watch the listener again, if it is time to."""
        if not self._reactor.closed:
            self._endpoint.patient = True
            self.open()

    def _somebody_waits(self) -> bool:
        listener = poll()
        listener.register(self._endpoint.descriptor, POLLIN)
        return bool(listener.poll(0))

    def _free_descriptor(self) -> bool:
        """Out of descriptors: close the connection that has been idle longest. False: there is none."""
        if self._reactor.close_idle():
            return True
        self._pause()
        self._reactor.log_exhaustion()
        return False

    def _pause(self) -> None:
        """No room for a connection: look away for a while, for the listener stays ready."""
        if not self._reactor.closed:
            self.close()
            self._reactor.crowded = True
            self._reactor.later(FULL, self.resume)
