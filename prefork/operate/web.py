"""`prefork web`: a running server for a browser and for Prometheus, in a server of its own.

The master never serves a request. So this is an ordinary application, `create`, served by another prefork;
`run` makes the settings of that one, and cli.py serves them. Nothing of the project's own configuration
counts for it: neither files nor PREFORK_ variables.
"""

from __future__ import annotations

import os
import sys

from ..errors import ConfigError, PreforkError
from ..net import address, control, streams
from . import running
from .guard import Guard, is_local, read_password
from .reading import Reader
from .site import Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT = "127.0.0.1:8001"
USAGE = f"""\
usage: prefork web [PIDFILE|PID] [-b ADDRESS] [--host NAME]... [--password-file FILE] [--actions]

Show what a running server does, for a browser and for Prometheus, from a process of its own. A server that
is restarted or upgraded is found again, unless it was named by its pid.

  /             a page that refreshes itself      /metrics      for Prometheus (text format 0.0.4)
  /status.json  the same as JSON                  /healthz      200 while the server serves, else 503
  /log          the end of the error log

  PIDFILE, PID          which server; without it, the only one that runs here
  -b, --bind ADDRESS    HOST:PORT, [V6]:PORT, unix:PATH, unix:@NAME or fd://N [{DEFAULT}]
  --host NAME           a name by which it may be asked, beside localhost and IP addresses; may be repeated
  --password-file FILE  ask for the password in its first line (HTTP Basic, any user); not for /healthz
  --actions             buttons for reload, upgrade, one worker more or less

Without a password other machines see only /metrics and /healthz, and --actions needs an address that only
this machine can reach. It has to run as the user of the server, or as root.

Exit code: as prefork's: 0 stopped as asked; 1 running failed; 2 a word above is wrong."""

_FOR_VALUES = {
    "-b": "bind",
    "--bind": "bind",
    "--host": "host",
    "--password-file": "password",
}


class Order:
    """What was asked for."""

    __slots__ = ("actions", "bind", "hosts", "named", "password_file")

    def __init__(self) -> None:
        self.named: str | None = None
        self.bind = DEFAULT
        self.hosts: list[str] = []
        self.password_file: str | None = None
        self.actions = False


def run(words: list[str]) -> int | dict[str, object]:
    """The settings of the server that shows the other; the exit code where there is nothing to serve. Raises
    PreforkError."""
    if "-h" in words or "--help" in words:
        streams.say(USAGE)
        return 0
    order = parse(words)
    place = _place(order.bind)
    _check(order, place)
    here = running.folder(os.getpid())
    arguments = (_absolute(order.named), here, tuple(order.hosts), order.password_file, order.actions)
    return {
        "wsgi_app": f"{__name__}:create{arguments!r}",
        "bind": (_bound(place),),
        "proc_name": running.VIEW,
        "worker_class": "threads",
        "threads": 4,
        # Nothing of it lies here, and a module that does must not be taken for one of Python's.
        "chdir": "/",
        # A socket file is for its owner and group; others would be as good as on this machine.
        "umask": 0o007,
        # A reload that is waited for takes as long as it does.
        "timeout": 0.0,
        "graceful_timeout": 5.0,
        "limit_request_body": 1 << 16,
    }


def create(
    named: str | None = None,
    here: str = "",
    hosts: tuple[str, ...] = (),
    password_file: str | None = None,
    actions: bool = False,
) -> Site:
    """The application. named, here: as running.find has them. Raises ConfigError where the password cannot be
    read."""
    password = read_password(password_file) if password_file is not None else None
    return Site(Reader(named, here=here, apart=1.0), Guard(hosts, password), acts=actions)


def parse(words: list[str]) -> Order:
    """Raises ConfigError."""
    order = Order()
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if word == "--actions":
            order.actions = True
        elif flag in _FOR_VALUES:
            _take(order, flag, value if equals else _next(flag, rest))
        elif word.startswith("-"):
            raise ConfigError(f"prefork web knows no {word}; prefork web --help says what it knows")
        elif order.named is not None:
            raise ConfigError(f"one server is shown, not also {word}")
        else:
            order.named = word
    return order


def _next(flag: str, rest: Iterator[str]) -> str:
    value = next(rest, "")
    if not value or value.startswith("--"):
        raise ConfigError(f"{flag} needs a value; prefork web --help says which")
    return value


def _take(order: Order, flag: str, value: str) -> None:
    match _FOR_VALUES[flag]:
        case "bind":
            order.bind = value
        case "host":
            order.hosts.append(value)
        case "password":
            order.password_file = _absolute(value)


def _place(text: str) -> address.Address:
    try:
        return address.parse(text)
    except ValueError as fault:
        raise ConfigError(str(fault), setting="--bind") from None


def _check(order: Order, place: address.Address) -> None:
    """Raises ConfigError, and PreforkError for a pid that is no server's; notes go to stderr."""
    near = _is_near(place)
    if order.password_file is not None:
        read_password(order.password_file)
    elif order.actions and not near:
        raise ConfigError(
            "other machines can reach it: --actions needs --password-file there",
            setting="--bind",
            value=order.bind,
        )
    elif not near:
        _note(
            f"other machines can reach {order.bind}: they see /metrics and /healthz (--password-file for all)"
        )
    if (pid := control.number(order.named or "")) and not control.is_master(pid):
        raise PreforkError(f"no prefork runs as pid {pid}, or none that can be asked")
    try:
        running.find(order.named)
    except ConfigError:
        raise
    except PreforkError as fault:
        _note(f"{fault}; it is looked for again at each request")


def _is_near(place: address.Address) -> bool:
    """Can only this machine reach it? Who has made a descriptor knows that, not we."""
    match place.kind:
        case address.Kind.TCP:
            return place.host == "localhost" or (bool(place.host) and is_local(place.host))
        case address.Kind.UNIX | address.Kind.ABSTRACT:
            return True
        case address.Kind.DESCRIPTOR:
            return False


def _bound(place: address.Address) -> str:
    """Relative to where it was said; the server that listens there goes elsewhere."""
    if place.kind is address.Kind.UNIX:
        return f"unix:{_absolute(place.path)}"
    return str(place)


def _absolute(path: str | None) -> str | None:
    """None and a pid as they are."""
    return path if path is None or control.number(path) else os.path.abspath(path)  # noqa: PTH100


def _note(text: str) -> None:
    print(f"prefork: {streams.one_line(text)}", file=sys.stderr)
