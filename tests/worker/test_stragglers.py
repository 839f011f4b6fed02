"""A worker that has served everybody and cannot end says for what it waits."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from .conftest import Start

APP = """
import os, socket, threading


def consume():
    gate.recv(1)


gate = socket.create_connection(("127.0.0.1", int(os.environ["GATE"])))
threading.Thread(target=consume, name="consumer", daemon={daemon}).start()


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.parametrize("daemon", [False, True])
def test_thread(start: Start, worker_class: str, tmp_path: Path, daemon: bool) -> None:
    (tmp_path / "consuming.py").write_text(APP.format(daemon=daemon))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = {"GATE": str(listener.getsockname()[1])}
        server = start(worker_class, "--pythonpath", str(tmp_path), app="consuming:application", env=env)
        gate, _ = listener.accept()
        with gate:
            assert server.get("/").text == "ok"
            server.send_signal(signal.SIGTERM)
            if not daemon:
                server.stderr.wait(r"\[WARNING\] worker \d+ waits for what is no daemon: thread 'consumer'")
                gate.send(b".")
            assert server.wait() == 0
    server.pardon()
    assert sum("no daemon" in line for line in server.stderr.lines) == (not daemon)


def test_thread_of_a_worker_whose_master_was_killed(start: Start, worker_class: str, tmp_path: Path) -> None:
    """Nobody else would ever end it."""
    (tmp_path / "consuming.py").write_text(APP.format(daemon=False))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = {"GATE": str(listener.getsockname()[1])}
        flags = ("--pythonpath", str(tmp_path), "--graceful-timeout", "0.1")
        server = start(worker_class, *flags, app="consuming:application", env=env)
        gate, _ = listener.accept()
        with gate:
            server.send_signal(signal.SIGKILL)
            server.process.wait()
            server.stderr.wait("the master is gone, and what is no daemon does not end: leaving")
            assert gate.recv(1) == b""  # closed by its end
