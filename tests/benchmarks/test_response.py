"""The client's reader of answers: bytes in; whole, cut short or malformed out."""

from __future__ import annotations

import pytest

from benchmarks.traffic.response import Answer, MalformedAnswer

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

# name, bytes, body, keeps alive
WHOLE = [
    ("length", HEAD + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
    ("empty", HEAD + b"Content-Length: 0\r\n\r\n", b"", True),
    ("close", HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\nok", b"ok", False),
    ("case of names", HEAD + b"CONTENT-LENGTH: 2\r\n\r\nok", b"ok", True),
    ("chunks", CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde", True),
    ("trailers", CHUNKED + b"A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n", b"0123456789", True),
    ("no content", b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    ("not modified", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", True),
    (
        "interim",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HEAD + b"Content-Length: 1\r\n\r\nx",
        b"x",
        True,
    ),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    (
        "HTTP/1.0 kept",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\nok",
        b"ok",
        True,
    ),
    ("no reason", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"", True),
]

MALFORMED = [
    ("not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n"),
    ("status", b"HTTP/1.1 OK\r\n\r\n"),
    ("version", b"HTTP/1.7 200 OK\r\n\r\n"),
    ("no colon", HEAD + b"Content-Length 5\r\n\r\n"),
    ("blank before colon", HEAD + b"Content-Length : 5\r\n\r\n"),
    ("length", HEAD + b"Content-Length: five\r\n\r\n"),
    ("chunk size", CHUNKED + b"xyz\r\n"),
    ("chunk size sign", CHUNKED + b"-1\r\n"),
    ("chunk too long", CHUNKED + b"2\r\nabc\r\n"),
    ("endless head", HEAD + b"X: " + b"x" * 70_000),
    ("endless line", CHUNKED + b"1" * 70_000),
]

CUT_SHORT = [
    ("in the head", HEAD + b"Content-Le"),
    ("in the body", HEAD + b"Content-Length: 5\r\n\r\nhell"),
    ("in a chunk", CHUNKED + b"5\r\nhel"),
    ("before the last chunk", CHUNKED + b"5\r\nhello\r\n"),
    ("before the end of the trailers", CHUNKED + b"0\r\n"),
]


def names(table: list[tuple[object, ...]]) -> list[str]:
    return [str(row[0]) for row in table]


@pytest.mark.parametrize(("name", "data", "body", "keeps"), WHOLE, ids=names(list(WHOLE)))
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_whole(name: str, data: bytes, body: bytes, keeps: bool, step: int) -> None:
    answer = Answer()
    for start in range(0, len(data), step):
        assert not answer.whole
        answer.feed(data[start : start + step])
    assert answer.whole
    assert bytes(answer.body) == body
    assert answer.keeps_alive is keeps
    assert answer.leftover == b""
    assert answer.interim == (name == "interim")


@pytest.mark.parametrize(("name", "data"), MALFORMED, ids=names(list(MALFORMED)))
@pytest.mark.parametrize("step", [1, 100_000])
def test_malformed(name: str, data: bytes, step: int) -> None:
    answer = Answer()
    step = max(step, len(data) // 1000)
    with pytest.raises(MalformedAnswer):
        for start in range(0, len(data), step):
            answer.feed(data[start : start + step])


@pytest.mark.parametrize(("name", "data"), CUT_SHORT, ids=names(list(CUT_SHORT)))
def test_cut_short_is_not_whole(name: str, data: bytes) -> None:
    answer = Answer()
    answer.feed(data)
    assert not answer.eof()
    assert not answer.whole


def test_the_end_of_the_connection_ends_a_body_without_length() -> None:
    answer = Answer()
    answer.feed(HEAD + b"\r\nall of ")
    answer.feed(b"it")
    assert not answer.whole
    assert not answer.keeps_alive
    assert answer.eof()
    assert answer.body == b"all of it"


def test_bytes_after_the_end_are_kept_apart() -> None:
    answer = Answer()
    answer.feed(HEAD + b"Content-Length: 2\r\n\r\nokHTTP/1.1 500")
    assert answer.whole
    assert answer.body == b"ok"
    assert answer.leftover == b"HTTP/1.1 500"


def test_an_answer_to_head_has_no_body() -> None:
    answer = Answer(head_only=True)
    answer.feed(HEAD + b"Content-Length: 5\r\n\r\n")
    assert answer.whole
    assert answer.keeps_alive
