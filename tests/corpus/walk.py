"""The scanner's walk over a connection's bytes, as the engine does it: head, body, next head.

Imported by its plain name, as corpus.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from corpus import LIMITS

from prefork.engine.scanner import ChunkScanner, Fault, Head, HeadScanner


@dataclass(slots=True)
class Found:
    """What a walk found: whole requests (head and decoded body), and how it ended."""

    requests: list[tuple[Head, bytes]] = field(default_factory=list)
    fault: str = ""
    at: int | None = None
    more: bool = False


class Walk:
    """Reads a connection's bytes as the engine does: head, body, next head, until a request ends it.

    `feed` takes the pieces in order, `end` says what was found.
    """

    def __init__(self, limits: dict[str, int]) -> None:
        self.found = Found()
        self.limits = {name: limits[name] for name in LIMITS if name != "trailer_size"}
        self.trailer_size = limits["trailer_size"]
        self.passed = 0  # bytes of the connection in front of the request under way
        self.over = False
        self.begin()

    def begin(self) -> None:
        self.kept = b""  # bytes of the request under way that nobody has consumed
        self.heads = HeadScanner(**self.limits)
        self.head: Head | None = None
        self.chunks: ChunkScanner | None = None
        self.body = bytearray()

    def feed(self, data: bytes) -> None:
        """Go on with the next bytes of the connection."""
        while data and not self.over:
            data = self.step(data)

    def step(self, data: bytes) -> bytes:
        """Use up one part of the request under way; what is left over belongs to the next part."""
        try:
            if self.head is None:
                return self.take_head(data)
            return self.take_chunks(data) if self.chunks else self.take_body(data, self.head.length or 0)
        except Fault as fault:
            self.found.fault, self.found.at = fault.name, self.passed + fault.at
            self.over = True
            return b""

    def take_head(self, data: bytes) -> bytes:
        self.kept += data
        self.head = self.heads.scan(self.kept)
        if self.head is None:
            return b""
        rest = self.kept[self.head.head_len :]
        self.passed += self.head.head_len
        self.kept = b""
        if self.head.chunked:
            self.chunks = ChunkScanner(trailer_size=self.trailer_size)
        elif not self.head.length:
            self.finish()
        return rest

    def take_body(self, data: bytes, length: int) -> bytes:
        missing = length - len(self.body)
        self.body += data[:missing]
        if len(self.body) == length:
            self.passed += length
            self.finish()
        return data[missing:]

    def take_chunks(self, data: bytes) -> bytes:
        assert self.chunks is not None
        before = self.chunks.used
        self.body += self.chunks.feed(data)
        rest = data[self.chunks.used - before :]
        if self.chunks.done:
            self.passed += self.chunks.used
            self.finish()
        return rest

    def finish(self) -> None:
        assert self.head is not None
        self.found.requests.append((self.head, bytes(self.body)))
        self.over = not self.head.keep_alive
        self.begin()

    def end(self) -> Found:
        """What was found, now that no more bytes come."""
        self.found.more = not self.over and (self.head is not None or bool(self.kept))
        return self.found


def walk(pieces: Iterable[bytes], limits: dict[str, int]) -> Found:
    """Feed all pieces, and say what was found."""
    way = Walk(limits)
    for piece in pieces:
        way.feed(piece)
    return way.end()


def splits(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All ways to cut the bytes in two; of more than 4 KiB only every 61st, and all in the last 64 bytes."""
    step = 1 if len(raw) <= 4096 else 61
    for at in sorted({*range(1, len(raw), step), *range(max(1, len(raw) - 64), len(raw))}):
        yield raw[:at], raw[at:]
