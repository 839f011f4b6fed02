from typing import Any

from prefork.engine.station import Member

FOLLOWS: dict[int, set[int]]
"""State number -> the states that may follow it."""
STATE_NAMES: tuple[str, ...]

class RequestTimeout(BaseException):
    """Raised inside a request that has run longer than --timeout. No Exception: applications catch those."""

class BodyFault(OSError):
    """Reading a streamed request body has failed: the client broke the rules, was too slow or has left."""

    code: int
    """The fault that the client is answered with (prefork/errors.py), 0 when it has left."""

class Connection(Member):
    """One accepted client. Made by an Endpoint."""

    descriptor: int
    @property
    def state(self) -> str:
        """The name of the state."""

    @property
    def request(self) -> dict[str, Any] | None:
        """The environ of the request at hand, or None."""

    @property
    def inside_application(self) -> bool:
        """Whether the application is being called, or iterated."""

    @property
    def began(self) -> int:
        """When the application was called for the request at hand (monotonic ns): tells requests apart."""

    @property
    def thread(self) -> int:
        """The native id of the thread that runs the request; 0: none does."""

    @property
    def head_sent(self) -> bool:
        """Whether the response has begun."""

    def interrupt(self, thread: int) -> None:
        """Have RequestTimeout raised in the thread (threading.get_ident()) that runs the request."""

    def give_up(self) -> None:
        """Answer 504 from outside, or cut the response: the application does not let go of the request."""

    def turn(self, events: int) -> int:
        """The descriptor is ready (or bytes are left from the last turn). Returns an Outcome."""

    def run(self, apart: bool = False) -> int:
        """Call the application for the request that is READY. Returns an Outcome.

        apart: the caller has passed the reactor's turn on, or never had it.
        """

    def retire(self) -> bool:
        """The worker drains: end an idle connection. True: a request has come instead."""

    def quiet(self) -> bool:
        """Between requests, and no byte of a next one is here: it can be closed without a loss."""

    def abandon(self) -> int:
        """The worker stops now: end the connection, visibly when inside a response."""
