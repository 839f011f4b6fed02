"""Expect: 100-continue (RFC 9110 10.1.1)."""

from __future__ import annotations

from typing import Any

import pytest
from rawclient import Ending, chunked

EXPECT = "Expect: 100-continue"


def head(target: str, *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"POST {target} HTTP/{version}", "Host: test", *lines, "", ""]).encode()


@pytest.mark.parametrize("word", ["100-continue", "100-Continue", "100-CONTINUE"])
def test_continue_then_the_answer(cases: Any, word: str) -> None:
    with cases.server.connect() as client:
        client.send(head("/echo", "Content-Length: 4", f"Expect: {word}"))
        interim = client.head()
        assert interim.status == 100
        client.send(b"body")
        assert client.response("POST").body == b"POST /echo body"
        assert client.request("GET", "/hello").body == b"Hello, World!"


def test_chunked(cases: Any) -> None:
    with cases.server.connect() as client:
        client.send(head("/echo", "Transfer-Encoding: chunked", EXPECT))
        assert client.head().status == 100
        client.send(chunked(b"bo", b"dy"))
        assert client.response("POST").body == b"POST /echo body"


def test_only_one_continue(cases: Any) -> None:
    """A body in many pieces is invited once."""
    with cases.server.connect() as client:
        client.send(head("/echo", "Content-Length: 6", EXPECT))
        assert client.head().status == 100
        for byte in b"pieces":
            client.send(bytes([byte]))
        answer = client.response("POST")
        assert answer.interim == []
        assert answer.body == b"POST /echo pieces"


def test_body_that_does_not_wait(cases: Any) -> None:
    """A server "MAY omit sending a 100 response if it has already received some or all of the content"."""
    with cases.server.connect() as client:
        client.send(head("/echo", "Content-Length: 4", EXPECT) + b"body")
        answer = client.response("POST")
        assert [interim.status for interim in answer.interim] in ([], [100])
        assert answer.body == b"POST /echo body"


def test_no_body_no_continue(cases: Any) -> None:
    """A request without content: there is nothing to invite, the final answer comes at once."""
    with cases.server.connect() as client:
        client.send(head("/hello", "Content-Length: 0", EXPECT))
        answer = client.response("POST")
        assert answer.interim == []
        assert answer.status == 200


def test_http_10_ignores_it(cases: Any) -> None:
    """A server "MUST ignore" a 100-continue expectation in an HTTP/1.0 request."""
    with cases.server.connect() as client:
        client.send(head("/echo", "Content-Length: 4", EXPECT, version="1.0"))
        client.send(b"body")
        answer = client.response("POST")
        assert answer.interim == []
        assert answer.body == b"POST /echo body"


@pytest.mark.parametrize("value", ["200-ok", "100-continue, other", "magic"])
def test_unknown_expectation(faulty: Any, value: str) -> None:
    with faulty.server.connect() as client:
        client.send(head("/echo", "Content-Length: 4", f"Expect: {value}"))
        answer = client.response("POST")
        assert (answer.status, answer.interim) == (417, [])


def test_pipelined(cases: Any) -> None:
    """The 100 belongs to its own request: it may not come before the answers of the requests in front."""
    with cases.server.connect() as client:
        client.send(b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n" + head("/echo", "Content-Length: 4", EXPECT))
        assert client.response().body == b"Hello, World!"
        assert client.head().status == 100
        client.send(b"body")
        assert client.response("POST").body == b"POST /echo body"


def test_too_large_is_refused_before_the_body(server: Any, worker_class: str) -> None:
    """The point of it all: a final answer instead of 100, and the body is never sent."""
    running = server("wsgi_cases:application", "--limit-request-body", "1000", worker_class=worker_class)
    with running.connect() as client:
        client.send(head("/echo", "Content-Length: 1001", EXPECT))
        answer = client.response("POST")
        assert (answer.status, answer.interim, answer.keeps) == (413, [], False)
        assert client.end() is Ending.CUT
