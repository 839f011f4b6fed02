"""A worker that has nothing to do is not woken, whatever its class and whoever is connected."""

from __future__ import annotations

import time

from launcher import until
from serving import chosen_classes

from .conftest import Start, counters

SPAN = 2.5  # seconds of looking on


def settle(seconds: float) -> None:
    since = time.monotonic()
    until(lambda: time.monotonic() - since > seconds, "time has passed")


def test_idle_worker_makes_no_wake_ups(start: Start) -> None:
    """With clients that were served and stay connected, and an access log that has had lines to write.

    All classes side by side: they have nothing to do, so one span serves them all.
    """
    workers = {}
    clients = []
    for name in chosen_classes():
        server = start(name, "--access-logfile", f"{name}.log", "--max-requests", "100000")
        (workers[name],) = server.worker_pids()
        for _ in range(20):
            clients.append(server.connect())
            assert clients[-1].request("GET", "/pid").keeps
    settle(2.5)  # the log is written, and whoever watched the last request has seen its end
    before = {name: counters(worker) for name, worker in workers.items()}
    settle(SPAN)
    assert {name: counters(worker) for name, worker in workers.items()} == before
    for client in clients:
        client.close()


def test_idle_server_makes_no_wake_ups(start: Start) -> None:
    server = start("sync", workers=4)
    settle(1.0)
    pids = [server.pid, *server.worker_pids()]
    before = [counters(pid) for pid in pids]
    settle(SPAN)
    assert [counters(pid) for pid in pids] == before
