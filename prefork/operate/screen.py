"""A terminal that a view is drawn on, and its keys.

Nothing but ECMA-48: home, erase, bold, and xterm's two for the cursor and the second screen, which terminals
that have none of it pass over. Nothing is asked of terminfo, for in a container there is often none. However
the view ends, the terminal is left as it was found: its modes, its cursor, what stood on it.
"""

from __future__ import annotations

import enum
import os
import select
import signal
import termios
import time
import tty

from ..net.signals import ENDING, Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any

    from .table import Line

_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _ERASE_ROW, _ERASE_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_SIGNALS = (*ENDING, signal.SIGHUP, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
_QUIT_KEYS = b"qQ\x04"  # \x04: Ctrl-D
SMALLEST = (20, 4)  # columns, rows: what no terminal is less than; 0 is what one says that knows neither


class Event(enum.Enum):
    TIME = "the time has passed"
    REDRAW = "the terminal has another size, or something else stood on it"
    QUIT = "the person, or the system, wants it to end"


class Screen:
    """A context: drawn on only inside it. keys, surface: descriptors; keys that are no terminal are not
    read."""

    def __init__(self, keys: int = 0, surface: int = 1) -> None:
        self._keys = keys if os.isatty(keys) else -1
        self._surface = surface
        self._modes: list[Any] | None = None
        self._signals: Signals | None = None

    def __enter__(self) -> Screen:
        self._signals = Signals(_SIGNALS)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()
        if self._signals is not None:
            self._signals.forget()

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            columns, rows = os.get_terminal_size(self._surface)
        except OSError:
            columns = rows = 0
        return max(columns or 80, SMALLEST[0]), max(rows or 24, SMALLEST[1])

    def draw(self, lines: Sequence[Line]) -> None:
        """Draw these and nothing else. They fit: each is less than a row, and there are no more than rows."""
        rows = [f"{_BOLD}{line.text}{_PLAIN}" if line.loud else line.text for line in lines]
        self._write(_HOME + "\r\n".join(_ERASE_ROW + row for row in rows) + _ERASE_BELOW)

    def wait(self, until: float) -> Event:
        """Wait for something to do, until that moment (time.monotonic) at the longest."""
        assert self._signals is not None
        poll = select.poll()
        poll.register(self._signals.fd, select.POLLIN)
        if self._keys >= 0:
            poll.register(self._keys, select.POLLIN)
        while True:
            left = until - time.monotonic()
            if left <= 0:
                return Event.TIME
            for fd, _ in poll.poll(max(1, int(left * 1000))):
                event = self._heard() if fd == self._signals.fd else self._typed()
                if event is not None:
                    return event

    def _heard(self) -> Event | None:
        assert self._signals is not None
        numbers = self._signals.take()
        if any(number in (*ENDING, signal.SIGHUP) for number in numbers):
            return Event.QUIT
        if signal.SIGTSTP in numbers:
            self._give_back()
            os.kill(os.getpid(), signal.SIGSTOP)
            self._take()
        return Event.REDRAW if numbers else None

    def _typed(self) -> Event | None:
        try:
            typed = os.read(self._keys, 1024)
        except OSError:
            typed = b""
        if not typed or any(key in _QUIT_KEYS for key in typed):  # nothing: the terminal is gone
            return Event.QUIT
        return Event.REDRAW if b"\x0c" in typed else None  # Ctrl-L

    def _take(self) -> None:
        if self._keys >= 0:
            self._modes = termios.tcgetattr(self._keys)
            tty.setcbreak(self._keys, termios.TCSADRAIN)
        self._write(_ENTER)

    def _give_back(self) -> None:
        try:
            self._write(_LEAVE)
            if self._modes is not None:
                termios.tcsetattr(self._keys, termios.TCSADRAIN, self._modes)
        except (OSError, termios.error):
            pass  # the terminal is gone

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._surface, data) :]
