"""The molds of the generations that preload: the master's side. What a mold does stands in mold.py.

A mold imports once and then makes one worker at a time, as ordered. An order waits in its queue until then;
whoever ordered learns of a worker by that worker's own first word, and of none from `hear` and `died`.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable

from ..errors import BootError
from ..net import channel
from . import death
from .generation import Failure, failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Unmade = list[tuple[int, Failure]]  # slots that get no worker, and why

ABORT_TIMEOUT = 2.0  # seconds from ABRT to KILL: time to write the stacks
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)


class Mold:
    """One process. `busy` is the slot it makes a worker for, or -1."""

    __slots__ = (
        "busy",
        "channel",
        "deadline",
        "ending",
        "failure",
        "generation",
        "imported",
        "late",
        "patience",
        "pid",
        "queue",
    )

    def __init__(self, generation: int, pid: int, ours: socket.socket, patience: float) -> None:
        self.generation = generation
        self.pid = pid
        self.channel: socket.socket | None = ours
        self.patience = patience  # seconds for the import
        self.deadline = time.monotonic() + patience  # for the import, or for what follows when it is late
        self.imported = False
        self.late = ""
        self.ending = False
        self.failure: Failure | None = None
        self.busy = -1
        self.queue: deque[tuple[int, int, socket.socket]] = deque()  # slot, age, the worker's channel


class Molds:
    """All of them, by generation. Their channels are registered with `poll`."""

    def __init__(self, poll: select.poll, log: Any) -> None:
        self._poll = poll
        self._log = log
        self._living: dict[int, Mold] = {}  # by generation: those that may be given orders
        self._by_pid: dict[int, Mold] = {}
        self._by_fd: dict[int, Mold] = {}

    # For the loop

    @property
    def wake(self) -> float:
        return min((mold.deadline for mold in self._by_pid.values()), default=math.inf)

    def tick(self, now: float) -> None:
        """End those whose import has lasted too long."""
        for mold in self._by_pid.values():
            if mold.deadline > now:
                continue
            first = not mold.late
            mold.late = mold.late or f"did not end its import within {mold.patience:g} s (boot_timeout)"
            mold.deadline = now + ABORT_TIMEOUT if first else math.inf
            self._signal(mold, signal.SIGABRT if first else signal.SIGKILL)

    def put_off(self, seconds: float) -> None:
        """This process stood still for so long: the imports have their time again."""
        for mold in self._by_pid.values():
            mold.deadline += seconds

    def speaker(self, fd: int) -> Mold | None:
        return self._by_fd.get(fd)

    def of(self, pid: int) -> Mold | None:
        return self._by_pid.get(pid)

    def has(self, generation: int) -> bool:
        """Is there one that takes orders?"""
        return generation in self._living

    def making(self, generation: int, slot: int) -> bool:
        """Is it at work on that slot's worker?"""
        return any(each.generation == generation and each.busy == slot for each in self._by_pid.values())

    def enter(self, generation: int, pid: int, ours: socket.socket, patience: float) -> None:
        """Keep a new mold. `patience`: seconds for its import."""
        mold = Mold(generation, pid, ours, patience)
        self._living[generation] = self._by_pid[pid] = self._by_fd[ours.fileno()] = mold
        self._poll.register(ours.fileno(), select.POLLIN)

    def order(self, generation: int, slot: int, age: int, theirs: socket.socket) -> None:
        """Have a worker made, as soon as it can be."""
        mold = self._living[generation]
        mold.queue.append((slot, age, theirs))
        self._send_next(mold)

    def hear(self, mold: Mold) -> Unmade:
        """Take what it has said."""
        unmade: Unmade = []
        while mold.channel is not None:
            try:
                message = mold.channel.recv(channel.MESSAGE_LIMIT)
            except BlockingIOError:
                break
            except OSError:
                message = b""
            word, _, rest = message.partition(b" ")
            match word:
                case b"":
                    self._hang_up(mold)
                case channel.IMPORTED:
                    mold.imported, mold.deadline = True, math.inf
                case channel.FAILED:
                    mold.failure = failure(rest)
                case channel.DONE:
                    mold.busy = -1
                case channel.UNFORKED:
                    slot, mold.busy = mold.busy, -1
                    unmade.append((slot, Failure(f"cannot fork: {rest.decode('utf-8', 'replace')}")))
        self._send_next(mold)
        return unmade

    def died(self, mold: Mold, status: int) -> Unmade:
        """It is reaped: nobody will get a worker from it. The caller looks whether the last one was born."""
        self._hang_up(mold)
        del self._by_pid[mold.pid]
        text = mold.late or death.describe(status)
        doing = "before it had imported the application" if not mold.imported else ""
        said = mold.failure or Failure(f"mold {mold.pid} {text} {doing}".rstrip())
        slots = [slot for slot, _, _ in mold.queue]
        for _, _, theirs in mold.queue:
            theirs.close()
        mold.queue.clear()
        if mold.busy >= 0:
            slots.insert(0, mold.busy)
        if not mold.ending:
            if mold.imported:
                self._log.error("%s", said.cause)
            elif not slots:  # else who ordered says it
                self._log.error("%s\n%s" if said.detail else "%s%s", said.cause, said.detail.rstrip())
        return [(slot, said) for slot in slots]

    def end(self, generation: int) -> None:
        """Its generation is over."""
        if mold := self._living.pop(generation, None):
            self._kill(mold)

    def end_all(self) -> None:
        """The server is to end: nobody is needed any more, and they hold the listeners."""
        for generation in list(self._living):
            self.end(generation)

    def trim(self, wanted: Callable[[int], bool]) -> None:
        """End an import that nobody waits for any more: the slots are no longer wanted."""
        for mold in list(self._living.values()):
            if not mold.imported and mold.queue and not any(wanted(slot) for slot, _, _ in mold.queue):
                del self._living[mold.generation]
                self._kill(mold)

    def let_go(self) -> None:
        """In a new child: close what belongs to the master."""
        for mold in self._by_pid.values():
            if mold.channel is not None:
                mold.channel.close()
            for _, _, theirs in mold.queue:
                theirs.close()

    def close(self) -> None:
        """End them all, and wait until they have."""
        for mold in list(self._by_pid.values()):
            self._kill(mold)
            os.waitpid(mold.pid, 0)
            self.died(mold, 0)

    # Helpers

    def _send_next(self, mold: Mold) -> None:
        if not mold.imported or mold.busy >= 0 or not mold.queue or mold.channel is None:
            return
        slot, age, theirs = mold.queue.popleft()
        mold.busy = slot
        try:
            socket.send_fds(mold.channel, [b"%d %d" % (slot, age)], [theirs.fileno()])
        except OSError:
            pass  # it is dead, and will be reaped
        theirs.close()

    def _kill(self, mold: Mold) -> None:
        # It has nothing to lose: no client, no request, and workers that are not its children.
        mold.ending = True
        self._signal(mold, signal.SIGKILL)

    def _signal(self, mold: Mold, number: int) -> None:
        try:
            os.kill(mold.pid, number)
        except PermissionError:  # it has become the user of -u, and this process has no CAP_KILL
            if mold.channel is not None:
                mold.channel.shutdown(socket.SHUT_RDWR)  # it ends as soon as it looks

    def _hang_up(self, mold: Mold) -> None:
        if self._living.get(mold.generation) is mold:
            del self._living[mold.generation]
        if mold.channel is not None:
            self._poll.unregister(mold.channel.fileno())
            del self._by_fd[mold.channel.fileno()]
            mold.channel.close()
            mold.channel = None


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans: so the workers of a mold become its children,
    and outlive the mold. Raises BootError where the system has no such thing."""
    try:
        import ctypes
    except ImportError as fault:  # a Python made without libffi
        raise BootError(f"--preload needs Python's ctypes: {fault}") from None

    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if prctl is None:
        raise BootError("--preload needs Linux: a worker has to outlive the process that made it")
    if prctl(SUBREAPER, 1, 0, 0, 0):
        raise BootError(f"--preload: prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(ctypes.get_errno())}")
