"""A strict HTTP/1.1 client over a raw socket: the tests' own reading of RFC 9110 and 9112.

Owns the byte stream of one connection and one opinion about it. It shares no code with the server, sends
exactly the bytes that it is given, and accepts exactly what the RFCs allow a server to send: whatever else
arrives is a `Violation`, and so a failed test. Every response says how it was framed and how it ended, so a
test can tell a whole body from a cut one. h11 reads the same bytes as a second judge (`judge`).

What both judges have taken before is not judged again when it comes byte for byte: what they say depends on
nothing else, and a load of ten thousand answers has a few different ones a second.

Nothing here sleeps: reads block until a byte, an end or the deadline.
"""

from __future__ import annotations

import enum
import errno
import re
import socket
import struct
import time
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import TypeVar

import h11

DEADLINE = 20.0  # seconds until a silent server fails the test; generous, since the machine is shared
JUDGED_LIMIT = 4 << 20  # h11 copies its buffers: larger answers are read by one judge only
KNOWN_LIMIT = 4096  # bytes of a response that is remembered as judged
KNOWN_COUNT = 512  # ... and so many of them

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)\Z")  # RFC 9112 4
FIELD_LINE = re.compile(  # RFC 9110 5.5 and 5.6.2, RFC 9112 5: no space before the colon, no folding
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*"
    rb"((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*\Z"
)
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}\Z")  # RFC 9112 7.1; a server of ours has no need of extensions
IMF_FIXDATE = re.compile(  # RFC 9110 5.6.7: the only form that a sender may use
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} "
    r"\d\d:\d\d:\d\d GMT\Z"
)
# RFC 9110 5.3: one field line only, because the value is no list.
SINGLE = ("content-length", "content-type", "date", "server", "transfer-encoding", "connection", "location")

Value = TypeVar("Value")


class Violation(AssertionError):
    """The server sent what the RFC named in the message forbids."""


class Framing(enum.Enum):
    """What says where a body ends (RFC 9112 6.3)."""

    NONE = "none"  # by status or by HEAD
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"  # the end of the connection: the client cannot tell a whole body from a cut one


class Ending(enum.Enum):
    """How a response, or a connection, ended."""

    COMPLETE = "complete"
    CUT = "cut"  # EOF before the framing said so: visible truncation
    RESET = "reset"


@dataclass
class Response:
    status: int
    reason: str
    fields: list[tuple[str, str]]
    minor: int = 1
    framing: Framing = Framing.NONE
    ending: Ending = Ending.COMPLETE
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    interim: list[Response] = field(default_factory=list)
    raw: bytes = b""

    def all(self, name: str) -> list[str]:
        """The values of every field line of that name, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of the only field line of that name, or None."""
        values = self.all(name)
        if len(values) > 1:
            raise Violation(f"{name} is there {len(values)} times: {values}")
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def keeps(self) -> bool:
        """Does the server promise to read another request here (RFC 9112 9.3)?"""
        options = [option.strip().lower() for value in self.all("connection") for option in value.split(",")]
        return "close" not in options and self.framing is not Framing.CLOSE


