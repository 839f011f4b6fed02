"""Descriptors handed over by a service manager, or by another master: sd_listen_fds(3)."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from ..errors import BindError

FIRST = 3  # SD_LISTEN_FDS_START
# Names that a master gives to what it hands over at an upgrade.
UPGRADE = "prefork-upgrade"  # not a listener: the channel between the two, always the first
BOUND = "prefork-bind="  # + the text of --bind that the listener was bound for


def passed(environ: MutableMapping[str, str] = os.environ) -> list[tuple[int, str]]:
    """Return (descriptor, name or "") of what was handed to this very process.

    The variables are forgotten, whoever they were for: no child shall take them over.

    Raises BindError when the variables are addressed to us and make no sense.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "")
    if pid != str(os.getpid()) or not count:
        return []  # a parent's: the manager started something that started us
    if not (count.isascii() and count.isdigit() and int(count) < 1024):
        raise BindError(f"LISTEN_FDS is {count!r}; a small number was expected")
    known = names.split(":") if names else []
    return [(FIRST + index, known[index] if index < len(known) else "") for index in range(int(count))]


def name_of(bound_for: str) -> str:
    """The name of a listener that a master hands over; `bound_for`: its text of --bind, "" for none."""
    # A colon ends a name in LISTEN_FDNAMES.
    return BOUND + bound_for.replace("%", "%25").replace(":", "%3A") if bound_for else "listener"


def bound_for(name: str) -> str:
    """The text of --bind in such a name; "" where there is none."""
    text = name.removeprefix(BOUND)
    return text.replace("%3A", ":").replace("%25", "%") if text != name else ""
