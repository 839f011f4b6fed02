"""Who keeps gevent's hub from its loop: told by name and line, once a stall (`stall_timeout`).

Owns two native threads and the hub's watchers that tell them where the loop runs callbacks; nothing of it is
on a request's way. Imported only inside a gevent worker, after monkey-patching.
"""

from __future__ import annotations

import sys

from gevent import monkey

from ..engine.baton import Baton
from .assemble import request_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any


class Stalls:
    """Tells who kept the hub from its loop for longer than a span, once a stall.

    The hub's check and prepare watchers mark where the loop runs callbacks; the monitor of a Baton watches
    that span without the GIL and wakes a native thread, which looks who is running.
    """

    def __init__(self, span: float, log: Any, serving: CodeType) -> None:
        """span: seconds.  serving: the code that runs requests; its variable `connection` says which."""
        self._log = log
        self._serving = serving
        self._baton = Baton(span)
        self._main = monkey.get_original("_thread", "get_ident")()  # the patched one tells greenlets apart
        self._prepare: Any = None
        self._seen = ""

    def start(self, hub: Any) -> None:
        """Begin to watch. Threads are native ones: a patched thread would wait for the hub itself."""
        # The first thing behind a wait and the last before one: gevent runs its callbacks as a prepare, too.
        self._check = hub.loop.check(priority=hub.loop.MAXPRI)
        try:
            self._prepare = hub.loop.prepare(priority=hub.loop.MINPRI)
        except TypeError:  # libuv's loop has none
            self._log.warning("stall_timeout does nothing with gevent's libuv loop (GEVENT_LOOP)")
            return
        start_thread = monkey.get_original("_thread", "start_new_thread")
        start_thread(self._baton.monitor, ())
        start_thread(self._look, ())
        self._check.start(self._awake)
        self._prepare.start(self._asleep)
        self._awake()  # what has come meanwhile is served before the first wait

    def stop(self) -> None:
        """End the threads."""
        self.disinherit()
        self._baton.quit(1)

    def disinherit(self) -> None:
        """In a process that the application has forked: it has none of the threads."""
        self._check.stop()
        if self._prepare is not None:
            self._prepare.stop()

    def _awake(self) -> None:
        self._baton.enter()

    def _asleep(self) -> None:
        held = self._baton.leave()
        if self._seen:
            seen, self._seen = self._seen, ""
            self._log.warning("the hub was not served for %.1f s: %s", held, seen)

    def _look(self) -> None:
        """Native thread: woken when the hub is held, says who holds it."""
        while self._baton.take():
            frame = sys._current_frames().get(self._main)
            if frame is not None:
                self._seen = self._describe(frame)

    def _describe(self, frame: FrameType) -> str:
        where = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        outer: FrameType | None = frame
        while outer is not None:
            if outer.f_code is self._serving:
                connection = outer.f_locals.get("connection")
                if connection is not None:
                    return f"{request_line(connection.request)} held it, at {where}"
            outer = outer.f_back
        return f"a greenlet of the application held it, at {where}"
