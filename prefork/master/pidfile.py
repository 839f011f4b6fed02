"""The pid file: written whole or not at all, never over a living server's, removed by its owner only."""

# ruff: noqa: PTH105, PTH108, PTH110, PTH113, PTH123  (pathlib would cost every start 4 ms)
from __future__ import annotations

import os

from ..errors import PreforkError
from ..net import control


class PidFile:
    """One pid file; `path` is absolute."""

    __slots__ = ("_owner", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._owner = 0

    def write(self, predecessor: int = 0) -> None:
        """Take the path for this process, from its predecessor at an upgrade. Raises PreforkError in one line
        when it cannot be had."""
        pid = os.getpid()
        holder = self.holder()
        if holder not in (0, pid, predecessor):
            raise PreforkError(f"pid file {self.path}: another prefork is running there (pid {holder})")
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise PreforkError(f"pid file {self.path}: that is no regular file; it is left alone")
        beside = f"{self.path}.{pid}"
        try:
            _unlink(beside)  # of one that was killed here, with this number
            try:
                with open(beside, "x", encoding="ascii") as file:
                    file.write(f"{pid}\n")
                os.replace(beside, self.path)
            except OSError:
                _unlink(beside)
                raise
        except OSError as error:
            raise PreforkError(f"pid file {self.path} cannot be written: {error.strerror}") from None
        self._owner = pid

    def take_back(self) -> None:
        """After an upgrade that came to nothing: write it again if the new master got so far. Raises
        PreforkError."""
        if self._read() != os.getpid():
            self.write()

    def holder(self) -> int:
        """Return the pid of the living server whose file this is, or 0."""
        pid = self._read()
        return pid if pid and control.is_master(pid) else 0

    def remove(self) -> None:
        """Remove the file, if this process wrote it and it still says so."""
        if self._owner == os.getpid() and self._read() == self._owner:
            _unlink(self.path)
        self._owner = 0

    def _read(self) -> int:
        try:
            return control.written_in(self.path)
        except OSError:
            return 0


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # gone meanwhile, or its folder is no longer ours
