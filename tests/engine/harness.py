"""A worker's engine without a worker: one Station and one Endpoint, turned by hand in the test's own process.

Nothing here waits for time. Bytes written to a unix socket are there when send() returns, so `turn()` sees
exactly what the test has sent, and `take()` everything that the engine has answered. TCP is used where only
it has what is tested (addresses, resets); there the loop waits for the event itself.
"""

from __future__ import annotations

import errno
import gc
import os
import re
import select
import socket
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from prefork.engine.accesslog import AccessLog
from prefork.engine.body import EmptyInput
from prefork.engine.connection import Connection
from prefork.engine.endpoint import Endpoint
from prefork.engine.environ import EnvironTable, roomy
from prefork.engine.response import FileWrapper
from prefork.engine.scoreboard import Scoreboard
from prefork.engine.station import Station
from prefork.errors import FAULTS

KEEP, PIPELINED, WAITING, GONE, LOST = 0, 1, 2, 3, 8  # Outcome, engine/connection.pxd
WAIT_HEAD, WAIT_BODY, WAIT_IDLE, WAIT_WRITE, WAIT_LINGER = range(5)  # Wait, engine/station.pxd
PATIENCE = 10.0  # seconds until something that must happen has not
MOMENT = 1e-9  # a timeout that has passed at the next turn

DATE = re.compile(rb"Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n")

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The smallest good application."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello"]


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answers with the request: method, target and body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} ".encode("latin-1"), body]


