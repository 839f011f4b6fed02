"""Hooks: calling them, and the `server` and `worker` that they are given, as gunicorn's hooks know them.

Plain views: a hook may read them and log through them; changing them changes nothing.
"""

from __future__ import annotations

import os

from ..errors import BootError, traceback_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .settings import Settings


class Server:
    """`pid` is the master's; `address` is where it listens, as texts; `WORKERS` maps pids to workers."""

    def __init__(self, settings: Settings, log: Any) -> None:
        self.cfg = settings
        self.log = log
        self.pid = 0
        self.address: tuple[str, ...] = ()
        self.num_workers = settings.workers
        self.proc_name = settings.proc_name or settings.wsgi_app or settings.default_proc_name
        self.WORKERS: Mapping[int, Worker] = {}

    @property
    def settings(self) -> Settings:
        return self.cfg


class Worker:
    """`age` counts workers from 1; `pid` is 0 before the fork; `nr` is the number of answered requests."""

    def __init__(self, settings: Settings, log: Any, *, age: int, ppid: int, slot: int) -> None:
        self.cfg = settings
        self.log = log
        self.age = age
        self.ppid = ppid
        self.slot = slot
        self.pid = 0
        self.nr = 0
        self.alive = True
        self.booted = False
        self.aborted = False
        self.wsgi: Any = None

    @property
    def settings(self) -> Settings:
        return self.cfg

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"


def enter_environment(settings: Settings) -> dict[str, str | None]:
    """Set what `raw_env` sets; return what was there before, None for nothing."""
    if not settings.raw_env:
        return {}
    pairs = {key: value for key, _, value in (pair.partition("=") for pair in settings.raw_env)}
    before = {key: os.environ.get(key) for key in pairs}
    os.environ.update(pairs)
    return before


def leave_environment(before: dict[str, str | None]) -> None:
    """Have it as it was."""
    for key, value in before.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value


def call(settings: Settings, log: Any, name: str, *arguments: object, fatal: bool = False) -> None:
    """Call that hook, if there is one. What it raises is logged, or, where `fatal`, raised as a BootError."""
    function = getattr(settings, name)
    if function is None:
        return
    try:
        function(*arguments)
    except (Exception, SystemExit) as error:  # sys.exit too: a server does not end without a word
        if not fatal:
            log.exception("hook %s failed", name)
            return
        what = f"hook {name} failed: {type(error).__name__}: {error}"
        raise BootError(what, traceback_of(error, error.__traceback__)) from error