class Closed(Exception):
    """The other end closed the connection before the first byte of what was asked for."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.value)
        self.ending = ending


class Connection:
    """One client connection. Every reading method raises TimeoutError at the deadline."""

    def __init__(
        self,
        address: tuple[str, int] | str,
        *,
        deadline: float = DEADLINE,
        receive_buffer: int | None = None,
        source: str | None = None,
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        if isinstance(address, tuple) and ":" in address[0]:
            family = socket.AF_INET6
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.deadline = deadline
        if receive_buffer is not None:  # before connect, or the window is already offered
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.settimeout(deadline)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        if family != socket.AF_UNIX:  # a byte at a time means a segment at a time
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.ended: Ending | None = None
        self._wire = bytearray()  # the body of the response being read, with its framing

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "socket"):  # a test that failed half way has no warnings to give besides
            self.socket.close()

    # Sending

    def send(self, data: bytes) -> None:
        """Send all of data. A server that has closed raises ConnectionError."""
        self.socket.settimeout(self.deadline)
        self.socket.sendall(data)

    def offer(self, data: bytes) -> bool:
        """Send data to a server that may refuse it half way; say whether all of it was taken."""
        try:
            self.send(data)
        except ConnectionError:
            return False
        return True

    def request(
        self,
        method: str,
        target: str,
        *fields: tuple[str, str],
        body: bytes | None = None,
        version: str = "1.1",
    ) -> Response:
        """Send one ordinary request and read its answer."""
        self.send(request_bytes(method, target, *fields, body=body, version=version))
        return self.response(method)

    def half_close(self) -> None:
        """Say that nothing more will be sent (FIN), and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST, as a client does that is killed (SO_LINGER of zero, socket(7))."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    # Receiving

    def fill(self, until: float | None = None) -> bool:
        """Receive once. False at the end of the stream; `ended` then says how it ended."""
        if self.ended is not None:
            return False
        limit = self.deadline if until is None else max(0.001, until - time.monotonic())
        self.socket.settimeout(limit)
        try:
            data = self.socket.recv(1 << 18)
        except OSError as error:
            if error.errno in (errno.ECONNRESET, errno.EPIPE):
                self.ended = Ending.RESET
                return False
            raise
        if not data:
            self.ended = Ending.CUT
            return False
        self.buffer += data
        return True

    def take(self, size: int) -> bytes:
        """Exactly the next size bytes; Closed when the stream ends before them."""
        while len(self.buffer) < size:
            if not self.fill():
                raise Closed(self.ended or Ending.CUT)
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def line(self) -> bytes:
        """The next line without its CRLF. A bare LF or CR is a violation (RFC 9112 2.2)."""
        start = 0
        while (end := self.buffer.find(b"\n", start)) < 0:
            start = len(self.buffer)
            if not self.fill():
                raise Closed(self.ended or Ending.CUT)
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Violation(f"RFC 9112 2.2: a line does not end in CRLF: {line!r}")
        return line[:-2]

    def response(self, method: str = "GET", *, date: bool = True) -> Response:
        """Read one final response to a request of that method, with any interim ones before it.

        Closed: the connection ended before the first byte. A body that is cut does not raise: see `ending`.
        """
        interim: list[Response] = []
        raw = b""
        while True:
            response = self.head(method)
            raw += response.raw
            if response.status >= 200 or response.status == 101:
                break
            interim.append(response)
        response.interim = interim
        if date and response.get("date") is None and response.status < 500:
            raise Violation("RFC 9110 6.6.1: a server with a clock sends Date")
        self.body(response)
        response.raw = raw + bytes(self._wire)
        if len(response.raw) <= KNOWN_LIMIT:
            judge_once(method, response)
        elif len(response.raw) < JUDGED_LIMIT:
            judge(method, response)
        return response

    def head(self, method: str = "GET") -> Response:
        """Read one status line and header section; decide the framing (RFC 9112 6.3)."""
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end > 3 and (known := KNOWN_HEADS.get((method, bytes(self.buffer[:end])))) is not None:
            del self.buffer[:end]
            return replace(known, fields=known.fields.copy(), chunks=[], interim=[])
        line = self.line()
        match = STATUS_LINE.match(line)
        if match is None:
            raise Violation(f"RFC 9112 4: no status line: {line!r}")
        status = int(match[2])
        fields: list[tuple[str, str]] = []
        raw = [line]
        try:
            while line := self.line():
                raw.append(line)
                found = FIELD_LINE.match(line)
                if found is None:
                    raise Violation(f"RFC 9112 5: no field line: {line!r}")
                fields.append((found[1].decode(), found[2].decode("latin-1")))
        except Closed as closed:
            raise Violation(f"the head was cut after {raw!r} ({closed})") from None
        raw += [b"", b""]
        response = Response(status, match[3].decode("latin-1"), fields, int(match[1]), raw=b"\r\n".join(raw))
        self._check_head(response, method)
        remember(KNOWN_HEADS, (method, response.raw), replace(response, fields=fields.copy()))
        return response

    def _check_head(self, response: Response, method: str) -> None:
        for name in SINGLE:
            response.get(name)
        length, coding = response.get("content-length"), response.get("transfer-encoding")
        if length is not None and coding is not None:
            raise Violation("RFC 9112 6.2: Content-Length beside Transfer-Encoding")
        if length is not None and not re.fullmatch(r"[0-9]+", length):
            raise Violation(f"RFC 9110 8.6: Content-Length is {length!r}")
        if coding is not None and coding.lower() != "chunked":
            raise Violation(f"RFC 9112 6.1: Transfer-Encoding is {coding!r}")
        if (when := response.get("date")) is not None:
            if IMF_FIXDATE.match(when) is None:
                raise Violation(f"RFC 9110 5.6.7: Date is {when!r}")
            parsedate_to_datetime(when)
        if (response.status < 200 or response.status == 204) and (length is not None or coding is not None):
            raise Violation(
                f"RFC 9110 8.6, RFC 9112 6.1: a {response.status} with length {length}, coding {coding}"
            )
        if coding is not None and response.minor == 0:
            raise Violation("RFC 9112 6.1: Transfer-Encoding in an HTTP/1.0 response")
        if method == "HEAD" or response.status < 200 or response.status in (204, 304):
            response.framing = Framing.NONE
        elif coding is not None:
            response.framing = Framing.CHUNKED
        elif length is not None:
            response.framing = Framing.LENGTH
        else:
            response.framing = Framing.CLOSE

    def body(self, response: Response) -> None:
        """Read the body as its framing says; set body, chunks and ending."""
        self._wire = bytearray()
        try:
            if response.framing is Framing.LENGTH:
                self._read_length(response)
            elif response.framing is Framing.CHUNKED:
                while (chunk := self.chunk()) is not None:
                    response.chunks.append(chunk)
            elif response.framing is Framing.CLOSE:
                while self.fill():
                    pass
                if self.ended is Ending.RESET:
                    response.ending = Ending.RESET
                self._wire += self.buffer
                response.body = bytes(self._wire)
                self.buffer.clear()
        except Closed as closed:
            response.ending = closed.ending
        if response.framing is Framing.CHUNKED:
            response.body = b"".join(response.chunks)

    def _read_length(self, response: Response) -> None:
        length = int(response.get("content-length") or "0")
        try:
            response.body = self.take(length)
        except Closed:
            response.body = bytes(self.buffer)
            self.buffer.clear()
            raise
        finally:
            self._wire += response.body

    def chunk(self) -> bytes | None:
        """The next chunk's data; None after the last one and its (empty) trailer section (RFC 9112 7.1)."""
        line = self.line()
        self._wire += line + b"\r\n"
        if CHUNK_SIZE.match(line) is None:
            raise Violation(f"RFC 9112 7.1: no chunk size: {line!r}")
        size = int(line, 16)
        if size == 0:
            if trailer := self.line():
                raise Violation(f"a trailer that nobody asked for: {trailer!r}")
            self._wire += b"\r\n"
            return None
        data = self.take(size)
        end = self.take(2)
        self._wire += data + end
        if end != b"\r\n":
            raise Violation(f"RFC 9112 7.1: chunk data is followed by {end!r}")
        return data

    # Ends

    def end(self) -> Ending:
        """Wait for the end of the stream; any byte before it is a violation. CUT means FIN, as is right."""
        if self.buffer:
            raise Violation(
                f"bytes where the end of the connection was expected: {bytes(self.buffer[:200])!r}"
            )
        if self.fill():
            raise Violation(
                f"bytes where the end of the connection was expected: {bytes(self.buffer[:200])!r}"
            )
        assert self.ended is not None
        return self.ended

    def drain(self) -> bytes:
        """Everything until the end of the stream, unread."""
        while self.fill():
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    @property
    def silent(self) -> bool:
        """Nothing has arrived so far: no byte, no end. Looks, never waits."""
        if self.buffer or self.ended is not None:
            return False
        self.socket.setblocking(False)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            self.ended = Ending.RESET
        return False


