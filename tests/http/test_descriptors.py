"""When descriptors run out (EMFILE): no busy loop, no crash, no worker lost, and recovery (issue 2)."""

from __future__ import annotations

from typing import Any

import procfs
from rawclient import Ending, request_bytes

LIMIT = 64


def test_idle_connections_make_room(server: Any, worker_class: str) -> None:
    """Far more clients than descriptors, each idle after its answer: every new one is served."""
    running = server("wsgi_cases:application", worker_class=worker_class, limits={"NOFILE": LIMIT})
    running.forgive("(?i)descriptor|files|EMFILE")
    pids = running.worker_pids()
    clients = []
    for _ in range(3 * LIMIT):
        client = running.connect()
        assert client.request("GET", "/hello").body == b"Hello, World!"
        clients.append(client)
    # Those that made room were closed in good order, and only idle ones were.
    closed = 0
    for client in clients[: 2 * LIMIT]:
        assert client.end() is Ending.CUT
        closed += 1
    assert closed == 2 * LIMIT
    for client in clients:
        client.close()
    assert running.get("/hello").status == 200
    assert running.worker_pids() == pids


def test_busy_connections_wait(server: Any, worker_class: str) -> None:
    """All descriptors are taken by clients in the middle of a head: no room to make, so newcomers wait in the
    kernel, the worker does not spin, and serves on as soon as someone leaves."""
    running = server("wsgi_cases:application", worker_class=worker_class, limits={"NOFILE": LIMIT})
    running.forgive("(?i)descriptor|files|EMFILE")
    (pid,) = running.worker_pids()
    clients = []
    for _ in range(2 * LIMIT):
        client = running.connect()
        client.send(b"GET /hello HTTP/1.1\r\nHost: test\r\n")
        clients.append(client)
    waiting = running.connect()
    waiting.send(request_bytes("GET", "/hello"))
    before = procfs.processor_seconds(pid)
    waiting.deadline = 1.5
    try:
        answered = waiting.response().status == 200
    except TimeoutError:
        answered = False
    spent = procfs.processor_seconds(pid) - before
    assert spent < 0.5, f"{spent} s of processor time in at most 1.5 s: it spins"
    # Those that were accepted are still served.
    clients[0].send(b"\r\n")
    assert clients[0].response().body == b"Hello, World!"
    for client in clients:
        client.close()
    waiting.deadline = 20
    if not answered:
        assert waiting.response().body == b"Hello, World!"
    waiting.close()
    assert running.get("/hello").status == 200
    assert running.worker_pids() == [pid]
    assert "EMFILE" not in "".join(running.stderr.lines) or len(running.stderr.lines) < 60


def test_application_without_descriptors(server: Any, worker_class: str) -> None:
    """A body that has to be spooled while no descriptor is free: refused or served, never a dead worker."""
    running = server("wsgi_cases:application", worker_class=worker_class, limits={"NOFILE": LIMIT})
    running.forgive("(?i)descriptor|files|EMFILE|OSError|Traceback|spool")
    pids = running.worker_pids()
    clients = []
    for _ in range(2 * LIMIT):
        client = running.connect()
        client.send(b"GET /hello HTTP/1.1\r\nHost: test\r\n")
        clients.append(client)
    large = clients[0]
    # In one piece: a connection that is idle for a moment may be closed to make room.
    large.offer(b"\r\n" + request_bytes("POST", "/sum", body=b"b" * 1_000_000))
    assert large.response().status == 200
    assert large.response("POST").status in (200, 503)
    for client in clients:
        client.close()
    assert running.get("/hello").status == 200
    assert running.worker_pids() == pids
