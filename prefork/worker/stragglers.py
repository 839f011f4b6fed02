"""Threads of the application that keep a worker from ending: Python waits for those that are no daemons."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 1.0  # seconds; most are told to end by what runs at exit, and do
LOOK = 1.0  # seconds between two looks for the master


def watch(threading: Any, log: Any, *, master_pid: int, grace: float) -> None:
    """Name them in the log if they take long, and end with them where no master does: `grace` seconds behind
    its death. Else a worker without a request is killed after --graceful-timeout, with every reload, and
    nothing in the log explains it; and one whose master was killed stays for good, with what they do."""

    def look() -> None:
        time.sleep(PATIENCE)
        if names := ", ".join(_waited_for(threading)):
            log.warning("worker %d waits for what is no daemon: thread %s", os.getpid(), names)
        while os.getppid() == master_pid:
            time.sleep(LOOK)
        time.sleep(grace)
        log.error("worker %d: the master is gone, and what is no daemon does not end: leaving", os.getpid())
        os._exit(1)

    if _waited_for(threading):
        threading.Thread(target=look, name="prefork-stragglers", daemon=True).start()


def _waited_for(threading: Any) -> list[str]:
    first = threading.main_thread()
    return [repr(each.name) for each in threading.enumerate() if not each.daemon and each is not first]
