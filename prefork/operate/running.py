"""Which running server a command means: the one that was named, or the only one that is here."""

# ruff: noqa: PTH109, PTH115, PTH116, PTH123  (pathlib would cost every start 4 ms)
from __future__ import annotations

import os

from ..errors import ConfigError, PreforkError
from ..net import control


def find(named: str | None) -> int:
    """Return the pid of a master. `named`: a pid, the path of a pid file, or None for the only server that
    runs here. Raises PreforkError, and ConfigError when it is not clear which one is meant."""
    if named is None:
        return _only()
    if named.isdigit():
        return int(named)
    try:
        with open(named, encoding="ascii") as file:
            text = file.read(32).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a pid file"
        raise PreforkError(f"pid file {named} cannot be read: {reason}") from None
    if not text.isdigit():
        raise PreforkError(f"pid file {named} holds no process id")
    return int(text)


def _only() -> int:
    ours = [pid for pid in control.running() if _owner(pid) == os.geteuid()]
    pids = ours or control.running()
    if len(pids) > 1:
        here = [pid for pid in pids if _folder(pid) == os.getcwd()]
        pids = here if len(here) == 1 else pids
    if len(pids) > 1:
        seen = ", ".join(f"{pid} in {_folder(pid)}" for pid in pids)
        raise ConfigError(f"{len(pids)} servers run here ({seen}): name one by its pid file or its pid")
    if not pids:
        raise PreforkError("no prefork runs here")
    return pids[0]


def _owner(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def _folder(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return "?"
