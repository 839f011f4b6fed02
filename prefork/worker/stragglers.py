"""Threads of the application that keep a worker from ending: Python waits for those that are no daemons."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 1.0  # seconds; most are told to end by what runs at exit, and do


def watch(threading: Any, log: Any) -> None:
    """Name them in the log if they take long. Else that a worker without a request is killed after
    --graceful-timeout, with every reload, could not be explained by anything the log has."""

    def tell() -> None:
        if names := ", ".join(_waited_for(threading)):
            log.warning("worker %d waits for what is no daemon: thread %s", os.getpid(), names)

    if _waited_for(threading):
        teller = threading.Timer(PATIENCE, tell)
        teller.daemon = True
        teller.start()


def _waited_for(threading: Any) -> list[str]:
    first = threading.main_thread()
    return [repr(each.name) for each in threading.enumerate() if not each.daemon and each is not first]
