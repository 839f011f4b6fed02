"""How a worker leaves without taking a client by surprise (DESIGN section 6).

A Retirement ends what is held: whoever sends a request is answered with `Connection: close`, whoever has been
silent for a while is told by a half-close, and what it sends meanwhile is read, so that nothing it was sent
is lost to a reset. A LastCall comes before that when the whole server ends: then nobody else takes what waits
in the backlog, and the kernel would reset it when the last descriptor of the listener is closed.
"""

from __future__ import annotations

import math
import socket
import struct
from array import array

from ..net.address import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..net.listener import Listener
    from .acceptor import Acceptor
    from .reactor import Reactor

# Seconds without a byte after which a client is not expected to send. One that sends more often than this
# never meets a closed connection: its next request is answered, and says close. Between our last look and the
# arrival of our FIN a request may still be under way; HTTP/1.1 has no word to prevent that (RFC 9112 9.5).
IDLE_GRACE = 2.0  # of a kept-alive connection
SILENT_GRACE = 3.0  # of one that was accepted and has sent nothing: two retransmissions of a lost segment
LOOK = 0.1  # seconds between two looks
SETTLE = 0.1  # seconds for handshakes that have begun to be completed
SPREAD_SPAN = 5.0  # seconds for those to ask who are to come again
AGAIN = 0.01  # seconds until a backlog that was not empty is looked at again
WAIT_HEAD, WAIT_IDLE = 0, 2  # Wait, engine/station.pxd

SO_ATTACH_FILTER = 26
# Classic BPF (Documentation/networking/filter.rst): drop segments that have SYN and not ACK, pass all others.
NO_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x54, 0, 0, 0x12),  # and SYN|ACK
    (0x15, 1, 0, 0x02),  # equal SYN: skip one
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
    (0x06, 0, 0, 0),  # drop
)


class Retirement:
    """Lets the connections of a reactor go that accepts no more, each when its client is quiet."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._station = reactor.station
        self._looking = False

    def begin(self) -> None:
        """From now on every answer says `Connection: close`."""
        self._station.draining = True
        if not self._looking:
            self._looking = True
            self._look()

    def end(self) -> None:
        """Connections are kept again."""
        self._station.draining = False

    def _look(self) -> None:
        self._looking = False
        if not self._station.draining:
            return
        for wait, grace in ((WAIT_IDLE, IDLE_GRACE), (WAIT_HEAD, SILENT_GRACE)):
            for connection in self._station.resting(wait, grace):
                if connection.retire():
                    self._reactor.again.append(connection)
        if self._station.held():
            self._looking = True
            self._reactor.later(LOOK, self._look)


def spread(reactor: Reactor, share: float) -> None:
    """Have as many answers as that share of the connections say `Connection: close`.

    Kept-alive clients would stay with this worker for ever, however busy it is. Those that ask come again, as
    new clients, to whoever is free; those that do not ask are no load.
    """
    station = reactor.station

    def over() -> None:
        # The rest were idle: who asks all the time shall not part again and again in their place.
        station.partings = 0

    station.partings = math.ceil(share * station.held())
    reactor.later(SPREAD_SPAN, over)


class LastCall:
    """Lets no new client begin, has everybody accepted who is there, and then calls `closed`."""

    def __init__(
        self,
        reactor: Reactor,
        acceptors: Sequence[Acceptor],
        listeners: Sequence[Listener],
        closed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._acceptors = acceptors
        self._listeners = listeners
        self._closed = closed
        self._sweeping = False

    def begin(self) -> None:
        settle = [hush(listener) for listener in self._listeners]
        self._reactor.later(SETTLE if any(settle) else 0.0, self._sweep)

    def look(self) -> None:
        """The acceptors have had their turn."""
        if not self._sweeping:
            return  # a sibling's nudge: clients may still begin
        if all(acceptor.dry for acceptor in self._acceptors):
            self._closed()
        else:
            self._reactor.later(AGAIN, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = True
        # Accepting may run a request, and so lose the turn: only the loop itself may do that.
        for acceptor in self._acceptors:
            acceptor.dry = False
        self._reactor.sweep()


def hush(listener: Listener) -> bool:
    """Have the kernel take no new connections. True: some may have begun, and come yet.

    Those who try meanwhile try again after a second, and are refused. Accepting what waits and closing alone
    would reset every client that comes between the two.
    """
    if listener.is_lent:
        return False
    if listener.address.kind is not Kind.TCP:
        listener.socket.shutdown(socket.SHUT_RD)  # connect(2) is refused; who waits is still accepted
        return False
    program = array("B", b"".join(struct.pack("HBBI", *step) for step in NO_NEW_CONNECTIONS))
    address, _ = program.buffer_info()
    try:
        listener.socket.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(NO_NEW_CONNECTIONS), address)
        )
    except OSError:  # a sandbox without filters
        return False
    return True
