"""How a server begins: its listeners, its size in shared memory, and the line that says that it is there."""

from __future__ import annotations

import errno
import os
import sys

from .. import __version__
from ..engine.scoreboard import Scoreboard
from ..errors import PreforkError
from ..net import listener, systemd
from .generation import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from ..config.hooks import Server
    from ..config.settings import Settings
    from ..net.listener import Listener
    from .fleet import Fleet
    from .generation import Generation

OTHER_DESCRIPTORS = 48  # standard streams, logs, pipes, the control socket and those who call there, a mold
LEAST_SLOTS = 16  # so that TTIN has somewhere to go on a small server


def listeners(settings: Settings, passed: Sequence[tuple[int, str]]) -> list[Listener]:
    """Take the descriptors that a service manager or an older master has passed, bind the rest.

    passed: descriptor and name.  Raises BindError.
    """
    inherited = {text: fd for fd, name in passed if (text := systemd.bound_for(name))}
    given = [fd for fd, name in passed if not systemd.bound_for(name)]
    if given:  # a service manager's take the place of --bind
        _close(inherited.values())
        return listener.adopt(given)
    found = {text: listener.adopt([fd])[0] for text, fd in inherited.items() if text in settings.bind}
    _close(fd for text, fd in inherited.items() if text not in found)
    for text, each in found.items():
        each.bound_for = text
    fresh = listener.bind_all([text for text in settings.bind if text not in found], _options(settings))
    found.update((each.bound_for, each) for each in fresh)
    return [found[text] for text in settings.bind]


def _close(fds: Iterable[int]) -> None:
    """Let go of listeners that the settings name no more."""
    for fd in fds:
        os.close(fd)


def _options(settings: Settings) -> listener.Options:
    owner = (-1, -1)
    if os.geteuid() == 0:
        owner = (_or_as_is(settings.user), _or_as_is(settings.group))
    return listener.Options(
        backlog=settings.backlog, reuse_port=settings.reuse_port, umask=settings.umask, owner=owner
    )


def slots(settings: Settings) -> int:
    """How many workers may be alive at once: a reload doubles them, and some may still drain."""
    return max(LEAST_SLOTS, 3 * settings.workers)


def requests_per_worker(settings: Settings) -> int:
    """How many requests a worker can run at once. The scoreboard is never made larger."""
    match settings.worker_class:
        case "threads":
            return settings.threads
        case "gevent":
            return settings.worker_connections
        case _:
            return 1


def scoreboard(settings: Settings) -> Scoreboard:
    """Make it, and have the limit leave room for all that the master opens. Raises PreforkError."""
    takes = _descriptors(settings)
    limit = os.sysconf("SC_OPEN_MAX")
    if 0 <= limit < takes:
        _raise_limit(limit + takes)
    try:
        return Scoreboard(slots(settings), requests_per_worker(settings))
    except OSError as error:
        raise PreforkError(f"the server cannot start: {in_words(error, settings)}") from None


def in_words(error: OSError, settings: Settings) -> str:
    """What the system refuses the master, in one line."""
    if error.errno == errno.EMFILE:
        return (
            f"{workers(settings.workers)} may take {_descriptors(settings)} descriptors in the master,"
            f" and the limit is {os.sysconf('SC_OPEN_MAX')} (ulimit -n, LimitNOFILE=)"
        )
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _descriptors(settings: Settings) -> int:
    """How many the master may have open: a bell for each slot; a channel for each worker, and while a reload
    forks another whole generation, both ends of theirs."""
    return slots(settings) + 3 * settings.workers + len(settings.bind) + OTHER_DESCRIPTORS


def _raise_limit(wanted: int) -> None:
    """As far as may be, and no further than that: what the application starts inherits it, and select(2)
    knows no descriptors beyond 1023."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    within = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, within), hard))
    except (OSError, ValueError):
        pass  # sandboxed: what cannot be opened then is told


def policy(settings: Settings) -> Policy:
    """What of the settings Fleet has to know."""
    return Policy(
        size=settings.workers,
        least=settings.min_workers,
        boot_timeout=settings.boot_timeout,
        graceful_timeout=settings.graceful_timeout,
        drain_delay=settings.drain_delay,
        bake=settings.bake,
    )


def facts(server: Server, fleet: Fleet) -> dict[str, Any]:
    """The server as `prefork status` tells it: one JSON object."""
    current, following = fleet.current, fleet.next
    return {
        "version": __version__,
        "pid": server.pid,
        "name": server.proc_name,
        "addresses": list(server.address),
        "course": fleet.course.value,
        "generation": current.number if current is not None else 0,
        "next": following.number if following is not None else 0,
        "workers": fleet.size,
        "least": current.least if current is not None else 0,
        "most": current.most if current is not None else 0,
        "serving": fleet.serving,
        "errorlog": "" if server.cfg.errorlog == "-" else server.cfg.errorlog,
    }


def line(settings: Settings, bound: Sequence[Listener], access_logger: str = "") -> str:
    """The start line: where, what, who, and how to see more. access_logger: who gets requests as records."""
    where = " ".join(each.text for each in bound)
    places = [place for place in (settings.accesslog, access_logger and f"logger {access_logger}") if place]
    access = " and ".join(places) or "off (--access-logfile - shows it)"
    version = ".".join(map(str, sys.version_info[:3]))
    return (
        f"prefork {__version__} at {where}: {_staff(settings)},"
        f" pid {os.getpid()}, Python {version}, compiled engine, access log {access}"
    )


def _staff(settings: Settings) -> str:
    few = f"{settings.min_workers} to " if 0 < settings.min_workers < settings.workers else ""
    return few + workers(settings.workers, settings.worker_class)


def staff(generation: Generation) -> str:
    """Return "4 workers", or "2 to 8 workers" where their number follows what there is to do."""
    return f"{generation.range} workers" if generation.adapts else workers(generation.size)


def workers(number: int, kind: str = "") -> str:
    """Return "1 worker", "4 sync workers"."""
    return f"{number} {kind}{' ' if kind else ''}worker{'' if number == 1 else 's'}"


def _or_as_is(number: int | None) -> int:
    return -1 if number is None else number
