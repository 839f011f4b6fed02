"""What is measured: a case is a row. How each kind of case is measured is in probes.py."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.traffic.scenario import BROWSER_HEADERS


class Probe(enum.Enum):
    """The way a case is measured."""

    THROUGHPUT = "throughput"  # wrk, closed loop
    TAIL = "tail"  # requests at a steady rate, some slow; the latency of the others
    IDLE = "idle"  # thousands of kept-alive connections that ask nothing
    START = "start"  # from exec to the first whole answer
    MEMORY = "memory"  # PSS of the tree, idle and after load
    WAKEUPS = "wakeups"  # of a server that has nothing to do


# Counts of pages and of wake-ups, which the machine's other work does not change: where time is short
# (--minutes) one round of them is enough, and the rounds go to what does vary.
STEADY = frozenset({Probe.IDLE, Probe.MEMORY, Probe.WAKEUPS})


class Kind(enum.Enum):
    """How many requests one worker of a server runs at once."""

    INLINE = "one at a time"
    THREADS = "threads"
    GREENLETS = "greenlets"
    LIMIT = "the kernel's limit"


SERVERS = frozenset({Kind.INLINE, Kind.THREADS, Kind.GREENLETS})
CONCURRENT = frozenset({Kind.THREADS, Kind.GREENLETS})


@dataclass(frozen=True)
class Mix:
    """Requests a second at a steady pace, of which every `every`-th takes `slow`."""

    rate: float
    every: int
    slow: str


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    probe: Probe = Probe.THROUGHPUT
    target: str = "plain:app"
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    request_body: int = 0  # bytes
    answer: int = 14  # bytes of a right answer's body; 0: whatever the first answer had
    connections: int = 32
    workers: int = 1
    threads: int | None = None  # how many requests must be able to run at once; None: the server's usual
    preload: bool = False
    access_log: bool = False
    closes: bool = False  # every request asks for a connection of its own
    mix: Mix | None = None
    kinds: frozenset[Kind] = SERVERS
    headline: str = "cpu_us"
    bigger_is_better: bool = False
    quick: bool = False

    @property
    def reference(self) -> str:
        """Our row that the others are put in ratio to."""
        if Kind.INLINE in self.kinds:
            return "prefork"
        return "prefork-threads" if Kind.THREADS in self.kinds else "prefork-gevent"

    @property
    def with_limit(self) -> bool:
        return Kind.LIMIT in self.kinds


WITH_LIMIT = SERVERS | {Kind.LIMIT}

CASES: tuple[Case, ...] = (
    Case("hello", "14 bytes, keep-alive", kinds=WITH_LIMIT, quick=True),
    Case(
        "browser",
        "the same with a browser's 12 headers",
        headers=BROWSER_HEADERS,
        kinds=WITH_LIMIT,
        quick=True,
    ),
    Case(
        "close",
        "a new connection for each request",
        headers={"Connection": "close"},
        closes=True,
        kinds=WITH_LIMIT,
        quick=True,
    ),
    Case(
        "post10k",
        "POST of 10 KB, read by the application",
        path="/post",
        method="POST",
        request_body=10240,
        answer=6,
        kinds=WITH_LIMIT,
        quick=True,
    ),
    Case("body10k", "answer of 10 KB", path="/10k", answer=10240, kinds=WITH_LIMIT),
    # Without the limit program: it answers one connection after the other, and so is none for large answers.
    Case("body1m", "answer of 1 MB", path="/1m", answer=1 << 20, connections=8),
    Case("stream", "16 chunks of 10 KB, length unknown", path="/stream", answer=163840),
    Case("file", "10 MB file through wsgi.file_wrapper", path="/file", answer=10 << 20, connections=8),
    Case(
        "sleep",
        "time.sleep(10 ms), 128 connections, 128 threads if any",
        path="/sleep",
        connections=128,
        threads=128,
        kinds=CONCURRENT,
        headline="rps",
        bigger_is_better=True,
    ),
    Case(
        "sleep1000",
        "time.sleep(10 ms), 1,000 connections, greenlets",
        path="/sleep",
        connections=1000,
        kinds=frozenset({Kind.GREENLETS}),
        headline="rps",
        bigger_is_better=True,
    ),
    Case(
        "django",
        "Django: six middlewares, a template",
        target="djangosite:app",
        headers=BROWSER_HEADERS,
        answer=0,
    ),
    Case("flask", "Flask: a route, a template", target="flasksite:app", headers=BROWSER_HEADERS, answer=0),
    Case("accesslog", "hello with the access log on, to a file", access_log=True),
    Case(
        "tail",
        "1 % take 100 ms, 400 requests/s, 4 workers: latency of the other 99 %",
        Probe.TAIL,
        workers=4,
        mix=Mix(400, 100, "/slow?ms=100"),
        headline="p99_ms",
    ),
    Case(
        "mixedsleep",
        "5 % sleep 200 ms, 200 requests/s, one worker, 8 threads: latency of the others",
        Probe.TAIL,
        threads=8,
        mix=Mix(200, 20, "/slow?ms=200"),
        kinds=CONCURRENT,
        headline="p99_ms",
    ),
    Case(
        "mixedburn",
        "5 % compute for 50 ms, 200 requests/s, one worker, 8 threads: latency of the others",
        Probe.TAIL,
        threads=8,
        mix=Mix(200, 20, "/burn?ms=50"),
        kinds=CONCURRENT,
        headline="p99_ms",
    ),
    Case(
        "idle5000",
        "5,000 kept-alive connections that ask nothing",
        Probe.IDLE,
        connections=5000,
        headline="bytes_each",
    ),
    Case("start", "from exec to the first whole answer", Probe.START, headline="first_ms", quick=True),
    Case("memory", "PSS of master and 4 workers", Probe.MEMORY, workers=4, headline="idle_mb"),
    Case("memory-preload", "the same, preloaded", Probe.MEMORY, workers=4, preload=True, headline="idle_mb"),
    Case(
        "heavy",
        "PSS with 60 MB of the application's objects, 4 workers",
        Probe.MEMORY,
        target="heavy:app",
        workers=4,
        headline="loaded_mb",
    ),
    Case(
        "heavy-preload",
        "the same, preloaded",
        Probe.MEMORY,
        target="heavy:app",
        workers=4,
        preload=True,
        headline="loaded_mb",
    ),
    Case(
        "wakeups",
        "wake-ups a second of an idle server, 4 workers",
        Probe.WAKEUPS,
        workers=4,
        headline="per_second",
    ),
)

BY_NAME = {case.name: case for case in CASES}
