"""One worker's life around its reactor: birth, privileges, the application's import, orders, and the end.

Owns the worker's signals and its end of the channel. Orders come as signals from people and as messages
from the master; both become one of two calls to the reactor, drain or stop. EOF on the channel means that
the master is dead: the worker drains.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from select import POLLHUP, poll  # bound before gevent takes poll away

from ..config import hooks
from ..engine.scoreboard import WorkerState
from ..errors import AppLoadError, BootError, PreforkError
from ..net import channel, signals, streams
from ..net.signals import Signals
from ..telemetry.title import set_title
from ..wsgi.app import load

# Here, so that it happens once, before the first fork, and while the master may still read every folder.
from . import stragglers
from .reactor import make_reactor as make_reactor_of_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from ..config.settings import Settings
    from ..engine.accesslog import AccessLog
    from ..net.channel import Boot

    class Serving(Protocol):
        """What a Reactor is to this room. It calls `recycle` with a reason when it wants to be replaced."""

        recycle: Callable[[str], None]

        def watch(self, fd: int, callback: Callable[[], None]) -> None: ...
        def park(self) -> None: ...
        def unpark(self) -> None: ...
        def spread(self, share: float) -> None: ...
        def drain(self, deadline: float) -> None: ...
        def is_held(self) -> bool: ...
        def release(self) -> None: ...
        def finish(self, deadline: float, closed: Callable[[], None], *, delay: float = ...) -> None: ...
        def stop(self) -> None: ...
        def run(self) -> None: ...

    MakeReactor = Callable[[Boot, Callable[..., Any], AccessLog | None], Serving]

# Those that nobody means for a worker are caught and dropped. Ignoring them would be inherited by every
# program that the application starts (execve(2)); a handler is not.
DROPPED = (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
SIGNALS = (*signals.ENDING, signal.SIGUSR1, *DROPPED)
LEAVE_TIME = 0.25  # seconds to answer whoever still waits, and to run what runs at exit


def run_worker(boot: Boot, make_reactor: MakeReactor | None = None) -> int:
    """Be the worker of that Boot; return the exit code. Called in a new child, signals unblocked.

    make_reactor: for tests; by default the reactor of the settings' worker class.
    """
    worker = Worker(boot)
    try:
        reactor = worker.boot_up(make_reactor or make_reactor_of_class)
    except PreforkError as fault:
        worker.say_failure(fault)
        return worker.leave(fault.exit_code)
    return worker.leave(worker.serve(reactor))


def preload(settings: Settings, log: Any) -> Callable[..., Any] | None:
    """In a mold: import the application as its workers would, as their user, and return it; for gevent, which
    only a worker may patch, import gevent and return None. Raises PreforkError."""
    _set_title(settings, "mold")
    if not settings.preload_app:
        from .patching import warm

        _watch_for_crashes(log)
        warm()
        return None
    _drop_privileges(settings)
    log.capture()
    _watch_for_crashes(log)
    return _load(settings, log)


def import_app(settings: Settings) -> Callable[..., Any]:
    """Enter the application's folder, environment and import path, and import it. Raises PreforkError."""
    _enter(settings)
    assert settings.wsgi_app is not None
    return load(settings.wsgi_app, factory=settings.factory)


