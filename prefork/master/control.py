"""The master's end of the control socket (net/control.py): who calls, what they ask, what they are told.

Owns the listening socket and the callers' connections. Nothing here blocks: what a caller does not take at
once waits in memory, and a caller that leaves is forgotten.
"""

from __future__ import annotations

import os
import select

from ..net import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from socket import socket
    from typing import Any

    Order = Callable[["Caller"], None]

CALLERS = 64  # at once; more are turned away


class Caller:
    """One command that waits for its answer. `say` and `end` may be called when it has already left."""

    __slots__ = ("_control", "connection", "ending", "heard", "unsent")

    def __init__(self, owner: Control, connection: socket) -> None:
        self._control = owner
        self.connection = connection
        self.heard = b""
        self.unsent = b""
        self.ending = False

    def say(self, **words: Any) -> None:
        """Send one line of JSON."""
        import json

        self.unsent += json.dumps(words).encode() + b"\n"
        self._control.flush(self)

    def end(self, **words: Any) -> None:
        """Send the last line."""
        self.ending = True
        self.say(**words)


class Control:
    """orders: what each word does. Descriptors are registered with `poll`."""

    def __init__(self, poll: select.poll, orders: Mapping[str, Order]) -> None:
        self._poll = poll
        self._orders = orders
        self._listener: socket | None = None
        self._callers: dict[int, Caller] = {}

    def open(self) -> None:
        """Be callable as this process. Raises OSError: where somebody else holds the name."""
        self._listener = control.listen()
        self._poll.register(self._listener.fileno(), select.POLLIN)

    def close(self) -> None:
        """Hang up on everybody. In a new child too: poll is its own copy there."""
        for caller in list(self._callers.values()):
            self._forget(caller)
        if self._listener is not None:
            self._poll.unregister(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def hear(self, fd: int) -> bool:
        """Act on an event of that descriptor; False when it belongs to somebody else."""
        if caller := self._callers.get(fd):
            self._listen_to(caller)
            return True
        if self._listener is not None and fd == self._listener.fileno():
            self._accept(self._listener)
            return True
        return False

    def flush(self, caller: Caller) -> None:
        """Send what the caller takes."""
        fd = caller.connection.fileno()
        if fd < 0:
            return
        try:
            while caller.unsent:
                caller.unsent = caller.unsent[caller.connection.send(caller.unsent) :]
        except BlockingIOError:
            self._poll.modify(fd, select.POLLIN | select.POLLOUT)
            return
        except OSError:
            self._forget(caller)
            return
        if caller.ending:
            self._forget(caller)
        else:
            self._poll.modify(fd, select.POLLIN)

    def _accept(self, listener: socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # it has left again, or there is no descriptor; it may call once more
        _, uid = control.peer(connection)
        if uid not in (0, os.geteuid()) or len(self._callers) >= CALLERS:
            connection.close()
            return
        connection.setblocking(False)
        self._callers[connection.fileno()] = Caller(self, connection)
        self._poll.register(connection.fileno(), select.POLLIN)

    def _listen_to(self, caller: Caller) -> None:
        try:
            data = caller.connection.recv(control.LINE_LIMIT)
        except BlockingIOError:
            self.flush(caller)  # it was POLLOUT
            return
        except OSError:
            data = b""
        caller.heard += data
        word, newline, _ = caller.heard.partition(b"\n")
        if not data or len(word) > control.LINE_LIMIT:
            self._forget(caller)
        elif newline:
            caller.heard = b""
            order = self._orders.get(word.decode("ascii", "replace"))
            if order is None:
                caller.end(state="refused", cause="this server knows no such order", exit_code=1)
            else:
                order(caller)

    def _forget(self, caller: Caller) -> None:
        del self._callers[caller.connection.fileno()]
        self._poll.unregister(caller.connection.fileno())
        caller.connection.close()
