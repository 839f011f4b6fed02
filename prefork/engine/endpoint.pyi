from typing import Any

from prefork.engine.connection import Connection
from prefork.engine.station import Station

class Endpoint:
    """A listening socket as one worker sees it. base: the environ keys that all its requests share."""

    station: Station
    descriptor: int
    def __init__(self, station: Station, descriptor: int, base: dict[str, Any], local: bool) -> None: ...
    def accept(self) -> Connection | None:
        """The next client, or None when nobody waits. Raises OSError when out of descriptors."""

    def adopt(self, descriptor: int) -> Connection:
        """A client on a connected, non-blocking socket that somebody else has made; owned from now on."""

    def lighter_sibling(self) -> int:
        """The slot of a sibling that should accept instead, or -1."""
