"""A real server as a child process: start, watch, ask, stop, and look at what it left behind.

The test binds the socket (port 0, or a path) and hands it over, so there is no port to guess and no moment at
which a client is refused. Readiness is an answer, never a span of time. Every process of the server shares
one session, so that orphans can be found and nothing else can be hit.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import procfs
from rawclient import DEADLINE, Closed, Connection, Ending, Response, request_bytes

APPS = Path(__file__).parent.parent / "apps"
HANDOVER = Path(__file__).parent / "handover.py"
BACKLOG = 2048

# Another server for the tests' own proof, development only: PREFORK_TEST_SERVER=/path/to/gunicorn
PEER = os.environ.get("PREFORK_TEST_SERVER", "")

# A line that no run may hold unless the test expects it.
TROUBLE = re.compile(
    r"Traceback|\b(?:ERROR|CRITICAL|FATAL)\b|\w+Warning\b|Exception ignored|[Ss]egmentation|\bSIG[A-Z]+\b"
)


def program() -> list[str]:
    """The server under test: the script beside this interpreter, so the package that is installed."""
    if PEER:
        return [PEER]
    return [str(Path(sysconfig.get_path("scripts")) / "prefork")]


class Lines:
    """Lines of a stream as they arrive, collected by a thread; a mark is a number of lines."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(
            target=self._collect, args=(stream,), daemon=True, name=f"lines of {name}"
        )
        self._thread.start()

    def _collect(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    @property
    def mark(self) -> int:
        with self._changed:
            return len(self.lines)

    def since(self, mark: int = 0) -> list[str]:
        with self._changed:
            return self.lines[mark:]

    def wait(
        self, pattern: str, *, since: int = 0, count: int = 1, deadline: float = DEADLINE
    ) -> list[re.Match[str]]:
        """The first count matches in lines behind the mark; fails at the deadline or at the stream's end."""
        until = time.monotonic() + deadline
        with self._changed:
            while True:
                found = [match for line in self.lines[since:] if (match := re.search(pattern, line))]
                if len(found) >= count:
                    return found[:count]
                left = until - time.monotonic()
                if self.ended or left <= 0:
                    why = "the stream ended" if self.ended else f"{deadline} s passed"
                    text = "\n".join(self.lines[since:])
                    raise AssertionError(f"{why} before {count} x {pattern!r} on {self.name}:\n{text}")
                self._changed.wait(left)

    def wait_end(self, deadline: float = DEADLINE) -> None:
        """Until every process that held the stream has closed it."""
        until = time.monotonic() + deadline
        with self._changed:
            while not self.ended:
                left = until - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{self.name} is still held open after {deadline} s")
                self._changed.wait(left)


def listen(address: tuple[str, int] | str = ("127.0.0.1", 0), backlog: int = BACKLOG) -> socket.socket:
    """A listening socket: TCP on a free port, or a Unix path."""
    if isinstance(address, str):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


class Server:
    """One running server. `address` is where it serves; use `connect`, `get` or `request` to talk to it."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        listeners: Sequence[socket.socket] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        limits: Mapping[str, int] | None = None,
        executable: Sequence[str] = (),
    ) -> None:
        """Start. The listeners are handed over and closed here; without any, the arguments have to bind."""
        self.address: tuple[str, int] | str = ("", 0)
        for listener in reversed(listeners):
            name = listener.getsockname()
            self.address = name if isinstance(name, str) else (name[0], name[1])
        order = {"sockets": [listener.fileno() for listener in listeners], "limits": dict(limits or {})}
        self.command = [*(executable or program()), *arguments]
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("PREFORK_", "LISTEN_"))
        }
        environment |= {"PYTHONWARNINGS": "default", "PYTHONFAULTHANDLER": "1", **(env or {})}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HANDOVER), json.dumps(order), *self.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=order["sockets"],
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )
        for listener in listeners:
            listener.close()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdout = Lines(self.process.stdout, "stdout")
        self.stderr = Lines(self.process.stderr, "stderr")
        self._forgiven: list[str] = []
        self._looked_at = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    # Asking

    def connect(self, *, deadline: float = DEADLINE, receive_buffer: int | None = None) -> Connection:
        return Connection(self.address, deadline=deadline, receive_buffer=receive_buffer)

    def request(
        self, method: str, target: str, *fields: tuple[str, str], body: bytes | None = None
    ) -> Response:
        """One request on a connection of its own, which the client asks to close."""
        with self.connect() as client:
            return client.request(method, target, ("Connection", "close"), *fields, body=body)

    def get(self, target: str = "/", *fields: tuple[str, str]) -> Response:
        return self.request("GET", target, *fields)

    def exchange(self, data: bytes, method: str = "GET") -> Response:
        """Send bytes as they are on a connection of their own; read one answer."""
        with self.connect() as client:
            client.offer(data)
            return client.response(method)

    # Watching

    def wait_ready(self) -> Server:
        """Return when a worker has answered. The probe is malformed, so no application ever sees it."""
        until = time.monotonic() + DEADLINE
        with self.connect() as probe:
            probe.deadline = 0.25  # then look whether the server still lives
            probe.offer(b"\x01\r\n\r\n")
            while True:
                try:
                    probe.line()
                    break
                except TimeoutError:
                    if self.process.poll() is None and time.monotonic() < until:
                        continue
                except (Closed, ConnectionError):
                    pass
                self.kill()
                text = "\n".join(self.stderr.lines)
                raise AssertionError(f"{' '.join(self.command)} did not begin to serve:\n{text}")
        return self

    def worker_pids(self) -> list[int]:
        """The master's children, without a mold."""
        return [pid for pid in procfs.children(self.pid) if not procfs.title(pid).startswith("prefork: mold")]

    def wait_workers(self, count: int) -> Server:
        """Return when all workers of the first generation, that many, have said that they are ready."""
        if PEER:
            self.stderr.wait("Booting worker with pid", count=count)
        else:
            self.stderr.wait(rf"\bready\b.*\b{count} workers?\b")
        return self

    def forgive(self, *patterns: str) -> None:
        """Lines that match are no trouble in this server's run."""
        self._forgiven += patterns

    def trouble(self, *, forgiven: Sequence[str] = (), since: int | None = None) -> list[str]:
        """Lines on stderr that look like trouble and that nobody has forgiven, from a mark on."""
        start = self._looked_at if since is None else since
        if PEER:  # it words its log otherwise
            return []
        known = [re.compile(pattern) for pattern in (*forgiven, *self._forgiven)]
        return [
            line
            for line in self.stderr.since(start)
            if TROUBLE.search(line) and not any(pattern.search(line) for pattern in known)
        ]

    def pardon(self) -> None:
        """The test has looked at everything logged so far; only what follows is judged at the end."""
        self._looked_at = self.stderr.mark

    # Ending

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, deadline: float = DEADLINE) -> int:
        """The exit code, once the server ends by itself."""
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
            text = "\n".join(self.stderr.lines[-60:])
            raise AssertionError(f"the server did not end within {deadline} s:\n{text}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM, *, code: int = 0) -> None:
        """Stop as an operator does; the exit code, the log and the process table have to be in order."""
        if self.process.poll() is None:
            self.send_signal(number)
        found = self.wait()
        left = procfs.session(self.pid)
        self.kill()
        self.stdout.wait_end()
        self.stderr.wait_end()
        text = "\n".join(self.stderr.lines[-60:])
        assert found == code, f"exit code {found}, not {code}:\n{text}"
        assert not left, f"orphans {left}:\n{text}"
        assert not (lines := self.trouble()), (
            "unexpected on stderr:\n" + "\n".join(lines) + f"\n--- all of it:\n{text}"
        )

    def kill(self) -> None:
        """End every process of the server at once; for clean-up, judges nothing."""
        for pid in procfs.session(self.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


class Events:
    """Words that an application sends to its test while it runs: one line each through a FIFO, in order.

    The path goes to the server in PREFORK_TEST_EVENTS; apps/testevents.py is the other end. Not a datagram
    socket: that holds ten words (net.unix.max_dgram_qlen), and the eleventh would block the application.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        # For writing too, so that it never ends while no application has it open (fifo(7)).
        self.number = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self.number, fcntl.F_SETPIPE_SZ, 1 << 20)
        self.buffer = b""

    @property
    def env(self) -> dict[str, str]:
        return {"PREFORK_TEST_EVENTS": str(self.path)}

    def _fill(self) -> None:
        try:
            self.buffer += os.read(self.number, 1 << 20)
        except BlockingIOError:
            return

    def next(self, deadline: float = DEADLINE) -> str:
        """The next word; waits for it."""
        end = time.monotonic() + deadline
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.number], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"the application said nothing within {deadline} s")
            self._fill()
        word, _, self.buffer = self.buffer.partition(b"\n")
        return word.decode()

    def expect(self, word: str, deadline: float = DEADLINE) -> None:
        """The next word has to be this one."""
        found = self.next(deadline)
        assert found == word, f"the application said {found!r}, not {word!r}"

    def waiting(self) -> list[str]:
        """The words that have arrived, without waiting for any."""
        self._fill()
        words = self.buffer.decode().splitlines()
        self.buffer = b""
        return words

    def close(self) -> None:
        os.close(self.number)


def until(condition: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
    """Wait until the kernel's view of a process is as asked; for facts that nobody sends (proc(5)).

    The thread yields between looks on a pipe that nobody writes, so it costs no processor time.
    """
    end = time.monotonic() + deadline
    silent = threading.Event()
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {deadline} s")
        silent.wait(0.01)


__all__ = ["APPS", "DEADLINE", "Ending", "Events", "Lines", "Server", "listen", "request_bytes", "until"]
