"""``environ['prefork.deadline']``: what is left, and more of it."""

from __future__ import annotations

import pytest
from launcher import Server

from .conftest import Start, side_by_side


def test_extension(start: Start, worker_class: str) -> None:
    server = start(worker_class, "--timeout", "20")
    before, after = map(float, server.get("/deadline").text.split())
    assert 19 < before <= 20
    assert 99 < after <= 100


def test_a_request_that_extends_lives(start: Start) -> None:
    """Four times half of what it has asked for: twice as long as --timeout allows."""

    def course(server: Server) -> None:
        assert server.get("/deadline?extend=0.5").text == "done"
        server.forgive("")
        assert server.get("/sleep?5").status == 504

    side_by_side(start, course, "--timeout", "0.5")


def test_extension_never_shortens(start: Start) -> None:
    server = start("sync", "--timeout", "1000")
    before, after = map(float, server.get("/deadline").text.split())
    assert after == pytest.approx(before, abs=1)


def test_without_a_timeout(start: Start, worker_class: str) -> None:
    server = start(worker_class, "--timeout", "0")
    assert server.get("/deadline").text == "inf inf"


def test_elsewhere(start: Start, worker_class: str) -> None:
    """In a thread of the application's own: only a sync worker knows which request is meant."""
    server = start(worker_class, "--timeout", "20")
    text = server.get("/deadline?thread").text
    if worker_class == "threads":
        assert "this thread runs no request" in text
    else:
        assert 19 < float(text.split()[0]) <= 20  # gevent: a patched thread is a greenlet of the request


def test_greenlet_of_a_request(start: Start) -> None:
    pytest.importorskip("gevent")
    server = start("gevent", "--timeout", "20")
    assert 19 < float(server.get("/deadline?greenlet").text.split()[0]) <= 20
