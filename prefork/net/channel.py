"""The birth of a worker, and the words that master and worker say to each other afterwards.

Owns the datagrams of the channel: one SOCK_SEQPACKET socketpair a worker, one message a datagram, in
order, and EOF when the other side is dead. Whoever forks (the master, or a mold) fills in a Boot.
"""

from __future__ import annotations

import socket

TYPE_CHECKING = False  # typing costs every start 3 ms, dataclasses 20
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..config.hooks import Server, Worker
    from ..config.settings import Settings
    from ..engine.scoreboard import Scoreboard
    from ..errors import PreforkError
    from .listener import Listener

# Worker to master.
READY = b"ready"  # accepting; said once, and again after each WAKE
FAILED = b"failed"  # + " " + JSON {"exit_code", "message", "detail"}: cannot boot, exits next
RECYCLE = b"recycle"  # + " " + reason: serves on, asks to be replaced and then drained
WARMING = b"warming"  # + " " + target: is about to answer that path of --warmup
PARKED = b"parked"  # accepts nothing until it is woken
DRAINING = b"draining"  # accepts no more, as told or of its own accord; exits when empty

# Of a worker that a mold has made, before all others.
BORN = b"born"  # + " " + pid

# Mold to master; master to mold is "SLOT AGE" with the new worker's end of its channel (SCM_RIGHTS, unix(7)).
IMPORTED = b"imported"  # makes workers from now on; FAILED: it cannot, and exits next
DONE = b"done"  # what was ordered is made
UNFORKED = b"unforked"  # + " " + reason

# Master to worker.
DRAIN = b"drain"  # answer what was accepted, then exit 0; the master keeps the deadline
FINISH = (
    b"finish"  # as DRAIN, but the whole server ends: after --drain-delay, and what waits in the backlog too
)
STOP = b"stop"  # close everything, exit 0
WARM = b"warm"  # sent before it has booted: answer the paths of --warmup before it says ready
PARK = b"park"  # accept nothing until WAKE; let idle connections go
WAKE = b"wake"  # accept again, and say ready
SPREAD = b"spread"  # + " " + share: others have come; let so much of the connections come again, to them

# Master to the master that an upgrade has started: waits there from the beginning ...
WANTED = b"wanted"  # + " " + number: workers that are wanted now
# ... and once that has said READY or FAILED.
TAKE = b"take"  # pid file, socket files and the service manager's ear are yours

MESSAGE_LIMIT = 64 * 1024  # bytes of one datagram
DETAIL_LIMIT = MESSAGE_LIMIT // 2  # bytes of a traceback that go into one


class Boot:
    """All that a worker is given; valid from the fork to the worker's end.

    `channel` is the worker's end; `slot` is its place in `scoreboard`; `generation` counts reloads from 1;
    `server` and `worker` are what hooks are given; `log` has the methods of a Logger. `app` is the
    application where a mold has imported it (as the user of the settings), else None.
    """

    __slots__ = (
        "app",
        "channel",
        "generation",
        "listeners",
        "log",
        "master_pid",
        "scoreboard",
        "server",
        "settings",
        "slot",
        "worker",
    )

    def __init__(
        self,
        *,
        settings: Settings,
        listeners: list[Listener],
        channel: socket.socket,
        scoreboard: Scoreboard,
        slot: int,
        generation: int,
        master_pid: int,
        log: Any,
        server: Server,
        worker: Worker,
        app: Callable[..., Any] | None = None,
    ) -> None:
        self.settings = settings
        self.listeners = listeners
        self.channel = channel
        self.scoreboard = scoreboard
        self.slot = slot
        self.generation = generation
        self.master_pid = master_pid
        self.log = log
        self.server = server
        self.worker = worker
        self.app = app


def failed(fault: PreforkError) -> bytes:
    """The datagram that says why a child will not be what it was made for."""
    import json

    words = {
        "exit_code": fault.exit_code,
        "message": str(fault)[:4096],
        "detail": getattr(fault, "detail", "")
        .encode("utf-8", "replace")[-DETAIL_LIMIT:]
        .decode("utf-8", "replace"),
    }
    return FAILED + b" " + json.dumps(words).encode()


def pair() -> tuple[socket.socket, socket.socket]:
    """Return (the master's end, the worker's end), both non-blocking and close-on-exec."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs
