"""What an application may do with gevent in a gevent worker, and what the log says when it keeps the hub."""

from __future__ import annotations

import pytest
from launcher import Server

from .conftest import Start

pytest.importorskip("gevent")


@pytest.fixture
def server(start: Start) -> Server:
    return start("gevent", "--stall-timeout", "0.1", app="greens:application")


def test_greenlets_timers_and_timeouts_of_the_application(server: Server) -> None:
    assert server.get("/spawn?green").text == "GREEN"
    assert server.get("/pool?5").text == "[0, 1, 4, 9, 16]"
    assert server.get("/timeout?20").text == "timed out"
    assert server.get("/timer?0.01").text == "armed"
    assert server.get("/wait?20").text == "True"  # rung behind the end of the request that armed it


def test_request_that_keeps_the_hub_is_told_once(server: Server) -> None:
    assert server.get("/burn?0.5").text == "0.5"
    server.stderr.wait(
        r"WARNING.* the hub was not served for \d+\.\d s: GET /burn\?0\.5 HTTP/1\.1 held it, "
        r"at .*greens\.py:\d+ in burn"
    )
    assert server.get("/spawn?green").text == "GREEN"
    assert len([line for line in server.stderr.lines if "the hub was not served" in line]) == 1
    server.pardon()


def test_greenlet_that_keeps_the_hub_is_told(server: Server) -> None:
    assert server.get("/burn-apart?0.5").text == "0.5"
    server.stderr.wait(
        r"WARNING.* the hub was not served for \d+\.\d s: a greenlet of the application held it, "
        r"at .*greens\.py:\d+ in burn"
    )
    server.pardon()
