"""Whether a server does the task at all: a few requests each, before anything is measured.

A server that buffers a stream whole, drops keep-alive or lets a kept-alive client shut out the others is
not doing the same work as one that does not. These are looked at, not quoted, so that they are true of the
version measured.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.launch import Running
from benchmarks.servers import HOST
from benchmarks.traffic.response import Answer, MalformedAnswer

PATIENCE = 2.0


@dataclass(frozen=True)
class Check:
    name: str  # a short column head
    fault: str  # what the table says of a server that fails it
    passes: Callable[[int], bool]  # port -> passed
    spoils: frozenset[str] = frozenset()  # cases whose figures it makes unequal
    spoils_keepalive: bool = False  # all cases that keep connections alive


def _connect(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), PATIENCE)


def _exchange(s: socket.socket, request: bytes, *, stop_at: int | None = None) -> Answer | None:
    """Send, and read one answer; None when the connection ended or stayed silent before it was whole."""
    answer = Answer()
    try:
        s.sendall(request)
        while not answer.whole and (stop_at is None or len(answer.body) < stop_at):
            data = s.recv(65536)
            if not data:
                return answer if answer.eof() else None
            answer.feed(data)
    except (OSError, MalformedAnswer):
        return None
    return answer


def _get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def _ask(port: int, request: bytes) -> Answer | None:
    with _connect(port) as s:
        return _exchange(s, request)


def keeps_alive(port: int) -> bool:
    with _connect(port) as s:
        return _exchange(s, _get("/")) is not None and _exchange(s, _get("/")) is not None


def shares(port: int) -> bool:
    """A client that was answered, is kept alive and asks nothing more does not shut out the next ones."""
    held: list[socket.socket] = []
    try:
        for _ in range(6):
            s = _connect(port)
            held.append(s)
            answer = _exchange(s, _get("/"))
            if answer is None:
                return False
            if not answer.keeps_alive:
                s.close()  # as told; a server may wait for that
        return True
    finally:
        for s in held:
            s.close()


def streams(port: int) -> bool:
    """The first chunk is sent before the application gives the second, half a second later."""
    with _connect(port) as s:
        began = time.monotonic()
        return _exchange(s, _get("/drip"), stop_at=1) is not None and time.monotonic() - began < 0.4


def frames_stream(port: int) -> bool:
    """The client can tell a whole stream from one cut short, and may use the connection again."""
    answer = _ask(port, _get("/drip"))
    return answer is not None and (
        b"transfer-encoding" in answer.headers or b"content-length" in answer.headers
    )


def refuses_forged_header(port: int) -> bool:
    answer = _ask(port, _get("/forged"))
    return answer is None or b"x-split" not in answer.headers


def closes_iterable(port: int) -> bool:
    _ask(port, _get("/closing"))
    answer = _ask(port, _get("/count"))
    return answer is not None and answer.body.isdigit() and int(answer.body) > 0


def shows_short_body(port: int) -> bool:
    """An answer shorter than its Content-Length must end the connection, or the next answer completes it."""
    with _connect(port) as s:
        s.settimeout(1.0)
        try:
            s.sendall(_get("/short"))
            while s.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
    return True


def cuts_long_body(port: int) -> bool:
    """Bytes beyond the Content-Length must not reach the client, who would read them as the next answer."""
    with _connect(port) as s:
        s.settimeout(0.5)
        got = b""
        try:
            s.sendall(_get("/long"))
            while data := s.recv(65536):
                got += data
        except OSError:
            pass
    return b"0123456789" not in got


def says_date(port: int) -> bool:
    answer = _ask(port, _get("/"))
    return answer is not None and b"date" in answer.headers


def refuses_smuggling(port: int) -> bool:
    """Content-Length and Transfer-Encoding together hide a second request (RFC 9112 section 6.1).

    Passed when the hidden one gets no answer of its own.
    """
    hidden = _get("/count")
    body = b"0\r\n\r\n" + hidden
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with _connect(port) as s:
        s.settimeout(0.5)
        got = b""
        try:
            s.sendall(head.encode() + body)
            while data := s.recv(65536):
                got += data
        except OSError:
            pass
    return got.count(b"HTTP/1.") < 2


CHECKS: tuple[Check, ...] = (
    Check(
        "keep-alive",
        "drops keep-alive: every request needs a new connection",
        keeps_alive,
        spoils_keepalive=True,
    ),
    Check(
        "sharing", "a kept-alive client shuts out the others until it leaves", shares, spoils_keepalive=True
    ),
    Check("streaming", "buffers a stream, or holds back its first chunk", streams, frozenset({"stream"})),
    Check(
        "framing",
        "does not frame a stream: the end of the connection ends it",
        frames_stream,
        frozenset({"stream"}),
    ),
    Check("header check", "sends a header with a line end in it", refuses_forged_header),
    Check("close()", "does not call the iterable's close()", closes_iterable),
    Check(
        "short body",
        "leaves the connection open after a body shorter than its Content-Length",
        shows_short_body,
    ),
    Check("long body", "sends more bytes than the Content-Length", cuts_long_body),
    Check("Date", "sends no Date", says_date),
    Check("CL+TE", "answers a request hidden behind Content-Length and Transfer-Encoding", refuses_smuggling),
)


def observe(running: Running) -> dict[str, bool]:
    """Check name -> passed, of a server that runs manners:app."""
    found = {}
    for check in CHECKS:
        try:
            found[check.name] = check.passes(running.job.port)
        except OSError:
            found[check.name] = False
    return found


def faults(found: dict[str, bool], case: str, *, keeps_alive: bool) -> list[str]:
    """What spoils this case for a server with these manners."""
    return [
        check.fault
        for check in CHECKS
        if not found.get(check.name, True)
        and (case in check.spoils or (check.spoils_keepalive and keeps_alive))
    ]
