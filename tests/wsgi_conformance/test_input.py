"""wsgi.input (PEP 3333, "Input and Error Streams"): a file that ends where the body ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rawclient import chunked

LINES = b"one\ntwo\n\nlast without an end"

# name -> (steps, expected)
STEPS: dict[str, tuple[str, list[Any]]] = {
    "read all, then nothing": ("read,read,read-5", [LINES.decode(), "", ""]),
    "read(-1)": ("read-minus,read", [LINES.decode(), ""]),
    "read(None)": ("read-none,read", [LINES.decode(), ""]),
    "read(n) in turn": ("read-5,read-5,read", ["one\nt", "wo\n\nl", "ast without an end"]),
    "read(0)": ("read-0,read-5", ["", "one\nt"]),
    "read beyond the end": ("read-huge,read-huge", [LINES.decode(), ""]),
    "readline": (
        "readline,readline,readline,readline,readline",
        ["one\n", "two\n", "\n", "last without an end", ""],
    ),
    "readline(size)": ("readline-4,readline-4,readline-4,readline-4", ["one\n", "two\n", "\n", "last"]),
    "readlines": ("readlines,readlines", [["one\n", "two\n", "\n", "last without an end"], []]),
    "readlines(hint)": ("readlines-1,readline", [["one\n"], "two\n"]),
    "iteration": ("iterate,iterate", [["one\n", "two\n", "\n", "last without an end"], []]),
    "next": ("next,read", ["one\n", "two\n\nlast without an end"]),
    "mixed": ("readline,read-5,readlines", ["one\n", "two\n\n", ["last without an end"]]),
}


@pytest.mark.parametrize("framing", ["length", "chunked", "spooled", "spooled chunked"])
@pytest.mark.parametrize("name", STEPS)
def test_reads(cases: Any, name: str, framing: str) -> None:
    """The same file whichever way the body came and wherever it is kept."""
    steps, expected = STEPS[name]
    body = LINES
    if framing.startswith("spooled"):  # past body_memory_limit: a temporary file
        padding = b"p" * 600_000 + b"\n"
        steps, expected, body = f"readline,{steps}", ["p" * 600_000 + "\n", *expected], padding + LINES
    with cases.server.connect() as client:
        if framing.endswith("chunked"):
            body = chunked(body[:3], body[3:4], body[4:])
            answer = client.request("POST", f"/reads?do={steps}", ("Transfer-Encoding", "chunked"), body=body)
        else:
            answer = client.request("POST", f"/reads?do={steps}", body=body)
        assert json.loads(answer.body) == expected
        assert client.request("GET", "/hello").body == b"Hello, World!"


@pytest.mark.parametrize("fields", [(), (("Content-Length", "0"),)])
def test_no_body(cases: Any, fields: tuple[tuple[str, str], ...]) -> None:
    answer = cases.server.request("POST", "/reads?do=read,readline,readlines,iterate,read-5", *fields)
    assert json.loads(answer.body) == ["", "", [], [], ""]


@pytest.mark.parametrize("size", [1, 65_535, 262_144, 262_145, 5_000_000])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_sizes(cases: Any, size: int, coding: str) -> None:
    """CONTENT_LENGTH is known for chunked bodies too: they are complete by then (DESIGN 4)."""
    body = b"b" * size
    with cases.server.connect() as client:
        if coding == "chunked":
            pieces = [body[at : at + 70_001] for at in range(0, size, 70_001)]
            answer = client.request("PUT", "/sum", ("Transfer-Encoding", "chunked"), body=chunked(*pieces))
        else:
            answer = client.request("PUT", "/sum", body=body)
        assert json.loads(answer.body) == [size, str(size), True]
        assert client.request("GET", "/hello").body == b"Hello, World!"


@pytest.mark.parametrize("size", [10, 400_000])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_body_that_nobody_reads(cases: Any, size: int, coding: str) -> None:
    """RFC 9112 9.3: the body is read before the next request, whatever the application did with it."""
    body = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n".ljust(size, b"b")
    fields = [] if coding == "length" else [("Transfer-Encoding", "chunked")]
    with cases.server.connect() as client:
        for _ in range(2):
            answer = client.request(
                "POST", "/ignore-body", *fields, body=body if coding == "length" else chunked(body)
            )
            assert answer.body == b"ignored"
        assert client.request("GET", "/hello").body == b"Hello, World!"


def test_body_of_a_get(cases: Any) -> None:
    """RFC 9110 9.3.1: no meaning, but framed all the same."""
    assert cases.server.request("GET", "/echo", body=b"body").body == b"GET /echo body"


def test_chunk_boundaries_are_invisible(cases: Any) -> None:
    with cases.server.connect() as client:
        body = chunked(*(bytes([65 + index % 26]) for index in range(1000)))
        answer = client.request("POST", "/echo", ("Transfer-Encoding", "chunked"), body=body)
        assert answer.body == b"POST /echo " + bytes(65 + index % 26 for index in range(1000))


def test_trailers_are_not_the_applications(cases: Any) -> None:
    """RFC 9110 6.5.1: trailers are dropped unless their meaning is known; they are no part of the body."""
    with cases.server.connect() as client:
        body = chunked(b"body", last=b"0\r\nX-Trailer: evil\r\n\r\n")
        answer = client.request("POST", "/echo", ("Transfer-Encoding", "chunked"), body=body)
        assert answer.body == b"POST /echo body"
        assert client.request("GET", "/hello").body == b"Hello, World!"
