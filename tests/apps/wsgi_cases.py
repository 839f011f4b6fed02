"""Small WSGI applications, one for each rule of PEP 3333 that a server can get wrong.

`application` picks one by the first segment of PATH_INFO; the rest of the path is a token by which the test
finds its own traces. A case that returns `Watched` counts each close() and says "closed TOKEN" to the test;
/closes-of/TOKEN answers with the count, so that "exactly once" can be asked after the fact.
"""

from __future__ import annotations

import io
import json
import os
import posix
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from testevents import say

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

TEXT = [("Content-Type", "text/plain")]
CASES: dict[str, App] = {}
closes: dict[str, int] = {}
iterations: dict[str, int] = {}


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Run the case that the path names."""
    name = environ["PATH_INFO"].split("/")[1] if environ["PATH_INFO"].startswith("/") else ""
    return CASES.get(name, unknown)(environ, start_response)


def case(app: App) -> App:
    CASES[app.__name__.replace("_", "-")] = app
    return app


def token(environ: Environ) -> str:
    return str(environ["PATH_INFO"].split("/", 2)[2])


def query(environ: Environ) -> dict[str, str]:
    return {
        key: values[0] for key, values in parse_qs(environ["QUERY_STRING"], keep_blank_values=True).items()
    }


class Watched:
    """An iterable that counts its close() and its steps."""

    def __init__(self, environ: Environ, chunks: Iterable[Any]) -> None:
        self.token = token(environ)
        self.chunks = iter(chunks)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        iterations[self.token] = iterations.get(self.token, 0) + 1
        return next(self.chunks)

    def close(self) -> None:
        closes[self.token] = closes.get(self.token, 0) + 1
        say(f"closed {self.token}")


def answer(
    start_response: StartResponse, body: bytes, status: str = "200 OK", *fields: tuple[str, str]
) -> list[bytes]:
    start_response(status, [*TEXT, ("Content-Length", str(len(body))), *fields])
    return [body]


def unknown(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, b"no such case: " + repr(environ["PATH_INFO"]).encode(), "404 Not Found")


# What the server tells the application


@case
def environ(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The environ as JSON: key -> [name of the exact type, value where JSON has one]."""
    shown = {}
    for key, value in environ.items():
        plain = (
            value if type(value) in (str, int, bool, float) else list(value) if type(value) is tuple else None
        )
        shown[key] = [type(value).__name__, plain]
    about = {
        "type": type(environ).__name__,
        "keys": sorted({type(key).__name__ for key in environ}),
        "environ": shown,
    }
    return answer(start_response, json.dumps(about).encode())


