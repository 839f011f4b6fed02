"""The order of calls, write(), early hints, and callables that an application has kept (PEP 3333)."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from answers import outcome, pieces
from harness import Answer, Rig, get, undated

from prefork.engine.response import FileWrapper, Response

GET_10 = get(version="1.0")

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


def test_empty_exc_info_cannot_replace_what_was_sent() -> None:
    """sys.exc_info() outside of an except clause."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        start_response("500 No", [], (None, None, None))

    data, faults, _ = outcome(app)
    assert [str(fault) for fault in faults] == [
        "start_response called with an empty exc_info after the head was sent"
    ]
    assert not Answer(data).whole


@pytest.mark.parametrize("none", [None, (), False])
def test_no_exc_info_is_whatever_is_false(none: Any) -> None:
    """As in the example of PEP 3333."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [], none)
        with pytest.raises(AssertionError, match="second time"):
            start_response("404 Not Found", [], none)
        return [b"body"]

    data, faults, _ = outcome(app)
    assert (Answer(data).status, faults) == (200, [])


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


def test_write_behind_the_end() -> None:
    """No client has left."""

    class Late:
        def __init__(self, write: Any) -> None:
            self.write = write

        def __iter__(self) -> Iterator[bytes]:
            return iter([b"body"])

        def close(self) -> None:
            self.write(b"late")

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", [("Content-Length", "4")])
        if environ["PATH_INFO"] == "/close":
            return Late(write)
        with pytest.raises(ValueError, match="more bytes"):
            write(b"body and more")
        write(b"yet more")
        return []

    for target in ("/close", "/long"):
        data, faults, state = outcome(app, get(target))
        assert data == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
        assert [(type(fault), str(fault)) for fault in faults] == [
            (ValueError, "write called after the end of the response")
        ]
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

HUGE = [("Link", "x" * 1000)] * 70  # more than a head may have that a client sends


def test_hints_do_not_run_ahead_of_the_client() -> None:
    """What the client does not take is held up to the limit of a response, then the application waits."""
    held: list[int] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for number in range(200):
            environ["wsgi.early_hints"]([("Link", f"<{number}>" + "x" * 1000)])
        start_response("200 OK", [])
        return [b"body"]

    def wait_writable(connection: Any, deadline: int) -> bool:
        held.append(len(got))
        got.append(client.take())
        return True

    got: list[bytes] = []
    with Rig(app, response_limit=10_000) as rig:
        rig.station.wait_writable = wait_writable
        client = rig.client()
        client.narrow()
        client.send(get())
        while True:
            rig.turns()
            got.append(client.take())
            if not got[-1]:
                break
        data = b"".join(got)
        assert rig.faults == []
    assert len(held) > 10
    assert [f"<{number}>".encode() in data for number in range(200)] == [True] * 200
    assert data.endswith(b"\r\n\r\nbody")


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
    [[("Link", "a\nb")], [("Connection", "close")], [("Content-Length", "4")], [("X",)], [("X", 1)], HUGE],
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
