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
import time
from collections import deque
from collections.abc import Callable, Iterable

from ..config import hooks
from ..engine.scoreboard import WorkerState
from ..errors import PreforkError
from ..net import channel, notify, signals, streams, systemd
from ..net.channel import Boot
from ..net.listener import Listener
from ..net.signals import Signals
from ..telemetry.lines import ERROR

# Here, and not when it is asked for: by then another prefork may be installed in the place of this one.
from ..telemetry.metrics import exposition
from ..telemetry.status import snapshot
from ..telemetry.title import set_title
from . import start
from .actions import Abandoned, Action, Baked, Exit, Forget, Fork, Opened, Resized, Say, Send, Settled, Signal
from .births import Births
from .control import Control
from .crash import Crashes
from .crew import Crew
from .deadlines import Deadlines
from .fleet import Course, Fleet
from .gauge import Gauge
from .generation import Failure
from .hearing import Hearing
from .molds import Molds
from .phases import SERVES, Phase
from .reloads import Reloads
from .service import Service, progresses
from .sources import Sources
from .succession import Succession
from .suspension import Standstill
from .trial import Trial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..config.settings import Settings
    from .control import Caller
    from .daemon import Launch
    from .program import Program

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
    signal.SIGCONT,
)


class Master:
    """One server, from binding to the last worker's end. `run` once.

    run_worker: called in each worker; returns its exit code.
    preload: called in each mold with settings and log; returns the application if it has imported that, or
    raises PreforkError.
    read_settings: read everything again, for a reload; raises PreforkError. None: reload with the same.
    program: what an upgrade executes.
    log: has the methods of a Logger, and `reopen()`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        run_worker: Callable[[Boot], int],
        preload: Callable[[Settings, Any], Callable[..., Any] | None],
        program: Program,
        log: Any,
        read_settings: Callable[[], Settings] | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        self.settings = settings
        self.log = log
        self.listeners: list[Listener] = []
        self.server = hooks.Server(settings, log)
        self._reloads = Reloads(settings, read_settings, log)
        self._notes = tuple(notes)
        self._fleet = Fleet(start.slots(settings))
        self._scoreboard = start.scoreboard(settings)
        self._trial = Trial(self._scoreboard)
        self._gauge = Gauge(self._fleet, self._scoreboard, self.listeners)
        self._poll = select.poll()
        self._crew = Crew(self._poll)
        self._control = Control(
            self._poll,
            {
                "status": self._tell_status,
                "metrics": self._tell_metrics,
                "reload": lambda caller: self._reload("reload", caller),
                "upgrade": lambda caller: self._upgrade("upgrade", caller),
            },
        )
        self._molds = Molds(self._poll, log)
        self._births = Births(
            crew=self._crew,
            molds=self._molds,
            scoreboard=self._scoreboard,
            listeners=self.listeners,
            server=self.server,
            log=log,
            settings_of=self._reloads.settings_of,
            let_go=self._let_go,
            run_worker=run_worker,
            preload=preload,
        )
        self._signals: Signals | None = None
        self._sources = Sources(self._poll, log, self._reload)
        self._service = Service(notify.Notify(), self._progresses)
        self._succession = Succession(
            poll=self._poll,
            log=log,
            service=self._service,
            program=program,
            let_go=self._let_go,
            pre_exec=lambda: self._hook("pre_exec", self.server, fatal=True),
            retire=self._retire,
            inherit=self._inherit,
            say_ready=self._say_ready,
        )
        self._hearing = Hearing(
            crew=self._crew,
            molds=self._molds,
            births=self._births,
            fleet=self._fleet,
            scoreboard=self._scoreboard,
            crashes=Crashes(self._scoreboard),
            trial=self._trial,
            succession=self._succession,
            log=log,
            act=self._act,
            exited=lambda worker: self._hook("child_exit", self.server, worker),
        )
        self._deadlines = Deadlines(
            scoreboard=self._scoreboard,
            crew=self._crew,
            fleet=self._fleet,
            log=log,
            act=self._act,
            all_settings=self._reloads.all_settings,
        )
        self._trouble = Failure("")  # the last error that was said
        self._launch: Launch | None = None
        self._started = 0.0
        self._exit_code: int | None = None

    def run(self) -> int:
        """Bind, serve, and return the exit code. Raises PreforkError when it cannot even start."""
        try:
            try:
                self._open()
            except OSError as error:
                why = start.in_words(error, self.settings)
                raise PreforkError(f"the server cannot start: {why}") from error
            self._loop()
            assert self._exit_code is not None
            self._tell_launcher(self._exit_code)
        except PreforkError as fault:
            self._succession.fail(fault)
            if self._launch is None:
                raise
            # The command that waits would be gone before its caller has read why.
            streams.complain(str(fault))
            self._exit_code = fault.exit_code
        finally:
            self._close()
        self._report(self._exit_code)
        return self._exit_code

    def _tell_launcher(self, exit_code: int) -> None:
        """Why a daemon could not boot stands in its log; say it at the terminal it was started from, too."""
        if self._launch is not None and exit_code and self.settings.errorlog != "-" and self._trouble.cause:
            streams.complain(self._trouble.cause)

    # Start and end

    def _open(self) -> None:
        settings = self.settings
        self._started = time.monotonic()
        # Addressed to this pid, which a daemon changes.
        passed = self._succession.open(systemd.passed(), self._started)
        if settings.daemon and not self._succession.is_heir:
            from . import daemon

            self._launch = daemon.detach()
        self.server.pid = os.getpid()
        # Before the pid file is written: by these two others see whose it is.
        self._open_control()
        set_title("master", self.server.proc_name)
        if settings.pidfile:
            self._succession.claim(settings.pidfile)
        policy = start.policy(settings)
        self.server.num_workers = wanted = policy.first(self._succession.wanted)
        self._hook("nworkers_changed", self.server, wanted, None)
        self._hook("on_starting", self.server, fatal=True)
        self.listeners.extend(start.listeners(settings, passed))
        self.server.address = tuple(each.text for each in self.listeners)
        self._signals = Signals(SIGNALS)
        self._poll.register(self._signals.fd, select.POLLIN)
        # What exists now stays: a collection in a worker must not touch it, or its pages are copied.
        gc.freeze()
        self._act(self._fleet.start(policy, time.monotonic(), wanted))
        for note in self._notes:
            self.log.info("%s", note)
        logger = self.log.access_logger()
        self.log.info("%s", start.line(settings, self.listeners, logger.name if logger else ""))
        if settings.reload:
            self._sources.watch(settings)

    def _open_control(self) -> None:
        try:
            self._control.open()
        except OSError as error:
            self.log.warning("prefork status and prefork reload cannot reach this server: %s", error.strerror)

    def _close(self) -> None:
        self._control.close()
        if self._signals is not None:
            self._hook("on_exit", self.server)
        self._sources.close()
        self._molds.close()
        self._succession.close(self._trouble, self._exit_code or 0)
        self._stop_listening()

    def _stop_listening(self, delay: float = 0.0) -> None:
        """Let the workers be the last to hold the listeners: once they have closed them, having accepted who
        waits, new clients are refused and not left to wait for nobody. They do so after that delay."""
        self._molds.end_all()
        for each in self.listeners:
            if not delay:
                each.unlink()
            each.close()

    def _report(self, exit_code: int) -> None:
        if self._launch is not None:
            self._launch.report(exit_code)

    # The loop

    def _loop(self) -> None:
        fleet, poll = self._fleet, self._poll
        standstill = Standstill()
        while self._exit_code is None:
            self._trial.attend(fleet.kept is not None, time.monotonic())
            events = poll.poll(_milliseconds(standstill.sleeps(self._wake())))
            assert self._signals is not None
            # Also without an event: a wait that was stopped ends by its time, with SIGCONT in the pipe.
            numbers = self._signals.take()
            # First: Ctrl-C comes to the workers too, and one that dies of it while it boots is no failure.
            for number in numbers:
                if number in signals.ENDING:
                    self._signalled(number)
            for fd, _ in events:
                if not (self._hearing.hear(fd) or self._sources.hear(fd) or self._succession.hear(fd)):
                    self._control.hear(fd)
            # Once more: who is continued may be running again a moment before it has its SIGCONT.
            late = self._signals.take()
            if gap := standstill.gap(signal.SIGCONT in (*numbers, *late)):
                # systemd and timeout(1) send CONT behind each TERM, whether anything is stopped or not.
                if not any(number in signals.ENDING for number in (*numbers, *late)):
                    self.log.info("this process stood still for up to %.1f s: deadlines are put off", gap)
                fleet.put_off(gap)
                self._molds.put_off(gap)
                self._succession.put_off(gap)
                self._deadlines.put_off(gap)
            for number in [*(each for each in numbers if each not in signals.ENDING), *late]:
                self._signalled(number)
            self._molds.trim(lambda slot: fleet.workers[slot].phase is Phase.FORKING)
            now = time.monotonic()
            if now >= self._molds.wake:
                self._molds.tick(now)
            if now >= self._deadlines.wake:
                self._deadlines.tick(now)
            if now >= fleet.wake:
                for slot in fleet.due(now):
                    if self._deadlines.is_stopped(slot):
                        fleet.stopped(slot, now)
                self._act(fleet.tick(now))
            if now >= self._gauge.wake:
                self._act(self._gauge.look(now))
            self._succession.tick(now)
            if now >= self._trial.wake:
                self._judge(now)
            if now >= self._service.wake:
                self._service.tick(now)

    def _wake(self) -> float:
        fleet, deadlines = self._fleet, self._deadlines
        rooms = (fleet, self._gauge, self._service, self._molds, self._trial, self._succession, deadlines)
        return min(each.wake for each in rooms)

    def _signalled(self, number: int) -> None:
        now = time.monotonic()
        fleet = self._fleet
        match number:
            case signal.SIGCHLD:
                self._hearing.reap()
            case signal.SIGTERM:
                delay = self.settings.drain_delay
                soon = f"accepting for {delay:g} s more, then " if delay else ""
                self.log.info("TERM: %sdraining, for %g s at most", soon, self.settings.graceful_timeout)
                self._service.stopping("draining", now)
                self._succession.stopping()
                self._stop_listening(delay)
                self._act(fleet.stop(now, last=True))
            case signal.SIGINT | signal.SIGQUIT:
                self.log.info("%s: stopping", signals.name(number))
                self._service.stopping("stopping", now)
                self._succession.stopping()
                self._stop_listening()
                self._act(fleet.quit(now))
            case signal.SIGHUP:
                self._reload("HUP")
            case signal.SIGTTIN:
                self._act(fleet.grow(now))
            case signal.SIGTTOU:
                self._act(fleet.shrink(now))
            case signal.SIGUSR1:
                self._reopen()
            case signal.SIGUSR2:
                self._upgrade("USR2")
            case signal.SIGWINCH if self.settings.daemon:
                self.log.info("WINCH: draining the workers, the master stays")
                self._act(fleet.empty(now))
            case _:
                pass  # WINCH at a terminal: its window has another size

    def _reload(self, why: str, caller: Caller | None = None) -> None:
        self._service.reloading(f"reloading: {why}", time.monotonic())
        if upgrade := self._succession.under_way:
            cause, code = f"an upgrade is under way: {upgrade}", 1
        elif self._fleet.course not in (Course.STARTING, Course.SERVING):
            cause, code = "the server is stopping", 1
        else:
            try:
                settings = self._reloads.prepare(self.settings)
            except PreforkError as fault:
                cause, code = str(fault), fault.exit_code
            else:
                self._hook("on_reload", self.server, settings=settings)
                generation = self._reloads.begin(settings, caller)
                self.log.info("%s: starting generation %d", why, generation)
                self._act(self._fleet.reload(start.policy(settings), time.monotonic()))
                return
        self.log.error("reload refused, nothing is changed: %s", cause)
        self._say_ready("reload refused: ")
        if caller is not None:
            caller.end(state="refused", cause=cause, exit_code=code)

    def _tell_status(self, caller: Caller) -> None:
        caller.end(server=start.facts(self.server, self._fleet), **snapshot(self._scoreboard))

    def _tell_metrics(self, caller: Caller) -> None:
        caller.end(exposition=exposition(self._scoreboard, wanted=self._fleet.size))

    def _reopen(self) -> None:
        self.log.reopen()
        self.log.info("USR1: logs reopened")
        self._crew.signal_all(signal.SIGUSR1)

    # Workers

    def _act(self, actions: Iterable[Action]) -> None:
        """Do what Fleet wants; what comes of it may be more."""
        queue = deque(actions)
        while queue:
            action = queue.popleft()
            match action:
                case Fork(generation=generation):
                    forks = [action]
                    while (
                        queue
                        and isinstance(following := queue[0], Fork)
                        and following.generation == generation
                    ):
                        forks.append(following)
                        queue.popleft()
                    queue.extend(self._fork(generation, forks))
                case Send(slot=slot, message=message):
                    self._crew.send(slot, message)
                case Signal(slot=slot, number=number, reason=reason):
                    self._deadlines.strike(slot, number, reason)
                case Say(level=level, text=text, detail=detail):
                    if level >= ERROR:
                        self._trouble = Failure(text, detail)
                    self.log.log(level, "%s%s", text, _below(detail))
                case Resized(new=new, old=old, why=why):
                    self.server.num_workers = new
                    self.log.info("%s instead of %d%s", start.workers(new), old, why and f": {why}")
                    self._hook("nworkers_changed", self.server, new, old)
                case Opened():
                    self._opened()
                case Settled(generation=generation):
                    self._settled(generation)
                case Forget(generation=generation):
                    self._reloads.forget(generation)
                    self._trial.forget(generation)
                    self._molds.end(generation)
                case Baked(generation=generation):
                    self._reloads.done(generation, self._fleet.size)
                case Abandoned(generation=generation, cause=cause, detail=detail, exit_code=code):
                    self._reloads.failed(generation, cause, detail, code, self._current_settings())
                    if self._fleet.next is None:
                        self._say_ready(f"reload failed ({cause}): ")
                case Exit(code=code):
                    self._exit_code = code

    def _opened(self) -> None:
        if self._launch is not None:
            from . import daemon

            self._launch.report(0)
            daemon.silence()

    def _settled(self, generation: int) -> None:
        self.settings = self.server.cfg = self._reloads.settings_of(generation)
        took = f" after {time.monotonic() - self._started:.2f} s" if generation == 1 else ""
        workers = start.workers(self._fleet.size)
        self.log.info("ready%s: generation %d, %s", took, generation, workers)
        if generation == 1:
            self._hook("when_ready", self.server)
        self._succession.prove()
        self._say_ready()
        if self._fleet.kept is None:
            self._reloads.done(generation, self._fleet.size)
        else:
            self._reloads.watched(generation, self._fleet.size, self.settings.bake)

    def _say_ready(self, after: str = "") -> None:
        """Tell the service manager, unless a reload is still under way, what serves."""
        fleet = self._fleet
        if fleet.next is None and fleet.course is Course.SERVING and fleet.current is not None:
            what = f"generation {fleet.current.number}, {start.staff(fleet.current)}"
            self._service.ready(f"{after}{what} at {' '.join(self.server.address)}", time.monotonic())

    def _progresses(self, now: float) -> bool:
        """Does at least one worker? None has to where none is wanted, or not yet, or no longer."""
        fleet = self._fleet
        if fleet.course is not Course.SERVING or not fleet.size:
            return True
        for worker in fleet.workers:
            if worker.phase is Phase.BOOTING:
                return True  # boot_timeout is the judge of that
            if worker.phase in SERVES and progresses(self._scoreboard, worker.slot, now):
                return True
        return False

    def _fork(self, generation: int, forks: Iterable[Fork]) -> list[Action]:
        """All of them at once, see spawn_all."""
        settings = self._reloads.settings_of(generation)
        self._deadlines.arm(settings)
        wanted = []
        for fork in forks:
            facade = self._births.facade(fork.slot, generation)
            self._hook("pre_fork", self.server, facade, settings=settings)
            self._scoreboard.set_worker(fork.slot, generation=generation, state=WorkerState.BOOTING)
            wanted.append((facade, [channel.WARM] if fork.canary else []))
        actions: list[Action] = []
        for slot, outcome in self._births.workers(generation, wanted).items():
            now = time.monotonic()
            if isinstance(outcome, PreforkError):
                self._scoreboard.clear(slot)
                actions += self._fleet.unmade(slot, Failure(str(outcome)), now)
            elif isinstance(outcome, OSError):
                self._scoreboard.clear(slot)
                actions += self._fleet.unforked(slot, start.in_words(outcome, settings), now)
            elif outcome:
                actions += self._fleet.forked(slot, outcome, now)
        return actions

    def _let_go(self) -> None:
        """In a child, all signals blocked: let go of everything that is the master's."""
        assert self._signals is not None
        self._signals.forget()
        self._crew.let_go()
        self._molds.let_go()
        self._succession.let_go()
        self._control.close()
        self._service.close()
        if self._launch is not None:
            self._launch.close()
        self._sources.let_go()
        signals.unblock()

    # Upgrade

    def _upgrade(self, why: str, caller: Caller | None = None) -> None:
        if refusal := self._upgrade_refusal():
            self._succession.refuse(why, refusal, caller)
        else:
            self._succession.begin(why, self.settings, self.listeners, self._fleet.size, caller)

    def _upgrade_refusal(self) -> str:
        if self._fleet.course is not Course.SERVING or self._succession.is_heir:
            return "the server is starting or stopping"
        if self._fleet.next is not None:
            return "a reload is under way"
        if self.server.pid == 1:
            return "this is process 1: the system or container ends with it, whoever serves then"
        return self._succession.under_way

    def _retire(self) -> None:
        """Another master serves."""
        for each in self.listeners:
            each.disown()
        self._act(self._fleet.stop(time.monotonic()))

    def _inherit(self) -> None:
        """The master before this one has let go of everything."""
        for each in self.listeners:
            if not each.is_lent:
                each.own()
        if self.settings.daemon:
            from . import daemon

            daemon.silence()

    # A reload on trial

    def _judge(self, now: float) -> None:
        kept, current = self._fleet.kept, self._fleet.current
        if kept is None or current is None:
            return
        if cause := self._trial.look(kept.number, current.number, now):
            self._act(self._fleet.roll_back(cause, now))

    def _current_settings(self) -> Settings:
        assert self._fleet.current is not None
        return self._reloads.settings_of(self._fleet.current.number)

    # Hooks

    def _hook(
        self, name: str, *arguments: object, settings: Settings | None = None, fatal: bool = False
    ) -> None:
        """settings: whose hook it is, and what it sees; those that are served, unless given."""
        settings = settings or self.settings
        if getattr(settings, name) is None:
            return
        self.server.WORKERS = {child.pid: child.facade for child in self._crew.children.values()}
        served, self.server.cfg = self.server.cfg, settings
        # As long as it runs, and no longer: what a reload reads in the environment is the operator's.
        kept = hooks.enter_environment(settings)
        try:
            hooks.call(settings, self.log, name, *arguments, fatal=fatal)
        finally:
            self.server.cfg = served
            hooks.leave_environment(kept)


def _below(detail: str) -> str:
    """A traceback, to stand under a line."""
    return f"\n{detail.rstrip()}" if detail else ""


def _milliseconds(deadline: float) -> float | None:
    """For poll(2): rounded up, or the loop would turn idly until the clock agrees."""
    if deadline == math.inf:
        return None
    return max(0.0, math.ceil((deadline - time.monotonic()) * 1000))
