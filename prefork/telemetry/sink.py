"""A descriptor that log lines go to. It never raises, and never holds the process for long.

A file is opened by its path, to append, and again on reopen(); `-` is a standard stream, borrowed. A pipe
whose reader does not keep up is waited for once, for a tenth of a second; records are dropped then, and
counted, until it takes bytes again.
"""

# ruff: noqa: PTH100, PTH116  (pathlib would cost every start 4 ms)

from __future__ import annotations

import os
import stat
from select import POLLOUT, poll  # bound before gevent takes poll away

from ..errors import ConfigError

PATIENCE = 100  # ms
SLICE = 4096  # bytes; PIPE_BUF: what a pipe that is said to be writable takes without waiting


class Sink:
    """Sink(setting, path, standard, owner): path as the setting has it, `standard` is what `-` means.

    A file that root opens is given to owner (user, group), whose workers open it again on USR1.
    Raises ConfigError, naming the setting, when the file cannot be opened.
    """

    __slots__ = ("_may_wait", "_setting", "_stuck", "_torn", "fd", "lost", "path")

    def __init__(
        self,
        setting: str,
        path: str,
        standard: int,
        owner: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self.path = "" if path == "-" else os.path.abspath(path)
        self.fd = standard
        self.lost = 0  # records dropped since the last that was written
        self._setting = setting
        self._stuck = False
        self._torn = False
        if self.path:
            try:
                self.fd = _open(self.path)
            except OSError as fault:
                problem = f"cannot be opened for writing: {fault.strerror}"
                raise ConfigError(problem, setting=setting, value=path) from None
            _give(self.fd, owner)
        self._may_wait = _may_wait(self.fd)

    def write(self, record: bytes) -> bool:
        """Write a record whole, or drop it; False: dropped, and `lost` counts it."""
        if self._torn:
            record = b"\n" + record
        size = len(record)
        left = self._write_slices(record)
        self._torn = self._torn if left == size else left > 0
        self.lost = self.lost + 1 if left else 0
        return left == 0

    def reopen(self) -> str:
        """Open the path again under the same descriptor; "" or what went wrong: the old file stays in use."""
        if not self.path:
            return ""
        try:
            fresh = _open(self.path)
        except OSError as fault:
            return f"{self._setting} {self.path} cannot be opened again: {fault.strerror}"
        os.dup2(fresh, self.fd, inheritable=False)
        os.close(fresh)
        self._may_wait = _may_wait(self.fd)
        self._torn = False
        return ""

    def is_behind(self) -> bool:
        """Whether there is another file at the path by now."""
        return bool(self.path) and is_behind(self.path, self.fd)

    def close(self) -> None:
        """Give the descriptor back, unless it is a standard stream."""
        if self.path and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _write_slices(self, record: bytes) -> int:
        """Returns how many bytes are left."""
        try:
            while record:
                if self._may_wait:
                    self._stuck = not _writable(self.fd, 0 if self._stuck else PATIENCE)
                    if self._stuck:
                        break
                record = record[os.write(self.fd, record[:SLICE] if self._may_wait else record) :]
        except OSError:  # a full disk, a closed pipe: no reason to stop serving
            pass
        return len(record)


def is_behind(path: str, fd: int) -> bool:
    """Whether that path has a file, and it is not the one that fd is open for."""
    try:
        return not os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False


def _open(path: str) -> int:
    # O_NONBLOCK: a FIFO that nobody reads is refused (ENXIO), where open() would wait for a reader.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    fd = os.open(path, flags, 0o666)
    os.set_blocking(fd, True)
    return fd


def _give(fd: int, owner: tuple[int | None, int | None]) -> None:
    user, group = owner
    if (user is None and group is None) or os.geteuid() != 0 or not stat.S_ISREG(os.fstat(fd).st_mode):
        return
    try:
        os.fchown(fd, -1 if user is None else user, -1 if group is None else group)
    except OSError:  # a file system without owners; reopen() says so when it matters
        pass


def _may_wait(fd: int) -> bool:
    try:
        return not stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:  # the server was started with this stream closed
        return False


def _writable(fd: int, patience: int) -> bool:
    waiting = poll()
    waiting.register(fd, POLLOUT)
    return bool(waiting.poll(patience))
