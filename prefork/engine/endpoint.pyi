from collections.abc import Callable
from typing import Any

from prefork.engine.connection import Connection
from prefork.engine.station import Station

class Endpoint:
    """A listening socket as one worker sees it. base: the environ keys that all its requests share."""

    station: Station
    descriptor: int
    patient: bool
    """Accept one client whatever the siblings hold."""
    left: int
    """Clients that serve() may yet accept in this turn; counted down by it."""
    owed: int
    """So many of them also in a turn that is long by now; counted down by it."""
    sibling: int
    """The slot of who should accept, after HALT_LIGHTER."""

    def __init__(self, station: Station, descriptor: int, base: dict[str, Any], local: bool) -> None: ...
    def serve(self, room: int, settle: Callable[[Connection, int], object]) -> int:
        """Accept at most `room` and `left` clients; each has its first turn. Returns a Halt (endpoint.pxd).

        settle: called with (connection, outcome) where one is not done and does not wait for its client
        either; true when this thread has lost the reactor. At most one is settled a call.
        """

    def watched(self) -> None:
        """The listener is watched from now on; how long those have waited who are here, nobody knows."""

    def accept(self) -> Connection | None:
        """The next client, or None when nobody waits. Raises OSError when out of descriptors."""

    def adopt(self, descriptor: int) -> Connection:
        """A client on a connected, non-blocking socket that somebody else has made; owned from now on.

        Raises ValueError where the endpoint is not one of unix sockets.
        """
