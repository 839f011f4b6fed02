"""What prefork web may have a server do, and how it went: what the commands and signals do."""

from __future__ import annotations

import os
import signal

from ..errors import PreforkError
from ..net import control, streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SIGNALS: Mapping[str, signal.Signals] = {"ttin": signal.SIGTTIN, "ttou": signal.SIGTTOU}
# order -> what its button says
ORDERS: Mapping[str, str] = {
    "reload": "reload: new code and settings",
    "upgrade": "upgrade: a new prefork",
    "ttin": "one worker more",
    "ttou": "one worker less",
}


def give(pid: int, order: str) -> str:
    """Have the master with that pid do it, one of ORDERS; return how it went once that is known. Raises
    PreforkError when nothing has come of it."""
    if order in _SIGNALS:
        _signal(pid, _SIGNALS[order])
        return f"{ORDERS[order]}: pid {pid} has been told"
    for said in control.ask(pid, order):
        match said["state"]:
            case "started":
                continue
            case "watched":
                return f"generation {said['generation']} serves, watched for {said['seconds']:g} s (bake)"
            case "done" if order == "upgrade":
                return f"pid {said['pid']} has taken over"
            case "done":
                return f"generation {said['generation']} serves with {said['workers']} workers"
            case _:
                raise PreforkError(streams.one_line(f"{order} {said['state']}: {said['cause']}"))
    raise PreforkError("the server has ended")


def _signal(pid: int, number: signal.Signals) -> None:
    """A signal to that master and to nobody who has got its number since."""
    try:
        process = os.pidfd_open(pid)
    except OSError as fault:
        raise PreforkError(f"pid {pid} cannot be told: {fault.strerror}") from None
    try:
        for _ in control.ask(pid, "status"):  # it is a prefork, and would answer us
            signal.pidfd_send_signal(process, number)
            return
        raise PreforkError("the server has ended")
    except OSError as fault:
        raise PreforkError(f"pid {pid} cannot be told: {fault.strerror}") from None
    finally:
        os.close(process)
