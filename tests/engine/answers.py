"""Applications and results for the tests of what goes out, and the ways to read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness import Client, Rig, get, undated


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


def pieces(*data: bytes) -> Iterator[bytes]:
    yield from data


@lru_cache(maxsize=64)
def text(size: int, seed: int = 0) -> bytes:
    """Bytes that are nowhere the same, so that a lost or repeated piece shows."""
    return b"".join(b"%07x " % (seed + number) for number in range(size // 8 + 1))[:size]


class Result:
    """An iterable whose end is counted."""

    def __init__(self, chunks: Iterable[bytes], log: list[str]) -> None:
        self.chunks = iter(chunks)
        self.log = log

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self.chunks)

    def close(self) -> None:
        self.log.append("close")


class File:
    """A file-like object around a real file, whose end is counted."""

    def __init__(self, file: Any, log: list[str]) -> None:
        self.file = file
        self.read = file.read  # the plain file's own
        self.log = log

    def close(self) -> None:
        self.log.append("close")
        self.file.close()


def served(content: Path, log: list[str], *, headers: Any = (), offset: int = 0, buffering: int = -1) -> Any:
    """An application that answers with the file from an offset on."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        file = content.open("rb", buffering)
        file.seek(offset)
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](File(file, log))

    return app


def drain(rig: Rig, client: Client, step: int) -> bytes:
    """Read so many bytes at a time, with turns between, until nothing comes any more."""
    rig.turns()
    parts: list[bytes] = []  # joined once: under a sanitizer each longer text would be memory of its own
    while data := client.take(step):
        parts.append(data)
        rig.turns()
    return b"".join(parts)
