"""start_response, write and what goes out by it: PEP 3333 and RFC 9110/9112, one rule a row."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from harness import Answer, Rig, get, undated

from prefork.engine.response import FileWrapper, Response

Headers = list[tuple[str, str]]


class Text(str):
    """A str of an application's own."""

    __slots__ = ()


class Data(bytes):
    """A bytes of an application's own, whose length lies."""

    def __len__(self) -> int:
        return 1


def answering(status: object, headers: object, result: Iterable[bytes] = (b"body",)) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, headers)
        return result

    return app


def outcome(app: Any, data: bytes = b"", **options: Any) -> tuple[bytes, list[BaseException], str]:
    """What the client reads (without Date), what the server was told, the connection's state then."""
    with Rig(app, **options) as rig:
        client = rig.client()
        return undated(client.ask(data or get())), [fault for _, fault in rig.faults], client.state


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


# --- framing ---


def pieces(*data: bytes) -> Iterator[bytes]:
    yield from data


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
    "205": ("205 Reset Content", [], list, get(), b"Content-Length: 0\r\n", b"", KEPT),
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


def test_draining_worker_says_close() -> None:
    with Rig() as rig:
        rig.station.draining = True
        client = rig.client()
        answer = client.answer(get())
        assert answer.get("Connection") == "close"
        assert client.state == "LINGER"


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


# --- the order of calls ---


def test_no_start_response_at_all() -> None:
    for result in ([], [b"body"], pieces(), pieces(b"body")):
        data, faults, _ = outcome(lambda e, start, result=result: result)
        assert [type(fault) for fault in faults] == [AssertionError]
        assert Answer(data).status == 500


def test_generator_may_start_late() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("202 Accepted", [])
        yield b"late"

    data, faults, _ = outcome(app)
    assert faults == []
    assert Answer(data).status == 202


def test_second_call_needs_exc_info() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X", "first")])
        with pytest.raises(AssertionError, match="second time"):
            start_response("404 Not Found", [])
        return [b"body"]

    data, faults, _ = outcome(app)
    assert (data, faults) == (b"HTTP/1.1 200 OK\r\nX: first\r\nContent-Length: 4\r\n\r\nbody", [])


def test_exc_info_replaces_what_was_not_sent() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "9"), ("Date", "x"), ("Server", "y")])
        try:
            raise ValueError
        except ValueError:
            start_response("503 Busy", [("X", "second")], sys.exc_info())
        return [b"body"]

    data, faults, _ = outcome(app, server="s")
    assert faults == []
    assert data == b"HTTP/1.1 503 Busy\r\nX: second\r\nContent-Length: 4\r\nServer: s\r\n\r\nbody"


def test_exc_info_is_raised_again_once_the_head_is_sent() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        try:
            raise KeyError("cause")
        except KeyError:
            start_response("500 No", [], sys.exc_info())
        yield b"never"

    data, faults, state = outcome(app)
    assert [repr(fault) for fault in faults] == ["KeyError('cause')"]
    answer = Answer(data)
    assert (answer.status, answer.body, answer.whole, state) == (200, b"begun", False, "CLOSED")


def test_empty_chunks_do_not_send_the_head() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b""
        try:
            raise KeyError
        except KeyError:
            start_response("500 No", [], sys.exc_info())
        yield b"body"

    data, faults, _ = outcome(app)
    assert faults == []
    assert Answer(data).status == 500


def test_refused_start_leaves_room_for_another() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with pytest.raises(ValueError, match="control"):
            start_response("200 OK", [("Good", "1"), ("X", "\n")])
        start_response("404 Not Found", [("Y", "z")])
        return [b"body"]

    data, faults, _ = outcome(app)
    assert (data, faults) == (b"HTTP/1.1 404 Not Found\r\nY: z\r\nContent-Length: 4\r\n\r\nbody", [])


# --- write() ---


def test_write_sends_at_once_and_mixes_with_the_result() -> None:
    got: list[bytes] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"one")
        got.append(undated(client.take()))
        write(b"")
        write(b"two")
        got.append(client.take())
        return [b"three"]

    with Rig(app) as rig:
        client = rig.client()
        got.append(client.ask(get()))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert got == [head + b"3\r\none\r\n", b"3\r\ntwo\r\n", b"5\r\nthree\r\n0\r\n\r\n"]


