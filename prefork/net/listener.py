"""The listening sockets: made once by the master, shared by every worker, outlive both.

Owns binding, the names that go into the environ, and the removal of unix socket files by the process
that made them, and by no other.
"""

from __future__ import annotations

import socket

from .address import Address


class Listener:
    """A listening socket: non-blocking, close-on-exec.

    `server_name` and `server_port` are SERVER_NAME and SERVER_PORT (PEP 3333; neither is ever empty);
    `text` is for messages: "http://127.0.0.1:8000", "unix:/run/x.sock".
    """

    __slots__ = ("address", "fd", "server_name", "server_port", "socket", "text")

    def __init__(self, sock: socket.socket, address: Address) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.fd = sock.fileno()
        self.address = address
        self.server_name, self.server_port = ("127.0.0.1", "0")
        self.text = str(address)
