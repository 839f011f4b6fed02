"""What the kernel says that a process takes (proc(5)): memory, processor time, age."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage:
    """memory: resident bytes, which count in each worker what a preloaded application shares with others.
    processor: seconds of user and system time so far.  age: seconds since the process began."""

    __slots__ = ("age", "memory", "processor")

    def __init__(self, memory: int, processor: float, age: float) -> None:
        self.memory = memory
        self.processor = processor
        self.age = age


def usage(pid: int) -> Usage | None:
    """None where there is no such process, or it is hidden from us (hidepid, ProtectProc=)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (pathlib costs a start 4 ms)
            return read(file.read(), time.clock_gettime(time.CLOCK_BOOTTIME))
    except OSError:
        return None


def read(stat: bytes, since_boot: float) -> Usage:
    """The line of /proc/PID/stat. What follows the name is counted from there: a name may hold anything."""
    fields: Sequence[bytes] = stat.rpartition(b")")[2].split()
    user, system, began, pages = (int(fields[index - 3]) for index in (14, 15, 22, 24))
    return Usage(pages * _PAGE, (user + system) / _TICK, max(0.0, since_boot - began / _TICK))
