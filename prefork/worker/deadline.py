"""``environ['prefork.deadline']``: what a request may still take (--timeout), and how to ask for more.

One object serves all requests of a worker, so a request that does not ask pays nothing: it finds the request
by the thread or greenlet that asks.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.connection import Connection
    from ..engine.station import Station


class Deadline:
    """The deadline of the request that the calling thread or greenlet runs.

    Ask where the application was called: in a thread that the application has started itself there is no
    request to find (in a sync worker there is: the only one). Greenlets that a request has spawned count as
    its own.
    """

    def __init__(self, station: Station, current: Callable[[], Connection | None]) -> None:
        self._station = station
        self._current = current

    def remaining(self) -> float:
        """Seconds left, negative once the deadline has passed; infinity without --timeout.

        Raises RuntimeError where no request is running.
        """
        return self._station.remaining(self._request())

    def extend(self, seconds: float) -> None:
        """Let the request take `seconds` more from now on. It never makes the time shorter.

        Raises RuntimeError where no request is running.
        """
        self._station.extend(self._request(), seconds)

    def _request(self) -> Connection:
        request = self._current()
        if request is None:
            raise RuntimeError(
                "prefork.deadline: this thread runs no request; ask in the one that runs the application"
            )
        return request
