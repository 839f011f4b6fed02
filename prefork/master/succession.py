"""One server after another: what an upgrade takes from the old master and gives to the new one.

Owns what only one of them may hold at a time: the pid file and the service manager's ear. Until the new one
has proved itself nothing has changed for the old one; then it is told, lets go, and drains.
"""

from __future__ import annotations

import math
import os
import select
import signal
import time

from ..errors import BootError, PreforkError
from ..net import channel, notify, systemd

# Here, and not when it is asked for: by then another prefork may be installed in the place of this one.
from . import upgrade
from .crew import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from socket import socket
    from typing import Any, NoReturn

    from ..config.settings import Settings
    from ..net.listener import Listener
    from .control import Caller
    from .generation import Failure
    from .pidfile import PidFile
    from .program import Program
    from .service import Service
    from .upgrade import Predecessor, Successor


class Succession:
    """Before and after one master. Its descriptors are registered with `poll`.

    let_go: in a new process, close what is the master's.  pre_exec: call that hook; may raise PreforkError.
    retire: another master serves; drain and end.  inherit: the predecessor has let go of everything.
    say_ready: tell the service manager what serves, behind those words.
    """

    def __init__(
        self,
        *,
        poll: select.poll,
        log: Any,
        service: Service,
        program: Program,
        let_go: Callable[[], None],
        pre_exec: Callable[[], None],
        retire: Callable[[], None],
        inherit: Callable[[], None],
        say_ready: Callable[[str], None],
    ) -> None:
        self._poll = poll
        self._log = log
        self._service = service
        self._program = program
        self._let_go = let_go
        self._pre_exec = pre_exec
        self._retire = retire
        self._inherit = inherit
        self._say_ready = say_ready
        self._ears = notify.Notify()  # the service manager's; silent until this is the service
        self._pidfile: PidFile | None = None
        self._predecessor: Predecessor | None = None
        self._successor: Successor | None = None
        self._caller: Caller | None = None
        self._stopping = False

    # Start and end

    def open(self, passed: Sequence[tuple[int, str]], now: float) -> Sequence[tuple[int, str]]:
        """Take what was handed over, by a service manager or a predecessor; return the listeners of it."""
        self._ears = notify.from_environ()
        if passed and passed[0][1] == systemd.UPGRADE:
            self._predecessor = upgrade.Predecessor(passed[0][0])
            self._poll.register(self._predecessor.channel.fileno(), select.POLLIN)
            return passed[1:]
        self._service.take(self._ears)
        self._service.starting(now)
        return passed

    def claim(self, path: str) -> None:
        """Write the pid file, or keep the path until the predecessor lets go of it. Raises PreforkError."""
        from .pidfile import PidFile

        self._pidfile = PidFile(path)
        if self._predecessor is None:
            self._pidfile.write()

    def close(self, trouble: Failure, exit_code: int) -> None:
        """The master ends. trouble: what was said last, should it be why a predecessor gets no successor."""
        if self._successor is not None:  # it shall not outlive the one that it has not replaced
            self._successor.wait()
        fault = BootError(trouble.cause or "the new master was told to stop", trouble.detail)
        fault.exit_code = exit_code or BootError.exit_code
        self.fail(fault)
        if self._pidfile is not None:
            self._pidfile.remove()

    def fail(self, fault: PreforkError) -> None:
        """Tell a predecessor why it has no successor; the first time."""
        if self._predecessor is not None:
            self._predecessor.say_failure(fault)
            self._predecessor = None

    def let_go(self) -> None:
        """In a new child: close what belongs to the master."""
        for each in (self._successor, self._predecessor):
            if each is not None:
                each.close()

    # For the loop

    @property
    def is_heir(self) -> bool:
        """Does a predecessor still serve?"""
        return self._predecessor is not None

    @property
    def wanted(self) -> int:
        """How many workers the predecessor wants; 0: nobody has said."""
        return self._predecessor.wanted if self._predecessor is not None else 0

    @property
    def under_way(self) -> str:
        """What is said of the upgrade that is under way; "" where none is."""
        return f"pid {self._successor.pid} is about to take over" if self._successor is not None else ""

    @property
    def wake(self) -> float:
        return math.inf if self._successor is None else self._successor.deadline

    def tick(self, now: float) -> None:
        if self._successor is not None and now >= self._successor.deadline:
            self._successor.tick(now)

    def put_off(self, seconds: float) -> None:
        """This process stood still for so long: the successor has its time again."""
        if self._successor is not None:
            self._successor.deadline += seconds

    def hear(self, fd: int) -> bool:
        """Act on an event of that descriptor; False when it belongs to somebody else."""
        if self._successor is not None and fd == self._successor.channel.fileno():
            self._hear_successor(self._successor)
            return True
        if self._predecessor is not None and fd == self._predecessor.channel.fileno():
            self._hear_predecessor(self._predecessor)
            return True
        return False

    def stopping(self) -> None:
        """This server is to end, so nobody shall take it over."""
        self._stopping = True
        if self._successor is not None:
            self._successor.end(signal.SIGTERM)

    # The old master's side

    def begin(
        self, why: str, settings: Settings, listeners: Sequence[Listener], wanted: int, caller: Caller | None
    ) -> None:
        """Start a successor. wanted: as many workers as this server wants now."""
        try:
            # A daemon's stderr is read by nobody.
            stderr = upgrade.keep_stderr() if settings.daemon else -1
        except OSError as error:
            self.refuse(why, f"no memory file for its stderr: {error.strerror}", caller)
            return

        def become(theirs: socket) -> NoReturn:
            ears = notify.Notify(self._ears.address, self._ears.watchdog)
            self._let_go()
            try:
                self._pre_exec()
            except PreforkError as fault:
                theirs.send(channel.failed(fault))
                os._exit(fault.exit_code)
            upgrade.execute(self._program, theirs, listeners, ears, stderr)

        try:
            pid, ours = spawn(become, b"%s %d" % (channel.WANTED, wanted))
        except OSError as error:
            if stderr >= 0:
                os.close(stderr)
            self.refuse(why, f"cannot fork: {error.strerror}", caller)
            return
        patience = settings.boot_timeout + upgrade.MARGIN if settings.boot_timeout else math.inf
        self._successor = upgrade.Successor(pid, ours, stderr, patience, time.monotonic())
        self._caller = caller
        self._poll.register(ours.fileno(), select.POLLIN)
        self._log.info("%s: pid %d is to take over", why, pid)
        self._service.status(f"upgrading: pid {pid} is to take over")

    def refuse(self, why: str, cause: str, caller: Caller | None) -> None:
        """Say why there is no upgrade."""
        self._log.error("%s refused: %s", why, cause)
        if caller is not None:
            caller.end(state="refused", cause=cause, exit_code=1)

    def reaped(self, pid: int, status: int) -> bool:
        """Was that the successor? Then this master serves on."""
        successor = self._successor
        if successor is None or pid != successor.pid:
            return False
        successor.hear()  # its last words came before its death
        if self._stopping:
            self._log.info("the new master %d has ended, too", pid)
            cause = "the server was told to stop"
            self._forget(successor, state="failed", cause=cause, detail="", exit_code=1)
            return True
        why = successor.failure(status)
        below = f"\n{why.detail.rstrip()}" if why.detail else ""
        self._log.error("upgrade failed, this master serves on: %s%s", why.cause, below)
        self._forget(successor, state="failed", cause=why.cause, detail=why.detail, exit_code=why.exit_code)
        self._take_back()
        self._say_ready(f"upgrade failed ({why.cause}): ")
        return True

    def _take_back(self) -> None:
        """The pid file is this master's again. Without one it serves all the same."""
        if self._pidfile is not None:
            try:
                self._pidfile.take_back()
            except PreforkError as fault:
                self._log.error("%s", fault)

    def _hear_successor(self, successor: Successor) -> None:
        if not successor.hear():
            self._poll.unregister(successor.channel.fileno())
            successor.silent = True
        elif successor.ready:
            self._service.succeeded(successor.pid)
            self._pidfile = None
            successor.take()
            self._forget(successor, state="done", pid=successor.pid)
            self._log.info("upgrade: pid %d has taken over, this master drains and ends", successor.pid)
            self._retire()

    def _forget(self, successor: Successor, **outcome: Any) -> None:
        if self._caller is not None:
            self._caller.end(**outcome)
            self._caller = None
        if not successor.silent:
            self._poll.unregister(successor.channel.fileno())
        successor.close()
        self._successor = None

    # The new master's side

    def prove(self) -> None:
        """All workers serve: ask for the rest, if a predecessor has it. Raises PreforkError."""
        predecessor = self._predecessor
        if predecessor is None or predecessor.proved:
            return
        if self._pidfile is not None:
            try:
                self._pidfile.write(predecessor.pid)
            except PreforkError as fault:
                if not predecessor.gone:
                    raise
                self._log.error("%s", fault)  # nobody else is left to serve
        predecessor.say_ready()
        if predecessor.gone:
            self._take_over(predecessor)

    def _hear_predecessor(self, predecessor: Predecessor) -> None:
        if predecessor.lets_go():
            self._poll.unregister(predecessor.channel.fileno())
            if predecessor.proved:
                self._take_over(predecessor)
            # else it is dead: taken over as soon as there is something to take over with

    def _take_over(self, predecessor: Predecessor) -> None:
        self._predecessor = None
        predecessor.close()
        self._service.take(self._ears)
        self._log.info("upgrade: this master has taken over from pid %d", predecessor.pid)
        self._inherit()
        self._say_ready("")
