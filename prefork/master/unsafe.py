"""What an import has left in a mold that its workers cannot share: threads, sockets, SQLite files.

A fork copies one thread. It shares sockets, so that answers for one worker reach another; and SQLite loses
its locks in it (sqlite.org/howtocorrupt.html, 2.6). Read from proc(5) and from the interpreter, so what C
libraries have opened is seen too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

_SQLITE = b"SQLite format 3\0"  # sqlite.org/fileformat.html, 1.3


class Before:
    """What was there when it was made: before the import."""

    def __init__(self) -> None:
        self.descriptors = descriptors()
        # A thread that runs now was started behind the fork (sitecustomize, os.register_at_fork), as it is
        # in the workers.
        self.threads = _tasks()


def descriptors() -> frozenset[int]:
    """Those that are open now."""
    # Without the one that lists the folder: the next to be opened has its number.
    return frozenset(fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open(fd))  # noqa: PTH208


def report(before: Before) -> list[str]:
    """One line for each thing that is unsafe to share and was not there before."""
    sockets, files = _descriptors(sorted(descriptors() - before.descriptors))
    files.update(_connections())
    threads = _threads(sorted(_tasks() - before.threads))
    return [*threads, *sockets, *(f"SQLite file {path} is open" for path in sorted(files))]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _tasks() -> frozenset[int]:
    """All threads but the first."""
    return frozenset(map(int, os.listdir("/proc/self/task"))) - {os.getpid()}  # noqa: PTH208


def _threads(tasks: Iterable[int]) -> Iterable[str]:
    known: dict[int, str] = {}
    if threading := sys.modules.get("threading"):
        known = {each.native_id: each.name for each in threading.enumerate()}
    for task in tasks:
        if task in known:
            yield f"thread {known[task]!r} runs, and will not in the workers"
        else:
            yield f"thread {_comm(task)!r} of a C library runs, and will not in the workers"


def _comm(task: int) -> str:
    try:
        return Path(f"/proc/self/task/{task}/comm").read_text().strip()
    except OSError:
        return "?"


def _descriptors(fds: Iterable[int]) -> tuple[list[str], set[str]]:
    sockets, files = [], set()
    for fd in fds:
        try:
            target = str(Path(f"/proc/self/fd/{fd}").readlink())
        except OSError:
            continue
        if target.startswith("socket:"):
            sockets.append(f"descriptor {fd} is {_socket(fd)}")
        elif target.startswith("/") and _is_sqlite(fd):
            files.add(target)
    return sockets, files


def _socket(fd: int) -> str:
    import socket

    try:
        with socket.socket(fileno=os.dup(fd)) as mine:
            try:
                return f"a socket connected to {_address(mine, mine.getpeername())}"
            except OSError:
                where = _address(mine, mine.getsockname())
                return f"a socket bound to {where}" if where else "a socket"
    except OSError:
        return "a socket"


def _address(sock: socket.socket, name: object) -> str:
    import socket

    if sock.family == socket.AF_UNIX:
        text = os.fsdecode(name) if isinstance(name, str | bytes) else ""
        if not text:
            return "an unnamed unix socket"
        return f"unix:@{text[1:]}" if text.startswith("\0") else f"unix:{text}"
    if isinstance(name, tuple) and len(name) >= 2:
        host = f"[{name[0]}]" if ":" in str(name[0]) else name[0]
        return f"{host}:{name[1]}"
    return ""


def _is_sqlite(fd: int) -> bool:
    try:
        return os.pread(fd, len(_SQLITE), 0) == _SQLITE
    except OSError:
        return False


def _connections() -> Iterable[str]:
    """Files that have no header yet are known by their connections."""
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is None:
        return
    import gc

    for each in gc.get_objects():
        # By its type: isinstance() asks for __class__, which has a lazy object make what it stands for.
        if issubclass(type(each), sqlite3.Connection):
            try:
                rows = each.execute("PRAGMA database_list").fetchall()
            except sqlite3.Error:
                continue  # closed, or another thread's: then the file speaks for itself
            yield from (path for _, _, path in rows if path)
