"""The error log's file as a text stream, for what an application writes to `wsgi.errors` (PEP 3333).

What is written is the application's own: no time before it, nothing escaped. Lines of several workers do not
mix, where they are written or printed whole.
"""

from __future__ import annotations

import io

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from .log import Log


def file_stream(log: Log) -> TextIO:
    """A stream to where the error log is written at the time of writing. Never raises; flushes each line."""
    raw: Any = _Raw(log)  # typeshed asks for what only a reader needs
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)


class _Raw(io.RawIOBase):
    """The error log below a TextIOWrapper, which needs no buffer between: each write is taken whole."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._log.error_fd

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        record = bytes(data)
        self._log.write_bytes(record)
        return len(record)
