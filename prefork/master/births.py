"""How workers and molds come into the world: the fork, and what the new process does first and last.

A worker is forked by the master, or, where its generation preloads or runs in gevent, ordered from the
generation's mold.
"""

from __future__ import annotations

import math
import os

from ..config import hooks
from ..errors import BootError, PreforkError
from ..net.channel import Boot
from . import molds
from .crew import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from socket import socket
    from typing import Any, NoReturn

    from ..config.settings import Settings
    from ..engine.scoreboard import Scoreboard
    from ..net.listener import Listener
    from .crew import Crew
    from .molds import Molds

    App = Callable[..., Any]


class Births:
    """settings_of: of a generation.  let_go: in a new process, close what is the master's.  run_worker,
    preload: as Master has them.  listeners: the master's own list, filled later."""

    def __init__(
        self,
        *,
        crew: Crew,
        molds: Molds,
        scoreboard: Scoreboard,
        listeners: Sequence[Listener],
        server: hooks.Server,
        log: Any,
        settings_of: Callable[[int], Settings],
        let_go: Callable[[], None],
        run_worker: Callable[[Boot], int],
        preload: Callable[[Settings, Any], App | None],
    ) -> None:
        self._crew = crew
        self._molds = molds
        self._scoreboard = scoreboard
        self._listeners = listeners
        self._server = server
        self._log = log
        self._settings_of = settings_of
        self._let_go = let_go
        self._run_worker = run_worker
        self._preload = preload
        self._count = 0

    def facade(self, slot: int, generation: int) -> hooks.Worker:
        """What hooks are given for the next worker."""
        self._count += 1
        return self._facade(slot, generation, self._count)

    def workers(
        self, generation: int, wanted: Iterable[tuple[hooks.Worker, Iterable[bytes]]]
    ) -> dict[int, int | OSError | PreforkError]:
        """Make workers, each with its first orders; return by slot their pids, or why there is none.

        0: a mold makes it, and it says itself when it is there.
        """

        def be_worker(facade: hooks.Worker, theirs: socket) -> NoReturn:
            def run() -> int:
                self._let_go()
                return self._work(generation, facade, theirs, None)

            self._run("worker", run)

        if not _needs_mold(self._settings_of(generation)):
            return {**self._crew.fork(wanted, be_worker)}
        return {facade.slot: self._order(generation, facade, orders) for facade, orders in wanted}

    def _order(
        self, generation: int, facade: hooks.Worker, orders: Iterable[bytes]
    ) -> int | OSError | PreforkError:
        try:
            self.mold(generation)
            theirs = self._crew.expect(facade.slot, facade, orders)
        except (OSError, PreforkError) as error:
            return error
        self._molds.order(generation, facade.slot, facade.age, theirs)
        return 0

    def mold(self, generation: int) -> None:
        """Make sure that the generation has one. Raises OSError and PreforkError."""
        if self._molds.has(generation):
            return
        settings = self._settings_of(generation)

        def work(slot: int, age: int, theirs: socket, app: App | None) -> NoReturn:
            facade = self._facade(slot, generation, age)
            self._run("worker", lambda: self._work(generation, facade, theirs, app))

        def be_mold(ours: socket) -> NoReturn:
            def run() -> int:
                from .mold import Mold

                self._let_go()
                return Mold(ours, self._log, lambda: self._preload(settings, self._log), work).run()

            self._run("mold", run)

        molds.adopt_orphans()
        pid, ours = spawn(be_mold)
        self._molds.enter(generation, pid, ours, settings.boot_timeout or math.inf)

    def _facade(self, slot: int, generation: int, age: int) -> hooks.Worker:
        return hooks.Worker(
            self._settings_of(generation), self._log, age=age, ppid=self._server.pid, slot=slot
        )

    def _work(self, generation: int, facade: hooks.Worker, theirs: socket, app: App | None) -> int:
        """In the child; returns the exit code."""
        boot = Boot(
            settings=self._settings_of(generation),
            listeners=list(self._listeners),
            channel=theirs,
            scoreboard=self._scoreboard,
            slot=facade.slot,
            generation=generation,
            master_pid=self._server.pid,
            log=self._log,
            server=self._server,
            worker=facade,
            app=app,
        )
        return self._run_worker(boot)

    def _run(self, what: str, run: Callable[[], int]) -> NoReturn:
        """In the child: whatever happens, it ends here."""
        code = 3
        try:
            code = run()
        except SystemExit as end:  # the application's: its death tells the master what it needs to know
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            self._log.exception("%s %d: unexpected", what, os.getpid())
        finally:
            os._exit(code)


def _needs_mold(settings: Settings) -> bool:
    """To preload; or to have gevent imported once, which is only faster: where there can be no mold, each
    worker does it."""
    if settings.preload_app or settings.worker_class != "gevent":
        return settings.preload_app
    try:
        molds.adopt_orphans()
    except BootError:
        return False
    return True
