"""What start_response takes: status line and headers, PEP 3333 and RFC 9110, one rule a row."""

from __future__ import annotations

from typing import Any

import pytest
from answers import answering, outcome
from harness import Answer, Rig, get

Headers = list[tuple[str, str]]


class Text(str):
    """A str of an application's own."""

    __slots__ = ()


# --- status line ---


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("200 OK", b"HTTP/1.1 200 OK\r\n"),
        ("200 ", b"HTTP/1.1 200 \r\n"),
        ("404 Not Found", b"HTTP/1.1 404 Not Found\r\n"),
        ("299 any words, any (signs)!", b"HTTP/1.1 299 any words, any (signs)!\r\n"),
        ("999 Far out", b"HTTP/1.1 999 Far out\r\n"),
        ("500 caf\xe9", b"HTTP/1.1 500 caf\xe9\r\n"),
        ("200 a\tb", b"HTTP/1.1 200 a\tb\r\n"),
        (Text("201 Created"), b"HTTP/1.1 201 Created\r\n"),
        ("200 " + "x" * 5000, b"HTTP/1.1 200 " + b"x" * 5000 + b"\r\n"),
    ],
)
def test_good_status(status: str, line: bytes) -> None:
    data, faults, state = outcome(answering(status, []))
    assert faults == []
    assert data == line + b"Content-Length: 4\r\n\r\nbody"
    assert state == "OPEN"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, TypeError),
        (None, TypeError),
        (b"200 OK", TypeError),
        ("", ValueError),
        ("200", ValueError),
        ("200OK", ValueError),
        ("20 OK", ValueError),
        ("2000 OK", ValueError),
        (" 200 OK", ValueError),
        ("+20 OK", ValueError),
        ("000 None", ValueError),
        ("099 Low", ValueError),
        ("100 Continue", ValueError),
        ("101 Switching Protocols", ValueError),
        ("199 Early", ValueError),
        ("200 O\rK", ValueError),
        ("200 O\nK", ValueError),
        ("200 O\0K", ValueError),
        ("200 O\x7fK", ValueError),
        ("200 \u20ac", ValueError),
        ("200 \ud800", ValueError),
        ("\u0662\u0660\u0660 OK", ValueError),
    ],
)
def test_bad_status(status: object, error: type[Exception]) -> None:
    data, faults, state = outcome(answering(status, []))
    assert [type(fault) for fault in faults] == [error]
    assert Answer(data).status == 500
    assert state == "LINGER"


# --- headers ---

