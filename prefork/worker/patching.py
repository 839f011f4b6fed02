"""Monkey-patching of a gevent worker: in the worker, after the fork, before the application's import.

What it takes is imported before, by a mold, once for all workers of a generation: importing and patching took
a worker 200 ms of CPU, patching alone 20. Importing starts no thread, opens nothing, makes no hub and patches
nothing; a test holds that.

Owns the warning about what was imported too early to be patched whole: such a module may hold on to blocking
functions that it copied by name (`from socket import create_connection`).
"""

from __future__ import annotations

import sys

from ..errors import BootError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Modules known to copy what gevent replaces (or to make locks at import). prefork imports none of them.
COPIERS = (
    "asyncio",
    "boto3",
    "botocore",
    "concurrent.futures.thread",
    "django.db",
    "http.client",
    "kombu",
    "multiprocessing",
    "psycopg",
    "psycopg2",
    "pymongo",
    "pymysql",
    "redis",
    "requests",
    "ssl",
    "urllib3",
)


# What patch_all() would import in each worker. Not gevent.ssl: it imports ssl, which copies the socket class
# and has to find the patched one. What takes long in that is _ssl.
NEEDED = (
    "_ssl",
    "gevent.builtins",
    "gevent.event",
    "gevent.events",
    "gevent.local",
    "gevent.lock",
    "gevent.monkey",
    "gevent.os",
    "gevent.queue",
    "gevent.select",
    "gevent.selectors",
    "gevent.signal",
    "gevent.socket",
    "gevent.subprocess",
    "gevent.thread",
    "gevent.threading",
    "gevent.time",
    "importlib.metadata",
    "inspect",
    "pprint",
)


class Plugins:
    """What the installed packages declare. gevent asks for it 25 times while it patches, and each time every
    one of them is read: five sixths of the time that patching takes."""

    def __init__(self) -> None:
        from importlib import metadata

        self._found = metadata.entry_points()

    def __call__(self, **wanted: Any) -> Any:
        """As importlib.metadata.entry_points."""
        return self._found.select(**wanted)


_plugins: Plugins | None = None


def warm() -> None:
    """In a mold: import what `patch` and the reactor need; workers are born with it. Raises BootError."""
    import importlib

    global _plugins
    try:
        for name in NEEDED:
            importlib.import_module(name)
        from . import gevent  # noqa: F401
    except ImportError as fault:
        raise BootError(f"gevent cannot be imported: {fault}") from fault
    _plugins = Plugins()


def patch(log: Any) -> None:
    """Replace the blocking parts of the standard library by gevent's; warn of what came too early.

    C extensions that block in their own code (psycopg2, mysqlclient) are not touched by this: call their
    gevent hook (psycogreen.gevent.patch_psycopg) in `post_fork`, which runs behind this, or in the
    application's module.
    """
    from . import reactor  # noqa: F401  (it takes select.epoll, which patching removes)

    early = sorted(name for name in COPIERS if name in sys.modules)
    from gevent import monkey

    import_warnings: list[str] = []
    _patch_quietly(monkey, import_warnings)
    if early:
        log.warning(
            "gevent: imported before monkey-patching, so it may block the whole worker: %s"
            " (imported by a configuration file or a hook; import it inside the function that needs it)",
            ", ".join(early),
        )
    for text in import_warnings:
        log.warning("gevent: %s", text)


def _patch_quietly(monkey: Any, told: list[str]) -> None:
    """gevent tells of late patching by warnings; they go to the log, whatever the warning filters say."""
    import warnings
    from importlib import metadata

    look_up: Any = metadata.entry_points
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", monkey.MonkeyPatchWarning)
        metadata.entry_points = _plugins or Plugins()
        try:
            monkey.patch_all()
        finally:
            metadata.entry_points = look_up
    told.extend(str(each.message) for each in caught)
