"""One connection of a client, non-blocking: it carries requests and says how each ended.

A Line is driven by whoever owns the epoll descriptor (traffic/swarm.py). It never blocks, never retries and
never opens a second connection for one request.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct

from .ask import Ask
from .outcome import TABLE, Event, Outcome, Stage, settle
from .response import Answer, MalformedAnswer

Address = tuple[str, int] | str  # (host, port), or the path of a unix socket ("\0name" for an abstract one)

READ_SIZE = 262144
GONE = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ENOTCONN})
# EAGAIN from connect(2) on a unix socket: the backlog is full, and there is no handshake to wait for.
TURNED_AWAY = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.EAGAIN, errno.ECONNRESET, errno.EPIPE})
# struct tcp_info, tcpi_bytes_acked: what the peer's kernel took, the SYN counting as one (linux/tcp.h).
BYTES_ACKED_OFFSET = 120


class Line:
    """States: no socket; idle (socket, no request); one request under way in a Stage."""

    __slots__ = (
        "_address",
        "_answer",
        "_close",
        "_epoll",
        "_host",
        "_out",
        "_reset",
        "_sent",
        "_size",
        "_sock",
        "_stage",
        "ask",
        "began",
        "connections",
        "deadline",
        "detail",
        "idle_closed",
        "reused",
        "served",
        "worker",
    )

    def __init__(self, address: Address, epoll: select.epoll, host: str) -> None:
        self._address = address
        self._epoll = epoll
        self._host = host
        self._sock: socket.socket | None = None
        self._stage: Stage | None = None
        self._out = memoryview(b"")
        self._reset = False  # by an RST that no FIN came before
        self._size = 0  # of the request under way
        self._sent = 0  # bytes written on this connection, for `_delivered`
        self._answer: Answer | None = None
        self._close = False
        self.ask: Ask | None = None
        self.began = 0.0
        self.deadline = 0.0
        self.served = 0  # requests that ended on this connection
        self.reused = False
        self.worker = ""
        self.detail = ""
        self.connections = 0
        self.idle_closed = 0

    # what the owner asks

    @property
    def fd(self) -> int:
        """-1 without a socket."""
        return self._sock.fileno() if self._sock is not None else -1

    @property
    def busy(self) -> bool:
        return self._stage is not None

    def begin(self, ask: Ask, now: float, timeout: float, *, close: bool) -> Outcome | None:
        """Send a request, on the kept connection when there is one. An Outcome when it ended at once.

        The fd may have changed when this returns: the owner looks at `fd` again.
        """
        self.ask, self.began, self.deadline, self.detail = ask, now, now + timeout, ""
        self._answer = ask.answer()
        self._reset = False
        self._close = close
        self._out = memoryview(ask.wire(self._host, close=close))
        self._size = len(self._out)
        if self._sock is not None:
            self._drop_if_closed()
        self.reused = self._sock is not None
        if self._sock is None:
            return self._connect()
        self._stage = Stage.SEND
        return self._write()

    def ready(self, mask: int) -> Outcome | None:
        """epoll reported the descriptor. An Outcome when the request ended."""
        if self._stage is None:
            self._drop_if_closed()
            return None
        if self._stage is Stage.CONNECT:
            return self._connected()
        if self._stage is Stage.SEND and mask & select.EPOLLOUT:
            ended = self._write()
            if ended is not None:
                return ended
        if mask & ~select.EPOLLOUT:
            return self._read()
        return None

    def expire(self) -> Outcome:
        """The deadline passed."""
        self.detail = f"no whole answer in time, in stage {self._stage.value if self._stage else '?'}"
        ended = self._step(Event.DEADLINE)
        assert ended is not None
        return ended

    def close(self) -> None:
        """Drop the connection. A request under way is abandoned uncounted."""
        self._stage = None
        if self._sock is not None:
            self._sock.close()  # leaves the epoll set by itself: no copy of the descriptor exists
            self._sock = None
        self.served = 0
        self.worker = ""

    # events

    def _step(self, event: Event) -> Outcome | None:
        assert self._stage is not None
        result = TABLE[self._stage, event]
        if isinstance(result, Stage):
            self._stage = result
            return None
        return self._end(result)

    def _end(self, outcome: Outcome) -> Outcome:
        assert self.ask is not None and self._answer is not None
        reusable = False
        if outcome is Outcome.OK:
            worker = self._answer.headers.get(b"x-worker", b"").decode("latin-1")
            self.worker = worker or self.worker
            outcome, self.detail = self.ask.judge(self._answer)
            reusable = self._answer.keeps_alive and not self._answer.leftover and not self._out
        else:
            outcome = settle(outcome, reused=self.reused, delivered=self._delivered())
        self._stage = None
        self.served += 1
        if self._close or not reusable:
            worker = self.worker
            self.close()
            self.worker = worker
        return outcome

    def _delivered(self) -> bool:
        """Whether the peer's kernel had taken this request while its connection was open.

        Two signs. It acknowledged a byte of it (a FIN carries the acknowledgement of what was read before
        the close). Or it reset without a FIN before: then the request lay unread, perhaps not yet
        acknowledged (acknowledgements are delayed by up to 40 ms), when the connection or the process went.
        Unix sockets tell neither: there a close of a used connection is taken for a race.
        """
        if self._sock is None or self._sock.family == socket.AF_UNIX:
            return not self.reused
        if self._reset:
            return True
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:
            return True
        if len(info) < BYTES_ACKED_OFFSET + 8:
            return True
        (acked,) = struct.unpack_from("=Q", info, BYTES_ACKED_OFFSET)
        assert self.ask is not None
        before = self._sent - (self._size - len(self._out))
        return bool(acked > before + 1)

    def _drop_if_closed(self) -> None:
        """Look whether the server has closed the idle connection, as a client does before it sends.

        Bytes on an idle connection (a 408 before the close) make it useless just the same.
        """
        assert self._sock is not None
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError as e:
            if e.errno not in GONE:
                raise
        self.idle_closed += 1
        self.close()

    def _connect(self) -> Outcome | None:
        self._stage = Stage.CONNECT
        self.connections += 1
        self.served = self._sent = 0
        family = socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET
        if family == socket.AF_INET and ":" in self._address[0]:
            family = socket.AF_INET6
        self._sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if family != socket.AF_UNIX:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self._sock.connect_ex(self._address)
        if code == errno.EINPROGRESS:
            self._epoll.register(self._sock, select.EPOLLIN | select.EPOLLOUT)
            return None
        if code:
            return self._not_connected(code)
        self._epoll.register(self._sock, select.EPOLLIN | select.EPOLLOUT)
        self._step(Event.CONNECTED)
        return self._write()

    def _connected(self) -> Outcome | None:
        assert self._sock is not None
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            return self._not_connected(code)
        self._step(Event.CONNECTED)
        return self._write()

    def _not_connected(self, code: int) -> Outcome | None:
        if code == errno.ETIMEDOUT:
            return self.expire()
        if code not in TURNED_AWAY:
            # EADDRNOTAVAIL, EMFILE: the fault is this machine's, and must not be booked on the server.
            raise OSError(code, f"client: {os.strerror(code)}")
        self.detail = errno.errorcode[code]
        return self._step(Event.REFUSED)

    def _write(self) -> Outcome | None:
        assert self._sock is not None
        while self._out:
            try:
                n = self._sock.send(self._out, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._epoll.modify(self._sock, select.EPOLLIN | select.EPOLLOUT)
                return None
            except OSError as e:
                if e.errno not in GONE:
                    raise
                return self._gone_while_sending(e)
            self._sent += n
            self._out = self._out[n:]
        if self._stage is Stage.SEND:
            self._step(Event.WRITTEN)
        self._epoll.modify(self._sock, select.EPOLLIN)
        return None

    def _gone_while_sending(self, fault: OSError) -> Outcome | None:
        """The server may have answered early (413) and closed: what it sent is read before the verdict."""
        ended = self._read()
        if ended is None:
            self.detail = f"send: {errno.errorcode[fault.errno or 0]}"
            self._reset = fault.errno == errno.ECONNRESET
            return self._step(Event.RESET)
        return ended

    def _read(self) -> Outcome | None:
        assert self._sock is not None and self._answer is not None
        while True:
            try:
                data = self._sock.recv(READ_SIZE)
            except BlockingIOError:
                return None
            except OSError as e:
                if e.errno not in GONE:
                    raise
                self.detail = f"recv: {errno.errorcode[e.errno or 0]}"
                # After a FIN the kernel reports EPIPE, or plain end of file, in place of ECONNRESET.
                self._reset = e.errno == errno.ECONNRESET
                return self._step(Event.RESET)
            if not data:
                self.detail = "EOF"
                if self._stage is Stage.READ and self._answer.eof():
                    return self._step(Event.COMPLETE)
                return self._step(Event.EOF)
            self._step(Event.BYTES)
            try:
                self._answer.feed(data)
            except MalformedAnswer as e:
                self.detail = str(e)
                return self._step(Event.MALFORMED)
            if self._answer.whole:
                return self._step(Event.COMPLETE)
            if len(data) < READ_SIZE:
                return None
