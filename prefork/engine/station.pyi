from collections.abc import Callable
from typing import Any

from prefork.engine.accesslog import AccessLog
from prefork.engine.baton import Baton
from prefork.engine.environ import EnvironTable
from prefork.engine.scoreboard import Scoreboard

class Member:
    """Something with a deadline that also sends chunks; Connection is the one there is."""

    def turn(self, events: int) -> int:
        """Its descriptor is ready. Returns an Outcome."""

class Station:
    """The state that one worker process keeps for all its connections. Seconds and bytes."""

    members: dict[int, Any]
    """Descriptor -> what has a turn when it is ready: an object with turn(events) -> Outcome."""
    environs: EnvironTable
    access_log: AccessLog | None
    exhausted: bool
    """accept found no descriptor, and none was closed since."""
    closed: bool
    """The listeners are not this worker's to accept from: serve() of an endpoint ends there."""
    draining: bool
    """Responses say Connection: close from now on."""
    partings: int
    """So many of the next responses say it, too, so that their clients come again, to a sibling."""
    quota: int
    """Answered requests from which on `spent` is true; 0: never."""
    spent: bool
    """Who sets another quota sets it back."""
    hold: bool
    """WAITING is an outcome: turn() does not call the application, whoever gets the outcome calls run()."""
    wait_writable: Callable[[Any, int], bool] | None
    """(connection, deadline in monotonic ns) -> whether it can be written; None: poll(2)."""

    wait_readable: Callable[[Any, int], bool] | None
    """The same for bytes of a streamed request body."""

    def __init__(
        self,
        *,
        epoll: int,
        environs: EnvironTable,
        access_log: AccessLog | None,
        scoreboard: Scoreboard,
        worker: int,
        refusals: dict[int, tuple[Any, ...]],
        trusted: Callable[[str], bool],
        open_spool: Callable[[], int],
        on_app_fault: Callable[[dict[str, Any] | None, BaseException], None],
        on_refusal: Callable[[str, int], None],
        on_notice: Callable[[str], None],
        application: Callable[..., Any],
        pre_request: Callable[[dict[str, Any]], None] | None = None,
        post_request: Callable[[dict[str, Any], int, str | None, list[tuple[str, str]] | None, int], None]
        | None = None,
        server: str = "prefork",
        head_limit: int = 65536,
        line_limit: int = 4094,
        field_limit: int = 8190,
        fields_limit: int = 100,
        body_limit: int = 1 << 30,
        body_memory_limit: int = 262144,
        response_limit: int = 8 << 20,
        head_timeout: float = 20,
        body_timeout: float = 30,
        body_min_rate: float = 240,
        keepalive: float = 75,
        write_timeout: float = 120,
        linger_timeout: float = 2,
        request_timeout: float = 0,
        queue_timeout: float = 0,
        sendfile: bool = True,
        stream_bodies: bool = False,
    ) -> None: ...
    found: int
    """Events that the last poll gave."""

    def glance(self, most: int) -> int:
        """Begin a turn with the events that are there already, while there is much to do. 0: use wait().

        At the latest half a millisecond after wait_span() it gives nothing.
        """

    def wait(self, span: float, most: int) -> int:
        """Wait at most `span` seconds (-1: for ever) for events, and begin a turn.

        Returns how many there are, `most` or 64 at most.
        """

    def serve(self, settle: Callable[[Any, int], object]) -> bool:
        """Give what is ready its turn. True: this thread has lost the reactor; whoever leads next goes on.

        settle: called with (member, outcome) where a member is not done and does not wait for an event
        either; true when that has lost the reactor.
        """

    def waiting_events(self) -> int:
        """What is ready and has not had its turn: so many."""

    def resume(self) -> None:
        """Another thread goes on with a turn that began earlier: what is ready has been so since then."""

    def wait_span(self) -> float:
        """Seconds until the next deadline, 0 when one has passed, -1 when there is none."""

    def expire(self) -> None:
        """Act on every deadline that had passed when the loop last knew all that had come."""

    def waiting(self, wait: int) -> list[Any]:
        """The members in one queue (a Wait number), the one with the earliest deadline first."""

    def share_turn(self, owner: Baton) -> None:
        """Threads share the reactor: who leads is decided by this baton."""

    def held(self) -> int:
        """Connections that are open."""

    def running(self) -> int:
        """Requests inside the application."""

    def answered(self) -> int:
        """Requests that this worker has answered so far."""

    def resting(self, wait: int, seconds: float) -> list[Any]:
        """The members that have been in one queue (a Wait number) for so long at least."""

    def first_waiting(self, wait: int) -> Any:
        """The member in one queue that has waited longest, or None."""

    def overdue(self) -> list[Any]:
        """The members whose request has run past its deadline, the longest first."""

    def running_members(self) -> list[Any]:
        """The members whose request the application has."""

    def runner(self, thread: int) -> Any:
        """The member whose request that thread runs (its native id; 0: any), or None."""

    def remaining(self, member: Any) -> float:
        """Seconds until the deadline of the request that member runs; inf: it has none."""

    def extend(self, member: Any, seconds: float) -> None:
        """Give the request that member runs so many seconds from now on, if it has less."""

    def answer_at_abort(self, code: int) -> None:
        """When this process is aborted, answer with refusal `code` whom no response has begun for."""
