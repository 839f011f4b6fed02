"""The workers' processes and the master's ends of their channels. Decides nothing.

A process is known from its fork until it is reaped; until then its pid is nobody else's, so a signal
cannot hit a stranger.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable, Iterable, Iterator

from ..net import channel, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ..config import hooks


class Child:
    """One worker. `channel` is None once it has been at EOF; `pid` is 0 until a mold has made the process,
    and once it is reaped."""

    __slots__ = ("channel", "facade", "pid", "slot")

    def __init__(self, slot: int, pid: int, ours: socket.socket, facade: hooks.Worker) -> None:
        self.slot = slot
        self.pid = pid
        self.channel: socket.socket | None = ours
        self.facade = facade


class Crew:
    """All workers, by slot. Their channels are registered with `poll`."""

    def __init__(self, poll: select.poll) -> None:
        self.children: dict[int, Child] = {}
        self._poll = poll
        self._by_pid: dict[int, Child] = {}
        self._by_fd: dict[int, Child] = {}

    def fork(
        self,
        slot: int,
        facade: hooks.Worker,
        be_worker: Callable[[socket.socket], NoReturn],
        orders: Iterable[bytes] = (),
    ) -> int:
        """Make a worker, see `spawn`; return its pid."""
        pid, ours = spawn(be_worker, orders)
        self.born(self._join(slot, ours, facade), pid)
        return pid

    def expect(self, slot: int, facade: hooks.Worker, orders: Iterable[bytes] = ()) -> socket.socket:
        """A mold will make the worker; return what is to be its end of the channel. Raises OSError."""
        ours, theirs = channel.pair()
        for order in orders:
            ours.send(order)
        self._join(slot, ours, facade)
        return theirs

    def born(self, child: Child, pid: int) -> None:
        """The process exists."""
        child.pid = child.facade.pid = pid
        self._by_pid[pid] = child

    def unborn(self) -> list[Child]:
        """Those that a mold has not made yet, or that have not said so."""
        return [child for child in self.children.values() if not child.facade.pid]

    def let_go(self) -> None:
        """In a new child: close what belongs to its master and its siblings."""
        for child in self.children.values():
            if child.channel is not None:
                child.channel.close()

    def speaker(self, fd: int) -> Child | None:
        """Whose channel that is."""
        return self._by_fd.get(fd)

    def words(self, child: Child) -> Iterator[bytes]:
        """Yield what it has said; b"" is EOF, and the last word."""
        while child.channel is not None:
            try:
                message = child.channel.recv(channel.MESSAGE_LIMIT)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it died with our words unread; said once, and before its own that still wait here
            except OSError:
                message = b""
            if not message:
                self._hang_up(child)
            yield message

    def send(self, slot: int, message: bytes) -> None:
        child = self.children[slot]
        if child.channel is not None:
            try:
                child.channel.send(message)
            except OSError:
                pass  # it is dead, and will be reaped

    def signal(self, slot: int, number: int) -> None:
        if pid := self.children[slot].pid:
            os.kill(pid, number)

    def signal_all(self, number: int) -> None:
        for slot in self.children:
            self.signal(slot, number)

    def reap(self) -> Iterator[tuple[int, int]]:
        """Collect every child of this process that has ended; yield pids and wait statuses.

        Strangers are among them: as PID 1 or subreaper (prctl(2)) they are left to us.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            yield pid, status

    def dead(self, pid: int) -> Child | None:
        """Whose process that was; once."""
        if child := self._by_pid.pop(pid, None):
            child.pid = 0
        return child

    def bury(self, child: Child) -> None:
        """Forget a worker that is reaped, or was never born; its slot is free."""
        self._hang_up(child)
        del self.children[child.slot]

    def _join(self, slot: int, ours: socket.socket, facade: hooks.Worker) -> Child:
        child = Child(slot, 0, ours, facade)
        self.children[slot] = child
        self._by_fd[ours.fileno()] = child
        self._poll.register(ours.fileno(), select.POLLIN)
        return child

    def _hang_up(self, child: Child) -> None:
        if child.channel is not None:
            self._poll.unregister(child.channel.fileno())
            del self._by_fd[child.channel.fileno()]
            child.channel.close()
            child.channel = None


def spawn(
    be_child: Callable[[socket.socket], NoReturn], orders: Iterable[bytes] = ()
) -> tuple[int, socket.socket]:
    """Make a process that runs `be_child(its end of a channel)`, signals blocked; return its pid and our end.

    orders: what it finds there from the first moment. Raises OSError.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ours, theirs = channel.pair()
    for order in orders:
        ours.send(order)
    # Until the child has let go of the pipe of signals that it shares with the master, see signals.py.
    signals.block()
    try:
        pid = os.fork()
        if pid == 0:
            ours.close()
            be_child(theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        signals.unblock()
    return pid, ours
