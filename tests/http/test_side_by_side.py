"""One worker of a class that runs requests side by side (issue 3)."""

from __future__ import annotations

from typing import Any

import pytest
from rawclient import Ending, request_bytes


@pytest.fixture
def running(cases: Any, worker_class: str) -> Any:
    if worker_class == "sync":
        pytest.skip("a sync worker runs one request at a time")
    return cases.server


def test_a_waiting_request_holds_nobody(running: Any) -> None:
    """Others are answered while it waits, on new connections and on kept ones."""
    with running.connect() as slow, running.connect() as kept:
        assert kept.request("GET", "/hello").keeps
        slow.send(request_bytes("GET", "/slow?seconds=0.5"))
        for _ in range(20):
            assert kept.request("GET", "/hello").body == b"Hello, World!"
            assert running.get("/hello").body == b"Hello, World!"
        assert slow.silent  # so all of them were answered in front of it
        assert slow.response().body == b"slow"


def test_waiting_requests_overlap(running: Any) -> None:
    """Four that wait for a second each take far less than four: the last is answered with the first."""
    clients = [running.connect(deadline=2.5) for _ in range(4)]
    for client in clients:
        client.send(request_bytes("GET", "/slow?seconds=1"))
    for client in clients:
        assert client.response().body == b"slow"
        client.close()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_client_that_leaves_a_waiting_request(running: Any, end: str) -> None:
    """The request ends as it would; nobody else is disturbed, before or behind."""
    slow = running.connect()
    slow.send(request_bytes("GET", "/slow?seconds=0.2"))
    assert running.get("/hello").status == 200
    getattr(slow, end)()
    with running.connect() as behind:
        assert behind.request("GET", "/slow?seconds=0.3").body == b"slow"
        assert behind.request("GET", "/hello", ("Connection", "close")).status == 200
        assert behind.end() is Ending.CUT


def test_pipeline_waits_behind_a_waiting_request(running: Any) -> None:
    """More requests of the same connection that come while one runs are run afterwards, in order."""
    with running.connect() as client:
        client.send(request_bytes("GET", "/slow?seconds=0.2"))
        assert running.get("/hello").status == 200  # the slow one runs by now
        for number in range(10):
            client.send(request_bytes("GET", f"/echo/{number}"))
        assert client.response().body == b"slow"
        for number in range(10):
            assert client.response().body == f"GET /echo/{number} ".encode()