GOOD_HEADERS: list[tuple[Headers, bytes]] = [
    ([], b""),
    ([("X", "y")], b"X: y\r\n"),
    ([("X", "")], b"X: \r\n"),
    ([("X", "a\tb")], b"X: a\tb\r\n"),
    ([("X", "caf\xe9 \xff\x80")], b"X: caf\xe9 \xff\x80\r\n"),
    ([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"),
    ([("!#$%&'*+-.^_`|~09azAZ", "v")], b"!#$%&'*+-.^_`|~09azAZ: v\r\n"),
    ([(Text("X-Name"), Text("v"))], b"X-Name: v\r\n"),
    ([("X", "v" * 100_000)], b"X: " + b"v" * 100_000 + b"\r\n"),
    (
        [(f"X-{n}", "v" * n) for n in range(300)],
        b"".join(b"X-%d: %b\r\n" % (n, b"v" * n) for n in range(300)),
    ),
]


@pytest.mark.parametrize(("headers", "lines"), GOOD_HEADERS, ids=range(len(GOOD_HEADERS)))
def test_good_headers(headers: Headers, lines: bytes) -> None:
    data, faults, state = outcome(answering("200 OK", headers))
    assert faults == []
    assert data == b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 4\r\n\r\nbody"
    assert state == "OPEN"


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        (None, TypeError),
        ((("X", "y"),), TypeError),
        ({"X": "y"}, TypeError),
        (iter([("X", "y")]), TypeError),
        ([["X", "y"]], TypeError),
        ([("X",)], TypeError),
        ([("X", "y", "z")], TypeError),
        (["Xy"], TypeError),
        ([None], TypeError),
        ([(b"X", "y")], TypeError),
        ([("X", b"y")], TypeError),
        ([("X", None)], TypeError),
        ([("X", 1)], TypeError),
        ([("", "y")], ValueError),
        ([("X ", "y")], ValueError),
        ([("X:", "y")], ValueError),
        ([("X Y", "y")], ValueError),
        ([("X\r\nY", "y")], ValueError),
        ([("X\0", "y")], ValueError),
        ([("caf\xe9", "y")], ValueError),
        ([("\u20ac", "y")], ValueError),
        ([("(X)", "y")], ValueError),
        *(([("X", f"a{chr(code)}b")], ValueError) for code in range(32) if chr(code) != "\t"),
        ([("X", "a\x7fb")], ValueError),
        ([("X", "0123456789abcdef\n")], ValueError),
        ([("X", "\r\nInjected: yes")], ValueError),
        ([("X", "\u20ac")], ValueError),
        ([("X", "\ud800")], ValueError),
        *(
            ([(name, "v")], ValueError)
            for name in (
                *("Connection", "connection", "KEEP-ALIVE", "Proxy-Authenticate", "Proxy-Authorization"),
                *("TE", "Trailer", "Trailers", "Transfer-Encoding", "Upgrade"),
            )
        ),
        ([("Content-Length", "4"), ("content-length", "4")], ValueError),
        *(
            ([("Content-Length", value)], ValueError)
            for value in ("", "x", "-1", "+4", "4.0", " 4", "4 ", "0x4", "1_0", "4, 4", "\xb2", "9" * 19)
        ),
    ],
)
def test_bad_headers(headers: object, error: type[Exception]) -> None:
    data, faults, state = outcome(answering("200 OK", headers))
    assert [type(fault) for fault in faults] == [error]
    answer = Answer(data)
    assert (answer.status, answer.rest) == (500, b"")
    assert b"Injected" not in data
    assert state == "LINGER"


def test_good_name_behind_one_that_was_refused() -> None:
    """What is remembered of a name is remembered of that name only."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for name in ("Connection", "X Y", "Connection", "X Y"):
            with pytest.raises(ValueError, match="start_response"):
                start_response("200 OK", [(name, "v")])
        start_response("200 OK", [("X", "v"), ("Date", "then"), ("Server", "mine")])
        return [b"body"]

    data, faults, _ = outcome(app, server="prefork")
    assert faults == []
    assert data == (b"HTTP/1.1 200 OK\r\nX: v\r\nDate: then\r\nServer: mine\r\nContent-Length: 4\r\n\r\nbody")


def test_names_are_told_apart_by_their_text() -> None:
    """Hundreds of names take each other's place in the table of names seen."""
    names = [f"X-{n}" for n in range(400)] + ["Connection", "Content-Length", "TE"]

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for _ in range(3):
            for name in names:
                fresh = "".join(list(name))
                if name in ("Connection", "TE"):
                    with pytest.raises(ValueError, match="hop-by-hop"):
                        start_response("200 OK", [(fresh, "1")])
                else:
                    start_response("200 OK", [(fresh, "1")], (ValueError, ValueError(), None))
        return [b"b"]

    data, faults, _ = outcome(app)
    assert len(faults) == 1  # the last one was refused, so there is no head
    assert Answer(data).status == 500


def test_list_may_change_after_the_call() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        headers = [("X", "y")]
        start_response("200 OK", headers)
        headers.append(("Y\r\n", "z"))
        headers.clear()
        return [b"body"]

    data, faults, _ = outcome(app)
    assert (data, faults) == (b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 4\r\n\r\nbody", [])


def test_server_and_date_are_the_servers_unless_given() -> None:
    with Rig(server="prefork") as rig:
        answer = rig.client().answer(get())
        assert answer.get("Server") == "prefork"
        assert answer.get("Date") is not None
