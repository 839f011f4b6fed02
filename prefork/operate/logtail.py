"""The end of a server's error log, where that is a file."""

from __future__ import annotations

import os
import stat

from ..errors import PreforkError
from ..net.streams import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMIT = 1 << 16  # bytes


def tail(server: dict[str, Any]) -> str:
    """The last lines, 64 KB of them at most, control characters escaped. server: as `prefork status` tells of
    it. Raises PreforkError with why there is nothing to show."""
    path = server.get("errorlog")
    if path is None:
        raise PreforkError(f"pid {server['pid']} runs an older prefork, which does not say where its log is")
    if not path:
        raise PreforkError(
            "the error log goes to stderr, not to a file (--error-logfile): see who started it"
        )
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as fault:
        raise PreforkError(f"the error log {path} cannot be read: {fault.strerror}") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise PreforkError(f"the error log {path} is no regular file")
        _check_owner(server["pid"], path, found.st_uid)
        start = max(0, found.st_size - LIMIT)
        data = os.pread(fd, LIMIT, start)
    finally:
        os.close(fd)
    if start:
        data = data.partition(b"\n")[2] or data
    return shown(data.decode("utf-8", "backslashreplace"))


def _check_owner(pid: int, path: str, owner: int) -> None:
    """Root reads for others what is theirs, and nothing else: a server that is not root's may name any."""
    if os.geteuid() != 0 or owner == (theirs := _user(pid)) or theirs == 0:
        return
    raise PreforkError(f"the error log {path} is not the file of who runs pid {pid}: it is not shown")


def _user(pid: int) -> int:
    """The effective user. Not the owner of /proc/PID: that is root also where a process may not be traced."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123
            for line in file:
                if line.startswith(b"Uid:"):
                    return int(line.split()[2])
    except OSError:
        pass
    return -1