@case
def modify_environ(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Says what an earlier request left in environ, then leaves something itself."""
    found = environ.get("left.behind", "nothing")
    environ["left.behind"] = "something"
    environ["wsgi.version"] = None
    environ.pop("SERVER_NAME", None)
    return answer(start_response, str(found).encode())


@case
def errors(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    stream = environ["wsgi.errors"]
    stream.write(f"written {token(environ)}\n")
    stream.writelines([f"lines {token(environ)}\n", f"unicode {token(environ)} é\n"])
    stream.flush()
    return answer(start_response, b"ok")


@case
def where(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return answer(
        start_response, json.dumps({"pid": os.getpid(), "thread": threading.get_native_id()}).encode()
    )


@case
def closes_of(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, str(closes.get(token(environ), 0)).encode())


@case
def iterations_of(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, str(iterations.get(token(environ), 0)).encode())


# Ordinary answers


@case
def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return answer(start_response, b"Hello, World!")


@case
def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The method, the target as received and the body."""
    body = environ["wsgi.input"].read()
    return answer(start_response, f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} ".encode() + body)


@case
def sized(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """?n=bytes, in chunks of ?chunk=bytes, with a length unless ?length=no."""
    asked = query(environ)
    size, step = int(asked["n"]), int(asked.get("chunk", "65536"))
    fields = list(TEXT)
    if asked.get("length") != "no":
        fields.append(("Content-Length", str(size)))
    start_response("200 OK", fields)
    return (b"x" * min(step, size - start) for start in range(0, size, step))


@case
def reply(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Status ?status, fields ?f.NAME=value, body ?body (one chunk a comma), watched."""
    asked = query(environ)
    fields = [(key[2:], value) for key, value in asked.items() if key.startswith("f.")]
    start_response(asked.get("status", "200 OK"), fields)
    return Watched(environ, [part.encode() for part in asked.get("body", "").split(",")])


@case
def late(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """start_response inside a generator, at the first step (PEP 3333, "The Application Side")."""
    start_response("200 OK", list(TEXT))
    yield b"late"


@case
def nothing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return Watched(environ, [])


@case
def empty_list(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return []


@case
def empty_chunks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Empty byte strings before, between and behind: none of them may end a chunked body."""
    start_response("200 OK", list(TEXT))
    return Watched(environ, [b"", b"", b"one", b"", b"two", b"", b""])


@case
def only_empty_chunks(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return Watched(environ, [b"", b"", b""])


@case
def tuple_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return (b"a", b"tuple")


@case
def one_chunk(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """No length and a list of one: the server may count (PEP 3333, "Handling the Content-Length Header")."""
    start_response("200 OK", list(TEXT))
    return [b"counted"]


@case
def stepwise(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Each chunk waits for the test's word (a byte in a FIFO), so the one before has to be on its way."""
    fifo = query(environ)["fifo"]
    start_response("200 OK", list(TEXT))
    yield b"first"
    with open(fifo, "rb") as words:  # noqa: PTH123
        words.read(1)
    yield b"second"


@case
def hold(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Says that it runs, then holds its worker until the test writes to the FIFO."""
    say(f"holding {token(environ)}")
    with open(query(environ)["fifo"], "rb") as words:  # noqa: PTH123
        words.read(1)
    return answer(start_response, b"held")


@case
def slow(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(float(query(environ)["seconds"]))
    return answer(start_response, b"slow")


# write()


@case
def write(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    writer = start_response("200 OK", list(TEXT))
    writer(b"written ")
    writer(b"twice ")
    return Watched(environ, [b"and ", b"returned"])


@case
def write_only(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    writer = start_response("200 OK", [*TEXT, ("Content-Length", "7")])
    writer(b"written")
    return []


@case
def write_empty(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """An empty write sends nothing, so the headers may still be replaced."""
    writer = start_response("200 OK", list(TEXT))
    writer(b"")
    try:
        raise ValueError("seen")
    except ValueError:
        start_response("500 Replaced", list(TEXT), sys.exc_info())
    return [b"replaced"]


@case
def write_text(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    writer = start_response("200 OK", list(TEXT))
    writer("no bytes")  # type: ignore[arg-type]
    return []


@case
def write_too_much(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    writer = start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    writer(b"four, and more")
    return []


# start_response and exc_info


@case
def never_started(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return Watched(environ, [b"a body without a status"])


@case
def never_started_empty(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return Watched(environ, [])


@case
def started_twice(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A second call without exc_info is a fatal error (PEP 3333, "The start_response() Callable")."""
    start_response("200 OK", list(TEXT))
    start_response("200 OK", list(TEXT))
    return [b"never"]


@case
def exc_info_before(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Headers not sent yet: replaced."""
    start_response("200 OK", [*TEXT, ("X-First", "1"), ("Content-Length", "5")])
    try:
        raise ValueError("seen")
    except ValueError:
        start_response("500 Replaced", [*TEXT, ("X-Second", "1")], sys.exc_info())
    return Watched(environ, [b"replaced"])


@case
def exc_info_after_empty(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """An empty chunk does not send the headers (PEP 3333: only a non-empty one does)."""
    start_response("200 OK", list(TEXT))
    yield b""
    try:
        raise ValueError("seen")
    except ValueError:
        start_response("500 Replaced", list(TEXT), sys.exc_info())
    yield b"replaced"


@case
def exc_info_after(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Headers sent: start_response has to raise the exception that it is given."""
    start_response("200 OK", list(TEXT))
    yield b"sent"
    try:
        raise KeyError(f"mine {token(environ)}")
    except KeyError:
        try:
            start_response("500 Too Late", list(TEXT), sys.exc_info())
        except KeyError as error:
            say(f"raised {error.args[0]}")
            raise
    say("not raised")


@case
def exc_info_first(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """exc_info on the first call is allowed."""
    try:
        raise ValueError("seen")
    except ValueError:
        start_response("500 Only", list(TEXT), sys.exc_info())
    return [b"only"]


@case
def keyword(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """exc_info by its name, as wsgiref and several frameworks call it."""
    start_response("200 OK", list(TEXT), exc_info=None)
    return [b"keyword"]


@case
def raises(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise RuntimeError(f"deliberate {token(environ)}")


@case
def raises_base(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise SystemExit(f"deliberate {token(environ)}")


@case
def raises_started(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    raise RuntimeError(f"deliberate {token(environ)}")


@case
def raises_before_chunk(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))

    def chunks() -> Iterator[bytes]:
        raise RuntimeError(f"deliberate {token(environ)}")
        yield b""

    return Watched(environ, chunks())


@case
def raises_after_chunk(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    asked = query(environ)
    start_response("200 OK", [*TEXT, *([("Content-Length", asked["length"])] if "length" in asked else [])])

    def chunks() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError(f"deliberate {token(environ)}")

    return Watched(environ, chunks())


@case
def close_raises(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "4")])

    class Bad(Watched):
        def close(self) -> None:
            super().close()
            raise RuntimeError(f"deliberate {token(environ)}")

    return Bad(environ, [b"body"])


# Wrong types and characters: ?what names one of these

WRONG_STATUS: dict[str, Any] = {
    "bytes": b"200 OK",
    "int": 200,
    "none": None,
    "empty": "",
    "two-digits": "20 OK",
    "four-digits": "2000 OK",
    "words": "OK 200",
    "leading-space": " 200 OK",
    "sign": "+20 OK",
    "no-space": "200OK",
    "crlf": "200 OK\r\nX-Injected: yes",
    "lf": "200 OK\nX-Injected: yes",
    "cr": "200 OK\rX-Injected: yes",
    "nul": "200 O\0K",
    "beyond-latin-1": "200 \u2603",
    "099": "099 Low",
    "unicode-digits": "\u0662\u0660\u0660 OK",
}

WRONG_FIELDS: dict[str, Any] = {
    "none": None,
    "dict": {"X-A": "1"},
    "tuple": (("X-A", "1"),),
    "iterator": iter([("X-A", "1")]),
    "list-pairs": [["X-A", "1"]],
    "triple": [("X-A", "1", "2")],
    "single": [("X-A",)],
    "bare-str": ["X-A: 1"],
    "bytes-name": [(b"X-A", "1")],
    "bytes-value": [("X-A", b"1")],
    "int-value": [("Content-Length", 5)],
    "none-value": [("X-A", None)],
    "empty-name": [("", "1")],
    "space-in-name": [("X A", "1")],
    "colon-in-name": [("X-A:", "1")],
    "crlf-in-name": [("X-A\r\nX-Injected", "yes")],
    "non-ascii-name": [("X-\u00e9", "1")],
    "crlf-in-value": [("X-A", "1\r\nX-Injected: yes")],
    "lf-in-value": [("X-A", "1\nX-Injected: yes")],
    "cr-in-value": [("X-A", "1\rX-Injected: yes")],
    "nul-in-value": [("X-A", "1\0")],
    "control-in-value": [("X-A", "1\x01")],
    "beyond-latin-1": [("X-A", "\u2603")],
    "folded-value": [("X-A", "1\r\n folded")],
    "length-twice": [("Content-Length", "5"), ("Content-Length", "5")],
    "length-words": [("Content-Length", "five")],
    "length-negative": [("Content-Length", "-5")],
    "length-plus": [("Content-Length", "+5")],
    "length-empty": [("Content-Length", "")],
    "length-list": [("Content-Length", "5, 5")],
    "length-unicode-digit": [("Content-Length", "\u00b2")],
    "connection": [("Connection", "close")],
    "keep-alive": [("Keep-Alive", "timeout=5")],
    "proxy-authenticate": [("Proxy-Authenticate", "Basic")],
    "proxy-authorization": [("Proxy-Authorization", "Basic")],
    "te": [("TE", "trailers")],
    "trailer": [("Trailer", "X-A")],
    "transfer-encoding": [("Transfer-Encoding", "chunked")],
    "upgrade": [("Upgrade", "websocket")],
    "lower-transfer-encoding": [("transfer-encoding", "gzip")],
}


class StrSubclass(str):
    """PEP 3333: strings passed to the server "must be of type str", subclasses are for apps only."""


@case
def wrong_status(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response(WRONG_STATUS[query(environ)["what"]], list(TEXT))
    return [b"never"]


@case
def wrong_fields(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    what = query(environ)["what"]
    fields = WRONG_FIELDS[what]
    start_response("200 OK", iter([("X-A", "1")]) if what == "iterator" else fields)
    return [b"never"]


@case
def caught_wrong_fields(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The error is raised at the call (PEP 3333), so an application can catch it and answer otherwise."""
    try:
        start_response("200 OK", [("X-A", "1\r\nX-Injected: yes")])
    except Exception:
        start_response("200 OK", [("X-Caught", "yes")], sys.exc_info())
    return [b"caught"]


WRONG_BODIES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "int": lambda: 5,
    "str": lambda: "text",
    "str-chunks": lambda: ["text"],
    "none-chunk": lambda: [None],
    "int-chunk": lambda: [5],
    "bytes-itself": lambda: b"iterates to integers",
}


@case
def wrong_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return WRONG_BODIES[query(environ)["what"]]()  # type: ignore[no-any-return]


@case
def wrong_second_chunk(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(TEXT))
    return Watched(environ, [b"bytes", "text"])


# Lengths


@case
def too_short(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Less body than the length promised: the client has to see it."""
    start_response("200 OK", [*TEXT, ("Content-Length", "100")])
    return Watched(environ, [b"ten bytes!", b"ten more!!"])


@case
def too_short_empty(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "100")])
    return Watched(environ, [])


@case
def too_long(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """More body than the length: the rest must not reach the client (PEP 3333)."""
    start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    return Watched(environ, [b"ten bytes!", b"HTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n"])


@case
def too_long_one_chunk(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    return Watched(environ, [b"ten bytes!HTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n"])


@case
def endless(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Never ends by itself: only a client that leaves ends it."""
    start_response("200 OK", list(TEXT))

    def chunks() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    return Watched(environ, chunks())


# wsgi.file_wrapper


class NoFile:
    """An object with read() and close() but no descriptor: "file-like" as PEP 3333 means it."""

    def __init__(self, environ: Environ, data: bytes) -> None:
        self.token = token(environ)
        self.data = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self.data.read(size)

    def close(self) -> None:
        closes[self.token] = closes.get(self.token, 0) + 1
        say(f"closed {self.token}")


class RealFile(io.FileIO):
    """A file with a descriptor that tells of its close()."""

    token = ""

    def close(self) -> None:
        if not self.closed and self.token:
            closes[self.token] = closes.get(self.token, 0) + 1
            say(f"closed {self.token}")
        super().close()


@case
def file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """?size of the file, read from ?offset, ?length promised (default none), ?kind real or like."""
    asked = query(environ)
    size, offset = int(asked["size"]), int(asked.get("offset", "0"))
    data = bytes(index % 251 for index in range(251)) * (size // 251 + 1)
    if asked.get("kind") == "like":
        source: Any = NoFile(environ, data[:size])
        source.data.seek(offset)
    else:
        with tempfile.NamedTemporaryFile(delete=False) as made:
            made.write(data[:size])
        source = RealFile(made.name, "rb")
        os.unlink(made.name)  # noqa: PTH108
        source.token = token(environ)
        source.seek(offset)
    fields = list(TEXT)
    if "length" in asked:
        fields.append(("Content-Length", asked["length"]))
    start_response(asked.get("status", "200 OK"), fields)
    wrapped = environ["wsgi.file_wrapper"](source, int(asked.get("block", "8192")))
    if asked.get("iterate") == "yes":  # as a middleware would: the wrapper is an iterable like any other

        def chunks() -> Iterator[bytes]:
            try:
                yield from wrapped
            finally:
                wrapped.close()

        return chunks()
    return wrapped  # type: ignore[no-any-return]


@case
def file_no_close(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A file-like object without close(): the wrapper has none to call."""

    class Bare:
        def __init__(self) -> None:
            self.left = [b"bare", b""]

        def read(self, size: int) -> bytes:
            return self.left.pop(0)

    start_response("200 OK", list(TEXT))
    return environ["wsgi.file_wrapper"](Bare())  # type: ignore[no-any-return]


@case
def file_write_first(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """write() before a file: the written bytes go first."""
    writer = start_response("200 OK", list(TEXT))
    writer(b"written, then ")
    with tempfile.TemporaryFile() as made:
        made.write(b"the file")
        made.flush()
        copy = os.fdopen(os.dup(made.fileno()), "rb")
    copy.seek(0)
    return environ["wsgi.file_wrapper"](copy)  # type: ignore[no-any-return]


@case
def file_pipe(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A descriptor that sendfile cannot read: the wrapper has to read() instead."""
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe")
    posix.close(writer)  # gevent's os.close waits for its hub, which the read would hold
    start_response("200 OK", list(TEXT))
    return environ["wsgi.file_wrapper"](os.fdopen(reader, "rb"))  # type: ignore[no-any-return]


# wsgi.input


READS: dict[str, Callable[[Any], Any]] = {
    "read": lambda stream: stream.read(),
    "read-minus": lambda stream: stream.read(-1),
    "read-none": lambda stream: stream.read(None),
    "read-5": lambda stream: stream.read(5),
    "read-0": lambda stream: stream.read(0),
    "read-huge": lambda stream: stream.read(1 << 24),
    "readline": lambda stream: stream.readline(),
    "readline-4": lambda stream: stream.readline(4),
    "readlines": lambda stream: list(stream.readlines()),
    "readlines-1": lambda stream: list(stream.readlines(1)),
    "iterate": list,
    "next": next,
}


@case
def reads(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Does what ?do lists (commas) to wsgi.input; answers with the results as JSON, bytes as latin-1."""
    found: list[Any] = []
    for step in query(environ)["do"].split(","):
        try:
            got = READS[step](environ["wsgi.input"])
        except StopIteration:
            got = "StopIteration"
        if isinstance(got, list):
            found.append([each.decode("latin-1") for each in got])
        else:
            found.append(got.decode("latin-1") if isinstance(got, bytes) else got)
    return answer(start_response, json.dumps(found).encode())


@case
def sum(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Length of the body, what CONTENT_LENGTH said, and whether every byte was as expected."""
    stream, total, good = environ["wsgi.input"], 0, True
    while piece := stream.read(65536):
        good = good and piece.count(b"b") == len(piece)
        total += len(piece)
    return answer(start_response, json.dumps([total, environ.get("CONTENT_LENGTH"), good]).encode())


@case
def ignore_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answers without a look at the body; what is behind it must still be read as the next request."""
    return answer(start_response, b"ignored")


# Interim answers


@case
def hints(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """103 (RFC 8297) through wsgi.early_hints, where the server offers it for this request."""
    offer = environ.get("wsgi.early_hints")
    if offer is not None:
        offer([("Link", "</style.css>; rel=preload; as=style")])
        if query(environ).get("twice"):
            offer([("Link", "</script.js>; rel=preload; as=script")])
    return answer(start_response, b"hinted")


@case
def hints_wrong(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A field that would forge a line has to be refused here too; the final answer is unharmed."""
    try:
        environ["wsgi.early_hints"]([("Link", "<a>\r\nX-Injected: yes")])
    except Exception as error:
        return answer(start_response, type(error).__name__.encode())
    return answer(start_response, b"accepted")


@case
def hints_late(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """After the head was sent an interim answer would be read as body: it must not appear."""
    start_response("200 OK", [*TEXT, ("Content-Length", "8")])
    yield b"body"
    try:
        environ["wsgi.early_hints"]([("Link", "</late.css>")])
    except Exception as error:
        say(f"late hints: {type(error).__name__}")
    yield b"more"


# Load

BLOB = b"5" * 5_000_000
counted = 0


@case
def count(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """How many requests of this kind the process has answered, this one included."""
    global counted
    counted += 1
    return answer(start_response, str(counted).encode())


@case
def blob(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Five million bytes that exist once, however many clients are slow to read them."""
    return answer(start_response, BLOB)
