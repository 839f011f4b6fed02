"""`prefork reload`: new workers with the code and settings of now."""

from __future__ import annotations

import time

from ..errors import ConfigError, PreforkError
from ..net import control, streams
from . import running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

USAGE = """\
usage: prefork reload [PIDFILE|PID] [--wait]

Build the next generation of workers, with the code and the settings of now, beside the one that serves. Only
when all of it serves does the old one drain; if anything goes wrong before that, the old one serves on.

  PIDFILE, PID  which server; without it, the only one that runs here
  --wait        return when the outcome is known; without it, as soon as the settings are read

Exit code: 0 it is as asked; 2 the settings were refused; 3 a worker could not boot; 4 the application could
not be imported; 1 anything else, also a generation that was taken back (--bake). Only 0 changes what is
served."""


def run(words: list[str]) -> int:
    """The exit code. Raises PreforkError."""
    wait, named = False, []
    for word in words:
        if word in ("-h", "--help"):
            streams.say(USAGE)
            return 0
        if word == "--wait":
            wait = True
        elif word.startswith("-"):
            raise ConfigError(f"prefork reload knows no {word}; prefork reload --help says what it knows")
        else:
            named.append(word)
    if len(named) > 1:
        raise ConfigError(f"one server is reloaded, not {len(named)}: {' '.join(named)}")
    began = time.monotonic()
    for said in control.ask(running.find(named[0] if named else None), "reload"):
        code = _tell(said, wait, time.monotonic() - began)
        if code is not None:
            return code
    raise PreforkError("the server has ended")


def _tell(said: dict[str, Any], wait: bool, took: float) -> int | None:
    """The exit code, once there is no more to wait for."""
    match said["state"]:
        case "started":
            if wait:
                return None
            streams.say(f"prefork: generation {said['generation']} is being built")
            return 0
        case "watched":
            streams.say(
                f"prefork: generation {said['generation']} serves with {_workers(said)} after {took:.2f} s,"
                f" and is watched for {said['seconds']:g} s (bake)"
            )
            return None
        case "done":
            streams.say(
                f"prefork: generation {said['generation']} serves with {_workers(said)} after {took:.2f} s"
            )
            return 0
        case _:
            streams.complain(f"reload {said['state']}: {said['cause']}", said.get("detail", ""))
            return int(said["exit_code"])


def _workers(said: dict[str, Any]) -> str:
    number = said["workers"]
    return f"{number} worker{'' if number == 1 else 's'}"
