"""How long a request has waited for its worker, who is told, and what comes of those who waited too long."""

from __future__ import annotations

import time
from typing import Any

import pytest
from launcher import Events, Server, until
from rawclient import request_bytes

from prefork.net import control

from .conftest import Gate, Start

WAIT = 0.3  # seconds that a request is made to wait
CLOSE_TO = 0.05  # seconds that the kernel's ticks and a loaded machine may add or take
# One worker, one request at a time: what comes second waits, in the backlog or in the socket.
ONE_AT_A_TIME = {
    "sync": ("sync",),
    "threads": ("threads", "--threads", "1"),
    "gevent": ("gevent", "--worker-connections", "1"),
}
every_class = pytest.mark.parametrize("flags", ONE_AT_A_TIME.values(), ids=ONE_AT_A_TIME)


def occupied(server: Server, gate: Gate) -> Any:
    """A request that holds the worker, and what lets it go."""
    client = server.connect()
    client.send(request_bytes("GET", "/hold", ("Connection", "close")))
    held = gate.enter()

    def free() -> None:
        held.release()
        assert client.response().status == 200
        client.close()

    return free


def wait(seconds: float) -> None:
    since = time.monotonic()
    until(lambda: time.monotonic() - since >= seconds, "time has passed")


def asked(server: Server) -> Any:
    return next(control.ask(server.pid, "status"))


@every_class
@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
def test_waiting_is_measured_and_told(start: Start, gate: Gate, flags: tuple[str, ...], kept: bool) -> None:
    log = ("--access-logfile", "-", "--access-logformat", "%(U)s %(s)s %(Q)s")
    server = start(*flags, *log)
    with server.connect() as client:
        if kept:
            assert client.request("GET", "/pid").keeps
        free = occupied(server, gate)
        client.send(request_bytes("GET", "/queue"))
        since = time.monotonic()
        wait(WAIT)
        free()
        waited = float(client.response().text) / 1e3
        assert WAIT - CLOSE_TO < waited < time.monotonic() - since + CLOSE_TO
    (match,) = server.stdout.wait(r"^/queue 200 (\d+)$")
    assert int(match[1]) / 1e6 == pytest.approx(waited, abs=CLOSE_TO)
    # The longest wait of the few that there were; a bucket is a quarter of its value wide.
    assert asked(server)["totals"]["queue"]["max"] == pytest.approx(waited, rel=0.3)


@every_class
def test_who_does_not_wait_has_not_waited(start: Start, flags: tuple[str, ...]) -> None:
    server = start(*flags)
    assert max(float(server.get("/queue").text) for _ in range(20)) < 20
    with server.connect() as client:
        assert max(float(client.request("GET", "/queue").text) for _ in range(20)) < 20


@every_class
@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
def test_queue_timeout(start: Start, gate: Gate, events: Events, flags: tuple[str, ...], kept: bool) -> None:
    """503 with Retry-After, the connection is closed, and the application never hears of it."""
    server = start(*flags, "--queue-timeout", "0.1", env=events.env)
    with server.connect() as client:
        if kept:
            assert client.request("GET", "/pid").keeps
        free = occupied(server, gate)
        client.send(request_bytes("GET", "/say?late"))
        wait(WAIT)
        free()
        answer = client.response()
        assert (answer.status, answer.get("Retry-After"), answer.keeps) == (503, "1", False)
    assert server.get("/say?early").status == 200
    events.expect("early")


@every_class
def test_who_has_left_is_not_served(start: Start, gate: Gate, events: Events, flags: tuple[str, ...]) -> None:
    """Closed or reset while it waited: neither the application nor the network hears of it."""
    server = start(*flags, "--queue-timeout", "10", env=events.env)
    leaving = [server.connect() for _ in range(2)]
    staying = server.connect()
    for client in (*leaving, staying):
        assert client.request("GET", "/pid").keeps
    free = occupied(server, gate)
    for place, client in enumerate(leaving):
        client.send(request_bytes("GET", f"/say?left{place}"))
    staying.send(request_bytes("GET", "/say?stayed"))
    leaving[0].close()
    leaving[1].reset()
    wait(WAIT)
    free()
    assert staying.response().status == 200
    events.expect("stayed")
    assert events.waiting() == []
    staying.close()
