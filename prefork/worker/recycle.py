"""When a worker has served its share: --max-requests, --max-memory, --max-lifetime.

It asks to be replaced, once, and serves on; the master sees to it that not all workers go at once. Nothing
here costs a request anything: the engine compares its count with a quota, and memory is looked at by a timer
that runs only while requests come.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..config.settings import Settings
    from .reactor import Reactor

SAMPLES = 3  # in a row above the limit: what one request needs for a while is no leak
INTERVAL = 1.0  # seconds between two samples
SHARE = 0.01  # of a worker's time that sampling may take: the kernel walks all its pages
PAGES = "/proc/self/smaps_rollup"


class Recycler:
    """Watches one worker. `start` is called when it begins to serve, `look` when the quota is reached."""

    def __init__(self, reactor: Reactor, settings: Settings) -> None:
        self._reactor = reactor
        self._station = reactor.station
        self._most = 0
        if settings.max_requests:
            from random import randint  # 2 MB of pages in all, where nobody has asked for jitter

            self._most = settings.max_requests + randint(0, settings.max_requests_jitter)
        self._memory_limit = settings.max_memory
        self._lifetime = settings.max_lifetime
        self._above = 0  # samples in a row
        self._sampled = 0  # requests answered at the last sample, or when the next was ordered
        self._sampling = False  # a sample is due

    def start(self) -> None:
        """Begin to count."""
        if self._lifetime:
            self._reactor.later(self._lifetime, self._too_old)
        self._set_quota()

    def look(self) -> None:
        """As many requests are answered as the quota says."""
        if self._most and self._station.answered() >= self._most:
            self._station.quota = 0
            self._station.spent = False
            self._reactor.ask_replacement(f"{self._most} requests (--max-requests)")
            return
        if self._memory_limit and not self._sampling:
            self._sampling = True
            self._sampled = self._station.answered()
            self._reactor.later(INTERVAL, self._sample)
        self._set_quota()

    def _set_quota(self) -> None:
        quota = self._most
        if self._memory_limit and not self._sampling:
            # The next request starts the timer: an idle worker has none.
            following = self._station.answered() + 1
            quota = min(quota, following) if quota else following
        self._station.quota = quota
        self._station.spent = False

    def _sample(self) -> None:
        self._sampling = False
        began = time.monotonic()
        size = private_memory()
        took = time.monotonic() - began
        self._above = self._above + 1 if size > self._memory_limit else 0
        if self._above >= SAMPLES:
            self._memory_limit, limit = 0, self._memory_limit
            self._reactor.ask_replacement(
                f"{size >> 20} MiB of private memory, {limit >> 20} MiB allowed (--max-memory)"
            )
        answered = self._station.answered()
        if self._memory_limit and answered != self._sampled:
            self._sampling = True
            self._reactor.later(max(INTERVAL, took / SHARE), self._sample)
        self._sampled = answered
        self._set_quota()

    def _too_old(self) -> None:
        self._reactor.ask_replacement(f"{self._lifetime:g} s old (--max-lifetime)")


def private_memory() -> int:
    """Bytes that nobody shares with this process: what its end would give back (proc(5), smaps_rollup).

    Not the resident size, which counts what a preloaded application shares with its siblings in each of them.
    """
    size = 0
    try:
        with open(PAGES, "rb") as file:  # noqa: PTH123 (pathlib costs a start 4 ms)
            for line in file:
                if line.startswith((b"Private_Clean:", b"Private_Dirty:")):
                    size += int(line.split()[1]) << 10
    except OSError:
        return 0
    return size
