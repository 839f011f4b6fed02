"""The process that imports the application once for all workers of a generation, and forks them on request.
For gevent workers it imports gevent only.

Each worker is forked twice: the process between ends at once, and the worker becomes a child of the nearest
subreaper (prctl(2)), which is the master. So workers have one parent, however they were made, and a mold
may die while they serve. (CLONE_PARENT would do with one fork, but only past the C library, which then
keeps the thread id of the parent: its abort() and its locks are wrong in every worker.)
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time

from ..errors import PreforkError
from ..net import channel, streams
from . import unsafe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    App = Callable[..., Any]

DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG, prctl(2)


class Mold:
    """preload: imports the application; raises PreforkError.

    work: called in each worker with its slot, its age, its end of the channel and the application; never
    returns.
    """

    def __init__(
        self,
        ours: socket.socket,
        log: Any,
        preload: Callable[[], App | None],
        work: Callable[[int, int, socket.socket, App | None], NoReturn],
    ) -> None:
        ours.setblocking(True)
        self._channel = ours
        self._log = log
        self._preload = preload
        self._work = work
        self._on_child: Any = None

    def run(self) -> int:
        """Import, then make workers until the master hangs up; return the exit code."""
        _die_with_the_master()
        before = unsafe.Before()
        began = time.monotonic()
        try:
            app = self._preload()
        except PreforkError as fault:
            self._say(channel.failed(fault))
            return fault.exit_code
        _die_with_the_master()  # again: a change of user takes it back (prctl(2))
        self._keep_children()
        for line in unsafe.report(before):
            self._log.warning("preload: after the import %s", line)
        # What is alive now stays: a collection in a worker must not touch it, or its pages are copied.
        gc.collect()
        gc.freeze()
        self._log.debug("mold %d has imported in %.2f s", os.getpid(), time.monotonic() - began)
        self._say(channel.IMPORTED)
        while order := self._next():
            self._make(*order, app)
        return 0

    def _keep_children(self) -> None:
        """What the application does about SIGCHLD is for its workers. Here, and in the processes between, a
        child that ends has to stay until it is waited for: the master would never hear of a worker that died
        early."""
        self._on_child = signal.getsignal(signal.SIGCHLD)
        if self._on_child is not None:  # set by C code: cannot be set again
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def _next(self) -> tuple[int, int, socket.socket] | None:
        """Wait for an order: (slot, age, the worker's end of its channel). None: the master has hung up."""
        try:
            words, fds, _, _ = socket.recv_fds(self._channel, 1024, 1)
        except OSError:
            return None
        if not words or not fds:
            return None
        slot, age = map(int, words.split())
        theirs = socket.socket(fileno=fds[0])
        theirs.setblocking(False)
        theirs.set_inheritable(False)  # recv_fds knows no MSG_CMSG_CLOEXEC; nothing is executed in between
        return slot, age, theirs

    def _make(self, slot: int, age: int, theirs: socket.socket, app: App | None) -> None:
        streams.flush()
        try:
            between = os.fork()
        except OSError as error:
            self._say(channel.UNFORKED + b" " + (error.strerror or "?").encode())
        else:
            if between == 0:
                self._be_between(slot, age, theirs, app)
            code = _end_of(between)
            if code == 0:
                self._say(channel.DONE)
            else:
                why = os.strerror(code) if code > 0 else f"the process between was killed by signal {-code}"
                self._say(channel.UNFORKED + b" " + why.encode())
        finally:
            theirs.close()

    def _be_between(self, slot: int, age: int, theirs: socket.socket, app: App | None) -> NoReturn:
        code = 255
        try:
            if os.fork() == 0:
                self._channel.close()
                if self._on_child is not None:
                    signal.signal(signal.SIGCHLD, self._on_child)
                theirs.send(channel.BORN + b" %d" % os.getpid())
                self._work(slot, age, theirs, app)
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)

    def _say(self, message: bytes) -> None:
        try:
            self._channel.send(message)
        except OSError:
            pass  # the master is dead; EOF follows


def _end_of(between: int) -> int:
    """Wait for that child; its exit code, or the number of the signal that killed it, below 0."""
    try:
        _, status = os.waitpid(between, 0)
    except ChildProcessError:
        return 0  # reaped by a thread or a handler in C. Was no worker born, its channel tells the master.
    return os.waitstatus_to_exitcode(status)


def _die_with_the_master() -> None:
    """A mold is of no use without its master, and holds the listeners: the kernel ends it."""
    import ctypes

    ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
