"""Processes that the application forks: before they go on, they lose what they have of the worker's.

Such a child is born with every descriptor, the signal handlers and, under gevent, a loop that would go on to
serve. Rules: it lets go of them without a word to the kernel about those that it shares with the worker (the
epoll instance: epoll(7), question 6); the worker notices nothing. What the engine knows by number stays open
and leads nowhere, so that no such number becomes a file of the application's. A child that comes back out of
the application is ended by the engine (check_process in responder.pyx).

What starts a program loses less, for exec takes the rest: all our descriptors are close-on-exec. CPython's
subprocess does not even come here, unless with a preexec_fn.
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from os import close  # bound before gevent takes it away: its own leaves the work to a later turn of the hub

from ..net import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import NoReturn

    from ..net.channel import Boot
    from .reactor import Reactor


class Forks:
    """Made once in a process, by a reactor that begins to serve: os.register_at_fork cannot be taken back."""

    def __init__(self, reactor: Reactor, boot: Boot) -> None:
        self._reactor = reactor
        self._boot = boot
        self._masks: dict[int, set[int]] = {}  # thread that forks -> its signal mask
        self.over = False  # the worker ends, or this is the child: nothing here is to be let go of (any more)
        self.happened = False  # this is the child
        os.register_at_fork(
            before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child
        )

    def _before(self) -> None:
        # A signal for the child would be told to the worker, by the pipe that both have, until that is cut.
        self._masks[get_ident()] = signals.hold()
        if not self.over:
            self._reactor.expect_child()

    def _in_parent(self) -> None:
        signals.release(self._masks.pop(get_ident()))

    def _in_child(self) -> None:
        try:
            if not self.over:
                self.over = self.happened = True
                self._reactor.disinherit()
                pipe = signals.disinherit()
                if not _starts_program():  # exec does the rest, and whoever waits for it waits for us
                    self._reactor.stop_others()
                    _lead_nowhere({*pipe, *_descriptors(self._reactor, self._boot)})
        finally:
            signals.release(self._masks.pop(get_ident()))


def leave(fault: BaseException) -> NoReturn:
    """End a child whose last frames are the worker's own, as the engine does (responder.pyx)."""
    code: object = 1
    if isinstance(fault, SystemExit):
        code = fault.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    else:
        sys.excepthook(type(fault), fault, fault.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # none, full or closed
            pass
    assert isinstance(code, int)
    os._exit(code & 0xFF)


def _starts_program() -> bool:
    """Whether subprocess has forked: gevent's, or CPython's for the sake of a preexec_fn."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") in ("subprocess", "gevent.subprocess"):
            return True
        frame = frame.f_back
    return False


def _descriptors(reactor: Reactor, boot: Boot) -> Iterator[int]:
    """What is open now; of a socket that was closed the number may be another's."""
    yield reactor.epoll.fileno()
    yield from boot.scoreboard.nudges
    yield boot.channel.fileno()
    for listener in boot.listeners:
        yield listener.socket.fileno()
    for connection in reactor.connections():
        yield connection.descriptor


def _lead_nowhere(descriptors: set[int]) -> None:
    descriptors.discard(-1)
    close(next(iter(descriptors)))  # there may be no number left for one more
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in descriptors:
        if descriptor != nowhere:
            os.dup2(nowhere, descriptor, inheritable=False)
    if nowhere not in descriptors:
        close(nowhere)
