"""`prefork status`: what a running server and its workers do."""

from __future__ import annotations

from ..errors import ConfigError, PreforkError
from ..net import control, streams
from ..telemetry import status
from . import running, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

USAGE = """\
usage: prefork status [PIDFILE|PID] [--json]

Say what a running server and each of its workers do. It is read from shared memory, so it is also true of
workers that hang.

  PIDFILE, PID  which server; without it, the only one that runs here
  --json        one line of JSON instead of a table; times in seconds, sizes in bytes

Exit code: 0 it serves; 1 it does not, or there is none."""


def run(arguments: list[str]) -> int:
    """The exit code. Raises PreforkError."""
    as_json, named = False, []
    for word in arguments:
        if word in ("-h", "--help"):
            streams.say(USAGE)
            return 0
        if word == "--json":
            as_json = True
        elif word.startswith("-"):
            raise ConfigError(f"prefork status knows no {word}; prefork status --help says what it knows")
        else:
            named.append(word)
    if len(named) > 1:
        raise ConfigError(f"one server is asked, not {len(named)}: {' '.join(named)}")
    for said in control.ask(running.find(named[0] if named else None), "status"):
        text = status.as_json(said) if as_json else _head(said["server"]) + status.as_text(said)
        streams.say(text, end="")
        return 0 if said["server"]["serving"] else 1
    raise PreforkError("the server has ended")


def _head(server: dict[str, Any]) -> str:
    return (
        f"prefork {words.shown(server['version'])} [{words.shown(server['name'])}], pid {server['pid']}, at "
        f"{words.addresses(server)}: {words.course(server)}\n"
    )
