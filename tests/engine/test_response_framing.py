"""Where a body ends and how the client sees it: RFC 9112 6, PEP 3333 "Handling the Content-Length Header"."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from answers import answering, outcome, pieces
from harness import Answer, Rig, get

Headers = list[tuple[str, str]]


class Data(bytes):
    """A bytes of an application's own, whose length lies."""

    def __len__(self) -> int:
        return 1


# name -> (headers, result, request, head's own lines, body on the wire, state afterwards)
KEPT, CLOSED = "OPEN", "CLOSED"
LENGTH_4 = b"Content-Length: 4\r\n"
CODED = b"Transfer-Encoding: chunked\r\n"
SHUT = b"Connection: close\r\n"
KEPT_10 = b"Connection: keep-alive\r\n"
GET_10 = get(version="1.0")
GET_10_KEEP = get("/", "Connection: keep-alive", version="1.0")
FRAMING: dict[str, tuple[str, Headers, Callable[[], Iterable[bytes]], bytes, bytes, bytes, str]] = {
    "list": ("200 OK", [], lambda: [b"bo", b"dy"], get(), LENGTH_4, b"body", KEPT),
    "tuple": ("200 OK", [], lambda: (b"body",), get(), LENGTH_4, b"body", KEPT),
    "empty list": ("200 OK", [], list, get(), b"Content-Length: 0\r\n", b"", KEPT),
    "list of nothing": ("200 OK", [], lambda: [b"", b""], get(), b"Content-Length: 0\r\n", b"", KEPT),
    "generator": (
        *("200 OK", [], lambda: pieces(b"bo", b"", b"dy!"), get(), CODED),
        *(b"2\r\nbo\r\n3\r\ndy!\r\n0\r\n\r\n", KEPT),
    ),
    "generator of nothing": ("200 OK", [], pieces, get(), b"Content-Length: 0\r\n", b"", KEPT),
    "generator of empty": ("200 OK", [], lambda: pieces(b""), get(), b"Content-Length: 0\r\n", b"", KEPT),
    "large chunk": (
        *("200 OK", [], lambda: pieces(b"z" * 20_000), get(), CODED),
        *(b"4e20\r\n" + b"z" * 20_000 + b"\r\n0\r\n\r\n", KEPT),
    ),
    "own length": (
        "200 OK",
        [("Content-Length", "4")],
        lambda: pieces(b"bo", b"dy"),
        get(),
        b"",
        b"body",
        KEPT,
    ),
    "own length, zero": ("200 OK", [("Content-Length", "0")], list, get(), b"", b"", KEPT),
    "own length, zeros": (
        "200 OK",
        [("Content-Length", "0004")],
        lambda: [b"body"],
        get(),
        b"",
        b"body",
        KEPT,
    ),
    "1.0 list": ("200 OK", [], lambda: [b"body"], GET_10, LENGTH_4 + SHUT, b"body", CLOSED),
    "1.0 generator": ("200 OK", [], lambda: pieces(b"bo", b"dy"), GET_10, SHUT, b"body", CLOSED),
    "1.0 kept": ("200 OK", [], lambda: [b"body"], GET_10_KEEP, LENGTH_4 + KEPT_10, b"body", KEPT),
    "1.0 kept, generator": ("200 OK", [], lambda: pieces(b"body"), GET_10_KEEP, SHUT, b"body", "LINGER"),
    "close": (
        "200 OK",
        [],
        lambda: [b"body"],
        get("/", "Connection: close"),
        LENGTH_4 + SHUT,
        b"body",
        CLOSED,
    ),
    "HEAD": ("200 OK", [], lambda: [b"body"], get(method="HEAD"), LENGTH_4, b"", KEPT),
    "HEAD, generator": ("200 OK", [], lambda: pieces(b"body"), get(method="HEAD"), b"", b"", KEPT),
    "HEAD, empty": ("200 OK", [], list, get(method="HEAD"), b"", b"", KEPT),
    "HEAD, own length": (
        "200 OK",
        [("Content-Length", "99")],
        list,
        get(method="HEAD"),
        b"",
        b"",
        KEPT,
    ),
    "204": ("204 No Content", [], list, get(), b"", b"", KEPT),
    "204 with a body": ("204 No Content", [], lambda: [b"body"], get(), b"", b"", KEPT),
    "204 with a generator": ("204 No Content", [], lambda: pieces(b"body"), get(), b"", b"", KEPT),
    "304": ("304 Not Modified", [("ETag", '"x"')], list, get(), b"", b"", KEPT),
    "304 with a length": ("304 Not Modified", [("Content-Length", "9")], list, get(), b"", b"", KEPT),
    "304 with a body": ("304 Not Modified", [], lambda: [b"body"], get(), b"", b"", KEPT),
    "HEAD, 204 with a body": ("204 No Content", [], lambda: [b"body"], get(method="HEAD"), b"", b"", KEPT),
    "HEAD, 304 with a body": ("304 Not Modified", [], lambda: [b"body"], get(method="HEAD"), b"", b"", KEPT),
    **{
        f"205, {name}": ("205 Reset Content", [], result, request, b"Content-Length: 0\r\n", b"", KEPT)
        for name, result, request in (
            ("list", list, get()),
            ("list with a body", lambda: [b"body"], get()),
            ("generator", lambda: pieces(b"bo", b"dy"), get()),
            ("HEAD", lambda: [b"body"], get(method="HEAD")),
        )
    },
}


