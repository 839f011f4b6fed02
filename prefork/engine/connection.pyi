from typing import Any

from prefork.engine.station import Member, Station

FOLLOWS: dict[int, set[int]]
"""State number -> the states that may follow it."""
STATE_NAMES: tuple[str, ...]

class Endpoint:
    """A listening socket as one worker sees it. base: the environ keys that all its requests share."""

    station: Station
    descriptor: int
    def __init__(self, station: Station, descriptor: int, base: dict[str, Any], local: bool) -> None: ...
    def accept(self) -> Connection | None:
        """The next client, or None when nobody waits. Raises OSError when out of descriptors."""

    def lighter_sibling(self) -> int:
        """The slot of a sibling that should accept instead, or -1."""

class Connection(Member):
    """One accepted client. Made by Endpoint.accept()."""

    descriptor: int
    @property
    def state(self) -> str:
        """The name of the state."""

    @property
    def request(self) -> dict[str, Any] | None:
        """The environ of the request at hand, or None."""

    def turn(self, events: int) -> int:
        """The descriptor is ready (or bytes are left from the last turn). Returns an Outcome."""

    def run(self, apart: bool = False) -> int:
        """Call the application for the request that is READY. Returns an Outcome.

        apart: the caller has passed the reactor's turn on, or never had it.
        """

    def retire(self) -> bool:
        """The worker drains: end an idle connection. True: a request has come instead."""

    def abandon(self) -> int:
        """The worker stops now: end the connection, visibly when inside a response."""
