"""wsgi.file_wrapper (PEP 3333, "Optional Platform-Specific File Handling"): the same answer, sent better."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from rawclient import Ending, Framing


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def fetch(client: Any, cases: Any, method: str = "GET", **asked: Any) -> tuple[str, Any]:
    token = cases.token()
    return token, client.request(method, f"/file/{token}?{urlencode(asked)}")


@pytest.mark.parametrize("kind", ["real", "like"])
@pytest.mark.parametrize("size", [0, 1, 8192, 8193, 3_000_001])
@pytest.mark.parametrize("promise", [False, True])
def test_whole_file(cases: Any, kind: str, size: int, promise: bool) -> None:
    asked = {"length": size} if promise else {}
    with cases.server.connect() as client:
        token, answer = fetch(client, cases, size=size, kind=kind, **asked)
        assert answer.ending is Ending.COMPLETE
        assert answer.framing in (Framing.LENGTH, Framing.CHUNKED)
        assert answer.body == content(size)
        cases.closed_once(token)
        assert client.request("GET", "/hello").body == b"Hello, World!"


@pytest.mark.parametrize("kind", ["real", "like"])
def test_from_the_current_position(cases: Any, kind: str) -> None:
    """PEP 3333: transmission begins at the file's current position, "not necessarily at its start"."""
    with cases.server.connect() as client:
        token, answer = fetch(client, cases, size=100_000, offset=99_000, kind=kind)
        assert answer.body == content(100_000)[99_000:]
        cases.closed_once(token)


@pytest.mark.parametrize("kind", ["real", "like"])
@pytest.mark.parametrize("offset", [0, 500])
def test_no_more_than_the_length(cases: Any, kind: str, offset: int) -> None:
    """PEP 3333: at most Content-Length bytes of the file; a range answer is made so, and it is no fault."""
    with cases.server.connect() as client:
        token, answer = fetch(
            client, cases, size=100_000, offset=offset, length=1000, kind=kind, status="206 Partial Content"
        )
        assert answer.status == 206
        assert answer.body == content(100_000)[offset : offset + 1000]
        cases.closed_once(token)
        assert client.request("GET", "/hello").body == b"Hello, World!"


@pytest.mark.parametrize("kind", ["real", "like"])
def test_a_file_shorter_than_the_length_is_visible(faulty: Any, kind: str) -> None:
    with faulty.server.connect() as client:
        token, answer = fetch(client, faulty, size=1000, length=5000, kind=kind)
        assert answer.status in (200, 500)
        if answer.status == 200:
            assert answer.ending is not Ending.COMPLETE
            assert content(1000).startswith(answer.body)
    faulty.closed_once(token)


@pytest.mark.parametrize("kind", ["real", "like"])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", ["200 OK", "304 Not Modified"])
def test_no_body_where_none_belongs(cases: Any, kind: str, method: str, status: str) -> None:
    with cases.server.connect() as client:
        token, answer = fetch(client, cases, method, size=5000, length=5000, kind=kind, status=status)
        assert answer.body == (content(5000) if (method, status) == ("GET", "200 OK") else b"")
        cases.closed_once(token)
        assert client.request("GET", "/hello").body == b"Hello, World!"


def test_http_10(cases: Any) -> None:
    token = cases.token()
    answer = cases.server.exchange(f"GET /file/{token}?size=100000 HTTP/1.0\r\n\r\n".encode())
    assert answer.body == content(100_000)
    cases.closed_once(token)


@pytest.mark.parametrize("kind", ["real", "like"])
def test_iterated_by_a_middleware(cases: Any, kind: str) -> None:
    """PEP 3333: what the wrapper returns is an iterable like any other."""
    with cases.server.connect() as client:
        token, answer = fetch(client, cases, size=100_000, kind=kind, iterate="yes", block=1000)
        assert answer.body == content(100_000)
        cases.closed_once(token)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("file-no-close", b"bare"),
        ("file-pipe", b"from a pipe"),
        ("file-write-first", b"written, then the file"),
    ],
)
def test_unusual_files(cases: Any, name: str, body: bytes) -> None:
    with cases.server.connect() as client:
        assert client.request("GET", f"/{name}/{cases.token()}").body == body
        assert client.request("GET", "/hello").body == b"Hello, World!"


@pytest.mark.parametrize("kind", ["real", "like"])
@pytest.mark.parametrize("end", ["reset", "close"])
def test_close_when_the_client_leaves(faulty: Any, kind: str, end: str) -> None:
    token = faulty.token()
    client = faulty.server.connect(receive_buffer=4096)
    client.send(f"GET /file/{token}?size=50000000&kind={kind} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    client.head()
    getattr(client, end)()
    faulty.closed_once(token)


def test_close_comes_after_the_last_byte(cases: Any) -> None:
    """Django's request_finished hangs on it, and a file closed too early would be cut."""
    token = cases.token()
    with cases.server.connect(receive_buffer=4096) as client:
        client.send(
            f"GET /file/{token}?size=30000000&length=30000000 HTTP/1.1\r\nHost: test\r\n\r\n".encode()
        )
        head = client.head()
        assert cases.events.waiting() == []  # far more is left than the kernel's buffers hold
        client.body(head)
        assert head.body == content(30_000_000)
    cases.closed_once(token)
