"""`prefork upgrade`: the prefork and the Python that are installed now, in place of those that serve."""

from __future__ import annotations

import time

from ..errors import ConfigError, PreforkError
from ..net import control, streams
from . import running

USAGE = """\
usage: prefork upgrade [PIDFILE|PID]

Start a new master, with the prefork, the Python and the settings of now, on the listeners of the one that
runs. Only when all of its workers serve does the old one drain and end; if anything goes wrong before that,
the old one serves on. For new code of the application alone, prefork reload will do.

  PIDFILE, PID  which server; without it, the only one that runs here

Returns when the outcome is known. Exit code: 0 the new master serves; otherwise nothing has changed: 2 its
settings were refused; 3 a worker could not boot; 4 the application could not be imported; 1 anything else."""


def run(words: list[str]) -> int:
    """The exit code. Raises PreforkError."""
    if words in (["-h"], ["--help"]):
        streams.say(USAGE)
        return 0
    for word in words:
        if word.startswith("-"):
            raise ConfigError(f"prefork upgrade knows no {word}; prefork upgrade --help says what it knows")
    if len(words) > 1:
        raise ConfigError(f"one server is upgraded, not {len(words)}: {' '.join(words)}")
    began = time.monotonic()
    for said in control.ask(running.find(words[0] if words else None), "upgrade"):
        if said["state"] == "done":
            streams.say(f"prefork: pid {said['pid']} has taken over after {time.monotonic() - began:.2f} s")
            return 0
        streams.complain(f"upgrade {said['state']}: {said['cause']}", said.get("detail", ""))
        return int(said["exit_code"])
    raise PreforkError("the server has ended")
