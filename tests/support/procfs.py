"""What Linux says about a process (proc(5)): family, descriptors, memory, processor time."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Pids of the live (not zombie) children of every thread of pid, oldest first."""
    found: set[int] = set()
    for task in (PROC / str(pid) / "task").iterdir():
        found.update(int(child) for child in (task / "children").read_text().split())
    return sorted(child for child in found if state(child) not in "ZX")


def stat(pid: int) -> list[str]:
    """The fields of /proc/pid/stat behind the name, which may hold spaces: [0] is the state (field 3)."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def state(pid: int) -> str:
    """One letter, X when there is no such process."""
    try:
        return stat(pid)[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def title(pid: int) -> str:
    """What ps shows; "" when there is no such process."""
    try:
        return (PROC / str(pid) / "cmdline").read_text().rstrip("\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def session(leader: int) -> list[int]:
    """Live processes of the session that leader began, leader included."""
    members = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                fields = stat(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == leader and fields[0] not in "ZX":
                members.append(int(entry.name))
    return members


def descriptors(pid: int) -> dict[int, str]:
    """Open descriptors and what they point at. An epoll, a pipe, a socket count each as one."""
    found = {}
    for entry in (PROC / str(pid) / "fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:
            continue
    return found


def resident(pid: int) -> int:
    """Resident set, in bytes."""
    return int((PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """User and system time spent so far."""
    fields = stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def threads(pid: int) -> int:
    return len(list((PROC / str(pid) / "task").iterdir()))
