"""Clients that take too long: 408 where a request was begun, silence where none was (RFC 9110 15.5.9)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from rawclient import Ending, request_bytes
from serving import start_server

SHORT = 0.4  # seconds; every deadline of the server below
FLAGS = [
    *("--head-timeout", str(SHORT), "--body-timeout", str(SHORT), "--keep-alive", str(SHORT)),
    *("--write-timeout", str(SHORT), "--linger-timeout", str(SHORT)),
]
POST = b"POST /echo HTTP/1.1\r\nHost: test\r\n"
UNFINISHED = {
    "a byte": b"G",
    "a request line": b"GET /hello HTTP/1.1\r\n",
    "a name": b"GET /hello HTTP/1.1\r\nHost: test\r\nX-A",
    "no body": POST + b"Content-Length: 10\r\n\r\n",
    "half a body": POST + b"Content-Length: 10\r\n\r\n12345",
    "no chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n",
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n123",
    "one chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
    "no trailer's end": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
}


@pytest.fixture(scope="module")
def hasty(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that waits for nobody."""
    with ExitStack() as stack:
        running = start_server(
            stack,
            "wsgi_cases:application",
            *FLAGS,
            worker_class=worker_class,
            cwd=tmp_path_factory.mktemp("hasty"),
        )
        yield running
        assert running.get("/hello").status == 200
        running.stop()


def stop_half_way(hasty: Any, data: bytes) -> tuple[Any, Ending, float]:
    """A client that begins a request and falls silent: its answer, how the connection ended, and when."""
    with hasty.connect() as client:
        since = time.monotonic()
        client.send(data)
        answer = client.response()
        return answer, client.end(), time.monotonic() - since


@pytest.fixture(scope="module")
def silent(hasty: Any) -> dict[str, Future[tuple[Any, Ending, float]]]:
    """What comes of each of UNFINISHED. All of them wait at once: a deadline is a connection's own."""
    with ThreadPoolExecutor(len(UNFINISHED)) as pool:
        return {name: pool.submit(stop_half_way, hasty, data) for name, data in UNFINISHED.items()}


@pytest.mark.parametrize("name", UNFINISHED)
def test_unfinished(silent: dict[str, Future[tuple[Any, Ending, float]]], name: str) -> None:
    answer, ending, took = silent[name].result()
    assert (answer.status, answer.keeps) == (408, False)
    assert ending is Ending.CUT
    assert took > SHORT * 0.9


def test_dripping_does_not_extend_the_head(hasty: Any) -> None:
    """slowloris: the deadline is absolute, so a byte now and then buys no time."""
    with hasty.connect() as client:
        client.send(b"GET /hello HTTP/1.1\r\nHost: test\r\n")
        client.deadline = SHORT / 8
        since = time.monotonic()
        while True:  # the client's own deadline is what makes it drip: nobody sleeps
            try:
                answer = client.response()
                break
            except TimeoutError:
                assert time.monotonic() - since < 20
                client.offer(b"X: y\r\n")
        assert answer.status == 408
        assert time.monotonic() - since < SHORT * 6


def test_body_below_the_minimum_rate(server: Any, worker_class: str) -> None:
    """A byte now and then keeps within body_timeout for ever, but not within body_min_rate."""
    running = server(
        "wsgi_cases:application",
        *("--body-timeout", "0.5", "--body-min-rate", "1000"),
        worker_class=worker_class,
    )
    with running.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n")
        client.deadline = 0.05
        since = time.monotonic()
        while True:
            try:
                answer = client.response("POST")
                break
            except TimeoutError:
                assert time.monotonic() - since < 20
                client.offer(b"x")
        assert answer.status == 408


def test_silent_connection_is_closed_silently(hasty: Any) -> None:
    """No byte was sent: there is no request to answer, and a 408 could be taken for another's answer."""
    with hasty.connect() as client:
        assert client.end() is Ending.CUT


def test_idle_kept_connection_is_closed_silently(hasty: Any) -> None:
    with hasty.connect() as client:
        for _ in range(3):
            assert client.request("GET", "/hello").keeps
        since = time.monotonic()
        assert client.end() is Ending.CUT
        assert SHORT * 0.9 < time.monotonic() - since < SHORT * 8


def test_head_deadline_begins_with_the_first_byte(hasty: Any) -> None:
    """A kept connection that was idle for most of its keep-alive still has a whole head_timeout."""
    with hasty.connect() as client:
        assert client.request("GET", "/hello").keeps
        client.deadline = SHORT * 0.6
        with pytest.raises(TimeoutError):
            client.response()
        client.send(b"GET /hello HTTP/1.1\r\n")
        with pytest.raises(TimeoutError):
            client.response()
        client.deadline = 20
        client.send(b"Host: test\r\n\r\n")
        assert client.response().status == 200


def test_client_that_does_not_read(hasty: Any) -> None:
    """write_timeout: what is left of the answer is given up, and the client can see that it was cut."""
    with hasty.connect(receive_buffer=4096) as client:
        client.send(request_bytes("GET", "/sized?n=60000000"))
        client.deadline = SHORT * 6
        head = client.head()
        assert head.status == 200
        for _ in range(4):  # meanwhile: others are served, and more deadlines pass without a sleep
            with hasty.connect() as watcher:
                watcher.send(b"G")
                assert watcher.response().status == 408
        client.deadline = 20
        client.body(head)
        assert head.ending is not Ending.COMPLETE


def test_slow_application_is_no_slow_client(hasty: Any) -> None:
    """The client's deadlines do not run while the application does."""
    with hasty.connect() as client:
        answer = client.request("GET", f"/slow?seconds={SHORT * 2}")
        assert answer.body == b"slow"
        client.deadline = SHORT / 2  # the keep-alive begins with the answer, not with the request
        with pytest.raises(TimeoutError):
            client.response()
        client.deadline = 20
        assert client.request("GET", "/hello").status == 200


def test_no_keep_alive_at_all(server: Any, worker_class: str) -> None:
    """--keep-alive 0: every answer says close."""
    running = server("wsgi_cases:application", "--keep-alive", "0", worker_class=worker_class)
    with running.connect() as client:
        assert not client.request("GET", "/hello").keeps
        assert client.end() is Ending.CUT
