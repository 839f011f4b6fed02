"""The service manager's ear: datagrams to $NOTIFY_SOCKET, as sd_notify(3) and sd_watchdog_enabled(3) say.

No library, for the protocol is one datagram of lines "KEY=value". What cannot be sent is dropped: a manager
that does not listen is no reason not to serve.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping


class Notify:
    """address: of the socket, "\\0name" for an abstract one, "" for none.  watchdog: seconds within which the
    manager wants to hear of progress; 0: it does not."""

    __slots__ = ("_socket", "address", "watchdog")

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self.address = address
        self.watchdog = watchdog
        self._socket: socket.socket | None = None

    def __bool__(self) -> bool:
        """Is anybody listening?"""
        return bool(self.address)

    def send(self, **fields: object) -> None:
        """Send one message; fields in the order given."""
        if not self.address:
            return
        text = "".join(f"{key}={_line(value)}\n" for key, value in fields.items())
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(text.encode("utf-8", "replace"), self.address)
        except OSError:
            pass

    def close(self) -> None:
        """In a child too: only the process that was started speaks to the manager."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.address = ""

    def heritage(self, pid: int) -> dict[str, str]:
        """The variables by which another program, run as that pid, may go on with this."""
        if not self.address:
            return {}
        address = f"@{self.address[1:]}" if self.address.startswith("\0") else self.address
        found = {"NOTIFY_SOCKET": address}
        if self.watchdog:
            found |= {"WATCHDOG_USEC": str(round(self.watchdog * 1e6)), "WATCHDOG_PID": str(pid)}
        return found


def from_environ(environ: MutableMapping[str, str] = os.environ) -> Notify:
    """Take the variables out of the environment: what the application starts is not the service."""
    address = environ.pop("NOTIFY_SOCKET", "")
    usec = environ.pop("WATCHDOG_USEC", "")
    pid = environ.pop("WATCHDOG_PID", "")
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    elif not address.startswith("/"):
        return Notify()  # vsock: and the like are for virtual machines
    mine = pid in ("", str(os.getpid())) and usec.isascii() and usec.isdigit()
    return Notify(address, int(usec) / 1e6 if mine else 0.0)


def _line(value: object) -> str:
    # A line break would begin a field of its own.
    return " ".join(str(value).split("\n"))