class Worker:
    """State of the process; `run_worker` calls the three stages in order."""

    def __init__(self, boot: Boot) -> None:
        self.boot = boot
        self.settings = boot.settings
        self.log = boot.log
        self._channel: socket.socket | None = boot.channel
        self._reactor: Serving | None = None
        self._signals: Signals | None = None
        self._access_log: AccessLog | None = None
        self._leaving = False
        self._warm = False  # answer the paths of --warmup first
        self._replace_reason = b""  # asked to be replaced, and not yet told to drain
        self._fault: BootError | None = None

    # Birth

    def boot_up(self, make_reactor: MakeReactor) -> Serving:
        """Become a worker up to the moment before it accepts. Raises PreforkError."""
        boot, settings = self.boot, self.settings
        # Until it is ready there is nothing to drain, and the import may take long: TERM, INT and QUIT just
        # end it, as the master has left them.
        signals.drop((signal.SIGUSR1, signals.ASK, *DROPPED))
        boot.worker.pid = os.getpid()
        boot.server.cfg = settings  # in the master it is still that of the generation before
        boot.scoreboard.set_worker(boot.slot, pid=os.getpid(), generation=boot.generation)
        _set_title(settings)
        self.log.catch_up()
        preloaded = boot.app is not None  # by the mold, which has done all this before
        if not preloaded:
            hooks.enter_environment(settings)
            _import_class(settings, self.log)  # first: hooks rely on what gevent patches, as in gunicorn
        self._hook("post_fork", boot.server, boot.worker, fatal=True)
        if not preloaded:
            _drop_privileges(settings)
            self.log.capture()
        self._watch_for_crashes()
        app = boot.app or _load(settings, self.log)
        boot.worker.wsgi = app
        self._access_log = _access_log(boot)
        reactor = self._reactor = make_reactor(boot, app, self._access_log)
        reactor.recycle = self._ask_to_be_replaced
        self._signals = Signals(SIGNALS)  # last: what the application has set for these is overruled
        reactor.watch(self._signals.fd, self._take_signals)
        reactor.watch(boot.channel.fileno(), self._take_orders)
        boot.worker.booted = True
        self._hook("post_worker_init", boot.worker, fatal=True)
        return reactor

    def say_failure(self, fault: PreforkError) -> None:
        """Tell the master why there will be no worker; it decides who else hears of it."""
        self._say(channel.failed(fault))

    # Life

    def serve(self, reactor: Serving) -> int:
        """Say ready and serve until told otherwise; return the exit code."""
        self.boot.scoreboard.set_worker(self.boot.slot, booted_ns=time.monotonic_ns())
        self._watch_master()
        self._take_orders()  # those that came while it booted
        if self._warm and self.settings.warmup:
            self._warm_up(reactor)
        elif not self._leaving:
            self._be_ready()
        if self.settings.daemon:
            self._silence()
        try:
            reactor.run()
        except Exception:
            self.log.exception("worker %d: its loop has failed", os.getpid())
            return 1
        if self._fault is not None:
            self.say_failure(self._fault)
            return self._fault.exit_code
        return 0

    def _be_ready(self) -> None:
        self.boot.scoreboard.set_worker(self.boot.slot, state=WorkerState.SERVING)
        self._say(channel.READY)
        if self._replace_reason:
            self._say(channel.RECYCLE + b" " + self._replace_reason)

    def _warm_up(self, reactor: Any) -> None:
        from .warmup import Warmup

        def begins(target: str) -> None:
            self._say(channel.WARMING + b" " + target.encode("utf-8", "replace")[:1024])

        def ends(fault: str) -> None:
            if self._leaving:
                return
            if fault:
                self._fault = BootError(fault)
                reactor.stop()
            else:
                reactor.unpark()
                self._be_ready()

        reactor.park()
        Warmup(reactor, self.boot, self.settings.warmup, begins=begins, ends=ends).go_on()

    def _take_signals(self) -> None:
        assert self._signals is not None
        for number in self._signals.take():
            match number:
                case signal.SIGTERM:
                    self._leave_slowly("TERM: worker %d drains")
                case signal.SIGINT | signal.SIGQUIT:
                    self._leave_at_once()
                case signal.SIGUSR1:
                    self._reopen()
                case _:
                    pass  # the application's own

    def _take_orders(self) -> None:
        while self._channel is not None:
            try:
                message = self._channel.recv(channel.MESSAGE_LIMIT)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._orphaned()
            elif message == channel.DRAIN:
                self._leave_slowly("")
            elif message == channel.FINISH:
                self._leave_last()
            elif message == channel.STOP:
                self._leave_at_once()
            elif message == channel.WARM:
                self._warm = True
            elif message == channel.PARK:
                self._park()
            elif message.startswith(channel.SPREAD):
                assert self._reactor is not None
                self._reactor.spread(float(message.removeprefix(channel.SPREAD)))
            elif message == channel.WAKE and not self._leaving:
                assert self._reactor is not None
                self._reactor.unpark()
                self._be_ready()

    def _park(self) -> None:
        assert self._reactor is not None
        if not self._leaving:
            self._reactor.park()
            self.boot.scoreboard.set_worker(self.boot.slot, state=WorkerState.PARKED)
            self._say(channel.PARKED)

    def _watch_master(self) -> None:
        """Hear of the master's death also while a request keeps the loop from turning: whoever starts the
        server again binds at once, not when that request has ended.

        The kernel sends a signal for whatever happens on the channel. (PR_SET_PDEATHSIG is lost with a change
        of user, and tells of the wrong death where a mold has made the worker a moment ago.)
        """
        assert self._channel is not None
        if not hasattr(fcntl, "F_SETSIG"):  # Linux only
            return
        signals.catch(signals.STIR, self._stirred)
        fd = self._channel.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETSIG, signals.STIR)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)

    def _stirred(self, number: int, frame: object) -> None:
        """Signal handler. A loop that turns hears by itself, and does all the rest."""
        if self._channel is None or self._reactor is None or not self._reactor.is_held():
            return
        ear = poll()
        ear.register(self._channel.fileno(), POLLHUP)
        if ear.poll(0):
            self._reactor.release()
            self._close_listeners()

    def _orphaned(self) -> None:
        """The master is dead. Whoever starts the server again binds anew: let go of the listeners soon."""
        assert self._channel is not None
        self._channel.close()  # or epoll would report it for ever
        self._channel = None
        self._leave_slowly("the master is gone: worker %d drains")

    def _leave_slowly(self, why: str) -> None:
        if self._leaving:
            return
        self._leaving = True
        self.boot.scoreboard.set_worker(self.boot.slot, state=WorkerState.DRAINING)
        assert self._reactor is not None
        self._reactor.drain(self._drain_deadline())
        self._let_go()
        if why:  # behind it: who reads it may count on a new client being another worker's
            self.log.info(why, os.getpid())

    def _leave_last(self) -> None:
        """The whole server ends: nobody else would answer those who wait."""
        if self._leaving:
            return
        self._leaving = True
        assert self._reactor is not None
        delay = self.settings.drain_delay
        self._reactor.finish(self._drain_deadline() + delay, self._closed, delay=delay)

    def _drain_deadline(self) -> float:
        """A little before the master's own, which ends the process whatever it is at."""
        timeout = self.settings.graceful_timeout
        return time.monotonic() + timeout - min(timeout / 10, LEAVE_TIME)

    def _closed(self) -> None:
        self.boot.scoreboard.set_worker(self.boot.slot, state=WorkerState.DRAINING)
        self._let_go()

    def _let_go(self) -> None:
        self._close_listeners()
        self._say(channel.DRAINING)

    def _close_listeners(self) -> None:
        for listener in self.boot.listeners:
            listener.close()  # a port is free for the next server only when nobody holds it

    def _leave_at_once(self) -> None:
        self._leaving = True
        self._say(channel.DRAINING)
        self.boot.scoreboard.set_worker(self.boot.slot, state=WorkerState.DRAINING)
        self._hook("worker_int", self.boot.worker)
        assert self._reactor is not None
        self._reactor.stop()

    def _ask_to_be_replaced(self, reason: str) -> None:
        """It serves on until its successor does; then the master tells it to drain."""
        self._replace_reason = reason.encode("utf-8", "replace")[:1024]
        self._say(channel.RECYCLE + b" " + self._replace_reason)

    def _reopen(self) -> None:
        if self._access_log is not None:
            self._access_log.flush()  # what was served before belongs into the old file
        self.log.reopen()
        if self._access_log is not None:
            self._access_log.reopen(self.log.access_fd)

    def _silence(self) -> None:
        self.log.silence()
        if self._access_log is not None:
            self._access_log.reopen(self.log.access_fd)

    def _say(self, message: bytes) -> None:
        if self._channel is not None:
            try:
                self._channel.send(message)
            except OSError:
                pass  # the master is dead; EOF follows

    # End

    def leave(self, code: int) -> int:
        """Run what a Python process runs at its end, except the teardown of the interpreter."""
        self.boot.worker.alive = False
        self._hook("worker_exit", self.boot.server, self.boot.worker)
        self.boot.scoreboard.set_worker(self.boot.slot, state=WorkerState.STOPPED)
        threading = sys.modules.get("threading")
        try:
            if threading is not None:
                grace = self.settings.graceful_timeout
                stragglers.watch(threading, self.log, master_pid=self.boot.master_pid, grace=grace)
                threading._shutdown()  # waits for threads that are no daemons
            import atexit

            atexit._run_exitfuncs()
        except Exception:
            self.log.exception("worker %d: at exit", os.getpid())
        streams.flush()
        return code

    # Helpers

    def _watch_for_crashes(self) -> None:
        if self.settings.worker_abort is not None:
            # faulthandler hands a signal on to what it has found when it was enabled.
            faulthandler.disable()
            signal.signal(signal.SIGABRT, self._abort)
        _watch_for_crashes(self.log)

    def _abort(self, number: int, frame: object) -> None:
        self.boot.worker.aborted = True
        self._hook("worker_abort", self.boot.worker)
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGABRT)

    def _hook(self, name: str, *arguments: object, fatal: bool = False) -> None:
        hooks.call(self.settings, self.log, name, *arguments, fatal=fatal)


