"""A worker that has nothing to do is not woken, whatever its class and whoever is connected."""

from __future__ import annotations

import time

from launcher import until

from .conftest import Start, counters

SPAN = 2.5  # seconds of looking on


def settle(seconds: float) -> None:
    since = time.monotonic()
    until(lambda: time.monotonic() - since > seconds, "time has passed")


def test_idle_worker_makes_no_wake_ups(start: Start, worker_class: str) -> None:
    """With clients that were served and stay connected, and an access log that has had lines to write."""
    server = start(worker_class, "--access-logfile", "access.log", "--max-requests", "100000")
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        assert client.request("GET", "/pid").keeps
    (worker,) = server.worker_pids()
    settle(2.5)  # the log is written, and whoever watched the last request has seen its end
    before = counters(worker)
    settle(SPAN)
    assert counters(worker) == before
    for client in clients:
        client.close()


def test_idle_server_makes_no_wake_ups(start: Start) -> None:
    server = start("sync", workers=4)
    settle(1.0)
    pids = [server.pid, *server.worker_pids()]
    before = [counters(pid) for pid in pids]
    settle(SPAN)
    assert [counters(pid) for pid in pids] == before