def get(target: str = "/", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """The bytes of a request without a body."""
    host = () if any(field.lower().startswith("host:") for field in fields) else ("Host: test",)
    lines = [f"{method} {target} HTTP/{version}", *host, *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(body: bytes, target: str = "/", *fields: str) -> bytes:
    """The bytes of a request with a body of that length."""
    return get(target, f"Content-Length: {len(body)}", *fields, method="POST") + body


def chunked(*chunks: bytes, target: str = "/", end: bytes = b"0\r\n\r\n") -> bytes:
    """The bytes of a request with those chunks."""
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return get(target, "Transfer-Encoding: chunked", method="POST") + coded + end


def undated(data: bytes) -> bytes:
    """Without the Date line, which is checked on the way."""
    return DATE.sub(b"", data)


class Answer:
    """One response as a client has to read it (RFC 9112 6.3). `rest` is what follows it."""

    def __init__(self, data: bytes, *, head_only: bool = False) -> None:
        head, blank, rest = data.partition(b"\r\n\r\n")
        assert blank, f"no whole head: {data[:200]!r}"
        line, *rows = head.decode("latin-1").split("\r\n")
        assert line.startswith("HTTP/1.1 "), line
        self.status = int(line[9:12])
        self.reason = line[13:]
        self.fields = [(name, value) for name, _, value in (row.partition(": ") for row in rows)]
        self.whole = True
        self.chunks: list[bytes] = []
        length, coding = self.get("Content-Length"), self.get("Transfer-Encoding")
        assert length is None or coding is None
        if head_only or self.status < 200 or self.status in (204, 304):
            self.body, self.rest = b"", rest
        elif coding is not None:
            assert coding == "chunked"
            self._read_chunks(rest)
        elif length is not None:
            self.body, self.rest = rest[: int(length)], rest[int(length) :]
            self.whole = len(self.body) == int(length)
        else:
            self.body, self.rest = rest, b""

    def _read_chunks(self, rest: bytes) -> None:
        self.whole = False
        while True:
            size, _, rest = rest.partition(b"\r\n")
            if not re.fullmatch(rb"[0-9a-f]+", size):
                break
            count = int(size, 16)
            if count == 0:
                self.whole = rest[:2] == b"\r\n"
                rest = rest[2:]
                break
            self.chunks.append(rest[:count])
            if rest[count : count + 2] != b"\r\n":
                rest = b""
                break
            rest = rest[count + 2 :]
        self.body, self.rest = b"".join(self.chunks), rest

    def get(self, name: str) -> str | None:
        """The value of the one field of that name, or None."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name}: {values}"
        return values[0] if values else None


class Client:
    """The other end: a socket that never blocks, and the connection that the engine has made of it."""

    def __init__(self, rig: Rig, sock: socket.socket, connection: Connection) -> None:
        self.rig = rig
        self.sock = sock
        self.connection = connection
        self.fd = connection.descriptor
        self.ended = ""  # "eof" or "reset", once take() has seen the end

    @property
    def state(self) -> str:
        return self.connection.state

    def send(self, data: bytes) -> Client:
        """Put all of data into the kernel; the engine has not looked at it yet."""
        self.sock.sendall(data)
        return self

    def offer(self, data: bytes) -> int:
        """Put as much of data into the kernel as it takes."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def take(self, limit: int = 1 << 30) -> bytes:
        """Everything (at most limit bytes) that has come so far; sets `ended` at the end."""
        parts: list[bytes] = []
        while limit > 0:
            try:
                data = self.sock.recv(min(limit, 1 << 16))
            except BlockingIOError:
                break
            except ConnectionResetError:
                self.ended = "reset"
                break
            if not data:
                self.ended = "eof"
                break
            parts.append(data)
            limit -= len(data)
        return b"".join(parts)

    def ask(self, data: bytes) -> bytes:
        """Send, let the engine have its turns until nothing happens any more, return what came."""
        self.send(data)
        got = b""
        while True:
            self.rig.turns()
            more = self.take()
            got += more
            if not more:
                return got

    def answer(self, data: bytes, *, head_only: bool = False) -> Answer:
        """ask(), read as exactly one whole response."""
        answer = Answer(self.ask(data), head_only=head_only)
        assert answer.rest == b"", answer.rest
        return answer

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Leave with RST (TCP)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def narrow(self, size: int = 1) -> int:
        """Have the engine's end take as little as the kernel allows; returns how much that is."""
        with socket.socket(fileno=os.dup(self.fd)) as end:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
            return end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


class Rig:
    """One Station and its loop. Options that Station does not know: tcp, secure, forwarders, header_map,
    script_name, log (a format), slots."""

    def __init__(
        self,
        app: App = hello,
        *,
        tcp: bool = False,
        secure: dict[str, str] | None = None,
        forwarders: Iterable[str] = (),
        header_map: str = "drop",
        script_name: str = "",
        log: str = "",
        slots: int = 4,
        trusted: Callable[[str], bool] = lambda address: False,
        **options: Any,
    ) -> None:
        self.tcp = tcp
        self.epoll = select.epoll()
        self.listener = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        self.listener.bind(("127.0.0.1", 0) if tcp else "")  # "": an abstract name of the kernel's choice
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.faults: list[tuple[dict[str, Any] | None, BaseException]] = []
        self.refusals: list[str] = []
        self.notices: list[str] = []
        self.spools: list[int] = []
        self.again: deque[Connection] = deque()
        self.clients: list[Client] = []
        self.log_fd = os.memfd_create("access") if log else -1
        self.access_log = AccessLog(log, self.log_fd) if log else None
        self.scoreboard = Scoreboard(2, slots)
        options.setdefault("open_spool", self.open_spool)
        options.setdefault("on_app_fault", lambda environ, fault: self.faults.append((environ, fault)))
        options.setdefault("on_refusal", lambda remote, code: self.refusals.append(FAULTS[code].name))
        options.setdefault("server", "")
        rows = {code: (fault.status, fault.reason, fault.text) for code, fault in FAULTS.items()}
        options.setdefault("refusals", rows)
        try:
            self.station = Station(
                epoll=self.epoll.fileno(),
                environs=EnvironTable(secure or {}, forwarders, header_map, script_name, self.notices.append),
                access_log=self.access_log,
                scoreboard=self.scoreboard,
                worker=0,
                trusted=trusted,
                on_notice=self.notices.append,
                application=app,
                **options,
            )
        except BaseException:
            self.listener.close()
            self.epoll.close()
            raise
        self.endpoint = Endpoint(self.station, self.listener.fileno(), roomy(base(script_name)), not tcp)

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open_spool(self) -> int:
        """What a worker does for a large body; the descriptor stays known to the test."""
        descriptor = os.open(tempfile.gettempdir(), os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        self.spools.append(descriptor)
        return descriptor

    def connect(self, *, receive_buffer: int = 0) -> Client:
        """A client that the engine has accepted; it has had no turn yet."""
        sock = socket.socket(self.listener.family)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(True)
        sock.connect(self.listener.getsockname())
        sock.setblocking(False)
        connection = self.endpoint.accept()
        assert connection is not None
        client = Client(self, sock, connection)
        self.clients.append(client)
        return client

    def client(self, **options: Any) -> Client:
        """A client whose connection has had its first turn: epoll knows it."""
        client = self.connect(**options)
        assert client.connection.turn(0) == KEEP
        return client

    def turn(self, timeout: float = 0) -> int:
        """One turn of the loop; returns how many members had theirs."""
        turned = self.station.wait(timeout, 64)
        self.station.serve(self.settle)
        for _ in range(len(self.again)):
            connection = self.again.popleft()
            self.settle(connection, connection.turn(0))
            turned += 1
        return turned

    def settle(self, connection: Connection, outcome: int) -> None:
        if outcome == PIPELINED:
            self.again.append(connection)

    def turns(self, limit: int = 10_000) -> None:
        """Turn until nothing happens any more."""
        for _ in range(limit):
            if not self.turn():
                return
        raise AssertionError("the loop does not come to rest")

    def until(self, done: Callable[[], object], what: str = "") -> None:
        """Turn until done() is true; each turn waits for an event."""
        while not done():
            if not self.turn(0 if self.again else PATIENCE):
                raise AssertionError(f"nothing happened in {PATIENCE} s, waiting for {what or done}")

    def expire(self) -> None:
        """Act on the deadlines that have passed by now."""
        self.station.wait(0, 64)
        self.station.expire()

    def logged(self) -> list[str]:
        """The lines of the access log so far."""
        assert self.access_log is not None
        self.access_log.flush()
        size = os.fstat(self.log_fd).st_size
        return os.pread(self.log_fd, size, 0).decode("latin-1").splitlines()

    @property
    def worker(self) -> Any:
        """What the scoreboard says of this worker."""
        return self.scoreboard.worker(0)

    def close(self) -> None:
        """End every connection and close everything; nothing may be left behind."""
        for client in self.clients:
            client.sock.close()
            client.connection.abandon()
        for member in list(self.station.members.values()):
            member.abandon()
        assert self.station.held() == 0
        assert self.station.members == {}
        assert not any(self.station.waiting(wait) for wait in range(5))
        self.listener.close()
        self.epoll.close()
        if self.log_fd >= 0:
            os.close(self.log_fd)
        self.clients.clear()


def base(script_name: str = "") -> dict[str, Any]:
    """The environ that all requests of an endpoint begin with, as worker/assemble.py makes it."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": EmptyInput(),
        "wsgi.errors": None,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        "wsgi.early_hints": None,
        "SERVER_SOFTWARE": "prefork",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "RAW_URI": "",
        "REQUEST_URI": "",
        "REMOTE_ADDR": "",
        "REMOTE_PORT": "",
    }


def is_open(descriptor: int) -> bool:
    """Whether the number stands for an open file."""
    try:
        os.fstat(descriptor)
    except OSError as error:
        assert error.errno == errno.EBADF
        return False
    return True


class Occupied:
    """Takes a descriptor's number as soon as it is free, so that a second close() of it would be seen."""

    def __init__(self, number: int) -> None:
        assert not is_open(number), f"descriptor {number} is still open"
        self.number = number
        source = os.memfd_create("occupied")
        if source != number:
            os.dup2(source, number, inheritable=False)
            os.close(source)
        self._inode = os.fstat(number).st_ino

    def check(self) -> None:
        """Fails when somebody has closed the number again."""
        gc.collect()
        assert is_open(self.number), f"descriptor {self.number} was closed twice"
        assert os.fstat(self.number).st_ino == self._inode
        os.close(self.number)
