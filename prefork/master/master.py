"""The supervising process: one loop that hears signals, channels and the clock, and does what Fleet says.

Master owns the processes and the descriptors: listeners, scoreboard, the pipe of signals, one channel a
worker. It never imports the application and never serves a request.
"""

from __future__ import annotations

import gc
import math
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable

from .. import __version__
from ..config import hooks
from ..engine.scoreboard import Scoreboard, WorkerState
from ..errors import PreforkError
from ..net import channel, listener, signals, systemd
from ..net.channel import Boot
from ..net.listener import Listener
from ..net.signals import Signals
from . import death
from .actions import Abandoned, Action, Exit, Forget, Fork, Opened, Resized, Say, Send, Settled, Signal
from .fleet import Fleet
from .generation import Failure, Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..config.settings import Settings
    from .daemon import Launch
    from .pidfile import PidFile

SIGNALS = (
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
LEAST_SLOTS = 16  # so that TTIN has somewhere to go on a small server


class Child:
    """A worker's process as the master holds it. `pid` is 0 once it is reaped."""

    __slots__ = ("channel", "facade", "pid", "slot")

    def __init__(self, pid: int, slot: int, ours: socket.socket, facade: hooks.Worker) -> None:
        self.pid = pid
        self.slot = slot
        self.channel: socket.socket | None = ours
        self.facade = facade


class Master:
    """One server, from binding to the last worker's end. `run` once.

    run_worker: called in each child; returns its exit code.
    read_settings: read everything again, for a reload; raises PreforkError. None: reload with the same.
    log: has the methods of a Logger, and `reopen()`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        run_worker: Callable[[Boot], int],
        log: Any,
        read_settings: Callable[[], Settings] | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        self.settings = settings
        self.log = log
        self.listeners: list[Listener] = []
        self.server = hooks.Server(settings, log)
        self._run_worker = run_worker
        self._read_settings = read_settings
        self._notes = tuple(notes)
        self._settings_of: dict[int, Settings] = {1: settings}
        self._newest = 1
        slots = max(LEAST_SLOTS, 3 * settings.workers)
        self._fleet = Fleet(slots)
        self._scoreboard = Scoreboard(slots, _requests_per_worker(settings))
        self._children: dict[int, Child] = {}  # by slot
        self._slots: dict[int, int] = {}  # pid -> slot
        self._channels: dict[int, Child] = {}  # by descriptor
        self._poll = select.poll()
        self._signals: Signals | None = None
        self._launch: Launch | None = None
        self._pidfile: PidFile | None = None
        self._started = 0.0
        self._born = 0
        self._watch_deadline = math.inf
        self._exit_code: int | None = None

    def run(self) -> int:
        """Bind, serve, and return the exit code. Raises PreforkError when it cannot even start."""
        try:
            self._open()
            self._loop()
            assert self._exit_code is not None
        except PreforkError as fault:
            if self._launch is None:
                raise
            # The command that waits would be gone before its caller has read why.
            print(f"prefork: error: {fault}", file=sys.stderr, flush=True)
            self._exit_code = fault.exit_code
        finally:
            self._close()
        self._report(self._exit_code)
        return self._exit_code

    # Start and end

    def _open(self) -> None:
        settings = self.settings
        self._started = time.monotonic()
        passed = systemd.passed()
        if settings.daemon:
            from . import daemon

            self._launch = daemon.detach()
        self.server.pid = os.getpid()
        if settings.pidfile:
            from .pidfile import PidFile

            self._pidfile = PidFile(settings.pidfile)
            self._pidfile.write()
        self._hook("on_starting", self.server, fatal=True)
        self._bind([fd for fd, _ in passed])
        self._signals = Signals(SIGNALS)
        self._poll.register(self._signals.fd, select.POLLIN)
        # What exists now stays: a collection in a worker must not touch it, or its pages are copied.
        gc.freeze()
        self._act(self._fleet.start(_policy(settings), time.monotonic()))
        self._tell_start()
        from ..telemetry.title import set_title

        set_title("master", self.server.proc_name)

    def _bind(self, passed: list[int]) -> None:
        settings = self.settings
        if passed:
            self.listeners = listener.adopt(passed)
        else:
            owner = (-1, -1)
            if os.geteuid() == 0:
                owner = (_or_as_is(settings.user), _or_as_is(settings.group))
            options = listener.Options(
                backlog=settings.backlog,
                reuse_port=settings.reuse_port,
                umask=settings.umask,
                owner=owner,
            )
            self.listeners = listener.bind_all(settings.bind, options)
        self.server.address = tuple(each.text for each in self.listeners)

    def _tell_start(self) -> None:
        settings = self.settings
        for note in self._notes:
            self.log.info("%s", note)
        plural = "" if settings.workers == 1 else "s"
        access = settings.accesslog or "off (--access-logfile - shows it)"
        self.log.info(
            "prefork %s at %s: %d %s worker%s, pid %d, Python %d.%d, compiled engine, access log %s",
            __version__,
            " ".join(each.text for each in self.listeners),
            settings.workers,
            settings.worker_class,
            plural,
            os.getpid(),
            *sys.version_info[:2],
            access,
        )

    def _close(self) -> None:
        if self._signals is not None:
            self._hook("on_exit", self.server)
        for each in self.listeners:
            each.unlink()
            each.close()
        if self._pidfile is not None:
            self._pidfile.remove()

    def _report(self, exit_code: int) -> None:
        if self._launch is not None:
            self._launch.report(exit_code)

    # The loop

    def _loop(self) -> None:
        fleet, poll = self._fleet, self._poll
        while self._exit_code is None:
            events = poll.poll(_milliseconds(min(fleet.wake, self._watch_deadline)))
            for fd, _ in events:
                if child := self._channels.get(fd):
                    self._hear(child)
            assert self._signals is not None
            if events:
                for number in self._signals.take():
                    self._signalled(number)
            now = time.monotonic()
            if now >= self._watch_deadline:
                self._watch(now)
            if now >= fleet.wake:
                self._act(fleet.tick(now))

    def _signalled(self, number: int) -> None:
        now = time.monotonic()
        fleet = self._fleet
        match number:
            case signal.SIGCHLD:
                self._reap()
            case signal.SIGTERM:
                self.log.info("TERM: draining, for %g s at most", self.settings.graceful_timeout)
                self._act(fleet.stop(now))
            case signal.SIGINT | signal.SIGQUIT:
                self.log.info("%s: stopping", signals.name(number))
                self._act(fleet.quit(now))
            case signal.SIGHUP:
                self._reload()
            case signal.SIGTTIN:
                self._act(fleet.grow(now))
            case signal.SIGTTOU:
                self._act(fleet.shrink(now))
            case signal.SIGUSR1:
                self._reopen()
            case signal.SIGUSR2:
                self.log.warning("USR2: upgrading a running server is still to come")
            case signal.SIGWINCH if self.settings.daemon:
                self.log.info("WINCH: draining the workers, the master stays")
                self._act(fleet.empty(now))
            case _:
                pass  # WINCH at a terminal: its window has another size

    def _reload(self) -> None:
        if self._read_settings is None:
            settings = self.settings
        else:
            from ..config.load import for_reload

            try:
                settings, kept = for_reload(self.settings, self._read_settings())
            except PreforkError as fault:
                self.log.error("reload refused, nothing is changed: %s", fault)
                return
            for line in kept:
                self.log.warning("reload: %s", line)
        self._hook("on_reload", self.server)
        self._newest += 1
        self._settings_of[self._newest] = settings
        self.log.info("HUP: starting generation %d", self._newest)
        self._act(self._fleet.reload(_policy(settings), time.monotonic()))

    def _reopen(self) -> None:
        self.log.reopen()
        self.log.info("USR1: logs reopened")
        for pid in self._slots:
            os.kill(pid, signal.SIGUSR1)

    # Workers

    def _act(self, actions: Iterable[Action]) -> None:
        """Do what Fleet wants; what comes of it may be more."""
        queue = deque(actions)
        while queue:
            action = queue.popleft()
            match action:
                case Fork(slot=slot, generation=generation):
                    queue.extend(self._fork(slot, generation))
                case Send(slot=slot, message=message):
                    self._send(slot, message)
                case Signal(slot=slot, number=number, reason=reason):
                    self._strike(slot, number, reason)
                case Say(level=level, text=text, detail=detail):
                    self.log.log(level, "%s\n%s" if detail else "%s%s", text, detail.rstrip())
                case Resized(new=new, old=old):
                    self.server.num_workers = new
                    self.log.info("%d workers instead of %d", new, old)
                    self._hook("nworkers_changed", self.server, new, old)
                case Opened():
                    self._opened()
                case Settled(generation=generation):
                    self._settled(generation)
                case Forget(generation=generation):
                    self._settings_of.pop(generation, None)
                case Abandoned():
                    pass  # who asked for the reload is told, once there is a way to ask
                case Exit(code=code):
                    self._exit_code = code

    def _opened(self) -> None:
        self._hook("when_ready", self.server)
        if self._launch is not None:
            from . import daemon

            self._launch.report(0)
            daemon.silence()

    def _settled(self, generation: int) -> None:
        self.settings = self.server.cfg = self._settings_of[generation]
        took = f" after {time.monotonic() - self._started:.2f} s" if generation == 1 else ""
        self.log.info("ready%s: generation %d, %d workers", took, generation, self._fleet.size)

    def _fork(self, slot: int, generation: int) -> list[Action]:
        settings = self._settings_of[generation]
        self._born += 1
        facade = hooks.Worker(settings, self.log, age=self._born, ppid=os.getpid(), slot=slot)
        self._hook("pre_fork", self.server, facade)
        self._scoreboard.set_worker(slot, generation=generation, state=WorkerState.BOOTING)
        sys.stdout.flush()
        sys.stderr.flush()
        signals.block()  # until the child has let go of the pipe that it shares with the master
        try:
            ours, theirs = channel.pair()
            pid = os.fork()
        except OSError as error:
            signals.unblock()
            return self._fleet.unforked(slot, error.strerror or str(error), time.monotonic())
        if pid == 0:
            ours.close()
            self._be_worker(
                Boot(
                    settings=settings,
                    listeners=self.listeners,
                    channel=theirs,
                    scoreboard=self._scoreboard,
                    slot=slot,
                    generation=generation,
                    master_pid=self.server.pid,
                    log=self.log,
                    server=self.server,
                    worker=facade,
                )
            )
        signals.unblock()
        theirs.close()
        facade.pid = pid
        child = Child(pid, slot, ours, facade)
        self._children[slot] = child
        self._slots[pid] = slot
        self._channels[ours.fileno()] = child
        self._poll.register(ours.fileno(), select.POLLIN)
        self._arm_watch(settings)
        return self._fleet.forked(slot, pid, time.monotonic())

    def _be_worker(self, boot: Boot) -> None:
        """In the child, all signals blocked: let go of everything that is the master's. Never returns."""
        code = 3
        try:
            assert self._signals is not None
            self._signals.forget()
            for child in self._children.values():
                if child.channel is not None:
                    child.channel.close()
            if self._launch is not None:
                self._launch.close()
            signals.unblock()
            code = self._run_worker(boot)
        except SystemExit as end:  # the application's: its death tells the master what it needs to know
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            self.log.critical("worker %d: unexpected", os.getpid(), exc_info=True)
        finally:
            os._exit(code)

    def _send(self, slot: int, message: bytes) -> None:
        child = self._children.get(slot)
        if child is None or child.channel is None:
            return
        try:
            child.channel.send(message)
        except OSError:
            pass  # it is dead, and will be reaped

    def _strike(self, slot: int, number: int, reason: str) -> None:
        child = self._children[slot]
        if not child.pid:
            return
        if reason:
            running = death.running(self._scoreboard, slot, time.monotonic_ns())
            self.log.error(
                "worker %d gets %s: %s%s",
                child.pid,
                signals.name(number),
                reason,
                f"; running {running}" if running else "",
            )
        os.kill(child.pid, number)  # it is not reaped, so the number is nobody else's

    def _hear(self, child: Child) -> None:
        """Read what the worker has said."""
        while child.channel is not None:
            try:
                message = child.channel.recv(channel.MESSAGE_LIMIT)
            except BlockingIOError:
                return
            except OSError:
                message = b""  # ECONNRESET: it died with our words unread
            now = time.monotonic()
            if not message:
                self._hang_up(child)
                self._act(self._fleet.mute(child.slot, now))
            elif message == channel.READY:
                child.facade.booted = True
                self._act(self._fleet.ready(child.slot, now))
            elif message == channel.DRAINING:
                self._act(self._fleet.leaving(child.slot, now))
            elif message.startswith(channel.RECYCLE):
                reason = message.removeprefix(channel.RECYCLE).decode("utf-8", "replace")
                self._act(self._fleet.recycle(child.slot, reason, now))
            elif message.startswith(channel.FAILED):
                self._act(self._fleet.failed(child.slot, _failure(message), now))

    def _hang_up(self, child: Child) -> None:
        if child.channel is not None:
            self._poll.unregister(child.channel.fileno())
            del self._channels[child.channel.fileno()]
            child.channel.close()
            child.channel = None

    def _reap(self) -> None:
        """Collect every child that has ended. Strangers are reaped quietly: as PID 1 they are left to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            slot = self._slots.pop(pid, None)
            if slot is not None:
                self._bury(self._children[slot], status)

    def _bury(self, child: Child, status: int) -> None:
        child.pid = 0
        self._hear(child)  # its last words came before its death
        self._hang_up(child)
        del self._children[child.slot]
        text = death.describe(status)
        running = death.running(self._scoreboard, child.slot, time.monotonic_ns())
        self._scoreboard.clear(child.slot)
        if running:
            text = f"{text}, running {running}"
        child.facade.alive = False
        self._hook("child_exit", self.server, child.facade)
        self._act(self._fleet.died(child.slot, status == 0, text, time.monotonic()))

    # Request deadlines

    def _arm_watch(self, settings: Settings) -> None:
        """No request of these settings can be late before one whole timeout has passed."""
        if settings.timeout:
            deadline = time.monotonic() + settings.timeout
            self._watch_deadline = min(self._watch_deadline, deadline)

    def _watch(self, now: float) -> None:
        """Look for requests past their deadline, and when to look again.

        A request that begins after this look cannot be late before a whole timeout from now, so an idle
        server is looked at once in a timeout.
        """
        now_ns = int(now * 1e9)
        spans = [each.timeout for each in self._settings_of.values() if each.timeout]
        following = now + min(spans, default=math.inf)
        for slot in list(self._children):
            for request in self._scoreboard.requests(slot):
                if not request.deadline_ns:
                    continue
                if request.deadline_ns <= now_ns:
                    late = (now_ns - request.start_ns) / 1e9
                    reason = f"{request.method} {request.target} has taken {late:.1f} s (timeout)"
                    self._act(self._fleet.hung(slot, reason, now))
                    break
                following = min(following, request.deadline_ns / 1e9)
        self._watch_deadline = following

    # Hooks

    def _hook(self, name: str, *arguments: object, fatal: bool = False) -> None:
        if getattr(self.settings, name) is not None:
            self.server.WORKERS = {child.pid: child.facade for child in self._children.values()}
            hooks.call(self.settings, self.log, name, *arguments, fatal=fatal)


def _policy(settings: Settings) -> Policy:
    return Policy(
        size=settings.workers,
        boot_timeout=settings.boot_timeout,
        graceful_timeout=settings.graceful_timeout,
    )


def _requests_per_worker(settings: Settings) -> int:
    """How many requests a worker can run at once. The slots live as long as the server."""
    match settings.worker_class:
        case "threads":
            return settings.threads
        case "gevent":
            return settings.worker_connections
        case _:
            return 1


def _or_as_is(number: int | None) -> int:
    return -1 if number is None else number


def _failure(message: bytes) -> Failure:
    import json

    said = json.loads(message.removeprefix(channel.FAILED))
    return Failure(said["message"], said["detail"], said["exit_code"])


def _milliseconds(deadline: float) -> float | None:
    """For poll(2): rounded up, or the loop would turn idly until the clock agrees."""
    if deadline == math.inf:
        return None
    return max(0.0, math.ceil((deadline - time.monotonic()) * 1000))
