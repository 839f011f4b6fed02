"""A terminal of the test's own: a pseudo-terminal, a program that it controls, and what stands on it.

It understands what prefork top may say (ECMA-48's home, erase and bold, xterm's cursor and second screen) and
fails on anything else, so a view that needs more than that fails in every test. It fails as well where a
line is longer than the terminal is wide, or more lines are drawn than it is high.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rawclient import DEADLINE

# Ctrl-C and Ctrl-Z come as signals to who has the terminal for its own (tty_ioctl(4), TIOCSCTTY).
CONTROLLED = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
TOKEN = re.compile(rb"\x1b\[(\??)([0-9;]*)([A-Za-z])|\x1b|[\r\n]|[^\x1b\r\n]+")


class Terminal:
    """`rows` is what stands on it now; `ended` once the program is gone. A context that ends the program."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        height: int = 24,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.columns, self.height = columns, height
        self.rows = [""] * height
        self.second = False  # the second screen is shown
        self.cursor = True
        self.raw = b""
        self.ended = False
        self._first: list[str] = []
        self._unread = b""
        self._row = self._column = 0
        self._master, self._slave = pty.openpty()
        self.resize(columns, height)
        self.modes = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", CONTROLLED, *command],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={**os.environ, "TERM": "xterm", **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def resize(self, columns: int, height: int) -> None:
        self.columns, self.height = columns, height
        self.rows = (self.rows + [""] * height)[:height]
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", height, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def has_its_modes(self) -> bool:
        """Is the terminal set as it was before the program began?"""
        return termios.tcgetattr(self._slave) == self.modes

    def wait(self, pattern: str, deadline: float = DEADLINE) -> re.Match[str]:
        """The first match in what stands there, as soon as there is one."""
        end = time.monotonic() + deadline
        while not (found := re.search(pattern, "\n".join(self.rows))):
            self._read(end, pattern)
        return found

    def wait_raw(self, pattern: bytes, deadline: float = DEADLINE) -> None:
        """Until that was written, whatever stands there by now."""
        end = time.monotonic() + deadline
        while not re.search(pattern, self.raw):
            self._read(end, str(pattern))

    def wait_end(self, deadline: float = DEADLINE) -> int:
        """The exit code; all that was written is read by then."""
        code = self.process.wait(deadline)
        while select.select([self._master], [], [], 0)[0]:
            self._take(os.read(self._master, 65536))
        return code

    def _read(self, end: float, what: str) -> None:
        ready, _, _ = select.select([self._master], [], [], max(0.0, min(0.1, end - time.monotonic())))
        if ready:
            self._take(os.read(self._master, 65536))
        elif time.monotonic() >= end or self.process.poll() is not None:
            text = "\n".join(self.rows)
            raise AssertionError(f"no {what!r}, exit code {self.process.poll()}; on the terminal:\n{text}")

    def _take(self, data: bytes) -> None:
        self.raw += data
        data = self._unread + data
        self._unread = b""
        cut = data.rfind(b"\x1b")
        if cut >= 0 and not re.match(rb"\x1b\[\??[0-9;]*[A-Za-z]", data[cut:]):
            data, self._unread = data[:cut], data[cut:]  # the rest of it is still to come
        for token in TOKEN.finditer(data):
            self._obey(token)

    def _obey(self, token: re.Match[bytes]) -> None:
        private, number, letter = token.groups()
        match (private, number, letter):
            case (None, None, None):
                self._print(token[0])
            case (b"", b"", b"H"):
                self._row = self._column = 0
            case (b"", b"", b"K"):
                self.rows[self._row] = self.rows[self._row][: self._column]
            case (b"", b"", b"J"):
                self.rows[self._row] = self.rows[self._row][: self._column]
                self.rows[self._row + 1 :] = [""] * (self.height - self._row - 1)
            case (b"", b"0" | b"1", b"m"):
                pass
            case (b"?", b"25", b"h" | b"l"):
                self.cursor = letter == b"h"
            case (b"?", b"1049", b"h"):
                self.second, self._first, self.rows = True, self.rows, [""] * self.height
            case (b"?", b"1049", b"l"):
                self.second, self.rows = False, (self._first + [""] * self.height)[: self.height]
            case _:
                raise AssertionError(f"no terminal knows {token[0]!r}")

    def _print(self, data: bytes) -> None:
        if data == b"\r":
            self._column = 0
        elif data == b"\n":
            self._row += 1
            if self._row >= self.height:
                assert not self.second, "more lines than the terminal has"
                self._row = self.height - 1
                self.rows = [*self.rows[1:], ""]
        else:
            text = data.decode("utf-8", "replace")
            assert text.isprintable(), f"a terminal would obey {text!r}"
            row = self.rows[self._row].ljust(self._column)
            self.rows[self._row] = row[: self._column] + text + row[self._column + len(text) :]
            self._column += len(text)
            assert not self.second or self._column < self.columns, "a line that would be broken"
