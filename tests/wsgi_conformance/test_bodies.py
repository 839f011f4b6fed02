"""What the application returns, and how the client is told where it ends (PEP 3333; RFC 9112 6)."""

from __future__ import annotations

from typing import Any

import pytest
import wsgi_cases
from rawclient import Ending, Framing, request_bytes

# Chunks and lengths


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("empty-chunks", b"onetwo"),
        ("tuple-body", b"atuple"),
        ("one-chunk", b"counted"),
        ("late", b"late"),
        ("nothing", b""),
        ("empty-list", b""),
        ("only-empty-chunks", b""),
    ],
)
def test_body_without_a_length(cases: Any, name: str, body: bytes) -> None:
    """On a kept connection the end has to be told by a length or the last chunk (RFC 9112 6.3)."""
    with cases.server.connect() as client:
        for _ in range(2):
            answer = client.request("GET", f"/{name}/{cases.token()}")
            assert answer.body == body
            assert answer.framing in (Framing.LENGTH, Framing.CHUNKED)
            assert answer.ending is Ending.COMPLETE


@pytest.mark.parametrize("name", ["nothing", "empty-list", "only-empty-chunks"])
def test_empty_body_has_length_zero(cases: Any, name: str) -> None:
    """Nothing was sent before the end was known, so the server knows the length (PEP 3333)."""
    answer = cases.server.get(f"/{name}/{cases.token()}")
    assert answer.get("Content-Length") == "0"


def test_a_list_of_one_is_counted(cases: Any) -> None:
    """PEP 3333, "Handling the Content-Length Header": len(iterable) == 1 gives the length."""
    assert cases.server.get(f"/one-chunk/{cases.token()}").get("Content-Length") == "7"


@pytest.mark.parametrize("name", ["hello", "late", "empty-chunks", "nothing"])
def test_http_10_is_never_chunked(cases: Any, name: str) -> None:
    """RFC 9112 6.1: no Transfer-Encoding to a client of HTTP/1.0; the connection's end ends the body."""
    with cases.server.connect() as client:
        client.send(f"GET /{name}/{cases.token()} HTTP/1.0\r\n\r\n".encode())
        answer = client.response()
        assert answer.framing in (Framing.LENGTH, Framing.CLOSE)
        assert answer.ending is Ending.COMPLETE
        if answer.framing is Framing.LENGTH:
            assert client.end() is Ending.CUT