def _load(settings: Settings, log: Any) -> Callable[..., Any]:
    log.lend()
    try:
        return import_app(settings)
    except AppLoadError as fault:
        if not settings.reload:
            raise
        from .faultpage import fault_page

        log.error("%s\n%s", fault, fault.detail.rstrip())
        return fault_page(str(fault), fault.detail)


def _watch_for_crashes(log: Any) -> bool:
    """Stacks of all threads in the error log at SEGV, ABRT, BUS, FPE and ILL."""
    try:
        faulthandler.enable(file=log.error_fd, all_threads=True)
    except (OSError, ValueError):  # no stderr
        return False
    return True


def _access_log(boot: Boot) -> AccessLog | None:
    logger = boot.log.access_logger()
    if logger is not None:
        from .records import RecordedLog

        in_hub = boot.settings.worker_class == "gevent"
        return RecordedLog(boot.settings.access_log_format, logger, in_hub=in_hub)
    if boot.log.access_fd < 0:
        return None
    from ..engine.accesslog import AccessLog

    return AccessLog(boot.settings.access_log_format, boot.log.access_fd)


def _set_title(settings: Settings, role: str = "worker") -> None:
    set_title(role, settings.proc_name or settings.wsgi_app or settings.default_proc_name)


def _drop_privileges(settings: Settings) -> None:
    """Become the user and group of the settings for good (setuid(2): real, effective and saved)."""
    try:
        if settings.group is not None and settings.group != os.getegid():
            os.setgid(settings.group)
        if settings.initgroups and settings.user is not None:
            import pwd

            os.initgroups(pwd.getpwuid(settings.user).pw_name, os.getgid())
        elif os.geteuid() == 0 and (settings.user or settings.group is not None):
            os.setgroups([])  # root's other groups (docker, disk) are not for the application
        if settings.user is not None and settings.user != os.geteuid():
            os.setuid(settings.user)
    except (OSError, KeyError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such user"
        raise BootError(f"cannot become user {settings.user}, group {settings.group}: {reason}") from None


def _import_class(settings: Settings, log: Any) -> None:
    """What the worker class takes, while everything may be read: the user of -u may not be let into this
    Python's folder. For gevent that is to patch, before the application's import and never in the master."""
    match settings.worker_class:
        case "threads":
            from . import threads  # noqa: F401
        case "gevent":
            from .patching import patch

            patch(log)
            from . import gevent  # noqa: F401


def _enter(settings: Settings) -> None:
    """The application's folder, environment and import path."""
    hooks.enter_environment(settings)
    try:
        os.chdir(settings.chdir)
    except OSError as error:
        raise BootError(f"chdir {settings.chdir}: {error.strerror}") from None
    # The folder by its own name: where that is a symlink to the release, a reload follows it.
    for path in reversed((*settings.pythonpath, settings.chdir)):
        if path in sys.path:
            sys.path.remove(path)
        sys.path.insert(0, path)
