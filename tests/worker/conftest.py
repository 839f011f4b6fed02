"""Real servers for the worker tests, and a gate that holds their requests for as long as the test wants."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from launcher import APPS, DEADLINE, Server, listen
from serving import chosen_classes, class_arguments

HERE = Path(__file__).parent
Start = Callable[..., Server]


class Held:
    """One request that is inside the application."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def release(self) -> None:
        self._socket.sendall(b".")
        self._socket.close()

    def close(self) -> None:
        self._socket.close()


class Gate:
    """Where requests for /hold wait. The sockets are the application's, so greenlets wait as such."""

    def __init__(self) -> None:
        self._listener = listen()
        self._listener.settimeout(DEADLINE)
        self._held: list[Held] = []

    @property
    def env(self) -> dict[str, str]:
        return {"GATE": str(self._listener.getsockname()[1])}

    def enter(self) -> Held:
        """Wait until one more request is held."""
        self._held.append(Held(self._listener.accept()[0]))
        return self._held[-1]

    def close(self) -> None:
        for each in self._held:
            each.close()
        self._listener.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.close()


@pytest.fixture
def start(gate: Gate, tmp_path: Path) -> Iterator[Start]:
    """start(worker_class, *flags, workers=1) -> a Server of works.py that has bound its address itself.

    Like `server`, it has to end in order when the test is over, unless the test has ended it.
    """
    started: list[Server] = []
    with ExitStack() as stack:

        def begin(
            worker_class: str,
            *flags: str,
            workers: int = 1,
            env: dict[str, str] | None = None,
            app: str = "works:application",
            **options: Any,
        ) -> Server:
            server = Server(
                [app, "-w", str(workers), "-b", "127.0.0.1:0", *class_arguments(worker_class), *flags],
                env={**gate.env, "PYTHONPATH": f"{HERE}:{APPS}", **(env or {})},
                cwd=tmp_path,
                **options,
            )
            stack.callback(server.kill)
            started.append(server)
            server.wait_workers(workers)
            (match,) = server.stderr.wait(r"at http://127\.0\.0\.1:(\d+)")
            server.address = ("127.0.0.1", int(match[1]))
            return server

        yield begin
        for each in started:
            if each.process.returncode is None:
                each.stop()


def reload(server: Server) -> None:
    """A second generation serves, and the first has been told to drain."""
    server.send_signal(signal.SIGHUP)
    server.stderr.wait(r"ready.*: generation 2\b")


def side_by_side(start: Start, course: Callable[[Server], None], *flags: str) -> None:
    """Run a course that mostly waits with a server of each class, all at the same time."""
    servers = [start(name, *flags) for name in chosen_classes()]
    with ThreadPoolExecutor(len(servers)) as pool:
        for each in [pool.submit(course, server) for server in servers]:
            each.result()


def refused(server: Server) -> bool:
    """Whether nobody listens any more."""
    assert isinstance(server.address, tuple)
    with socket.socket() as probe:
        probe.settimeout(DEADLINE)
        return probe.connect_ex(server.address) != 0


def counters(pid: int) -> dict[int, int]:
    """How often each thread of a process has gone to sleep of its own will: a wake-up each (proc(5))."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        match = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", (task / "status").read_text(), re.MULTILINE)
        assert match is not None
        found[int(task.name)] = int(match[1])
    return found


__all__ = ["Gate", "Held", "Start", "counters", "refused", "reload", "side_by_side"]
