"""The pid file: whose it is, and what is done where it cannot be had."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import pytest
from launcher import program

from prefork.net import control

from .conftest import Project, Start


def refusal(start: Start, *flags: str, **options: object) -> str:
    """The one line of a server that does not start for its pid file."""
    server = start("-p", "pid", *flags, ready=False, **options)
    assert server.wait() == 1
    server.stderr.wait_end()
    (line,) = server.stderr.lines
    return line


@pytest.mark.parametrize("text", ["99999999999999999999\n", "4294967297\n", "١\n"])
def test_a_number_that_no_process_has(start: Start, project: Project, text: str) -> None:
    path = project.folder / "pid"
    path.write_text(text)
    server = start("-p", "pid")
    assert path.read_text() == f"{server.pid}\n"


def test_a_process_that_only_names_prefork(start: Start, project: Project) -> None:
    path = project.folder / "pid"
    with subprocess.Popen(["vim prefork.toml", "60"], executable="sleep") as stranger:
        path.write_text(f"{stranger.pid}\n")
        server = start("-p", "pid")
        assert path.read_text() == f"{server.pid}\n"
        stranger.kill()


def test_a_server_that_has_just_begun_to_start(start: Start, project: Project) -> None:
    (project.folder / "conf.py").write_text(
        "import os\n"
        "def on_starting(server):\n"
        "    os.write(1, b'starting\\n')\n"
        "    with open('gate') as gate:\n"
        "        gate.read()\n"
    )
    os.mkfifo(project.folder / "gate")
    first = start("-p", "pid", "-c", "conf.py", ready=False)
    first.stdout.wait("starting")
    assert f"another prefork is running there (pid {first.pid})" in refusal(start)
    (project.folder / "gate").write_text("")
    first.wait_workers(2)


def test_a_stopped_server_with_callers_that_wait(start: Start) -> None:
    server = start("-p", "pid")
    server.send_signal(signal.SIGSTOP)
    callers = []
    try:
        while True:
            caller = socket.socket(socket.AF_UNIX)
            callers.append(caller)
            caller.setblocking(False)
            try:
                caller.connect(control.name(server.pid))
            except BlockingIOError:
                break
        assert control.is_master(server.pid)
    finally:
        for caller in callers:
            caller.close()
        server.send_signal(signal.SIGCONT)


def test_a_fifo_is_left_alone(start: Start, project: Project) -> None:
    path = project.folder / "pid"
    os.mkfifo(path)
    before = path.stat()
    line = refusal(start)
    assert line == f"prefork: error: pid file {path}: that is no regular file; it is left alone"
    assert path.stat().st_ino == before.st_ino
    assert [each.name for each in project.folder.glob("pid*")] == ["pid"]
    done = subprocess.run(
        [*program(), "status", path], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"prefork: error: pid file {path} cannot be read: ")


def test_a_file_that_cannot_be_written_leaves_nothing_behind(start: Start, project: Project) -> None:
    line = refusal(start, limits={"FSIZE": 0})
    path = project.folder / "pid"
    assert line == f"prefork: error: pid file {path} cannot be written: File too large"
    assert not list(project.folder.glob("pid*"))
