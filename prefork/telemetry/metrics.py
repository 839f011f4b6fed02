"""The scoreboard as Prometheus's text format (exposition format 0.0.4). Needs no client library.

Counters are the server's since it began, over all its workers, the dead ones too: they never run backwards.
"""

from __future__ import annotations

from .. import __version__
from ..engine.scoreboard import WorkerState
from .histogram import cumulative
from .status import STATUSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..engine.scoreboard import Scoreboard

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# A bucket's end every doubling, 64 us to 67 s: the scoreboard's are four times as fine as a query needs.
ENDS = tuple(1 << power for power in range(6, 27))  # microseconds


def exposition(board: Scoreboard, *, wanted: int) -> str:
    """Every metric of this server, one scrape. wanted: how many workers there should be.

    Its size depends neither on the number of workers nor on what they are asked.
    """
    return "".join(f"{line}\n" for line in _lines(board, wanted))


def _lines(board: Scoreboard, wanted: int) -> Iterator[str]:
    views = [board.worker(slot) for slot in range(board.workers)]
    totals = board.totals()
    yield from _family(
        "prefork_build_info", "gauge", "the server's version", {f'{{version="{__version__}"}}': 1}
    )
    yield from _family(
        "prefork_workers", "gauge", "workers by state",
        {
            f'{{state="{state.name.lower()}"}}': sum(view.state == state for view in views)
            for state in WorkerState if state is not WorkerState.FREE
        },
    )  # fmt: skip
    yield from _family("prefork_workers_wanted", "gauge", "workers that should serve", wanted)
    serving = [view.generation for view in views if view.state == WorkerState.SERVING]
    yield from _family(
        "prefork_generation", "gauge", "the newest generation that serves", max(serving, default=0)
    )
    yield from _family("prefork_connections", "gauge", "open client connections", totals.connections)
    yield from _family("prefork_requests_running", "gauge", "requests inside the application", totals.running)
    yield from _family("prefork_connections_accepted_total", "counter", "client connections", totals.accepted)
    yield from _family(
        "prefork_requests_total", "counter", "requests by their status's first digit; none: the client left",
        {f'{{status="{name}"}}': count for name, count in zip(STATUSES, totals.statuses, strict=True)},
    )  # fmt: skip
    yield from _family("prefork_client_faults_total", "counter", "requests refused", totals.client_faults)
    yield from _family(
        "prefork_app_faults_total", "counter", "exceptions out of the application", totals.app_faults
    )
    yield from _family("prefork_received_bytes_total", "counter", "bytes of request bodies", totals.bytes_in)
    yield from _family("prefork_sent_bytes_total", "counter", "bytes of response bodies", totals.bytes_out)
    yield from _histogram(
        "prefork_request_duration_seconds", "from the whole request to the last byte sent",
        totals.latency, totals.latency_ns,
    )  # fmt: skip
    yield from _histogram(
        "prefork_queue_duration_seconds",
        "how long requests waited for their worker",
        totals.queue,
        totals.queue_ns,
    )


def _family(name: str, kind: str, help: str, value: int | dict[str, int]) -> Iterable[str]:
    samples = value if isinstance(value, dict) else {"": value}
    return (
        f"# HELP {name} {help}",
        f"# TYPE {name} {kind}",
        *(f"{name}{labels} {number}" for labels, number in samples.items()),
    )


def _histogram(name: str, help: str, counts: Sequence[int], sum_ns: int) -> Iterable[str]:
    """A span of exactly `le` counts in the next bucket: ours end before their bound, Prometheus's at it."""
    total = sum(counts)
    buckets = zip(ENDS, cumulative(counts, ENDS), strict=True)
    return (
        f"# HELP {name} {help}",
        f"# TYPE {name} histogram",
        *(f'{name}_bucket{{le="{end / 1e6:.6f}"}} {below}' for end, below in buckets),
        f'{name}_bucket{{le="+Inf"}} {total}',
        f"{name}_sum {sum_ns / 1e9:.9f}",
        f"{name}_count {total}",
    )
