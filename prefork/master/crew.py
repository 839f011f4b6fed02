"""The workers' processes and the master's ends of their channels. Decides nothing.

A process is known from its fork until it is reaped; until then its pid is nobody else's, so a signal
cannot hit a stranger.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..net import channel, signals, streams

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
        wanted: Iterable[tuple[hooks.Worker, Iterable[bytes]]],
        be_worker: Callable[[hooks.Worker, socket.socket], NoReturn],
    ) -> dict[int, int | OSError]:
        """Make workers, each with its first orders; return by slot their pids, or why there is none."""
        outcomes: dict[int, int | OSError] = {}
        made: list[tuple[hooks.Worker, socket.socket]] = []
        for facade, orders in wanted:
            try:
                made.append((facade, self.expect(facade.slot, facade, orders)))
            except OSError as error:
                outcomes[facade.slot] = error
        ends = [theirs for _, theirs in made]
        for (facade, _), outcome in zip(
            made, spawn_all(ends, lambda index: be_worker(*made[index])), strict=True
        ):
            outcomes[facade.slot] = outcome
            child = self.children[facade.slot]
            if isinstance(outcome, OSError):
                self.bury(child)
            else:
                self.born(child, outcome)
        return outcomes

    def expect(self, slot: int, facade: hooks.Worker, orders: Iterable[bytes] = ()) -> socket.socket:
        """A mold will make the worker; return what is to be its end of the channel. Raises OSError."""
        ours, theirs = channel.pair()
        try:
            for order in orders:
                ours.send(order)
        except OSError:
            ours.close()
            theirs.close()
            raise
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
            try:
                os.kill(pid, number)
            except PermissionError:
                # It is the user of -u by now, and this process has no CAP_KILL. Its loop obeys, if it turns.
                if number in (signal.SIGTERM, signal.SIGKILL):
                    self.send(slot, channel.STOP)

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


def spawn(be_child: Callable[[socket.socket], NoReturn], word: bytes = b"") -> tuple[int, socket.socket]:
    """Make a process that runs `be_child(its end of a channel)`, signals blocked; return its pid and our end.

    word: waits there for it.  Raises OSError.
    """
    ours, theirs = channel.pair()
    if word:
        ours.send(word)

    def be_it(_: int) -> NoReturn:
        ours.close()
        be_child(theirs)

    (pid,) = spawn_all([theirs], be_it)
    if isinstance(pid, OSError):
        ours.close()
        raise pid
    return pid, ours


def spawn_all(ends: Sequence[socket.socket], be_child: Callable[[int], NoReturn]) -> list[int | OSError]:
    """Make a process for each of the ends, which runs `be_child(its index)`, signals blocked, and holds none
    of the others; return their pids, or why there is none. The ends are closed here.

    One right behind the other: what this process writes to between two forks, if only a reference count, is a
    page that the two children do not share. Made one at a time, a worker had 0.2 MB more of its own.
    """
    streams.flush()
    pids: list[int | OSError] = []
    # Until the child has let go of the pipe of signals that it shares with the master, see signals.py.
    signals.block()
    try:
        for index in range(len(ends)):
            try:
                pid = os.fork()
            except OSError as error:
                pids.append(error)
                continue
            if pid == 0:
                for other in range(len(ends)):
                    if other != index:
                        ends[other].close()
                be_child(index)
            pids.append(pid)
    finally:
        for end in ends:
            end.close()
        signals.unblock()
    return pids
