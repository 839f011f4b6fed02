"""One HTTP/1.1 answer, read as it arrives: bytes in, whole or malformed out. Knows no sockets.

Strict where a lenient client would hide a fault of the server: a body that ends early is not whole, bytes
after the end are reported, a chunk size must be hexadecimal, a status line must be one.
"""

from __future__ import annotations

import enum

HEAD_LIMIT = 65536


class MalformedAnswer(ValueError):
    """The bytes are not an HTTP/1.x response. The text says where."""


class Part(enum.Enum):
    HEAD = "head"
    LENGTH = "length"  # a body of Content-Length bytes
    CHUNK_SIZE = "chunk size"
    CHUNK = "chunk"
    CHUNK_END = "chunk end"
    TRAILERS = "trailers"
    TO_EOF = "to EOF"
    WHOLE = "whole"


class Answer:
    """Feed it bytes; ask `.whole`. Interim answers (100, 103) are counted and skipped.

    `headers` are lower-case names to values; of a repeated field the last value is kept, which is enough to
    judge framing. `leftover` holds what came after the end: pipelined answers, or a fault.
    """

    __slots__ = ("_buffer", "_head_only", "_need", "_part", "body", "headers", "interim", "status", "version")

    def __init__(self, *, head_only: bool = False) -> None:
        self._buffer = bytearray()
        self._head_only = head_only
        self._part = Part.HEAD
        self._need = 0
        self.status = 0
        self.version = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.interim = 0

    @property
    def whole(self) -> bool:
        return self._part is Part.WHOLE

    @property
    def leftover(self) -> bytes:
        return bytes(self._buffer) if self._part is Part.WHOLE else b""

    @property
    def keeps_alive(self) -> bool:
        """Whether the server says that the connection may carry another request (RFC 9112 section 9.3)."""
        connection = self.headers.get(b"connection", b"").lower()
        if self.version == b"HTTP/1.0":
            return b"keep-alive" in connection and b"content-length" in self.headers
        framed = b"content-length" in self.headers or b"transfer-encoding" in self.headers
        return b"close" not in connection and (framed or self._bodiless())

    def feed(self, data: bytes) -> None:
        """Take bytes from the wire. Raises MalformedAnswer; after that the answer is of no use."""
        self._buffer += data
        while self._step():
            pass

    def eof(self) -> bool:
        """The server closed. True where that is how this body ends; False where the answer was cut short."""
        if self._part is Part.TO_EOF:
            self._part = Part.WHOLE
        return self.whole

    # one part a call; False when more bytes are needed

    def _step(self) -> bool:
        part = self._part
        if part is Part.HEAD:
            return self._read_head()
        if part is Part.CHUNK_SIZE:
            return self._read_chunk_size()
        if part in (Part.LENGTH, Part.CHUNK):
            return self._read_counted()
        if part is Part.CHUNK_END:
            return self._read_chunk_end()
        if part is Part.TRAILERS:
            return self._read_trailer()
        if part is Part.TO_EOF:
            self.body += self._buffer
            self._buffer.clear()
        return False

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise MalformedAnswer(f"no end of the head in {HEAD_LIMIT} bytes")
            if self._buffer and not b"HTTP/1.".startswith(bytes(self._buffer[:7])):
                raise MalformedAnswer(f"not a status line: {bytes(self._buffer[:40])!r}")
            return False
        status_line, *fields = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        self._read_status_line(status_line)
        self.headers = {}
        for field in fields:
            name, colon, value = field.partition(b":")
            if not colon or not name or name.strip() != name:
                raise MalformedAnswer(f"not a header field: {field[:60]!r}")
            self.headers[name.lower()] = value.strip()
        if 100 <= self.status < 200:
            self.interim += 1
            return True
        self._part = self._frame()
        return self._part is not Part.WHOLE

    def _read_status_line(self, line: bytes) -> None:
        version, _, rest = line.partition(b" ")
        if version not in (b"HTTP/1.0", b"HTTP/1.1") or not (rest[:3].isdigit() and rest[3:4] in (b" ", b"")):
            raise MalformedAnswer(f"not a status line: {line[:60]!r}")
        self.version, self.status = version, int(rest[:3])

    def _bodiless(self) -> bool:
        return self._head_only or self.status in (204, 304)

    def _frame(self) -> Part:
        """RFC 9112 section 6.3, for a client."""
        if self._bodiless():
            return Part.WHOLE
        if self.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            return Part.CHUNK_SIZE
        length = self.headers.get(b"content-length")
        if length is None:
            return Part.TO_EOF
        if not length.isdigit():
            raise MalformedAnswer(f"Content-Length {length!r}")
        self._need = int(length)
        return Part.LENGTH if self._need else Part.WHOLE

    def _read_counted(self) -> bool:
        taken = self._buffer[: self._need]
        if not taken:
            return False
        self.body += taken
        self._need -= len(taken)
        del self._buffer[: len(taken)]
        if self._need:
            return False
        self._part = Part.WHOLE if self._part is Part.LENGTH else Part.CHUNK_END
        return self._part is Part.CHUNK_END

    def _read_chunk_size(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        digits = line.partition(b";")[0].strip()
        if not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise MalformedAnswer(f"chunk size {line[:20]!r}")
        self._need = int(digits, 16)
        self._part = Part.CHUNK if self._need else Part.TRAILERS
        return True

    def _read_chunk_end(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        if line:
            raise MalformedAnswer(f"chunk longer than its size: {line[:20]!r}")
        self._part = Part.CHUNK_SIZE
        return True

    def _read_trailer(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        if not line:
            self._part = Part.WHOLE
        return bool(line)

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise MalformedAnswer("a line without an end")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line