@pytest.mark.parametrize("name", FRAMING)
def test_framing(name: str) -> None:
    status, headers, result, request, own, body, then = FRAMING[name]
    data, faults, state = outcome(lambda e, start: start(status, headers) and result(), request)
    given = b"".join(f"{key}: {value}\r\n".encode() for key, value in headers)
    assert faults == []
    assert data == f"HTTP/1.1 {status}\r\n".encode() + given + own + b"\r\n" + body
    assert state == then


def test_length_of_a_204_is_left_out() -> None:
    """RFC 9110 8.6."""
    data, faults, _ = outcome(answering("204 No Content", [("Content-Length", "0"), ("X", "y")], []))
    assert (data, faults) == (b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", [])


def test_length_of_a_205_is_zero() -> None:
    """RFC 9110 15.3.6."""
    data, faults, state = outcome(answering("205 Reset", [("Content-Length", "4"), ("X", "y")], [b"body"]))
    assert (data, faults) == (b"HTTP/1.1 205 Reset\r\nX: y\r\nContent-Length: 0\r\n\r\n", [])
    assert state == "OPEN"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content", "304 Not Modified"])
def test_file_where_no_body_belongs(content: Path, status: str, method: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, [])
        return environ["wsgi.file_wrapper"](content.open("rb"))

    data, faults, state = outcome(app, get(method=method))
    own = "Content-Length: 0\r\n" if status.startswith("205") else ""
    assert (data, faults, state) == (f"HTTP/1.1 {status}\r\n{own}\r\n".encode(), [], "OPEN")


def test_draining_worker_says_close() -> None:
    with Rig() as rig:
        rig.station.draining = True
        client = rig.client()
        answer = client.answer(get())
        assert answer.get("Connection") == "close"
        assert client.state == "LINGER"


def test_so_many_answers_say_close() -> None:
    """... of those that would not have said so anyway."""
    with Rig() as rig:
        rig.station.partings = 2
        asked = rig.client().answer(get("/", "Connection: close"))
        assert (asked.get("Connection"), rig.station.partings) == ("close", 2)
        leaving = [rig.client(), rig.client()]
        assert [client.answer(get()).get("Connection") for client in leaving] == ["close"] * 2
        staying = rig.client()
        assert staying.answer(get()).get("Connection") is None
        assert staying.answer(get()).get("Connection") is None
        assert rig.station.partings == 0


# --- wrong lengths ---


@pytest.mark.parametrize("result", [lambda: [b"bo", b"dy"], lambda: pieces(b"bo", b"dy"), lambda: [b"body"]])
def test_more_than_promised_is_held_back(result: Callable[[], Iterable[bytes]]) -> None:
    data, faults, state = outcome(lambda e, start: start("200 OK", [("Content-Length", "3")]) and result())
    assert data == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbod"
    assert [str(fault) for fault in faults] == ["the application gave more bytes than its Content-Length"]
    assert state == "OPEN"  # the answer is whole: the next request is answered


@pytest.mark.parametrize("result", [lambda: [b"bo"], lambda: pieces(b"bo"), list])
def test_less_than_promised_is_visible(result: Callable[[], Iterable[bytes]]) -> None:
    data, faults, state = outcome(lambda e, start: start("200 OK", [("Content-Length", "3")]) and result())
    assert [type(fault) for fault in faults] == [ValueError]
    assert not Answer(data).whole
    assert state == "CLOSED"


def test_bytes_whose_length_lies() -> None:
    """The octets count, not what __len__ says."""
    for result in ([Data(b"body")], [Data(b"bo"), b"dy"], pieces(Data(b"body"))):
        data, faults, state = outcome(answering("200 OK", [], result))
        assert faults == []
        assert Answer(data).body == b"body"
        assert state == "OPEN"


@pytest.mark.parametrize("bad", ["text", None, 7, bytearray(b"body"), memoryview(b"body"), ["x"]])
@pytest.mark.parametrize("kind", ["list", "second of list", "generator", "string"])
def test_chunks_are_bytes(bad: Any, kind: str) -> None:
    made: dict[str, Callable[[], Any]] = {
        "list": lambda: [bad],
        "second of list": lambda: [b"good", bad],
        "generator": lambda: pieces(bad),
        "string": lambda: "a string",
    }
    data, faults, _ = outcome(lambda e, start: start("200 OK", []) and made[kind]())
    assert [type(fault) for fault in faults] == [TypeError]
    assert Answer(data).status == 500


@pytest.mark.parametrize("result", [None, 7, object()])
def test_result_is_iterable(result: Any) -> None:
    data, faults, _ = outcome(answering("200 OK", [], result))
    assert [type(fault) for fault in faults] == [TypeError]
    assert Answer(data).status == 500
