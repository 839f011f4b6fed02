"""Another master takes over: the program that is installed now, with the listeners of this one.

The old master forks and executes its own command line again. Listeners and a channel cross exec(2) by name,
in LISTEN_FDS and LISTEN_FDNAMES as sd_listen_fds(3) has them; every other descriptor is close-on-exec. Until
the new one has said READY (all workers of its first generation serve) nothing has changed: whatever goes
wrong before ends the new one, and the old one says why. Then the old one says TAKE, and drains.

Successor is what the old master knows of the new one; Predecessor is what the new one knows of the old one.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence

from ..errors import PreforkError
from ..net import channel, systemd
from . import death
from .generation import Failure, failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ..net.listener import Listener
    from ..net.notify import Notify
    from .program import Program


MARGIN = 10.0  # seconds beyond boot_timeout that a new master may take to be ready
TERM_TIMEOUT = 5.0  # seconds from TERM to KILL
TAIL = 4096  # bytes of what it wrote on stderr that are kept for the log


# The old master's side


class Successor:
    """A new master that has not proved itself yet."""

    def __init__(self, pid: int, ours: socket.socket, stderr: int, patience: float, now: float) -> None:
        self.pid = pid
        self.channel = ours
        self.ready = False
        self.silent = False  # its channel is at EOF
        self.deadline = now + patience
        self._patience = patience
        self._stderr = stderr
        self._failure: Failure | None = None
        self._late = False

    def tick(self, now: float) -> None:
        """It has lasted too long."""
        first = not self._late
        self.end(signal.SIGTERM if first else signal.SIGKILL)
        self._late = True
        self.deadline = now + TERM_TIMEOUT if first else math.inf

    def end(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> None:
        """End it, with the workers that it has made, and wait until it has ended."""
        self.end(signal.SIGTERM)
        gone = select.poll()
        gone.register(self.channel.fileno(), 0)  # POLLHUP comes unasked
        gone.poll(TERM_TIMEOUT * 1000)
        self.end(signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def hear(self) -> bool:
        """Take what it has said; False at EOF."""
        while True:
            try:
                message = self.channel.recv(channel.MESSAGE_LIMIT)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                continue  # it has ended with our word unread; its own still wait here
            except OSError:
                message = b""
            word, _, rest = message.partition(b" ")
            match word:
                case b"":
                    return False
                case channel.READY:
                    self.ready = True
                case channel.FAILED:
                    self._failure = failure(rest)

    def take(self) -> None:
        """Let it be the server."""
        _say(self.channel, channel.TAKE)

    def failure(self, status: int) -> Failure:
        """Why it has not become the server; it is reaped."""
        if self._late:
            return Failure(f"the new master {self.pid} was not ready within {self._patience:g} s")
        if self._failure is not None:
            return self._failure
        how = f"the new master {self.pid} {death.describe(status)} before it was ready"
        return Failure(how, self._written())

    def close(self) -> None:
        self.channel.close()
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    def _written(self) -> str:
        if self._stderr < 0:
            return ""
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, TAIL, max(0, size - TAIL)).decode("utf-8", "replace")


def keep_stderr() -> int:
    """A place for what the new master writes on stderr, where this one has none that anybody reads."""
    return os.memfd_create("stderr")


def execute(
    program: Program,
    theirs: socket.socket,
    listeners: Sequence[Listener],
    notify: Notify,
    stderr: int,
) -> NoReturn:
    """In the new process: become the program. What goes wrong is said through `theirs`."""
    try:
        names = [systemd.UPGRADE, *(systemd.name_of(each.bound_for) for each in listeners)]
        _pass([theirs.fileno(), *(each.fd for each in listeners)])
        me = os.getpid()
        environ = {
            **os.environ,
            **notify.heritage(me),
            "LISTEN_PID": str(me),
            "LISTEN_FDS": str(len(names)),
            "LISTEN_FDNAMES": ":".join(names),
        }
        if stderr >= 0:
            os.dup2(stderr, 1)
            os.dup2(stderr, 2)
        os.chdir(program.directory)
        os.execve(program.executable, program.arguments, environ)
    except OSError as error:
        what = error.filename or program.executable
        fault = PreforkError(f"the new master cannot be executed: {what}: {error.strerror}")
        _say(theirs, channel.failed(fault))
    finally:
        os._exit(127)


def _pass(fds: Sequence[int]) -> None:
    """Number them as sd_listen_fds(3) has them, for the program that is executed next."""
    # Out of the way first: a target may be the number of another source.
    free = systemd.FIRST + len(fds)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, free) for fd in fds]
    for target, fd in enumerate(high, systemd.FIRST):
        os.dup2(fd, target, inheritable=True)


# The new master's side


class Predecessor:
    """The master whose place this one is to take."""

    def __init__(self, fd: int) -> None:
        self.channel = socket.socket(fileno=fd)
        self.channel.setblocking(False)
        self.channel.set_inheritable(False)
        self.pid = os.getppid()
        self.proved = False  # it was told that this one is ready
        self.gone = False  # it is dead
        self.wanted = self._hear_wanted()

    def say_ready(self) -> None:
        self.proved = True
        _say(self.channel, channel.READY)

    def say_failure(self, fault: PreforkError) -> None:
        """Tell it why there will be no new master; the last word."""
        _say(self.channel, channel.failed(fault))
        self.channel.close()

    def lets_go(self) -> bool:
        """Has it handed over, or died?"""
        try:
            message = self.channel.recv(channel.MESSAGE_LIMIT)
        except BlockingIOError:
            return False
        except OSError:
            message = b""
        self.gone = not message
        return message in (channel.TAKE, b"")

    def close(self) -> None:
        self.channel.close()

    def _hear_wanted(self) -> int:
        """How many workers it wants at this moment; 0: it knows no such word."""
        try:
            word, _, rest = self.channel.recv(channel.MESSAGE_LIMIT).partition(b" ")
        except OSError:
            return 0
        return int(rest) if word == channel.WANTED else 0


def is_upgrade(environ: Mapping[str, str] = os.environ) -> bool:
    """Was this process started by another master? Only before the variables are taken."""
    names = environ.get("LISTEN_FDNAMES", "")
    return names.startswith(systemd.UPGRADE) and environ.get("LISTEN_PID") == str(os.getpid())


def say_failure(fault: PreforkError) -> None:
    """For a start that fails before there is a master: tell the old one why."""
    if is_upgrade():
        with socket.socket(fileno=systemd.FIRST) as ours:
            _say(ours, channel.failed(fault))


def _say(to: socket.socket, message: bytes) -> None:
    try:
        to.send(message)
    except OSError:
        pass  # it is dead; EOF follows
