"""The access log as records of a logger: the engine fills it as ever, a flush makes records of the batch.

Imported only where the logging configuration, or a hook, has given the access log's logger a handler.
"""

from __future__ import annotations

import atexit
import os
import time
from _thread import allocate_lock, start_new_thread
from collections import deque

from ..engine.accesslog import AccessLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger
    from typing import Any

WAITING_LIMIT = 10_000  # lines that wait for a handler that keeps others waiting
END_TIMEOUT = 1.0  # seconds for the record that is being handled when the worker ends


class RecordedLog(AccessLog):  # type: ignore[misc]  # final for the engine's calls, none of which is replaced
    """What the engine writes goes to one of two files in memory; a flush hands it the other, and reads.

    in_hub: whoever flushes must not wait (gevent's hub), but a handler may: records are made by a greenlet.
    """

    _current: int  # what the engine writes to
    _spare: int  # empty

    def __new__(cls, format: str, logger: Logger, *, in_hub: bool) -> Any:
        current, spare = (os.memfd_create("access lines") for _ in range(2))
        self: Any = super().__new__(cls, format, current)
        self._current, self._spare = current, spare
        return self

    def __init__(self, format: str, logger: Logger, *, in_hub: bool) -> None:
        self._logger = logger
        self._in_hub = in_hub
        self._lines: deque[str] = deque()
        self._taking = allocate_lock()
        self._busy = False  # a greenlet makes records
        self._lost = 0
        self._news: str | None = None
        self._pid = os.getpid()
        atexit.register(self._end)

    # As an AccessLog's.

    def flush(self) -> bool:
        """Make records of what is pending."""
        if os.getpid() != self._pid:  # the application has forked: the files are its parent's
            return True
        lines = self._take()
        if len(self._lines) + len(lines) > WAITING_LIMIT:
            self._lose(len(lines), "its handlers are too slow")
        else:
            self._lines += lines
        if not self._in_hub:
            self._make_records()
        elif self._lines and not self._busy:
            self._busy = True
            start_new_thread(self._work, ())  # a greenlet, since gevent has patched it
        return True

    def reopen(self, fd: int) -> None:
        """Make records of what is pending; a file that is beside the logger is its handlers' business."""
        self.flush()

    def trouble(self, calm: float = 10.0) -> str | None:
        """News for the error log, else None."""
        news, self._news = self._news, None
        return news or super().trouble(calm)

    # Its own.

    def _take(self) -> list[str]:
        """The lines since the last time. Other threads may record meanwhile: into the other file."""
        with self._taking:
            full = self._current
            self._current, self._spare = self._spare, full
            super().reopen(self._current)  # writes what is pending into the one that was full; keeps the GIL
            data = os.pread(full, os.fstat(full).st_size, 0)
            os.ftruncate(full, 0)
            os.lseek(full, 0, os.SEEK_SET)
        return data.decode("utf-8", "backslashreplace").split("\n")[:-1]

    def _make_records(self) -> None:
        while self._lines:
            line = self._lines.popleft()
            try:
                self._logger.info("%s", line)
            except Exception as fault:  # a filter, or a handler
                self._lose(1, f"{type(fault).__qualname__}: {fault}")

    def _work(self) -> None:
        try:
            self._make_records()
        finally:
            self._busy = False

    def _lose(self, count: int, why: str) -> None:
        if not self._lost and count:
            self._news = f"lines of the access log are lost, the logger {self._logger.name} failed: {why}"
        self._lost += count

    def _end(self) -> None:
        """The worker leaves, and may wait a little."""
        if os.getpid() != self._pid:
            return
        deadline = time.monotonic() + END_TIMEOUT
        self._make_records()
        while self._busy and time.monotonic() < deadline:
            time.sleep(0.001)  # the hub's turn
