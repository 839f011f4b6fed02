"""Many clients at once that are slow on purpose, driven by one thread.

Each `Slow` client does one small thing a tick: send a byte of its head, or read a little of its answer. The
ticks are the crowd's pace, not anything a test waits for.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

Step = Callable[[socket.socket], None]


def drip(data: bytes) -> Callable[[], Step]:
    """Clients that send data a byte a tick, and begin again with a harmless field when it is used up."""

    def make() -> Step:
        place = 0

        def step(sock: socket.socket) -> None:
            nonlocal place
            byte = data[place : place + 1] or b"x"
            place += 1
            sock.send(byte)

        return step

    return make


def sip(size: int) -> Callable[[], Step]:
    """Clients that read so many bytes a tick."""

    def make() -> Step:
        def step(sock: socket.socket) -> None:
            sock.recv(size)

        return step

    return make


class Crowd:
    """Slow clients of one server. Use as a context: the thread runs between enter and exit."""

    def __init__(self, address: tuple[str, int], tick: float = 1.0) -> None:
        self.address = address
        self.tick = tick
        self.members: list[tuple[socket.socket, Step]] = []
        self.refused = 0  # members that the server cut off
        self.ticks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="crowd")

    def add(
        self, count: int, make: Callable[[], Step], first: bytes, receive_buffer: int | None = None
    ) -> None:
        """count clients, each of which sends `first` at once."""
        for _ in range(count):
            sock = socket.socket()
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(20)
            sock.connect(self.address)
            sock.sendall(first)
            sock.setblocking(False)
            self.members.append((sock, make()))

    def _run(self) -> None:
        while not self._over.wait(self.tick):
            self.ticks += 1
            for sock, step in self.members:
                try:
                    step(sock)
                except BlockingIOError:
                    continue
                except OSError:
                    self.refused += 1

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        for sock, _ in self.members:
            sock.close()
