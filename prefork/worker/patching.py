"""Monkey-patching of a gevent worker: in the worker, after the fork, before the application's import.

Owns the warning about what was imported too early to be patched whole: such a module may hold on to blocking
functions that it copied by name (`from socket import create_connection`).
"""

from __future__ import annotations

import sys

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


def patch(log: Any) -> None:
    """Replace the blocking parts of the standard library by gevent's; warn of what came too early.

    C extensions that block in their own code (psycopg2, mysqlclient) are not touched by this: call their
    gevent hook (psycogreen.gevent.patch_psycopg) in `post_fork` or in the application's module.
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

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", monkey.MonkeyPatchWarning)
        monkey.patch_all()
    told.extend(str(each.message) for each in caught)
