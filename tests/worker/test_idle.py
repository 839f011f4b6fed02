"""Who has nothing to do is not woken, whatever its class and whoever is connected."""

from __future__ import annotations

import time

from launcher import until
from serving import chosen_classes

from .conftest import Start, counters

SPAN = 2.5  # seconds of looking on


def settle(seconds: float) -> None:
    since = time.monotonic()
    until(lambda: time.monotonic() - since > seconds, "time has passed")


def test_idle_processes_make_no_wake_ups(start: Start) -> None:
    """Workers with clients that were served and stay connected, and an access log that had lines to write;
    and a master and its workers whom nobody has asked anything.

    All of them side by side: they have nothing to do, so one span serves them all.
    """
    found = {}
    clients = []
    for name in chosen_classes():
        server = start(name, "--access-logfile", f"{name}.log", "--max-requests", "100000")
        (found[name],) = server.worker_pids()
        for _ in range(20):
            clients.append(server.connect())
            assert clients[-1].request("GET", "/pid").keeps
    server = start("sync", workers=4)
    found["master"] = server.pid
    found.update({f"worker {number}": pid for number, pid in enumerate(server.worker_pids())})
    settle(2.5)  # the log is written, and whoever watched the last request has seen its end
    before = {name: counters(pid) for name, pid in found.items()}
    settle(SPAN)
    assert {name: counters(pid) for name, pid in found.items()} == before
    for client in clients:
        client.close()
