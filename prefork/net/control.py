"""The way to a running master: an abstract unix socket that its pid names, and what is said there.

Abstract (unix(7)): nothing lies in a folder, so nothing is left behind by a kill -9, no folder has to be
writable, and the name is gone with the process. Anybody may connect to such a name, or take it first; so
both sides look at who the other is (SO_PEERCRED): the master answers its own user and root, a command
believes only the process that it has asked for.

A command sends one word and a newline: a question ("status", "metrics") or an order ("reload", "upgrade").
The master answers with lines of JSON and then closes. A question has one line for an answer. To "reload":
{"state": "started"}, perhaps {"state": "watched"}, then {"state": "done"}, {"state": "failed"} or
{"state": "refused"}; this last also to a word that it does not know, as an older one may not.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct

from ..errors import PreforkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PREFIX = "prefork/"
PATIENCE = 10.0  # seconds; a master that reads a slow configuration file answers nobody meanwhile
_DIGITS = 9  # of a pid: pid_t has 31 bits
LINE_LIMIT = 256  # bytes of what a command sends
QUESTIONS = ("status", "metrics")  # answered at once; an order's outcome is waited for
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def name(pid: int) -> str:
    """The address of that master's socket.

    The pid namespace is part of it: in a Kubernetes pod several containers share the network namespace, to
    which abstract names belong, and each of them has a process 1.
    """
    return f"\0{PREFIX}{_namespace()}/{pid}"


def number(text: str) -> int:
    """The process id that the text is; 0 where it is none, also where no process can have such a number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


def written_in(path: str) -> int:
    """The pid that a pid file holds, or 0. Raises OSError where it cannot be read, or is no file at all."""
    # A FIFO would be waited for: O_NONBLOCK.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        return number(os.read(fd, 32).decode("ascii", "replace").strip())
    finally:
        os.close(fd)


def is_master(pid: int) -> bool:
    """Is that the pid of a living master? It is by its socket; by its title where it could not have that."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            connection.connect(name(pid))
            return peer(connection)[0] == pid
    except BlockingIOError:
        return True  # more callers than it takes now: it may be stopped
    except OSError:
        pass
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
            return file.read().startswith(b"prefork: master")
    except OSError:
        return True  # hidden from us, or not Linux: nothing else to go by


def listen() -> socket.socket:
    """The listening socket of this process, non-blocking and close-on-exec. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(name(os.getpid()))
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def peer(connection: socket.socket) -> tuple[int, int]:
    """(pid, uid) of the other side, as they were when it connected or began to listen."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(data)
    return pid, uid


def ask(pid: int, word: str, patience: float = PATIENCE) -> Iterator[dict[str, Any]]:
    """Say the word to the master with that pid; yield its answers until it closes. Raises PreforkError, also
    when it is stopped (SIGSTOP) and so says nothing for `patience` seconds; a question it has to answer in
    that time in any case, while the outcome of an order may take as long as it does."""
    import json

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience)
        try:
            connection.connect(name(pid))
            answering, uid = peer(connection)
            if answering != pid:
                raise PreforkError(f"the name of pid {pid} is held by pid {answering}: it is not asked")
            if os.geteuid() not in (0, uid):
                raise PreforkError(f"pid {pid} is another user's: it answers that user and root")
            connection.sendall(word.encode() + b"\n")
            said = b""
            while data := _receive(connection, pid, patient=word not in QUESTIONS):
                *lines, said = (said + data).split(b"\n")
                for line in lines:
                    yield json.loads(line)
        except ConnectionRefusedError:
            raise PreforkError(f"no prefork runs as pid {pid}, or none that can be asked") from None
        except TimeoutError:
            why = ": it is stopped (SIGSTOP)" if _is_stopped(pid) else ""
            raise PreforkError(f"pid {pid} has not answered for {patience:g} s{why}") from None
        except OSError as error:
            raise PreforkError(f"pid {pid} cannot be asked: {error.strerror}") from None


def _receive(connection: socket.socket, pid: int, *, patient: bool) -> bytes:
    while True:
        try:
            return connection.recv(1 << 16)
        except TimeoutError:
            if not patient or _is_stopped(pid):
                raise


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[0] in b"Tt"
    except OSError:
        return False


def running() -> list[int]:
    """The pids of all masters that can be seen from here, by the kernel's list of unix sockets."""
    start = f"@{PREFIX}{_namespace()}/"
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        names = {row.rsplit(" ", 1)[-1].rstrip("\n") for row in file}
    pids = (each.removeprefix(start) for each in names if each.startswith(start))
    return sorted(int(pid) for pid in pids if pid.isdigit())


def _namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116  (pathlib costs a start 4 ms)
