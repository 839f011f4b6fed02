"""Sizes that are refused, and the largest that are not (RFC 9110 15.5.14, 15.5.15; RFC 6585 5; DESIGN 7)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rawclient import Ending, chunked


def refused(running: Any, data: bytes, status: int) -> None:
    with running.connect() as client:
        client.offer(data)
        answer = client.response()
        assert answer.status == status
        assert not answer.keeps
        assert client.end() is Ending.CUT


def get(target: str = "/hello", *fields: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: test", *fields, "", ""]).encode()


def line(size: int) -> str:
    """A target that makes the request line that long."""
    return "/hello?" + "q" * (size - len("GET /hello? HTTP/1.1"))


def test_request_line(faulty: Any) -> None:
    assert faulty.server.exchange(get(line(4094))).status == 200
    refused(faulty.server, get(line(4095)), 414)


def test_endless_request_line(faulty: Any) -> None:
    """Refused as soon as it is too long, not only when it ends."""
    refused(faulty.server, b"GET /" + b"a" * 20_000, 414)


def test_field_size(faulty: Any) -> None:
    assert faulty.server.exchange(get("/hello", "X: " + "v" * (8190 - 3))).status == 200
    refused(faulty.server, get("/hello", "X: " + "v" * (8191 - 3)), 431)


def test_endless_field(faulty: Any) -> None:
    refused(faulty.server, b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"v" * 20_000, 431)


def test_endless_field_name(faulty: Any) -> None:
    refused(faulty.server, b"GET / HTTP/1.1\r\nHost: test\r\n" + b"n" * 20_000, 431)


def test_field_count(faulty: Any) -> None:
    assert faulty.server.exchange(get("/hello", *["X: v"] * 99)).status == 200
    refused(faulty.server, get("/hello", *["X: v"] * 100), 431)


def test_head_size(faulty: Any) -> None:
    refused(faulty.server, get("/hello", *[f"X{number}: " + "v" * 8000 for number in range(9)]), 431)


def test_limits_are_settings(server: Any, worker_class: str) -> None:
    running = server(
        "wsgi_cases:application",
        *("--limit-request-line", "100", "--limit-request-fields", "5", "--limit-request-field_size", "200"),
        worker_class=worker_class,
    )
    assert running.exchange(get(line(100))).status == 200
    refused(running, get(line(101)), 414)
    assert running.exchange(get("/hello", *["X: v"] * 4)).status == 200
    refused(running, get("/hello", *["X: v"] * 5), 431)
    assert running.exchange(get("/hello", "X: " + "v" * 197)).status == 200
    refused(running, get("/hello", "X: " + "v" * 198), 431)


# Bodies


@pytest.fixture(scope="module")
def small(worker_class: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that takes bodies of up to 1,000 bytes."""
    from contextlib import ExitStack

    from serving import start_server

    with ExitStack() as stack:
        running = start_server(
            stack,
            "wsgi_cases:application",
            *("--limit-request-body", "1000"),
            worker_class=worker_class,
            cwd=tmp_path_factory.mktemp("small"),
        )
        yield running
        running.stop()


def test_body_of_the_limit(small: Any) -> None:
    assert json.loads(small.request("POST", "/sum", body=b"b" * 1000).body)[0] == 1000
    answer = small.request(
        "POST", "/sum", ("Transfer-Encoding", "chunked"), body=chunked(b"b" * 500, b"b" * 500)
    )
    assert json.loads(answer.body)[0] == 1000


def test_announced_body_is_refused_at_once(small: Any) -> None:
    """No byte of the body was sent: the head alone is enough for a 413."""
    refused(small, b"POST /sum HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n", 413)


@pytest.mark.parametrize("length", [2**31, 2**32, 2**63 - 1])
def test_huge_announcements(small: Any, length: int) -> None:
    refused(small, b"POST /sum HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % length, 413)


@pytest.mark.parametrize("length", [2**63, 2**64, 10**30])
def test_lengths_beyond_64_bits(small: Any, length: int) -> None:
    """RFC 9110 8.6: "potentially large", so overflow has to be prevented; either refusal will do."""
    with small.connect() as client:
        client.send(b"POST /sum HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % length)
        assert client.response("POST").status in (400, 413)


@pytest.mark.parametrize(
    "body",
    [
        chunked(b"b" * 1001),
        chunked(b"b" * 1000, b"b"),
        b"3e9\r\nb",
        b"1f4\r\n" + b"b" * 500 + b"\r\n1f5\r\nb",
    ],
)
def test_chunks_beyond_the_limit(small: Any, body: bytes) -> None:
    """Refused by the announced sum with the first byte of data that would exceed it, not with the last."""
    refused(small, b"POST /sum HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" + body, 413)


def test_413_reaches_a_client_that_sends_everything_first(small: Any) -> None:
    with small.connect() as client:
        client.send(b"POST /sum HTTP/1.1\r\nHost: test\r\nContent-Length: 20000000\r\n\r\n")
        client.offer(b"b" * 20_000_000)
        assert client.response("POST").status == 413


def test_no_limit(server: Any, worker_class: str) -> None:
    running = server("wsgi_cases:application", "--limit-request-body", "0", worker_class=worker_class)
    assert json.loads(running.request("POST", "/sum", body=b"b" * 3_000_000).body)[0] == 3_000_000
