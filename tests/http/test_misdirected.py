"""What was meant for another kind of server is refused like all that is no HTTP; the log says what it was."""

from __future__ import annotations

from typing import Any

import pytest

APP = "wsgi_cases:application"
REQUEST = b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n"

SENT = {
    "PROXY 1": (
        b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n" + REQUEST,
        "The PROXY protocol is not spoken",
    ),
    "PROXY 1, unknown": (b"PROXY UNKNOWN\r\n" + REQUEST, "The PROXY protocol is not spoken"),
    "PROXY 2": (V2 + b"\x21\x11\x00\x0c" + bytes(12) + REQUEST, "The PROXY protocol is not spoken"),
    "TLS 1.3": (b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03" + bytes(32), "TLS is not spoken"),
}


@pytest.mark.parametrize("name", SENT)
def test_it_is_named_once(server: Any, name: str) -> None:
    data, text = SENT[name]
    running = server(APP, worker_class="sync")
    for _ in range(2):
        with running.connect() as client:
            client.send(data)
            answer = client.response("GET")
        assert answer.status == 400
        assert text in answer.text
    running.stderr.wait(rf"\[WARNING\] refused what came from 127\.0\.0\.1: {text}")
    assert running.get("/hello").status == 200
    running.pardon()
    running.stop()
    assert sum(text in line for line in running.stderr.lines) == 1


@pytest.mark.parametrize(
    "data", [b"PROXY", b"PROXYS /a\r\n\r\n", b"\x16\x02\x00\r\n", V2[:11] + b"X", b"\r\n\r\n\0"]
)
def test_what_only_looks_like_it(server: Any, data: bytes) -> None:
    running = server(APP, worker_class="sync")
    with running.connect() as client:
        client.send(data)
        client.half_close()
        client.drain()
    running.stop()
    assert not any("WARNING" in line for line in running.stderr.lines)


def test_a_method_of_that_name(server: Any) -> None:
    running = server(APP, worker_class="sync")
    assert running.request("PROXY", "/hello").status == 200


def test_a_websocket_is_named_once(server: Any, worker_class: str) -> None:
    """The application goes on to answer; most say that they have got no socket, or offer long polling."""
    running = server(APP, worker_class=worker_class)
    asks = (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    )
    for _ in range(3):
        assert running.get("/hello", *asks).status == 200
    assert running.get("/hello", *asks[:-1], ("SEC-WEBSOCKET-KEY", "eA==")).status == 200
    running.stderr.wait(r"\[WARNING\] a client asks for a WebSocket, and none is served here")
    running.pardon()
    running.stop()
    assert sum("WebSocket" in line for line in running.stderr.lines) == 1
