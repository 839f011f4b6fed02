"""Which running server a command means: the one that was named, or the only one that is here."""

# ruff: noqa: PTH115, PTH116  (pathlib would cost every start 4 ms)
from __future__ import annotations

import os
from itertools import pairwise

from ..errors import ConfigError, PreforkError
from ..net import control

VIEW = "prefork web"  # the name of a server that only shows another one: nobody means it who names none


def find(named: str | None, here: str = "") -> int:
    """Return the pid of a master. `named`: a pid, the path of a pid file, or None for the only server that
    runs here; of several, the only one in the folder `here` (by default this process's). Raises PreforkError,
    and ConfigError when it is not clear which one is meant."""
    if named is None:
        return _only(here or folder(os.getpid()))
    if pid := control.number(named):
        return pid
    try:
        pid = control.written_in(named)
    except OSError as error:
        raise PreforkError(f"pid file {named} cannot be read: {error.strerror}") from None
    if not pid:
        raise PreforkError(f"pid file {named} holds no process id")
    return pid


def _only(here: str) -> int:
    servers = [pid for pid in control.running() if not _is_view(pid)]
    ours = [pid for pid in servers if _owner(pid) == os.geteuid()]
    pids = ours or servers
    if len(pids) > 1:
        near = [pid for pid in pids if folder(pid) == here]
        pids = near if len(near) == 1 else pids
    if len(pids) > 1:
        seen = ", ".join(f"{pid} in {folder(pid)}" for pid in pids)
        raise ConfigError(f"{len(pids)} servers run here ({seen}): name one by its pid file or its pid")
    if not pids:
        raise PreforkError("no prefork runs here")
    return pids[0]


def _is_view(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
            words = file.read().split(b"\0")
    except OSError:
        return False
    # Its title; and as it was started, where there is no setproctitle.
    return words[0] == f"prefork: master [{VIEW}]".encode() or any(
        word.endswith(b"prefork") and following == b"web" for word, following in pairwise(words)
    )


def _owner(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def folder(pid: int) -> str:
    """Where that process is; "?" where nobody can tell."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return "?"