def request_bytes(
    method: str, target: str, *fields: tuple[str, str], body: bytes | None = None, version: str = "1.1"
) -> bytes:
    """An ordinary request: Host when none is given, Content-Length when there is a body."""
    lines = [f"{method} {target} HTTP/{version}"]
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        lines.append("Host: test")
    lines += [f"{name}: {value}" for name, value in fields]
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def chunked(*chunks: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    """A chunked body, one chunk each."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + last


# What was taken: heads by method and bytes, responses by all that a judge looks at.
KNOWN_HEADS: dict[object, Response] = {}
KNOWN_RESPONSES: dict[object, None] = {}


def remember(known: dict[object, Value], key: object, value: Value) -> None:
    """Keep it; who was first goes when there are too many."""
    if len(known) >= KNOWN_COUNT:
        del known[next(iter(known))]
    known[key] = value


def judge_once(method: str, response: Response) -> None:
    """judge(), unless it has accepted the same before."""
    key = (method, response.raw, response.status, response.framing, response.ending, response.body)
    if key not in KNOWN_RESPONSES:
        judge(method, response)
        remember(KNOWN_RESPONSES, key, None)


def judge(method: str, response: Response) -> None:
    """h11 reads the same bytes; it must accept what we accepted and find the same (except after CONNECT)."""
    if method == "CONNECT" or response.status == 101:
        return
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "test")]))
    client.send(h11.EndOfMessage())
    client.receive_data(response.raw)
    parts: list[bytes] = []
    whole = False
    closed = False
    while True:
        try:
            event = client.next_event()
        except h11.RemoteProtocolError as error:
            if response.ending is Ending.COMPLETE:
                raise Violation(f"h11 refuses what the first judge took as whole: {error}") from None
            return
        if event is h11.NEED_DATA:
            if closed:
                break
            closed = True
            client.receive_data(b"")
        elif isinstance(event, h11.Response):
            if event.status_code != response.status:
                raise Violation(f"h11 reads status {event.status_code}, not {response.status}")
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            whole = True
            break
        elif event in (h11.PAUSED,) or isinstance(event, h11.ConnectionClosed):
            break
    body = b"".join(parts)
    if body != response.body:
        raise Violation(f"h11 reads {len(body)} bytes of body, the first judge {len(response.body)}")
    if response.framing is not Framing.CLOSE and whole != (response.ending is Ending.COMPLETE):
        raise Violation(f"h11 says whole: {whole}, the first judge: {response.ending}")
