"""What a canary answers before anybody depends on it: the paths of --warmup, one after the other.

Each goes through the worker's own reactor, as a request of a client does, over a socketpair whose other end
is read here. The worker accepts nothing meanwhile. How long all of it may take is the master's concern
(boot_timeout).
"""

from __future__ import annotations

import socket

from .assemble import make_endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..net.channel import Boot
    from .reactor import Reactor

HEAD_KEPT = 4096  # bytes of an answer that are looked at
FAULT = 500  # the first status that says that the application does not work


class Warmup:
    """begins: called with each target before it is asked.  ends: called once, with what went wrong or ""."""

    def __init__(
        self,
        reactor: Reactor,
        boot: Boot,
        targets: Sequence[str],
        *,
        begins: Callable[[str], None],
        ends: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._endpoint = make_endpoint(
            reactor.station,
            boot,
            boot.listeners[0],
            deadline=reactor.deadline,
            multithread=reactor.multithread,
            local=True,
        )
        self._left = list(targets)
        self._begins = begins
        self._ends = ends
        self._socket: socket.socket | None = None
        self._head = b""

    def go_on(self) -> None:
        """Ask for the next target, or end."""
        if not self._left:
            self._ends("")
            return
        self._begins(self._left[0])
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        theirs.setblocking(False)
        self._socket, self._head = ours, b""
        self._endpoint.adopt(theirs.detach()).turn(0)  # nothing is there to read: it waits in the reactor
        ours.send(request(self._left[0]))
        self._reactor.watch(ours.fileno(), self._read)

    def _read(self) -> None:
        assert self._socket is not None
        try:
            while data := self._socket.recv(65536):
                self._head = (self._head + data)[:HEAD_KEPT]
        except BlockingIOError:
            return
        except OSError:
            pass  # ended by a reset: judged by what came before
        self._reactor.ignore(self._socket.fileno())
        self._socket.close()
        target = self._left.pop(0)
        fault = judge(self._head)
        if fault:
            self._ends(f"warm-up {target} {fault}")
        else:
            self.go_on()


def request(target: str) -> bytes:
    """The bytes that ask for a path, or for an absolute URL with its host and scheme."""
    scheme, _, rest = target.partition("://")
    host, path = "localhost", target
    if rest:
        host, slash, path = rest.partition("/")
        path = slash + path or "/"
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "User-Agent: prefork-warmup", "Connection: close"]
    if rest and scheme == "https":
        lines.append("X-Forwarded-Proto: https")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def judge(head: bytes) -> str:
    """What is wrong with an answer that begins so; "" for nothing."""
    line = head.partition(b"\r\n")[0].decode("latin-1")
    version, _, status = line.partition(" ")
    if not version.startswith("HTTP/1.") or not status[:3].isdigit():
        return "got no answer"
    return f"was answered {status}" if int(status[:3]) >= FAULT else ""
