"""Where a real server listens, what it refuses at once, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket

import pytest
from launcher import Server, listen, program, until
from procfs import session

from .conftest import Project, Start, answer, settled, where


def test_port_0_is_found_in_the_start_line(start: Start) -> None:
    server = start("-b", "127.0.0.1:0", handed=False)
    (text,) = where(server)
    assert not text.endswith(":0")
    answer(server)


def test_several_addresses(start: Start, project: Project) -> None:
    path = project.folder / "s"
    server = start(
        "-b", f"unix:{path}", "-b", "127.0.0.1:0", "-b", f"unix:@prefork-test-{os.getpid()}", handed=False
    )
    texts = where(server)
    assert texts[0] == f"unix:{path}"
    for text in texts:
        name = text.removeprefix("http://").removeprefix("unix:")
        server.address = name.replace("@", "\0", 1)
        if text.startswith("http:"):
            host, _, port = name.rpartition(":")
            server.address = (host, int(port))
        answer(server)
    server.stop()
    assert not path.exists()


def test_relative_socket_path(start: Start, project: Project) -> None:
    server = start("-b", "unix:here.sock", handed=False)
    assert (project.folder / "here.sock").is_socket()
    server.stop()
    assert not (project.folder / "here.sock").exists()


def test_socket_file_outlives_a_killed_server_and_not_the_next(start: Start, project: Project) -> None:
    path = project.folder / "s"
    first = start("-b", f"unix:{path}", handed=False)
    first.send_signal(signal.SIGKILL)
    first.process.wait()
    until(lambda: not session(first.pid), "the workers are gone")
    assert path.is_socket()
    second = start("-b", f"unix:{path}", handed=False)
    where(second)
    answer(second)
    second.stop()
    assert not path.exists()


def test_worker_does_not_remove_the_socket_file(start: Start, project: Project) -> None:
    path = project.folder / "s"
    server = start("-b", f"unix:{path}", handed=False)
    where(server)
    pid = server.worker_pids()[0]
    os.kill(pid, signal.SIGTERM)
    until(lambda: pid not in server.worker_pids(), "it has drained")
    assert path.is_socket()
    answer(server)


@pytest.mark.parametrize(
    ("bind", "said"),
    [
        ("127.0.0.1:{port}", r"the port is in use by \S+ \(pid \d+\)$"),
        ("unix:{live}", "another server listens there$"),
        ("unix:{file}", "the path exists and is not a socket; it is left alone$"),
        ("no.such.host.invalid:80", "unknown host"),
        ("192.0.2.1:80", "this machine has no such address$"),
        ("fd://77", "not an open descriptor$"),
    ],
    ids=["port", "live", "file", "host", "address", "descriptor"],
)
def test_what_cannot_be_bound_is_one_line_and_exit_code_1(
    start: Start, project: Project, bind: str, said: str
) -> None:
    live, file = project.folder / "live", project.folder / "file"
    file.write_text("precious")
    with listen() as taken, socket.socket(socket.AF_UNIX) as other:
        other.bind(str(live))
        other.listen()
        text = bind.format(port=taken.getsockname()[1], live=live, file=file)
        server = start("-b", text, handed=False, ready=False)
        assert server.wait() == 1
        server.stderr.wait(rf"^prefork: error: cannot listen on {text}: .*{said}")
        assert len(server.stderr.lines) == 1
    assert file.read_text() == "precious"


def test_handed_over_socket_is_served_and_forgotten(start: Start, project: Project) -> None:
    project.write(
        "import os\n"
        "def app(environ, start_response):\n"
        "    names = [name for name in os.environ if name.startswith('LISTEN_')]\n"
        "    start_response('200 OK', [('Content-Length', str(len(repr(names))))])\n"
        "    return [repr(names).encode()]\n"
    )
    server = start("-b", "127.0.0.1:1")  # what is handed over counts, not this
    assert server.get("/").text == "[]"


def test_a_new_server_can_bind_as_soon_as_the_old_one_is_gone(start: Start) -> None:
    first = start("-b", "127.0.0.1:0", handed=False)
    where(first)
    answer(first)  # leaves TIME_WAIT behind
    address = first.address
    first.stop()
    second = start("-b", f"127.0.0.1:{address[1]}", handed=False)
    second.address = address
    answer(second)


@pytest.mark.parametrize("way", ["LISTEN_FDS", "fd://"])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_listener_of_somebody_else_outlives_the_server(project: Project, kind: str, way: str) -> None:
    path = project.folder / "s"
    theirs = listen() if kind == "tcp" else listen(str(path))
    flags, command = (), ()
    if way == "fd://":
        flags = ("-b", "fd://3")
        command = ("env", "-u", "LISTEN_FDS", *program())
    server = Server(
        ["site_app:app", "-w", "1", *flags], listeners=[theirs.dup()], cwd=project.folder, executable=command
    )
    try:
        settled(server, 1)
        answer(server)
        server.stop()
    finally:
        server.kill()
    # Whoever serves next finds it as it was: new clients come.
    theirs.settimeout(0.9)  # a segment that was dropped is sent again after a second
    with theirs, server.connect():
        theirs.accept()[0].close()
    assert kind == "tcp" or path.is_socket()
