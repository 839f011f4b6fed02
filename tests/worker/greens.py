"""An application that uses gevent itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import gevent.event
import gevent.pool

Environ = dict[str, Any]
rung = gevent.event.Event()


def application(environ: Environ, start_response: Any) -> Iterable[bytes]:
    body = WORKS[environ["PATH_INFO"]](environ["QUERY_STRING"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def burn(query: str) -> str:
    since = time.monotonic()
    while time.monotonic() < since + float(query):
        pass
    return query


def burn_apart(query: str) -> str:
    gevent.spawn(burn, query)
    return query


def spawn(query: str) -> str:
    return str(gevent.spawn(query.upper).get())


def pool(query: str) -> str:
    def square(number: int) -> int:
        time.sleep(0.001)  # gevent's by now
        return number * number

    return str(gevent.pool.Pool(3).map(square, range(int(query))))


def timeout(query: str) -> str:
    with gevent.Timeout(0.02, False):
        time.sleep(float(query))
        return "slept"
    return "timed out"


def timer(query: str) -> str:
    gevent.spawn_later(float(query), rung.set)
    return "armed"


def leave_timeout(query: str) -> str:
    """Left running, and so thrown into the greenlet of a request that is over."""
    if query:
        time.sleep(0.001)
    gevent.Timeout(0.05).start()
    return "left"


def keep(query: str) -> str:
    kept.append(gevent.getcurrent())
    return "kept"


def reap() -> None:
    while True:
        time.sleep(0.02)
        if kept:
            gevent.get_hub().loop.run_callback(kept.pop().throw)


kept: list[Any] = []
reaper = gevent.spawn(reap)
WORKS: dict[str, Callable[[str], str]] = {
    "/burn": burn,
    "/burn-apart": burn_apart,
    "/spawn": spawn,
    "/pool": pool,
    "/timeout": timeout,
    "/timer": timer,
    "/leave-timeout": leave_timeout,
    "/keep": keep,
    "/kept": lambda query: str(len(kept)),
    "/wait": lambda query: str(rung.wait(float(query))),
}
