"""Persistent connections, pipelines and ends (RFC 9112 9)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rawclient import Closed, Ending, chunked, request_bytes

HELLO = b"Hello, World!"


def test_kept_by_default(cases: Any) -> None:
    """RFC 9112 9.3: HTTP/1.1 persists; the answer needs no Connection field to say so."""
    with cases.server.connect() as client:
        for _ in range(50):
            answer = client.request("GET", "/hello")
            assert answer.keeps
            assert answer.body == HELLO


@pytest.mark.parametrize("value", ["close", "Close", "x, close", "close, x", "keep-alive, close"])
def test_closed_when_asked(cases: Any, value: str) -> None:
    """RFC 9112 9.6: a server that receives "close" answers with it and closes; case does not matter."""
    with cases.server.connect() as client:
        answer = client.request("GET", "/hello", ("Connection", value))
        assert answer.body == HELLO
        assert not answer.keeps
        assert client.end() is Ending.CUT


def test_close_in_a_second_connection_field(cases: Any) -> None:
    with cases.server.connect() as client:
        answer = client.request("GET", "/hello", ("Connection", "x"), ("Connection", "close"))
        assert not answer.keeps
        assert client.end() is Ending.CUT


def test_http_10_closes(cases: Any) -> None:
    with cases.server.connect() as client:
        client.send(b"GET /hello HTTP/1.0\r\n\r\n")
        assert client.response().body == HELLO
        assert client.end() is Ending.CUT


@pytest.mark.parametrize("value", ["keep-alive", "Keep-Alive", "keep-alive, x"])
def test_http_10_keeps_when_asked(cases: Any, value: str) -> None:
    """RFC 9112 9.3 and C.2.2: kept only when the answer says so."""
    with cases.server.connect() as client:
        for _ in range(3):
            client.send(f"GET /hello HTTP/1.0\r\nConnection: {value}\r\n\r\n".encode())
            answer = client.response()
            assert answer.body == HELLO
            assert (answer.get("Connection") or "").lower() == "keep-alive"


def test_later_minor_versions_are_answered_as_11(cases: Any) -> None:
    """RFC 9110 2.5: a higher minor version is processed as the highest one that the server knows."""
    with cases.server.connect() as client:
        client.send(b"GET /hello HTTP/1.2\r\nHost: test\r\n\r\n")
        answer = client.response()
        assert (answer.status, answer.minor, answer.keeps) == (200, 1, True)


@pytest.mark.parametrize("version", ["2.0", "0.9", "3.0"])
def test_other_major_versions(faulty: Any, version: str) -> None:
    """RFC 9110 15.6.6."""
    answer = faulty.server.exchange(f"GET /hello HTTP/{version}\r\nHost: test\r\n\r\n".encode())
    assert answer.status == 505
    assert not answer.keeps


# Pipelines (RFC 9112 9.3.2)


def test_pipeline_in_order(cases: Any) -> None:
    count = 100
    with cases.server.connect() as client:
        client.send(b"".join(request_bytes("GET", f"/echo/{number}") for number in range(count)))
        for number in range(count):
            assert client.response().body == f"GET /echo/{number} ".encode()


def test_pipeline_of_slow_and_fast(cases: Any) -> None:
    """The fast ones are not answered before the slow ones in front of them, whichever thread runs what."""
    targets = [f"/slow?seconds={0.03 * (number % 2)}&{number}" for number in range(8)]
    with cases.server.connect() as client:
        client.send(
            b"".join(request_bytes("GET", target) + request_bytes("GET", "/echo") for target in targets)
        )
        for _ in targets:
            assert client.response().body == b"slow"
            assert client.response().body == b"GET /echo "


def test_pipeline_of_bodies(cases: Any) -> None:
    """Every framing behind every other, in one segment: the next request begins where the body ends."""
    parts = []
    for number in range(30):
        body = b"b%d" % number * number
        if number % 3 == 0:
            parts.append(request_bytes("POST", f"/echo/{number}", body=body))
        elif number % 3 == 1:
            coded = chunked(body[:1], body[1:]) if body[1:] else chunked(*([body] if body else []))
            parts.append(
                request_bytes("POST", f"/echo/{number}", ("Transfer-Encoding", "chunked"), body=coded)
            )
        else:
            parts.append(request_bytes("DELETE", f"/echo/{number}"))
    with cases.server.connect() as client:
        client.send(b"".join(parts))
        for number in range(30):
            method = ("POST", "POST", "DELETE")[number % 3]
            body = b"b%d" % number * number if number % 3 < 2 else b""
            assert client.response().body == f"{method} /echo/{number} ".encode() + body


def test_pipeline_byte_by_byte(cases: Any) -> None:
    data = request_bytes("POST", "/echo/1", body=b"one") + request_bytes(
        "POST", "/echo/2", ("Transfer-Encoding", "chunked"), body=chunked(b"t", b"wo")
    )
    with cases.server.connect() as client:
        for byte in data:
            client.send(bytes([byte]))
        assert client.response().body == b"POST /echo/1 one"
        assert client.response().body == b"POST /echo/2 two"


def test_nothing_is_answered_behind_close(cases: Any) -> None:
    """RFC 9112 9.6: a server "MUST NOT process any further requests" behind a close."""
    token = cases.token()
    with cases.server.connect() as client:
        client.send(
            request_bytes("GET", "/hello", ("Connection", "close"))
            + request_bytes("GET", f"/nothing/{token}")
        )
        assert client.response().body == HELLO
        assert client.end() is Ending.CUT
    assert cases.closes(token) == 0


def test_answers_before_a_fault_are_kept(faulty: Any) -> None:
    """The requests in front of a malformed one are good: they are answered, then the fault, then the end."""
    with faulty.server.connect() as client:
        client.send(
            request_bytes("GET", "/echo/1") + request_bytes("GET", "/echo/2") + b"GET / HTTP/1.1\r\n\r\n"
        )
        assert client.response().body == b"GET /echo/1 "
        assert client.response().body == b"GET /echo/2 "
        answer = client.response()
        assert (answer.status, answer.keeps) == (400, False)
        assert client.end() is Ending.CUT


def test_nothing_is_read_behind_a_fault(faulty: Any) -> None:
    """After a framing fault no byte can be trusted to begin a request (RFC 9112 2.2, 11.2)."""
    token = faulty.token()
    with faulty.server.connect() as client:
        client.send(
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + request_bytes("GET", f"/nothing/{token}")
        )
        assert client.response().status == 400
        assert client.end() is Ending.CUT
    assert faulty.closes(token) == 0


def test_empty_lines_before_a_request(cases: Any) -> None:
    """RFC 9112 2.2: "SHOULD ignore at least one empty line (CRLF) received prior to the request-line"."""
    with cases.server.connect() as client:
        for prefix in (b"\r\n", b"\r\n\r\n"):
            client.send(prefix + request_bytes("GET", "/hello"))
            assert client.response().body == HELLO


# Ends


def test_half_closed_client_is_answered(cases: Any) -> None:
    """RFC 9112 9.6: a client may close its sending side first; it still wants the answer."""
    with cases.server.connect() as client:
        client.send(request_bytes("GET", "/hello") + request_bytes("GET", "/echo/2"))
        client.half_close()
        assert client.response().body == HELLO
        assert client.response().body == b"GET /echo/2 "
        assert client.end() is Ending.CUT


@pytest.mark.parametrize("data", [b"", b"G", b"GET /hello HTTP/1.1\r\nHost:", b"\r\n"])
def test_half_close_in_a_head(faulty: Any, data: bytes) -> None:
    """An unfinished request is never run. A 400 is allowed, silence too; hanging is not."""
    with faulty.server.connect() as client:
        client.offer(data)
        client.half_close()
        try:
            assert client.response().status in (400, 408)
        except Closed:
            pass
        assert client.drain() == b""


@pytest.mark.parametrize(
    "body", [("Content-Length: 10", b"short"), ("Transfer-Encoding: chunked", b"5\r\nshort\r\n")]
)
def test_half_close_in_a_body(faulty: Any, body: tuple[str, bytes]) -> None:
    """RFC 9112 8: an incomplete request is answered with an error or not at all, and never run."""
    token = faulty.token()
    with faulty.server.connect() as client:
        client.send(f"POST /nothing/{token} HTTP/1.1\r\nHost: test\r\n{body[0]}\r\n\r\n".encode() + body[1])
        client.half_close()
        try:
            assert client.response("POST").status in (400, 408)
        except Closed:
            pass
        assert client.drain() == b""
    assert faulty.closes(token) == 0


@pytest.mark.parametrize("size", [100_000, 30_000_000])
def test_refusal_reaches_a_client_that_goes_on_sending(faulty: Any, size: int) -> None:
    """RFC 9112 9.6: closing with unread input makes the kernel send RST, which may destroy the answer before
    the client has read it; the server half-closes and reads on for a while (lingering)."""
    with faulty.server.connect() as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: %d\r\n\r\n" % size)
        client.offer(b"x" * size)
        answer = client.response("POST")
        assert (answer.status, answer.keeps) == (400, False)


def test_close_reaches_a_client_that_has_pipelined(server: Any, worker_class: str) -> None:
    """The same when the server decides to close: the second answer was never promised, the first must arrive
    whole although the client goes on sending."""
    running = server("wsgi_cases:application", "--keep-alive", "0", worker_class=worker_class)
    with running.connect() as client:
        client.send(request_bytes("GET", "/sized?n=300000"))
        client.offer(request_bytes("POST", "/echo", body=b"x" * 200_000))
        answer = client.response()
        assert not answer.keeps
        assert len(answer.body) == 300_000
        assert client.end() is Ending.CUT


def test_large_answer_to_a_client_that_reads_late(cases: Any) -> None:
    """Nothing is read until the server has surely filled every buffer and has served others meanwhile."""
    with cases.server.connect(receive_buffer=4096) as late:
        late.send(request_bytes("GET", "/sized?n=6000000") + request_bytes("GET", "/hello"))
        for _ in range(20):
            assert cases.server.get("/hello").body == HELLO
        assert len(late.response().body) == 6_000_000
        assert late.response().body == HELLO


def test_requests_of_one_connection_run_in_one_worker(cases: Any) -> None:
    with cases.server.connect() as client:
        pids = {json.loads(client.request("GET", "/where").body)["pid"] for _ in range(10)}
    assert len(pids) == 1
