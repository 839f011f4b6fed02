"""The pid file: written whole or not at all, never over a living server's, removed by its owner only."""

# ruff: noqa: PTH105, PTH108, PTH123  (pathlib would cost every start 4 ms)
from __future__ import annotations

import os

from ..errors import BootError, PreforkError


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
        beside = f"{self.path}.{pid}"
        try:
            with open(beside, "w", encoding="ascii") as file:
                file.write(f"{pid}\n")
            os.replace(beside, self.path)
        except OSError as error:
            raise BootError(f"pid file {self.path} cannot be written: {error.strerror}") from None
        self._owner = pid

    def holder(self) -> int:
        """Return the pid of the living server whose file this is, or 0."""
        pid = self._read()
        return pid if pid and _is_prefork(pid) else 0

    def remove(self) -> None:
        """Remove the file, if this process wrote it and it still says so."""
        if self._owner == os.getpid() and self._read() == self._owner:
            try:
                os.unlink(self.path)
            except OSError:
                pass  # gone meanwhile, or its folder is no longer ours
        self._owner = 0

    def _read(self) -> int:
        try:
            with open(self.path, encoding="ascii") as file:
                text = file.read(32).strip()
        except (OSError, UnicodeDecodeError):
            return 0
        return int(text) if text.isdigit() else 0


def _is_prefork(pid: int) -> bool:
    """Is there such a process, and may it be ours? After a reboot the number belongs to anybody."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"prefork" in file.read()
    except OSError:
        return True  # not Linux: nothing else to go by