def test_write_keeps_to_the_length() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", "5")])
        write(b"one")
        with pytest.raises(ValueError, match="more bytes"):
            write(b"two")
        return []

    data, faults, state = outcome(app)
    assert (data, faults) == (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nonetw", [])
    assert state == "OPEN"


@pytest.mark.parametrize("bad", ["text", None, bytearray(b"x")])
def test_write_takes_bytes(bad: Any) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with pytest.raises(TypeError):
            start_response("200 OK", [])(bad)
        return [b"body"]

    data, faults, _ = outcome(app)
    assert (Answer(data).body, faults) == (b"body", [])


def test_write_with_head_and_without_body() -> None:
    for status, method in (("200 OK", "HEAD"), ("204 No Content", "GET"), ("304 Not Modified", "GET")):

        def app(environ: dict[str, Any], start_response: Any, status: str = status) -> list[bytes]:
            start_response(status, [])(b"not to be seen")
            return [b"nor this"]

        data, faults, state = outcome(app, get(method=method))
        assert (data, faults) == (f"HTTP/1.1 {status}\r\n\r\n".encode(), [])
        assert state == "OPEN"


# --- after the request ---


class Keeper:
    """An application that keeps what it was given."""

    def __init__(self) -> None:
        self.kept: list[tuple[Any, Any, Any, dict[str, Any]]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        self.kept.append((start_response, write, environ["wsgi.early_hints"], environ))
        return [str(len(self.kept)).encode()]


def test_kept_callables_raise_and_reach_nobody() -> None:
    app = Keeper()
    with Rig(app) as rig:
        client = rig.client()
        for number in range(1, 4):
            assert client.answer(get()).body == str(number).encode()
            for start_response, write, hints, environ in app.kept:
                with pytest.raises(AssertionError, match="after the request was over"):
                    start_response("200 OK", [("X", "y")])
                with pytest.raises(AssertionError, match="after the request was over"):
                    write(b"data")
                with pytest.raises(AssertionError, match="after the request was over"):
                    hints([("Link", "x")])
                assert environ["wsgi.early_hints"] is hints
            assert client.take() == b""
        assert len({id(kept[0].__self__) for kept in app.kept}) == 3


def test_kept_callables_of_another_request_raise_while_one_runs() -> None:
    kept: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if kept:
            with pytest.raises(AssertionError, match="after the request was over"):
                kept[0]("404 Not Found", [])
        kept.append(start_response)
        start_response("200 OK", [])
        return [b"body"]

    with Rig(app) as rig:
        client = rig.client()
        assert [client.answer(get()).status for _ in range(3)] == [200] * 3
        assert rig.faults == []


def test_unkept_response_is_used_again() -> None:
    seen: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        seen.append(id(start_response.__self__))
        return [b"body"]

    with Rig(app) as rig:
        client = rig.client()
        for _ in range(10):
            client.answer(get())
    assert len(set(seen)) == 1


def responses() -> int:
    return sum(type(each) is Response for each in gc.get_objects())


@pytest.mark.parametrize("size", [10, 7_000, 9_000, 200_000])
def test_responses_are_no_work_for_the_collector(size: int) -> None:
    """Applications that switch the collector off must not leak, whatever the size of their heads."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"]([("Link", "</x>")])
        start_response("200 OK", [("X", "v" * size)])
        return [b"body"]

    with Rig(app) as rig:
        client = rig.client()
        gc.collect()
        gc.disable()
        try:
            client.ask(get())
            before = responses()
            for _ in range(20):
                client.ask(get())
            assert responses() <= before
        finally:
            gc.enable()


def test_kept_callables_are_freed_by_counting_alone() -> None:
    app = Keeper()
    with Rig(app) as rig:
        client = rig.client()
        client.answer(get())
        gc.collect()
        gc.disable()
        try:
            before = responses()
            for _ in range(20):
                client.answer(get())
                app.kept.clear()
            assert responses() <= before
        finally:
            gc.enable()


# --- early hints ---


def test_hints_go_before_the_head() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload"), ("Link", "</b.js>")])
        environ["wsgi.early_hints"]([("X", "y")])
        start_response("200 OK", [])
        environ["wsgi.early_hints"]([("Link", "</c.css>")])
        return [b"body"]

    data, faults, _ = outcome(app)
    assert faults == []
    assert data == (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </c.css>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
    )


def test_hints_are_left_out_for_1_0_and_behind_the_head() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        if environ["SERVER_PROTOCOL"] == "HTTP/1.0":
            environ["wsgi.early_hints"]([("Link", "x")])
        start_response("200 OK", [("Content-Length", "8")])
        yield b"body"
        environ["wsgi.early_hints"]([("Link", "x")])
        yield b"more"

    for request in (get(), GET_10):
        data, faults, _ = outcome(app, request)
        assert faults == []
        assert b"103" not in data
        assert data.endswith(b"\r\n\r\nbodymore")


@pytest.mark.parametrize(
    "headers",
    [[("Link", "a\nb")], [("Connection", "close")], [("Content-Length", "4")], [("X",)], [("X", 1)]],
)
def test_bad_hints_are_refused(headers: Any) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with pytest.raises((ValueError, TypeError)):
            environ["wsgi.early_hints"](headers)
        start_response("200 OK", [])
        return [b"body"]

    data, faults, _ = outcome(app)
    assert (Answer(data).status, faults) == (200, [])


# --- FileWrapper as an object ---


class Filelike:
    def __init__(self, *blocks: Any) -> None:
        self.blocks = list(blocks)
        self.asked: list[int] = []
        self.closed = 0

    def read(self, size: int) -> Any:
        self.asked.append(size)
        return self.blocks.pop(0) if self.blocks else b""

    def close(self) -> None:
        self.closed += 1


def test_wrapper_reads_blocks_and_closes() -> None:
    source = Filelike(b"one", b"two")
    wrapper = FileWrapper(source, 3)
    assert list(wrapper) == [b"one", b"two"]
    assert source.asked == [3, 3, 3]
    wrapper.close()
    assert source.closed == 1
    assert FileWrapper(source).block_size == 8192


def test_wrapper_of_what_cannot_be_closed() -> None:
    class Bare:
        def read(self, size: int) -> bytes:
            return b""

    wrapper = FileWrapper(Bare())
    wrapper.close()
    assert list(wrapper) == []