def test_http_10_closes_even_when_asked_to_keep_without_a_length(cases: Any) -> None:
    """RFC 9112 9.3: without a length only the close can end the body."""
    with cases.server.connect() as client:
        client.send(f"GET /empty-chunks/{cases.token()} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
        answer = client.response()
    assert answer.framing is Framing.CLOSE
    assert answer.body == b"onetwo"
    assert (answer.get("Connection") or "close").lower() == "close"


@pytest.mark.parametrize("size", [0, 1, 1023, 65536, 1_000_000, 20_000_000])
@pytest.mark.parametrize("length", ["yes", "no"])
def test_sizes(cases: Any, size: int, length: str) -> None:
    with cases.server.connect() as client:
        answer = client.request("GET", f"/sized?n={size}&length={length}")
        assert answer.ending is Ending.COMPLETE
        assert answer.body == b"x" * size
        if length == "yes":
            assert answer.get("Content-Length") == str(size)
        assert client.request("GET", "/hello").body == b"Hello, World!"


@pytest.mark.parametrize("name", ["too-short", "too-short-empty"])
def test_less_than_the_length_is_visible(faulty: Any, name: str) -> None:
    """PEP 3333: the server closes the connection; RFC 9112 8: the client sees an incomplete message."""
    token = faulty.token()
    with faulty.server.connect() as client:
        answer = client.request("GET", f"/{name}/{token}")
        if name == "too-short-empty" and answer.status == 500:
            assert answer.ending is Ending.COMPLETE  # nothing was sent yet: an honest 500 is better
        else:
            assert answer.status == 200
            assert answer.ending is not Ending.COMPLETE
            assert answer.body == b"ten bytes!ten more!!"[: len(answer.body)]
    faulty.closed_once(token)


@pytest.mark.parametrize("name", ["too-long", "too-long-one-chunk"])
def test_more_than_the_length_is_never_sent(faulty: Any, name: str) -> None:
    """PEP 3333: no more than Content-Length bytes; anything behind them would be read as the next answer."""
    token = faulty.token()
    with faulty.server.connect() as client:
        client.send(request_bytes("GET", f"/{name}/{token}") + request_bytes("GET", "/hello"))
        answer = client.response()
        assert answer.status in (200, 500)
        if answer.status == 200:
            assert answer.body == b"ten bytes!"
        client.half_close()
        rest = client.drain()  # the server may go on or close; what it sends is an answer of its own
        assert b"Smuggled" not in rest
        assert rest == b"" or rest.startswith(b"HTTP/1.1 200 OK\r\n")
    faulty.closed_once(token)


@pytest.mark.parametrize("what", wsgi_cases.WRONG_BODIES)
def test_wrong_body(faulty: Any, what: str) -> None:
    """PEP 3333: an iterable yielding byte strings. Nothing was sent yet, so the answer is a 500."""
    answer = faulty.server.get(f"/wrong-body/{faulty.token()}?what={what}")
    assert answer.status == 500
    assert answer.ending is Ending.COMPLETE


def test_text_after_bytes_cuts_the_answer(faulty: Any) -> None:
    token = faulty.token()
    answer = faulty.server.get(f"/wrong-second-chunk/{token}")
    assert answer.status == 200
    assert answer.ending is not Ending.COMPLETE
    faulty.closed_once(token)


# Iterators that raise


def test_raising_before_the_first_chunk(faulty: Any) -> None:
    token = faulty.token()
    answer = faulty.server.get(f"/raises-before-chunk/{token}")
    assert (answer.status, answer.ending) == (500, Ending.COMPLETE)
    faulty.closed_once(token)


@pytest.mark.parametrize("length", ["", "?length=100"])
def test_raising_after_a_chunk(faulty: Any, length: str) -> None:
    """The head is out: the only honest end is a visible cut (RFC 9112 8), never a last chunk."""
    token = faulty.token()
    with faulty.server.connect() as client:
        answer = client.request("GET", f"/raises-after-chunk/{token}{length}")
        assert answer.status == 200
        assert answer.body in (b"some", b"")
        assert answer.ending is not Ending.COMPLETE
    faulty.closed_once(token)


def test_raising_after_a_chunk_in_http_10(faulty: Any) -> None:
    """Without a length only a reset can tell the cut; whichever way, the body must not look like an answer's
    whole with a length, and the connection must end."""
    token = faulty.token()
    with faulty.server.connect() as client:
        client.send(f"GET /raises-after-chunk/{token}?length=100 HTTP/1.0\r\n\r\n".encode())
        assert client.response().ending is not Ending.COMPLETE
    faulty.closed_once(token)


def test_close_that_raises(faulty: Any) -> None:
    """The answer is whole by then; the connection may end, the worker may not."""
    token = faulty.token()
    answer = faulty.server.get(f"/close-raises/{token}")
    assert answer.body == b"body"
    assert answer.ending is Ending.COMPLETE
    faulty.closed_once(token)


# close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("name", ["nothing", "empty-chunks", "write", "only-empty-chunks"])
def test_close_exactly_once(cases: Any, name: str, method: str) -> None:
    """PEP 3333: close() "must be called upon completion of the current request"."""
    token = cases.token()
    cases.server.request(method, f"/{name}/{token}")
    cases.closed_once(token)


@pytest.mark.parametrize("end", ["reset", "close"])
def test_close_when_the_client_leaves(faulty: Any, end: str) -> None:
    """PEP 3333: also "due to ... early termination by the browser"."""
    token = faulty.token()
    client = faulty.server.connect()
    client.send(f"GET /endless/{token} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    client.head()
    assert client.chunk()
    getattr(client, end)()
    faulty.closed_once(token)


# HEAD, and statuses without a body (RFC 9110 6.4.1, 8.6, 9.3.2, 15)


def test_head_answers_as_get_without_the_body(cases: Any) -> None:
    with cases.server.connect() as client:
        got = client.request("GET", "/hello")
        head = client.request("HEAD", "/hello")
        assert [pair for pair in head.fields if pair[0] != "Date"] == [
            pair for pair in got.fields if pair[0] != "Date"
        ]
        assert client.request("GET", "/hello").body == b"Hello, World!"


@pytest.mark.parametrize("name", ["empty-chunks", "late", "write", "sized?n=20000000"])
def test_head_sends_no_body_and_keeps_the_connection(cases: Any, name: str) -> None:
    target = f"/{name}" if "?" in name else f"/{name}/{cases.token()}"
    with cases.server.connect() as client:
        client.request("HEAD", target)
        assert client.request("GET", "/hello").body == b"Hello, World!"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("body", ["", "must,not,appear"])
def test_no_body_with_204_and_304(faulty: Any, status: str, body: str) -> None:
    """RFC 9112 6.3: such an answer ends with its head, so a body would be read as the next answer."""
    token = faulty.token()
    with faulty.server.connect() as client:
        target = f"/reply/{token}?body={body}&status={status.replace(' ', '%20')}"
        client.send(request_bytes("GET", target) + request_bytes("GET", "/hello"))
        answer = client.response()
        assert answer.status == int(status[:3])
        assert client.response().body == b"Hello, World!"
    faulty.closed_once(token)


def test_204_has_no_length(faulty: Any) -> None:
    """RFC 9110 8.6: "MUST NOT send a Content-Length ... with a status code of ... 204"; the client checks."""
    answer = faulty.server.get(f"/reply/{faulty.token()}?status=204%20No%20Content&f.Content-Length=0&body=")
    assert answer.status in (204, 500)


def test_304_may_tell_the_length_that_200_would_have(cases: Any) -> None:
    """RFC 9110 8.6. The number says nothing about the message itself: no body follows, nothing is "short"."""
    with cases.server.connect() as client:
        answer = client.request(
            "GET",
            f"/reply/{cases.token()}?status=304%20Not%20Modified&f.Content-Length=5&f.ETag=%22a%22&body=",
        )
        assert answer.status == 304
        assert answer.get("ETag") == '"a"'
        assert client.request("GET", "/hello").body == b"Hello, World!"


@pytest.mark.parametrize("status", ["100 Continue", "101 Switching Protocols", "103 Early Hints"])
def test_a_final_status_is_not_interim(faulty: Any, status: str) -> None:
    """RFC 9110 15.2: after a 1xx the client waits for the final answer, and no one would ever send it."""
    with faulty.server.connect() as client:
        client.send(
            f"GET /reply/{faulty.token()}?body=x&status={status.replace(' ', '%20')} HTTP/1.1\r\n"
            "Host: test\r\n\r\n".encode()
        )
        assert client.head().status == 500


def test_205_has_no_content(faulty: Any) -> None:
    """RFC 9110 15.3.6: a 205 is ended by Content-Length: 0 or an empty chunked body."""
    answer = faulty.server.get(f"/reply/{faulty.token()}?status=205%20Reset%20Content&body=")
    assert (answer.status, answer.body) == (205, b"")
