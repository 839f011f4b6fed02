"""Standard streams that are closed, full, gone, or taken away by the application: no reason not to serve."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from launcher import Server, program, until
from procfs import descriptors, state
from rawclient import Closed

from .conftest import APP, Project, Start, answer, settled, where

STREAMS = {
    "stdin": "<&-",
    "stdout": ">&-",
    "stderr": "2>&-",
    "all": "<&- >&- 2>&-",
    "full": ">/dev/full",
    "both full": ">/dev/full 2>/dev/full",
}


BUFFERED = {"PYTHONUNBUFFERED": ""}  # else the application's own print fails, not what comes of it


def redirected(words: str) -> list[str]:
    """The program, started by a shell with these redirections."""
    return ["sh", "-c", f'exec "$0" "$@" {words}', *program()]


def serves(server: Server, log: Path) -> None:
    """Wait for its ready in the log, then ask it."""
    until(lambda: log.exists() and "ready after" in log.read_text(), "it is ready")
    answer(server)


@pytest.mark.parametrize("flags", [(), ("--preload",), ("-k", "threads", "--threads", "2")], ids=str)
@pytest.mark.parametrize("name", STREAMS)
def test_streams_that_are_not_there(
    start: Start, project: Project, name: str, flags: tuple[str, ...]
) -> None:
    """A hook prints in the master, the application at its import and in a request; a worker dies."""
    (project.folder / "conf.py").write_text("def child_exit(server, worker):\n    print('gone')\n")
    project.write(f"print('imported')\n{APP}".replace("body =", "print('asked'); body ="))
    log = project.folder / "log"
    server = start(
        "-c",
        "conf.py",
        "--log-file",
        "log",
        *flags,
        ready=False,
        env=BUFFERED,
        executable=redirected(STREAMS[name]),
    )
    serves(server, log)
    with pytest.raises(Closed):
        server.get("/exit/7")
    until(lambda: "exited with code 7" in log.read_text(), "the death is in the log")
    answer(server)
    server.send_signal(signal.SIGHUP)
    until(lambda: "ready: generation 2" in log.read_text(), "it is reloaded")
    answer(server)
    for fd in (0, 1, 2):
        assert fd in descriptors(server.pid)
    server.stop()
    text = log.read_text()
    assert "Traceback" not in text
    assert text.count("ERROR") == 1


@pytest.mark.parametrize("flags", [(), ("--preload",), ("-k", "threads", "--threads", "2")], ids=str)
@pytest.mark.parametrize("deed", ["sys.stdout = sys.stderr = None", "sys.stdout.close()", "os.close(1)"])
def test_application_that_takes_them_away(
    start: Start, project: Project, deed: str, flags: tuple[str, ...]
) -> None:
    project.write(f"import os, sys\n{deed}\n{APP}")
    server = start(*flags)
    answer(server)
    server.send_signal(signal.SIGHUP)
    settled(server, 2)
    server.stop()  # judges the log


def test_reader_that_has_gone(start: Start, project: Project) -> None:
    (project.folder / "conf.py").write_text("def child_exit(server, worker):\n    print('gone')\n")
    os.mkfifo(project.folder / "pipe")
    reader = os.open(project.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    server = start("-c", "conf.py", executable=redirected(">pipe"), env=BUFFERED)
    os.close(reader)
    for count in (1, 2):
        with pytest.raises(Closed):
            server.get("/exit/7")
        server.stderr.wait("exited with code 7", count=count)
        answer(server)
    server.pardon()
    server.stop()


@pytest.mark.parametrize("log", [(), ("--log-file", "log")], ids=["stderr", "file"])
@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr", "all"])
def test_daemon(start: Start, project: Project, name: str, log: tuple[str, ...]) -> None:
    server = start(
        *("-D", "-p", "pid", "-b", "unix:s", *log),
        workers=1,
        handed=False,
        ready=False,
        executable=redirected(STREAMS[name]),
    )
    assert server.wait() == 0
    server.address = str(project.folder / "s")
    answer(server)
    pid = int((project.folder / "pid").read_text())
    os.kill(pid, signal.SIGTERM)
    until(lambda: state(pid) in "XZ", "the daemon is gone")
    if log:
        assert "TERM: draining" in (project.folder / "log").read_text()
    elif "stderr" not in name and name != "all":
        where(server)


# Commands


@pytest.mark.parametrize("words", ["--help", "--version", "--print-config", "status --help", "status {pid}"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_commands_that_cannot_say_it(start: Start, words: str, unbuffered: str) -> None:
    server = start(workers=1)
    done = subprocess.run(
        [*redirected(">/dev/full"), *words.format(pid=server.pid).split()],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert done.returncode == 1
    assert done.stderr == "prefork: error: stdout cannot be written: No space left on device\n"


@pytest.mark.parametrize("name", ["stdout", "stderr", "all", "both full"])
def test_commands_without_streams(start: Start, name: str) -> None:
    server = start(workers=1)
    words = [*redirected(STREAMS[name]), "status", str(server.pid)]
    code = subprocess.run(words, check=False, capture_output=True, text=True)
    assert code.returncode == (1 if name == "both full" else 0)
    assert code.stderr == ""
